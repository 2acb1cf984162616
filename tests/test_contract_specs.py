"""What a request may say: short forms, numbers, grids, defaults; and everything that is wrong with it at once."""

import json
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from workers.contract.activations import ACTIVATIONS, ActivationSpec
from workers.contract.base import Spec, Violation
from workers.contract.checks import Limits, check, expanded, over_trials
from workers.contract.comparison import ComparisonSpec, Record, Target, Tuning
from workers.contract.initialisers import INITIALISERS, InitSpec
from workers.contract.layers import LAYERS, LayerSpec
from workers.contract.network import Layers, Mlp, Variant
from workers.contract.optimizers import OPTIMIZERS, OptimizerSpec
from workers.contract.problems import PROBLEMS, ProblemSpec, split_sizes

UNIONS: dict[str, tuple[Any, tuple[type[Spec], ...]]] = {
    "activation": (ActivationSpec, ACTIVATIONS),
    "initialiser": (InitSpec, INITIALISERS),
    "layer": (LayerSpec, LAYERS),
    "optimizer": (OptimizerSpec, OPTIMIZERS),
    "problem": (ProblemSpec, PROBLEMS),
}
REGISTERED = [(family, spec) for family, (_, specs) in UNIONS.items() for spec in specs]
NAMED = [spec for _, spec in REGISTERED]
WHOLE: tuple[type[Spec], ...] = (ComparisonSpec, Tuning, Record, Target, Mlp, Layers, Variant)

BODY: dict[str, Any] = {
    "problem": "wine",
    "network": {"kind": "mlp", "depth": 2, "width": 4},
    "optimizers": ["sgd"],
    "batch_size": 32,
}


def comparison(**changes: Any) -> ComparisonSpec:
    return ComparisonSpec.model_validate(BODY | changes)


def name_of(value: Any) -> str:
    return value if isinstance(value, str) else value.__name__


def kind_of(spec: type[Spec]) -> str:
    kind: str = spec.model_fields["kind"].default
    return kind


def required(spec: type[BaseModel]) -> dict[str, Any]:
    """The fields that must be there, with the manual's examples as values."""
    fields = spec.model_fields.items()
    return {name: field.examples[0] for name, field in fields if field.is_required() and field.examples}


@pytest.mark.parametrize(("family", "spec"), REGISTERED, ids=name_of)
def test_a_bare_name_is_short_for_its_kind(family: str, spec: type[Spec]) -> None:
    """Wherever nothing but the kind is required; elsewhere the name alone says what is missing."""
    union = TypeAdapter(UNIONS[family][0])
    if not required(spec):
        assert union.validate_python(kind_of(spec)) == union.validate_python({"kind": kind_of(spec)}) == spec()
    else:
        with pytest.raises(ValidationError) as raised:
            union.validate_python(kind_of(spec))
        assert {(error["type"], error["loc"][-1]) for error in raised.value.errors()} == {
            ("missing", name) for name in required(spec)
        }


def everywhere(kind: Callable[[str], Any]) -> dict[str, Any]:
    """A request with a kind at every place that takes a bare name."""
    layers = [
        {"kind": "linear", "out_features": 3, "init": kind("lecun_normal")},
        {"kind": "activation", "activation": kind("erf")},
        {"kind": "repeat", "times": 2, "layers": [kind("dropout")]},
    ]
    mlp = {"kind": "mlp", "depth": 1, "width": 2, "activation": kind("sin"), "init": kind("torch")}
    return {
        "problem": kind("wine"),
        "network": {"kind": "layers", "layers": layers, "init": kind("torch"), "output_init": kind("orthogonal")},
        "variants": {
            "changed": {"activation": kind("relu"), "init": kind("orthogonal"), "output_init": kind("torch")},
            "other": {"network": mlp | {"output_init": kind("xavier_uniform")}},
        },
        "optimizers": [kind("adam"), kind("rprop")],
    }


def test_bare_names_at_every_place_at_once() -> None:
    """The short request and the long one are the same request."""
    short, long = everywhere(lambda kind: kind), everywhere(lambda kind: {"kind": kind})
    assert ComparisonSpec.model_validate(short) == ComparisonSpec.model_validate(long)
    teachers = [{"kind": "teacher", "activation": activation} for activation in ("sin", {"kind": "sin"})]
    assert comparison(problem=teachers[0]) == comparison(problem=teachers[1])


