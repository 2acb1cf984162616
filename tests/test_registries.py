"""What the contract offers and what the engine can do are the same, by name."""

from collections.abc import Iterable
from typing import Any, get_args

import pytest
from engine_samples import mlp, rows, shard, train
from pydantic import BaseModel

from workers.contract import compiled
from workers.contract.activations import ACTIVATIONS, ActivationSpec
from workers.contract.initialisers import INITIALISERS, InitSpec
from workers.contract.layers import LAYERS, LayerSpec
from workers.contract.optimizers import OPTIMIZERS, Bridged, OptimizerSpec
from workers.contract.problems import PROBLEMS, Dataset, Loss, ProblemSpec
from workers.contract.statistics import COLUMNS, KEYS, STATISTICS, recorded
from workers.engine import activations, initialisers, network, optimizers, problems
from workers.engine.losses import LOSSES
from workers.engine.native.rules import KERNELS

Specs = tuple[type[BaseModel], ...]

FAMILIES: dict[str, tuple[Specs, Any, Iterable[str], str]] = {
    "optimizers": (OPTIMIZERS, OptimizerSpec, optimizers.RULES, "engine/optimizers/__init__.py: RULES"),
    "activations": (ACTIVATIONS, ActivationSpec, activations.NON_LINEARITIES, "engine/activations.py: NON_LINEARITIES"),
    "initialisers": (INITIALISERS, InitSpec, initialisers.INITIALISERS, "engine/initialisers.py: INITIALISERS"),
    "problems": (PROBLEMS, ProblemSpec, problems.PROBLEMS, "engine/problems/__init__.py: PROBLEMS"),
    "layers": (LAYERS, LayerSpec, network.LAYERS, "engine/network/__init__.py: LAYERS"),
}
"""Specs of the contract, their union, the engine's table, and where that stands."""

COMPOSED = {"repeat", "sequential", "expression", "scaled", "normalised", "shaped", "dataset"}
"""Layers that are gone once a network is expanded, non-linearities that are compiled from formulas, data that are read from a file."""


def kind_of(spec: type[BaseModel]) -> str:
    kind: str = spec.model_fields["kind"].default
    return kind


@pytest.mark.parametrize("family", FAMILIES)
def test_contract_and_engine_name_the_same(family: str) -> None:
    """Whatever can be asked for can be run, and the other way round; the message says what is missing where."""
    specs, _, table, place = FAMILIES[family]
    offered = {kind_of(spec) for spec in specs} - COMPOSED
    assert not offered - set(table), f"missing in workers/{place}: {sorted(offered - set(table))}"
    unknown = set(table) - offered
    assert not unknown, f"missing in workers/contract/{family}.py: a spec for {sorted(unknown)}"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_union_is_the_tuple(family: str) -> None:
    """What requests may say and what the catalogue shows are the same, in the same order; classes of others have their own table."""
    specs, union, _, _ = FAMILIES[family]
    members = get_args(get_args(union)[0])
    missing = [kind_of(spec) for spec in {*specs, *members} - {Bridged} if spec not in specs or spec not in members]
    assert not missing, f"in only one of the union and the tuple of {family}: {missing}"
    assert tuple(member for member in members if member is not Bridged) == specs


def test_losses_are_the_contracts() -> None:
    """Every loss that a problem may have is there, and every one that is there is some problem's."""
    assert set(LOSSES) == set(get_args(Loss)) == {spec.loss for spec in PROBLEMS if spec is not Dataset}


def test_every_column_is_computed() -> None:
    """A trained shard's rows hold all columns of the contract, those of the statistics in its order, none of them empty throughout."""
    full = {"statistics": recorded("full")}
    clipped = {"kind": "adam", "clip": {"kind": "norm", "max_norm": 1}}
    table = train(shard(mlp("sigmoid"), clipped, steps=2).model_copy(update=full)).statistics
    guessed = train(shard(mlp("sigmoid"), "spsa", steps=2).model_copy(update=full)).statistics
    assert set(table.column_names) == set(COLUMNS) == {*KEYS, *STATISTICS}
    everything = [*rows(table).values(), *rows(guessed).values()]
    empty = [name for name in COLUMNS if all(row[name] is None for row in everything)]
    assert not empty, f"never computed: {empty}"


def test_estimates_know_which_rules_are_compiled() -> None:
    """The contract's list, which the service reads without the engine, is the table of kernels."""
    assert tuple(KERNELS) == compiled.RULES
