"""Any optimizer class of torch.optim or pytorch_optimizer: what the contract knows of it, and what the engine makes of it."""

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_samples import (
    assert_close,
    assert_same,
    mlp,
    only,
    parameters,
    program,
    shard,
    train,
    train_interrupted,
    training,
)

from benchmarks.bridge import LEARNS, about, arguments_in, kinds, on_digits
from service.errors import Problem, Wrong
from service.validation import read_comparison
from workers.analysis.protocol import first_round
from workers.analysis.selection import settings
from workers.contract.checks import Limits
from workers.contract.comparison import ComparisonSpec, Tuning
from workers.contract.memory import remembered
from workers.contract.optimizers.bridged import BRIDGED, REFUSED, VERSIONS, Bridged, arguments_of
from workers.engine.divergence import NEVER
from workers.engine.optimizers.bridge import class_of
from workers.engine.optimizers.bridge_state import decode, encode
from workers.engine.train import the_gradient

BODY: dict[str, Any] = {"problem": "wine", "network": {"kind": "mlp", "depth": 1, "width": 4}}

NATIVE = {
    "torch.optim/SGD": "sgd",
    "torch.optim/Adam": "adam",
    "torch.optim/AdamW": "adamw",
    "torch.optim/RMSprop": "rmsprop",
    "torch.optim/Adadelta": "adadelta",
    "torch.optim/NAdam": "nadam",
    "pytorch_optimizer/Lion": "lion",
    "pytorch_optimizer/Prodigy": "prodigy",
}
"""Classes that a rule of ours equals, at these settings."""
EQUAL = {"pytorch_optimizer/Lion": {"weight_decay": 0.0}, "pytorch_optimizer/Prodigy": {"weight_decay": 0.0}}