@pytest.mark.parametrize("spec", [*NAMED, *WHOLE], ids=name_of)
def test_unknown_fields_are_refused(spec: type[Spec]) -> None:
    """By every spec, alone."""
    assert spec.model_validate(required(spec)) == spec(**required(spec))
    with pytest.raises(ValidationError) as raised:
        spec.model_validate(required(spec) | {"colour": "red"})
    assert [(error["type"], error["loc"]) for error in raised.value.errors()] == [("extra_forbidden", ("colour",))]


@pytest.mark.parametrize("spec", [*NAMED, *WHOLE], ids=name_of)
def test_specs_go_through_json_and_back(spec: type[Spec]) -> None:
    """What is stored with every default written out is the same spec when it is read again."""
    made = spec(**required(spec))
    assert spec.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize("spec", [*NAMED, *WHOLE], ids=name_of)
def test_every_field_is_described_and_shown(spec: type[Spec]) -> None:
    """Every spec and field says what it is and gives an example, without the service that makes a page of it."""
    assert spec.__doc__
    for name, field in spec.model_fields.items():
        if name != "kind":
            assert field.description, name
            assert field.examples, name


def numbers(annotation: Any) -> Iterable[type]:
    """The kinds of number somewhere in a type, grids left out."""
    if annotation in (int, float):
        yield annotation
    for inner in get_args(annotation):
        yield from numbers(inner)


NUMERIC = [
    (spec, name)
    for spec in (*NAMED, *WHOLE)
    for name, field in spec.model_fields.items()
    if next(iter(numbers(field.annotation)), None) and not isinstance(field.default, list)
]
NO_NUMBERS: dict[str, Any] = {
    "NaN": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "true": True,
    "false": False,
    "text": "1",
    "a list": [[1]],
    "an object": {"value": 1},
    "more than any": 10**400,
    "half": 1.5,
}  # fmt: skip


@pytest.mark.parametrize("name", NO_NUMBERS)
def test_only_finite_numbers_are_numbers(name: str) -> None:
    """In every numeric field of every spec, alone and in a grid; whole ones where whole ones are meant."""
    value = NO_NUMBERS[name]
    for spec, field in NUMERIC:
        whole = float not in set(numbers(spec.model_fields[field].annotation))
        if name == "half" and not whole:
            continue
        for given in (value, [value]):
            with pytest.raises(ValidationError) as raised:
                spec.model_validate(required(spec) | {field: given})
            assert all(error["loc"][0] == field for error in raised.value.errors()), (spec, field)


def test_numeric_fields_were_found() -> None:
    """The test above looks at the learning rates, counts, probabilities and bounds."""
    found = {(spec.__name__, name) for spec, name in NUMERIC}
    assert {("Sgd", "lr"), ("Rprop", "eta_plus"), ("Dropout", "p"), ("Mlp", "depth"), ("Orthogonal", "gain")} <= found
    assert {("Tuning", "decades"), ("ComparisonSpec", "batch_size"), ("Spirals", "noise"), ("Repeat", "times")} <= found


def test_whole_numbers_may_be_written_with_a_point() -> None:
    """JSON has one kind of number: 1000.0 and 1e3 steps are 1000 steps, and a learning rate of 1 is one."""
    found = ComparisonSpec.model_validate_json(json.dumps(BODY)[:-1] + ', "steps": 1e3, "seeds": 2.0}')
    assert (found.steps, found.seeds, type(found.steps)) == (1000, 2, int)
    assert comparison(optimizers=[{"kind": "sgd", "lr": 1}]).optimizers[0].hyperparameters()["lr"] == 1.0


GRIDS = [
    (spec, name)
    for spec in OPTIMIZERS
    for name, field in spec.model_fields.items()
    if isinstance(field.default, float) and "list" in str(field.annotation)
]


@pytest.mark.parametrize(("spec", "name"), GRIDS, ids=name_of)
def test_grids_stand_where_their_values_may(spec: type[Spec], name: str) -> None:
    """A list is accepted, each of its values by the bounds of a single one, from one value to 64."""
    default = spec.model_fields[name].default
    for grid in ([default], [default, default / 2], [default] * 64):
        assert getattr(spec.model_validate({name: grid}), name) == grid
    for wrong in ([], [default, -1.0], [default] * 65, [[default]], [None], [default, "1"], None):
        with pytest.raises(ValidationError):
            spec.model_validate({name: wrong})


