"""The catalogue's entry of every optimizer, wrapper and bridged class says all that one needs to choose it."""

from typing import Any

import pytest
from optimizer_samples import SPECS

from benchmarks.rule_costs import Stepping, ratio
from service.catalogue import OptimizerEntry, Parameter, build
from workers.contract.optimizers import Optimizer
from workers.contract.optimizers.wrappers import FIELDS
from workers.contract.rule_costs import TIME_OF_A_STEP

ENTRIES = {entry.kind: entry for entry in build().optimizers}
BOUNDED = ("number", "integer", "list")
NULL_MEANS_SOMETHING = {"invariant_down_to", "invariant_up_to", "most_parameters"}
"""null where a tenth of the gradient, or ten times, already gives other steps; where networks may be of any size."""


def test_every_rule_was_timed() -> None:
    """Renew it by `python -m benchmarks.rule_costs --write`."""
    assert list(TIME_OF_A_STEP) == list(SPECS)
    assert all(0.5 < time < 1000 for time in TIME_OF_A_STEP.values())


def test_timing_is_of_steps_that_were_made() -> None:
    """The benchmark's own machinery: of a rule that looks at curvature in some steps only, and of SGD beside itself."""
    one, other = Stepping("sophia"), Stepping("sgd")
    assert ratio(one, other, 1) > 0
    assert (one.done, other.done) == (40, 60)
    assert [int(each.running.programs[0].step) for each in (one, other)] == [39, 59]


@pytest.mark.parametrize("kind", SPECS)
def test_no_field_is_missing(kind: str) -> None:
    """Family, formula, source, decay, cost, memory, invariance; of every hyper-parameter what it is, its default and its bounds."""
    entry = ENTRIES[kind]
    for name in OptimizerEntry.model_fields:
        value = getattr(entry, name)
        assert value is not None or name in NULL_MEANS_SOMETHING, name
        assert value != "", name
    assert "<-" in entry.formula or entry.formula.startswith("as "), "a formula in plain text"
    assert entry.formula.isascii()
    assert (
        any(character.isdigit() for character in entry.source)
        or "torch.optim" in entry.source
        or "ours" in entry.source
    )
    assert entry.time_per_step == TIME_OF_A_STEP[kind]
    assert [each.name for each in entry.hyperparameters] == [
        name for name in SPECS[kind].model_fields if name not in Optimizer.model_fields and name != "kind"
    ]
    assert (entry.weight_decay != "none") == ("weight_decay" in SPECS[kind].model_fields)
    for each in entry.hyperparameters:
        assert_whole(each, SPECS[kind])


@pytest.mark.parametrize("field", FIELDS)
def test_no_field_of_a_wrapper_is_missing(field: str) -> None:
    """Formula, source, and of every number what it is, its default and its bounds."""
    entries = [entry for entry in build().wrappers if entry.field == field]
    assert [entry.kind for entry in entries] == [model.model_fields["kind"].default for model in FIELDS[field]]
    for entry, model in zip(entries, FIELDS[field], strict=True):
        assert entry.formula and entry.source and entry.description
        assert [each.name for each in entry.parameters] == [name for name in model.model_fields if name != "kind"]
        for each in entry.parameters:
            assert_whole(each, model)


def assert_whole(entry: Parameter, model: Any) -> None:
    assert entry.description, entry.name
    assert entry.example is not None, entry.name
    assert not entry.required and entry.default == model.model_fields[entry.name].default, entry.name
    if entry.type in BOUNDED and entry.type != "list":
        assert entry.minimum is not None or entry.above is not None, entry.name
        assert entry.maximum is not None or entry.below is not None, entry.name