@pytest.fixture(autouse=True)
def theirs() -> Any:
    """The classes warn of deprecations and of numbers that they find odd."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def required(kind: str) -> dict[str, int]:
    return {name: 100 for name, argument in BRIDGED[kind].arguments.items() if argument.required}


def asked(*optimizers: Any, **more: Any) -> ComparisonSpec:
    return read_comparison(BODY | {"optimizers": list(optimizers)} | more, Limits())


def refused(optimizer: Any) -> list[Wrong]:
    with pytest.raises(Problem) as caught:
        asked(optimizer)
    return list(caught.value.errors)


def test_every_class_is_known() -> None:
    """Each class of both packages can run or is refused with a reason, and nothing else is offered."""
    assert [kind for kind in kinds() if kind not in REFUSED] == list(BRIDGED)
    assert sorted(REFUSED) == sorted(set(kinds()) - set(BRIDGED))
    assert all(reason and not reason.startswith("it fails") for reason in REFUSED.values())


def test_the_table_is_of_what_is_installed() -> None:
    """Arguments, their types and defaults are those of the installed constructors; renew it by `python -m benchmarks.bridge --write`."""
    assert {name: version(name).partition("+")[0] for name in VERSIONS} == VERSIONS
    for kind, known in BRIDGED.items():
        found = arguments_in(class_of(kind))
        for name, argument in known.arguments.items():
            assert found[name]["type"] == argument.type, (kind, name)
            assert found[name].get("default") == argument.default, (kind, name)


@pytest.mark.parametrize(
    "kind",
    [
        "torch.optim/Adam",
        "pytorch_optimizer/Muon",
        "pytorch_optimizer/SPlus",
        "pytorch_optimizer/Gravity",
        "pytorch_optimizer/FAdam",
    ],
)
def test_what_was_found_is_found_again(kind: str) -> None:
    """Bounds, groups, randomness and memory, for a few that differ."""
    found = about(kind, measured=False)
    known = BRIDGED[kind]
    for name in ("random", "grouped", "averaged", "float32_only"):
        assert found.get(name, False) == getattr(known, name)
    assert found["remembered_per_parameter"] == known.remembered_per_parameter
    for name, own in found["arguments"].items():
        for bound in ("minimum", "above", "maximum", "below"):
            assert own.get(bound) == getattr(known.arguments[name], bound), (name, bound)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_run_is_refused_with_the_reason(kind: str) -> None:
    """422 at the kind, before anything is recorded."""
    (wrong,) = refused({"kind": kind})
    assert (wrong.pointer, wrong.code) == ("/optimizers/0/kind", "cannot_run")
    assert REFUSED[kind] in wrong.message


@pytest.mark.parametrize(
    ("optimizer", "pointer", "code"),
    [
        ({"kind": "pytorch_optimizer/ADOPT", "beta": [0.9, 0.99]}, "/optimizers/0/beta", "unknown_field"),
        ({"kind": "pytorch_optimizer/ADOPT", "betas": [0.9, 1.5]}, "/optimizers/0/betas/1", "out_of_bounds"),
        ({"kind": "pytorch_optimizer/ADOPT", "betas": [0.9]}, "/optimizers/0/betas", "too_short"),
        ({"kind": "torch.optim/Adam", "lr": [0.1, -1]}, "/optimizers/0/lr/1", "out_of_bounds"),
        ({"kind": "torch.optim/Adam", "lr": 0}, "/optimizers/0/lr", "out_of_bounds"),
        ({"kind": "torch.optim/Adam", "lr": "big"}, "/optimizers/0/lr", "wrong_type"),
        ({"kind": "torch.optim/Adam", "amsgrad": 1}, "/optimizers/0/amsgrad", "wrong_type"),
        ({"kind": "torch.optim/Adam", "foreach": True}, "/optimizers/0/foreach", "unknown_field"),
        ({"kind": "pytorch_optimizer/A2Grad", "variant": "all"}, "/optimizers/0/variant", "not_a_choice"),
        ({"kind": "torch.optim/SGD", "nesterov": True}, "/optimizers/0/nesterov", "inconsistent"),
        ("pytorch_optimizer/Ranger21", "/optimizers/0", "missing"),
        ("torch.optim/adam", "/optimizers/0", "unknown_optimizer"),
    ],
)
def test_arguments_are_checked_at_the_door(optimizer: Any, pointer: str, code: str) -> None:
    """By name, type, bounds and choice, with the pointer; the message names what there is."""
    (wrong,) = refused(optimizer)
    assert (wrong.pointer, wrong.code) == (pointer, code)
    if code == "unknown_field" and "ADOPT" in str(optimizer):
        assert "did you mean 'betas'?" in wrong.message
    if code == "unknown_optimizer":
        assert "did you mean 'torch.optim/Adam'?" in wrong.message


@pytest.mark.parametrize("kind", BRIDGED)
def test_defaults_are_within_their_own_bounds(kind: str) -> None:
    """A request that states every default is the request that states none."""
    bare = {"kind": kind, **required(kind)}
    full = asked(bare).optimizers[0].hyperparameters()
    assert asked({"kind": kind, **full}).optimizers[0].hyperparameters() == full


def test_a_class_that_knows_float32_only_is_refused_otherwise() -> None:
    """One of them makes its momentum in float32, whatever the parameters are."""
    with pytest.raises(Problem) as caught:
        asked("pytorch_optimizer/FAdam", precision="float64")
    assert "float32 only" in caught.value.errors[0].message


@pytest.mark.parametrize("kind", ["torch.optim/Adam", "pytorch_optimizer/A2Grad"])
def test_what_stands_round_it_is_checked(kind: str) -> None:
    """Learning rates by layer, and schedules of what has no learning rate, are refused."""
    (wrong,) = refused({"kind": kind, "depth_lr": "auto"})
    assert (wrong.pointer, wrong.code) == ("/optimizers/0/depth_lr", "inconsistent")
    if "A2Grad" in kind:
        assert refused({"kind": kind, "schedule": "cosine"})[0].pointer == "/optimizers/0/schedule"


@pytest.mark.parametrize(
    "around",
    [
        {"schedule": {"kind": "cosine", "warmup_steps": 2}},
        {"clip": {"kind": "norm", "max_norm": 0.1}},
        {"added_decay": {"kind": "decoupled", "weight_decay": 0.1}},
        {"sam": {"kind": "sam", "rho": 0.05}},
        {"lookahead": {"kind": "lookahead", "k": 3, "alpha": 0.5}},
    ],
    ids=lambda around: next(iter(around)),
)
def test_what_stands_round_a_rule_stands_round_it_too(around: dict[str, Any]) -> None:
    """The same wrapper round torch's Adam and round ours: the same way, and the same after an interruption."""
    setting = {"lr": 0.02} | around
    planned = shard(mlp(), {"kind": "torch.optim/Adam", **setting}, {"kind": "adam", **setting}, recorded=[0, 10])
    running = training(planned)
    running.advance(10)
    bridged, ours = parameters(running)
    torch.testing.assert_close(bridged, ours, rtol=1e-6, atol=1e-9)