def test_every_learning_rate_takes_a_grid() -> None:
    """The contract's main promise about grids, whatever is registered."""
    assert {(spec, "lr") for spec in OPTIMIZERS if "lr" in spec.model_fields} <= set(GRIDS)


def test_a_request_that_says_only_what_it_must() -> None:
    """Problem, network, optimizers; and what the defaults are."""
    found = ComparisonSpec.model_validate({name: BODY[name] for name in ("problem", "network", "optimizers")})
    assert (found.seeds, found.steps, found.batch_size, found.seed, found.priority) == (5, 1000, 106, 0, 0)
    assert (found.tuning, found.record) == (Tuning(points=5, decades=2.0, seeds=2), Record(points=64, spacing="log"))
    assert (found.device, found.precision, found.target, found.variants, found.labels) == (
        "auto",
        "float32",
        None,
        {},
        {},
    )
    assert comparison(tuning=None).tuning is None


def test_the_designs_request_is_accepted() -> None:
    """The request in the project's own words, in the parts that a network can have by now."""
    body = {
        "name": "six sigmoid layers on digits",
        "problem": {"kind": "digits"},
        "network": {"kind": "mlp", "depth": 6, "width": 64, "activation": "sigmoid", "init": "xavier_normal"},
        "variants": {"orthogonal": {"init": {"kind": "orthogonal", "gain": 1.5}}},
        "optimizers": [
            "sgd",
            {"kind": "rmsprop", "lr": [0.001, 0.01]},
            {"kind": "rprop", "batch_size": "full"},
            "smorms3",
            "vsgd_fd",
        ],
        "baseline": "sgd",
        "tuning": {"points": 5, "decades": 2, "seeds": 2},
        "seeds": 5,
        "steps": 1000,
        "batch_size": 128,
        "record": {"points": 64, "spacing": "log"},
    }
    spec = ComparisonSpec.model_validate_json(json.dumps(body))
    assert check(spec, Limits()) == []
    assert {name: len(layers) for name, layers in expanded(spec).items()} == {"base": 13, "orthogonal": 13}


@pytest.mark.parametrize("spacing", ["log", "linear"])
@pytest.mark.parametrize("points", [2, 3, 4, 5, 10, 64, 1000])
def test_recorded_steps(spacing: Any, points: int) -> None:
    """0 and the last, increasing, at most as many as asked for, and every step where there is room for all."""
    record = Record(points=points, spacing=spacing)
    for total in (*range(1, 130), 999, 1000, 1001, 12345, 10**6, 10**7 - 1, 10**7):
        steps = record.steps(total)
        assert (steps[0], steps[-1]) == (0, total)
        assert all(before < after for before, after in pairwise(steps))
        assert len(steps) <= points
        if total < points:
            assert steps == list(range(total + 1))


def test_linear_steps_are_evenly_spaced() -> None:
    """No two gaps differ by more than one, and none of the points asked for is left out."""
    for points, total in ((5, 1000), (64, 1000), (7, 10**7), (100, 101)):
        steps = Record(points=points, spacing="linear").steps(total)
        gaps = {after - before for before, after in pairwise(steps)}
        assert len(steps) == points and max(gaps) - min(gaps) <= 1


def test_logarithmic_steps_by_hand() -> None:
    """Equal ratios from 1 upwards; the start, where regimes change, is recorded step by step."""
    assert Record(points=6).steps(10_000) == [0, 1, 10, 100, 1000, 10_000]
    assert Record(points=3).steps(1000) == [0, 1, 1000]
    assert Record(points=2).steps(1000) == [0, 1000]
    assert Record(points=64).steps(1000)[:8] == [0, 1, 2, 3, 4, 5, 6, 7]


def test_the_baseline_is_sgd_or_else_the_first() -> None:
    """By name: an sgd of another name is not it."""
    assert comparison(optimizers=["adam", "sgd"]).baseline == "sgd"
    assert comparison(optimizers=["adam", "rprop"]).baseline == "adam"
    assert comparison(optimizers=["adam", {"kind": "sgd", "name": "mine"}]).baseline == "adam"
    assert comparison(optimizers=[{"kind": "adam", "name": "a"}, {"kind": "rprop", "name": "sgd"}]).baseline == "sgd"
    assert comparison(optimizers=["adam", "sgd"], baseline="adam").baseline == "adam"