def test_learning_rates_are_searched() -> None:
    """A grid in the request, and the grid of tuning round the class's own default; the untuned default runs beside it."""
    written, tuned = asked({"kind": "torch.optim/Adam", "lr": [0.1, 0.2], "name": "a"}, "torch.optim/Adam").optimizers
    assert [setting["lr"] for setting in settings(written, Tuning())] == [0.1, 0.2]
    assert [setting["lr"] for setting in settings(tuned, Tuning(points=3))] == [1e-4, 1e-3, 1e-2]
    assert isinstance(written, Bridged) and written.default("lr") == 1e-3
    (planned,) = first_round(asked("torch.optim/Adam", "adam", tuning={"points": 3, "seeds": 2})).shards
    assert [trial.kind for trial in planned.trials] == ["torch.optim/Adam"] * 6 + ["adam"] * 6
    assert planned.model_validate_json(planned.model_dump_json()) == planned


def test_what_it_keeps_is_counted() -> None:
    """A class that keeps more than any rule of ours makes a shard larger on paper."""
    most = max(BRIDGED, key=lambda kind: BRIDGED[kind].remembered_per_parameter)
    ours, theirs = (asked(optimizer).optimizers[0] for optimizer in ("adam", {"kind": most, **required(most)}))
    assert remembered(theirs) > remembered(ours) == 2


@pytest.mark.parametrize("kind", BRIDGED)
def test_every_class_resumes_bit_for_bit_whoever_is_beside_it(kind: str, tmp_path: Path) -> None:
    """Two seeds and a rule of ours beside them, interrupted in the middle, alone or in other chunks: the same numbers."""
    planned = shard(
        mlp(depth=1, width=4),
        {"kind": kind, **required(kind)},
        "sgd",
        seeds=(0, 1),
        steps=6,
        recorded=[0, 6],
        precision="float32" if BRIDGED[kind].float32_only else "float64",
    )
    undisturbed = train(planned)
    assert_same(train_interrupted(planned, [3], tmp_path), undisturbed)
    assert_close(train(only(planned, 1)), undisturbed, rel=1e-6)


@pytest.mark.parametrize("kind", NATIVE)
def test_it_goes_where_our_rule_goes(kind: str) -> None:
    """The same class by the bridge and as a rule of ours, with another learning rate than the default."""
    setting = {"lr": 0.02} | EQUAL.get(kind, {})
    planned = shard(mlp(), {"kind": kind, **setting}, {"kind": NATIVE[kind], **setting}, steps=10, recorded=[0, 10])
    running = training(planned)
    running.advance(10)
    bridged, ours = parameters(running)
    torch.testing.assert_close(bridged, ours, rtol=1e-6, atol=1e-9)