@pytest.mark.parametrize("spec", OPTIMIZERS, ids=name_of)
def test_batches(spec: type[Any]) -> None:
    """Its own, else the comparison's; rules made for full batches take those unless they or nobody else say a number."""
    full = split_sizes(178)[0]

    def batch(own: dict[str, Any], **shared: Any) -> int:
        found = comparison(optimizers=[{"kind": kind_of(spec)} | own], **shared)
        return found.batch_of(found.optimizers[0])

    assert batch({"batch_size": 7}, batch_size=16) == 7
    assert batch({"batch_size": "full"}, batch_size=16) == full == 106
    assert batch({}, batch_size="full") == full
    of_all = {"rprop", "rprop_minus", "rprop_plus", "irprop_plus", "lbfgs"}
    assert batch({}, batch_size=16) == (full if kind_of(spec) in of_all else 16)


@pytest.mark.parametrize("spec", [spec for spec in PROBLEMS if kind_of(spec) != "dataset"], ids=name_of)
def test_splits_cover_a_problem(spec: type[Any]) -> None:
    """Training, validation and test together are all samples; none is empty, training is the largest."""
    problem = spec()
    training, validation, test = split_sizes(problem.samples)
    assert training + validation + test == problem.samples
    assert training == problem.training_samples > max(validation, test) and min(validation, test) > 0
    assert problem.features >= 1 and problem.outputs >= 1


def found(limits: Limits = Limits(), **changes: Any) -> list[tuple[str, str]]:  # noqa: B008 - immutable
    """(code, pointer) of all violations."""
    return [(violation.code, violation.pointer) for violation in check(comparison(**changes), limits)]


def sgd(**fields: Any) -> dict[str, Any]:
    return {"kind": "sgd", **fields}


PARITY = {"kind": "parity", "tokens": True, "count": 300}


def embedded(symbols: int, *more: Any) -> dict[str, Any]:
    """An embedding, what is given, and what makes features of it."""
    first = {"kind": "embedding", "num_embeddings": symbols, "embedding_dim": 3}
    return {"kind": "layers", "layers": [first, "flatten", *more, *(["flatten"] if more else [])]}