def test_a_diverging_trial_stays_alone() -> None:
    """Its parameters become NaN and it is recorded; the others do not notice, and no class is asked about NaN."""
    network = mlp(activation="relu")
    planned = shard(
        network, {"kind": "torch.optim/SGD", "lr": 1e12}, {"kind": "torch.optim/SGD", "lr": 0.1}, precision="float32"
    )
    made = training(planned)
    made.advance(10)
    calm = training(only(planned, 1))
    calm.advance(10)
    steps = made.programs[0].watch.state["step"].tolist()
    assert steps[0] != NEVER and steps[1] == NEVER
    torch.testing.assert_close(parameters(made)[1], parameters(calm)[0], rtol=1e-5, atol=1e-6)


def test_arithmetic_that_fails_is_a_divergence() -> None:
    """A class that divides by a vanished gradient raises; the trial ends as diverged, not the shard."""
    planned = shard(mlp(), {"kind": "pytorch_optimizer/AvaGrad"}, precision="float32")
    made = program(planned)
    (group,) = made.groups
    for size in (1e30, 1e-30):
        for _ in range(5):
            group.rule.update(made.theta[group.rows], gradients_of(made, size), group.state, group.hyper)
    assert made.theta.isnan().all()


def gradients_of(made: Any, size: float) -> Any:
    made.gradient.fill_(size)
    return the_gradient(made)


def test_a_schedule_reaches_every_group() -> None:
    """A learning rate that changes while training scales that of all groups of the object alike."""
    planned = shard(mlp(depth=2), {"kind": "pytorch_optimizer/Muon"}, precision="float32")
    made = program(planned)
    (group,) = made.groups
    rates = {**group.hyper, "lr": group.hyper["lr"] / 2}
    before = [own["lr"] for own in rows_of(group.rule)[0].optimizer.param_groups]
    group.rule.update(made.theta[group.rows], gradients_of(made, 0.1), group.state, rates)
    assert [own["lr"] for own in rows_of(group.rule)[0].optimizer.param_groups] == [rate / 2 for rate in before]


def rows_of(rule: Any) -> Any:
    """The objects that the rule's closure holds."""
    return next(cell.cell_contents for cell in rule.save.__closure__ if isinstance(cell.cell_contents, list))


def test_a_checkpoint_makes_nothing_that_is_not_of_the_package() -> None:
    """What could run code is refused on the way in and on the way out."""
    with pytest.raises(TypeError, match="cannot hold"):
        encode(object())
    with pytest.raises(TypeError, match="holds nothing of"):
        decode({"object": "os:system", "attributes": {"entries": []}}, torch.device("cpu"))


def test_arguments_have_words() -> None:
    """Most arguments are described in the class's own words, which the catalogue repeats."""
    every = [argument for known in BRIDGED.values() for argument in known.arguments.values()]
    assert sum(bool(argument.description) for argument in every) > 0.9 * len(every)
    assert arguments_of("torch.optim/Adam").model_fields["eps"].description


def test_the_published_table_is_of_every_class() -> None:
    """A row for each class that can run, one with its reason for each that cannot, and nothing else."""
    told = (Path(__file__).parents[1] / "benchmarks" / "figures" / "bridge.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in told.splitlines()
        if "/" in line and "|" in line
    ]
    assert [row[0] for row in rows] == [*BRIDGED, *REFUSED]
    assert {row[0]: row[1] for row in rows if row[0] in REFUSED} == REFUSED
    learnt = sum(row[-1] == "learns" for row in rows)
    assert f"{learnt} of {len(BRIDGED)} learn." in told
    assert all((float(row[1]) >= LEARNS) == (row[-1] == "learns") for row in rows if row[0] in BRIDGED)


def test_the_benchmark_trains_digits() -> None:
    """A line of its table: a class that learns something in a few steps."""
    accuracy, loss = on_digits("torch.optim/Rprop", 20)
    assert accuracy > 0.5 and loss < 2