WRONG: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "nothing": ({}, []),
    "steps": ({"steps": 1_000_001}, [("over_limit", "/steps")]),
    "parameters": ({"network": {"kind": "mlp", "depth": 3, "width": 5000}}, [("over_limit", "/network")]),
    "parameters, told once for all variants of one network": (
        {"network": {"kind": "mlp", "depth": 3, "width": 5000}, "variants": {"a": {"init": "torch"}, "b": {}}},
        [("over_limit", "/network")],
    ),
    "parameters of a variant's own network": (
        {"variants": {"a/b": {"network": {"kind": "mlp", "depth": 3, "width": 5000}}}},
        [("over_limit", "/variants/a~1b/network")],
    ),
    "a misfit in a variant's own network": (
        {
            "variants": {
                "~": {
                    "network": {"kind": "layers", "layers": [{"kind": "linear", "out_features": 1, "in_features": 2}]}
                }
            }
        },
        [("shape_misfit", "/variants/~0/network/layers/0/in_features")],
    ),
    "a misfit and too many parameters": (
        {
            "network": {"kind": "layers", "layers": [{"kind": "linear", "out_features": 1, "in_features": 2}]},
            "variants": {"a": {"activation": "relu"}, "b": {"network": {"kind": "mlp", "depth": 3, "width": 5000}}},
        },
        [("shape_misfit", "/network/layers/0/in_features"), ("over_limit", "/variants/b/network")],
    ),
    "a name three times": (
        {"optimizers": ["sgd", "sgd", "sgd"]},
        [("duplicate_name", "/optimizers/1/name"), ("duplicate_name", "/optimizers/2/name")],
    ),
    "a name that is another's kind": (
        {"optimizers": ["sgd", {"kind": "adam", "name": "sgd"}]},
        [("duplicate_name", "/optimizers/1/name")],
    ),
    "a variant called base": ({"variants": {"base": {}}}, [("duplicate_name", "/variants/base")]),
    "an unknown baseline": ({"baseline": "adam"}, [("unknown_baseline", "/baseline")]),
    "a baseline by its kind, though it has a name": (
        {"optimizers": [sgd(name="mine")], "baseline": "sgd"},
        [("unknown_baseline", "/baseline")],
    ),
    "accuracy of a regression": (
        {"problem": "teacher", "target": {"metric": "validation_accuracy", "value": 0.9}},
        [("no_accuracy", "/target/metric")],
    ),
    "loss of a regression": ({"problem": "teacher", "target": {"metric": "train_loss", "value": 0.9}}, []),
    "tokens that fit": ({"problem": PARITY, "network": embedded(2)}, []),
    "tokens without an embedding": (
        {"problem": PARITY, "network": {"kind": "mlp", "depth": 1, "width": 2}},
        [("symbols", "/network")],
    ),
    "too few vectors, and an embedding that comes too late": (
        {
            "problem": PARITY,
            "network": embedded(1),
            "variants": {"a": {"network": embedded(2, embedded(2)["layers"][0])}},
        },
        [("symbols", "/network"), ("symbols", "/variants/a/network")],
    ),
    "an embedding of quantities": ({"network": embedded(2)}, [("symbols", "/network")]),
    "a batch": ({"batch_size": 107}, [("batch_too_large", "/batch_size")]),
    "as much as there is": ({"batch_size": 106}, []),
    "an optimizer's batch": (
        {"optimizers": ["adam", sgd(batch_size=107)]},
        [("batch_too_large", "/optimizers/1/batch_size")],
    ),
    "nesterov without momentum": ({"optimizers": [sgd(nesterov=True)]}, [("inconsistent", "/optimizers/0/nesterov")]),
    "nesterov with dampening": (
        {"optimizers": [sgd(nesterov=True, momentum=0.9, dampening=0.1)]},
        [("inconsistent", "/optimizers/0/nesterov")],
    ),
    "nesterov with a grid that has no momentum": (
        {"optimizers": [sgd(nesterov=True, momentum=[0, 0.9])]},
        [("inconsistent", "/optimizers/0/nesterov")],
    ),
    "nesterov with a grid that has dampening": (
        {"optimizers": [sgd(nesterov=True, momentum=0.9, dampening=[0, 0.5])]},
        [("inconsistent", "/optimizers/0/nesterov")],
    ),
    "nesterov with grids that fit": ({"optimizers": [sgd(nesterov=True, momentum=[0.5, 0.9], dampening=[0])]}, []),
    "steps from large to small": (
        {"optimizers": ["sgd", {"kind": "rprop", "step_min": 2, "step_max": 1}]},
        [("inconsistent", "/optimizers/1/step_min")],
    ),
    "all at once": (
        {
            "baseline": "x",
            "batch_size": 1000,
            "steps": 2_000_000,
            "variants": {"base": {}},
            "optimizers": ["sgd", "sgd"],
        },
        [
            ("duplicate_name", "/optimizers/1/name"),
            ("duplicate_name", "/variants/base"),
            ("unknown_baseline", "/baseline"),
            ("batch_too_large", "/batch_size"),
            ("over_limit", "/steps"),
        ],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_types_cannot_say(name: str) -> None:
    """All that is wrong is found at once, each at its place and under a stable code."""
    changes, expected = WRONG[name]
    assert found(**changes) == expected


def test_limits_are_the_deployments() -> None:
    """What is at a limit passes, one more does not; the message says both numbers, and whose network it is."""
    parameters = sum(layer.parameters for layer in expanded(comparison())["base"])
    assert found(Limits(steps=1000, parameters=parameters)) == []
    steps, network = check(comparison(variants={"a": {}}), Limits(steps=999, parameters=parameters - 1))[::-1]
    assert "1,000" in steps.message and "999" in steps.message
    assert f"{parameters}" in network.message and f"{parameters - 1}" in network.message and "'base'" in network.message


def test_trials_are_counted_by_the_caller() -> None:
    """At the limit is fine, beyond it the optimizers are pointed at."""
    assert over_trials(10, Limits(trials=10)) == []
    assert [(one.code, one.pointer) for one in over_trials(11, Limits(trials=10))] == [("over_limit", "/optimizers")]


def test_a_check_is_not_taken_in_by_a_network_it_cannot_hold() -> None:
    """The largest numbers that types let through are counted, not built."""
    network = {"kind": "mlp", "depth": 1000, "width": 1_000_000}
    wrong: list[Violation] = check(comparison(network=network), Limits())
    assert [violation.code for violation in wrong] == ["over_limit"]
    assert "999,0" in wrong[0].message
