"""The compiled path against the portable one, which is the definition: from equal state the same step and the same statistics."""

import ctypes
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import (
    TEACHER,
    EnginePath,
    Optimizer,
    assert_close,
    assert_same,
    layers,
    mlp,
    only,
    shard,
    train,
    train_interrupted,
    training,
    with_a_diverging,
)

from workers.contract.activations import Formula
from workers.contract.optimizers import OPTIMIZERS
from workers.contract.plan import Shard
from workers.contract.statistics import GROUPS, SETS, STATISTICS, recorded
from workers.engine import native
from workers.engine.activations import NON_LINEARITIES
from workers.engine.execution import choose
from workers.engine.native import build
from workers.engine.native.rules import KERNELS
from workers.engine.optimizers import RULES
from workers.engine.shard import Training

pytestmark = pytest.mark.skipif(
    build.library(torch.float32) is None and not os.environ.get("CI"), reason="no C++ compiler on this machine"
)

RULES_OF_ONE_GRADIENT: list[Optimizer] = [
    spec.model_fields["kind"].default for spec in OPTIMIZERS if spec.pattern == "one_gradient"
]
ILL_CONDITIONED = {"shampoo", "soap"}
"""Eigenbases and inverse roots of nearly singular matrices: float32 says nothing of them, float64 compares them."""
SETTINGS: list[Optimizer] = [
    *RULES_OF_ONE_GRADIENT,
    {"kind": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    {"kind": "sgd", "lr": 0.05, "momentum": 0.5, "dampening": 0.3},
    {"kind": "rmsprop", "centered": True, "momentum": 0.5},
    {"kind": "rmsprop", "momentum": 0.5, "weight_decay": 0.01},
    {"kind": "adam", "amsgrad": True, "weight_decay": 0.01},
    {"kind": "adam", "eps": 0.01},
    {"kind": "signum", "momentum": 0.0, "weight_decay": 0.1},
    {"kind": "smorms3", "eps": 1e-3},
]
MIXED = layers(
    {"kind": "linear", "out_features": 7},
    {"kind": "activation", "activation": "tanh"},
    {"kind": "linear", "out_features": 5, "bias": False},
    {"kind": "linear", "out_features": 6},
    {"kind": "activation", "activation": "gaussian"},
)
"""With and without a bias, two linear layers in a row, sizes that fill no vector."""
ADDING = {"kind": "adding", "length": 6, "count": 120}


def rnn(size: int, **more: Any) -> dict[str, Any]:
    return {"kind": "rnn", "hidden_size": size, **more}


STEEP = {"kind": "lecun_normal", "gain": 2.0}
"""So that samples stay apart from layer to layer, and float32 tells their deviation."""
STACKED = layers(
    rnn(7, output="sequence"),
    {"kind": "linear", "out_features": 9},
    {"kind": "activation", "activation": "gaussian"},
    rnn(5, activation="gaussian", bias=False, output="sequence"),
    {"kind": "linear", "out_features": 4, "bias": False},
    rnn(6, activation="sigmoid"),
    {"kind": "linear", "out_features": 8},
    {"kind": "activation", "activation": "tanh"},
    init=STEEP,
)
"""Of a sequence: all steps go up and the last alone, with biases and without, values that tell the slope and values that do not."""
WIDE = layers(rnn(37, output="sequence"), rnn(20), init=STEEP)
"""Units that fill vectors, and do not fill the last."""
CELLS = layers(
    {"kind": "lstm", "hidden_size": 7, "output": "sequence"},
    {"kind": "linear", "out_features": 4},
    {
        "kind": "lstm",
        "hidden_size": 19,
        "activation": "gaussian",
        "gate_activation": "hard_sigmoid",
        "output": "sequence",
    },
    {"kind": "lstm", "hidden_size": 17, "gate_activation": "gaussian", "bias": False, "forget_bias": 0},
    init=STEEP,
)
"""LSTMs whose values tell the slope, of both their non-linearities, of one or of none."""
EXPLODING = layers(rnn(6, activation="relu", output="sequence"), rnn(5, activation="identity"))
"""Nothing bounds what is handed on from step to step."""
RESHAPED = layers(
    {"kind": "linear", "out_features": 12},
    {"kind": "activation", "activation": "tanh"},
    {"kind": "unflatten", "shape": [4, 3]},
    rnn(5, output="sequence"),
    "flatten",
    {"kind": "unflatten", "shape": [2, 10]},
    rnn(3, output="sequence", activation="softplus"),
    "flatten",
    {"kind": "linear", "out_features": 6},
)
"""From features to sequences and back, steps of one size to steps of another."""
IMAGES = {"kind": "digits", "images": True}


def conv(channels: int, activation: str, kind: str = "conv2d", **more: Any) -> list[dict[str, Any]]:
    return [{"kind": kind, "out_channels": channels, **more}, {"kind": "activation", "activation": activation}]


CONVOLVED = layers(
    *conv(5, "tanh"),
    {"kind": "max_pool"},
    *conv(9, "gaussian", stride=2, padding=2, kernel_size=2, dilation=2),
    {"kind": "max_pool", "stride": 1},
    {"kind": "average_pool"},
    "flatten",
    {"kind": "linear", "out_features": 7},
    {"kind": "activation", "activation": "tanh"},
    init=STEEP,
)
"""Of images: channels that fill no tile, windows that overlap, that touch and that go beyond the image, two pools one above the other."""
FOLDED = layers(
    {"kind": "linear", "out_features": 40},
    {"kind": "activation", "activation": "tanh"},
    {"kind": "unflatten", "shape": [2, 4, 5]},
    {"kind": "conv2d", "out_channels": 4, "bias": False},
    {"kind": "conv2d", "out_channels": 6, "kernel_size": 4, "padding": 0},
    "flatten",
    {"kind": "unflatten", "shape": [4, 3]},
    *conv(3, "softplus", "conv1d", kernel_size=2, padding=1),
    {"kind": "linear", "out_features": 4},
    {"kind": "unflatten", "shape": [10, 2]},
    *conv(8, "gaussian", "conv1d", padding=3, stride=2),
    {"kind": "max_pool"},
    rnn(5, output="sequence"),
    *conv(4, "tanh", "conv1d"),
    {"kind": "global_pool"},
)
"""Features as images and as sequences and back, with layers of every kind below and above."""
EQUAL = layers(
    *conv(6, "relu", bias=False),
    {"kind": "max_pool", "kernel_size": 4},
    *conv(6, "relu"),
    {"kind": "global_pool", "of": "max"},
)
"""The largest of numbers of which many are zero."""
PATHS: tuple[EnginePath, ...] = ("portable", "native")
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}


def state(running: Training) -> dict[str, torch.Tensor]:
    """All that a step changes, by name."""
    (program,) = running.programs
    found = {"theta": program.theta, "gradient": program.gradient, **program.watch.state}
    for place, group in enumerate(program.groups):
        found |= {
            f"{place} {program.trials[group.rows.start].kind} {name}": value for name, value in group.state.items()
        }
    return {name: value.clone() for name, value in found.items()}


def one_step(planned: Shard, start: int, folder: Path) -> None:
    """`start` portable updates, then one more on either path: θ, states and statistics agree."""
    first = training(planned)
    first.advance(start)
    first.tables()
    first.save(folder / "state.pt")
    found: dict[str, Any] = {}
    for path in PATHS:
        running = training(planned, path=path)
        running.resume(folder / "state.pt")
        running.advance(start + 1)
        found[path] = (state(running), running.tables()[0])
    tolerance = TOLERANCE[planned.precision]
    for name, expected in found["portable"][0].items():
        mine = found["native"][0][name]
        if not expected.is_floating_point():
            assert torch.equal(mine, expected), name
            continue
        scale = expected.nan_to_num(0, 0, 0).abs().amax()
        torch.testing.assert_close(mine, expected, rtol=tolerance, atol=float(scale) * tolerance, equal_nan=True)
    assert_tables_agree(found["native"][1].to_pylist(), found["portable"][1].to_pylist(), tolerance)


# What float32 cannot tell better is compared on the scale of what it is part of.
SCALE = {
    "gradient_mean": "gradient_std",
    "activation_mean": "activation_std",
    "gradient_cosine": None,
    "gradient_snr": None,
}


def assert_tables_agree(mine: list[dict[str, Any]], expected: list[dict[str, Any]], tolerance: float) -> None:
    assert len(mine) == len(expected) > 0
    for own, other in zip(mine, expected, strict=True):
        for name, value in own.items():
            scale = SCALE.get(name, name)
            size = 1.0 if scale is None else wide if isinstance(wide := other.get(scale), float) else 0.0
            told = other[name]
            assert value == told or value == pytest.approx(told, rel=tolerance, abs=tolerance * abs(size), nan_ok=True), (
                name, own["optimizer"], own["layer"]
            )  # fmt: skip


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("start", [0, 3])
def test_one_step_of_every_rule(precision: str, start: int, tmp_path: Path) -> None:
    """With a kernel or run by torch between the steps."""
    one_step(shard(MIXED, *comparable(SETTINGS, precision), seeds=(0, 1), precision=precision), start, tmp_path)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize(
    ("network", "problem"), [(STACKED, ADDING), (WIDE, ADDING), (CELLS, ADDING), (RESHAPED, "wine")]
)
def test_one_step_through_time(network: Any, problem: Any, start: int, precision: str, tmp_path: Path) -> None:
    """Rules with a kernel and without."""
    optimizers = "sgd", "adam", "rprop", "lion"
    one_step(shard(network, *optimizers, problem=problem, seeds=(0, 1), precision=precision), start, tmp_path)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("batch_size", [33, 5])
@pytest.mark.parametrize(("network", "problem"), [(CONVOLVED, IMAGES), (FOLDED, "wine"), (EQUAL, IMAGES)])
def test_one_step_of_convolutions(network: Any, problem: Any, batch_size: int, precision: str, tmp_path: Path) -> None:
    """Samples that fill a register and more, and that do not; from the start, and from where rules remember."""
    for start in (0, 3):
        folder = tmp_path / str(start)
        folder.mkdir()
        optimizers = "sgd", "adam", "rprop", "lion"
        one_step(
            shard(network, *optimizers, problem=problem, batch_size=batch_size, precision=precision), start, folder
        )


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("asked", [*SETS, *GROUPS, ["sign_flip_rate", "gradient_max_abs"], ["update_norm"]], ids=str)
def test_one_step_records_what_is_asked_for(asked: Any, precision: str, tmp_path: Path) -> None:
    """Layers of one block of elements and of several; rules with a kernel and without."""
    names = recorded([asked] if isinstance(asked, str) else asked)
    networks: list[tuple[Any, Any]]
    networks = [(MIXED, "wine"), (mlp("gaussian", depth=2, width=61), "wine"), (CONVOLVED, IMAGES)]
    for number, (network, problem) in enumerate(networks):
        planned = shard(network, "sgd", "rmsprop", "adam", "rprop", "lion", problem=problem, precision=precision)
        folder = tmp_path / str(number)
        folder.mkdir()
        one_step(planned.model_copy(update={"statistics": names}), 2, folder)


def comparable(optimizers: list[Optimizer], precision: str) -> list[Optimizer]:
    """Those that one step of this precision can tell apart from rounding."""
    return [each for each in optimizers if precision == "float64" or str(each) not in ILL_CONDITIONED]


FORMULAS: list[Any] = [
    *NON_LINEARITIES,
    {"kind": "expression", "formula": "z*exp(-z**2/2) + max(z, 0.1*z)**3"},
    {"kind": "expression", "formula": "where(abs(z) < 1, sqrt(1 + z**2), log(2 + z*z)) - z**5/100"},
    {"kind": "scaled", "of": "tanh", "a": 1.5, "b": 0.5, "c": 0.1, "d": -0.2},
    {"kind": "normalised", "of": "softplus"},
]


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("activation", FORMULAS, ids=str)
def test_one_step_of_every_non_linearity(activation: Any, precision: str, tmp_path: Path) -> None:
    """Whole batches, and units that fill no vector."""
    one_step(shard(mlp(activation, depth=3, width=19), "sgd", "adam", precision=precision, batch_size=33), 2, tmp_path)


WIDTHS = layers(
    *(
        layer
        for size, activation in (
            (1, "gaussian"),
            (3, "tanh"),
            (16, "sigmoid"),
            (17, "tanh"),
            (15, "gaussian"),
            (33, "sigmoid"),
        )
        for layer in ({"kind": "linear", "out_features": size}, {"kind": "activation", "activation": activation})
    ),
    init=STEEP,
)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("batch_size", [7, 31, 106])
def test_one_step_of_units_that_fill_vectors_and_that_do_not(batch_size: int, precision: str, tmp_path: Path) -> None:
    """A unit alone, a vector's and some more or fewer; samples that are summed at once, and that are not."""
    one_step(shard(WIDTHS, "sgd", precision=precision, batch_size=batch_size), 1, tmp_path)


@pytest.mark.parametrize("gradient_range", ["standard", "extended"])
def test_the_last_measurement_moves_nothing(gradient_range: Any, tmp_path: Path) -> None:
    """After the last update, of every rule, and of one whose learning rate changes."""
    scheduled: Optimizer = {"kind": "rmsprop", "schedule": {"kind": "cosine"}}
    planned = shard(MIXED, *SETTINGS, scheduled, steps=3, gradient_range=gradient_range)
    one_step(planned, 2, tmp_path)


@pytest.mark.parametrize("gradient_range", ["standard", "extended"])
def test_one_step_of_dense_layers_on_a_sequence(gradient_range: Any, tmp_path: Path) -> None:
    """More of them than lie between two rescalings."""
    inner = [{"kind": "linear", "out_features": size} for size in (9, 5, 7, 7)]
    network = layers(*inner, {"kind": "activation", "activation": "tanh"}, "flatten", *inner)
    planned = shard(network, "sgd", "signsgd", "lion", problem=ADDING, gradient_range=gradient_range)
    one_step(planned, 2, tmp_path)


@pytest.mark.parametrize("precision", TOLERANCE)
def test_one_step_of_convolutions_in_the_extended_range(precision: str, tmp_path: Path) -> None:
    """More of them than lie between two rescalings."""
    network = layers(*5 * conv(3, "tanh"), {"kind": "max_pool"}, *conv(3, "tanh"), "flatten")
    one_step(
        shard(network, "sgd", "signsgd", "lion", problem=IMAGES, precision=precision, gradient_range="extended"),
        2,
        tmp_path,
    )


@pytest.mark.parametrize("steps", [1, 13])
def test_sequences_of_one_step_and_of_one_feature(steps: int, tmp_path: Path) -> None:
    """A batch of one sample, and of all."""
    shapes: list[Any] = [{"kind": "unflatten", "shape": [steps, 13 // steps]}, rnn(4, output="sequence"), "flatten"]
    network = layers(*shapes, {"kind": "unflatten", "shape": [4 * steps, 1]}, {"kind": "lstm", "hidden_size": 3})
    for batch_size in (1, 106):
        folder = tmp_path / str(batch_size)
        folder.mkdir()
        one_step(shard(network, "sgd", batch_size=batch_size), 1, folder)


def test_every_kernel_is_a_rule() -> None:
    assert KERNELS.keys() <= RULES.keys()


@pytest.mark.parametrize(
    ("network", "problem", "steps"),
    [
        *((MIXED, "digits", 40), (MIXED, TEACHER, 40), (STACKED, ADDING, 8), (CELLS, ADDING, 8)),
        *((RESHAPED, "digits", 15), (CONVOLVED, IMAGES, 8), (FOLDED, TEACHER, 8)),
    ],
)
def test_a_whole_training_agrees(network: Any, problem: Any, steps: int) -> None:
    """Across epochs, with curves and test scores; classes, targets and sequences."""
    planned = shard(network, "sgd", "rmsprop", "adam", problem=problem, seeds=(0, 3), steps=steps)
    assert_close(train(planned, path="native"), train(planned), rel=1e-7)


def test_a_batch_of_the_whole_split_agrees() -> None:
    planned = shard(MIXED, "rprop", "sgd", batch_size=106, steps=5)
    assert_close(train(planned, path="native"), train(planned))


def test_only_some_steps_are_recorded() -> None:
    """Blocks of steps, with a gap before a recorded step and none."""
    planned = shard(MIXED, "sgd", "adam", steps=60, recorded=[0, 1, 2, 17, 40, 41, 60])
    assert_close(train(planned, path="native"), train(planned), rel=1e-7)


def test_a_trial_does_not_depend_on_its_neighbours_nor_on_chunks() -> None:
    planned = shard(MIXED, "sgd", "adam", {"kind": "adam", "amsgrad": True}, seeds=(0, 1), steps=20)
    whole = train(planned, path="native")
    assert_close(train(planned, [1, 3, 2], threads=2, path="native"), whole, rel=1e-12)
    assert_close(train(only(planned, 1, 2), path="native"), whole, rel=1e-12)


@pytest.mark.parametrize(
    ("network", "problem"), [(MIXED, "wine"), (STACKED, ADDING), (CELLS, ADDING), (CONVOLVED, IMAGES), (FOLDED, "wine")]
)
def test_an_interrupted_training_is_the_same_bit_for_bit(network: Any, problem: Any, tmp_path: Path) -> None:
    rules, recorded = ("sgd", "adam", "rprop", "smorms3"), [0, 4, 5, 19, 30]
    planned = shard(network, *rules, problem=problem, steps=30, recorded=recorded, precision="float32")
    assert_same(train_interrupted(planned, [3, 5, 18], tmp_path, path="native"), train(planned, path="native"))


@pytest.mark.parametrize("scale", [1e10, 1e22, 1e30])
@pytest.mark.parametrize(
    ("network", "problem"),
    [(MIXED, "wine"), (STACKED, ADDING), (CELLS, ADDING), (EXPLODING, ADDING), (CONVOLVED, IMAGES)],
)
def test_a_divergence_is_found_where_and_when_the_definition_finds_it(network: Any, problem: Any, scale: float) -> None:
    """In a gradient, the loss or an output; the trials beside it go on."""
    planned = with_a_diverging(shard(network, "sgd", "adam", problem=problem, steps=8, precision="float32"))
    found = []
    for path in PATHS:
        running = training(planned, path=path)
        running.advance(1)
        running.programs[0].theta[0].mul_(scale)
        running.advance(8)
        found.append([ending.divergence for ending in running.endings()])
    (mine, *others), (expected, *rest) = found
    assert others == rest == [None, None]
    assert mine is not None
    assert expected is not None
    assert mine == expected | {"last_finite_loss": pytest.approx(expected["last_finite_loss"], rel=1e-6)}


def scaled_by(scale: float, network: Any, problem: Any) -> list[list[dict[str, Any]]]:
    """The first statistics in float32 of linear layers whose weights are so many times as large, by path."""
    planned = shard(network, "sgd", problem=problem, precision="float32", steps=2)
    found = []
    for path in PATHS:
        running = training(planned, path=path)
        running.programs[0].theta.mul_(scale)
        running.advance(1)
        table, _ = running.tables()
        assert table is not None
        found.append(table.to_pylist())
    return found


LINEAR = mlp("identity", depth=2), TEACHER


@pytest.mark.parametrize(
    ("scale", "network", "problem"),
    [
        (1e-30, *LINEAR),
        (1e-20, *LINEAR),
        (1e6, *LINEAR),
        (1e7, *LINEAR),
        (1e-12, EXPLODING, ADDING),
        (30, EXPLODING, ADDING),
    ],
)
def test_tiny_and_huge_gradients_keep_their_norms(scale: float, network: Any, problem: Any) -> None:
    """Where plain sums of squares would be zero or infinite; in the end the loss is beyond float32, the gradient is not."""
    portable, native = scaled_by(scale, network, problem)
    assert_tables_agree(native, portable, 1e-5)
    assert all(math.isfinite(row["gradient_norm"]) for row in native)
    assert native[-1]["gradient_norm"] > 0


def test_the_spread_of_activations_is_told_where_the_first_sample_is_far_from_all_others() -> None:
    """Deviations are taken from it: sums in float32 would leave four digits of the spread."""
    planned = shard(mlp("identity", depth=2, width=40), "sgd", problem="digits", batch_size=1078, steps=2)
    runs: list[tuple[str, EnginePath]] = [("float32", "native"), ("float64", "portable")]
    found = []
    for precision, path in runs:
        running = training(planned.model_copy(update={"precision": precision}), path=path)
        x = running.programs[0].data.training.x
        before = x.clone()
        x[1:] = 1 + x[1:] / 1000
        running.advance(1)
        x.copy_(before)  # other trainings read it
        table, _ = running.tables()
        assert table is not None
        found.append(table.select([name for name in table.column_names if name.startswith("activation")]).to_pylist())
    for own, other in zip(*found, strict=True):
        assert own == {name: pytest.approx(value, rel=1e-5) for name, value in other.items()}


@pytest.mark.parametrize(("network", "problem"), [LINEAR, (EXPLODING, ADDING)])
def test_products_that_overflow_do_so_on_both_paths(network: Any, problem: Any) -> None:
    """The order of the terms says whether a sum of infinities is one or NaN."""
    portable, native = scaled_by(1e18, network, problem)
    for own, other in zip(native, portable, strict=True):
        for name, value in own.items():
            if isinstance(value, float):
                assert math.isfinite(value) == math.isfinite(other[name]), (name, own["layer"])
    assert any(row["gradient_nonfinite_fraction"] for row in native)


@pytest.mark.parametrize(
    ("formula", "twin", "least"),
    [
        ("exp(z)", np.exp, 3e-45),
        (
            "1/(1 + exp(-z))",
            lambda z: 1 / (1 + np.exp(-z)),
            1.2e-38,
        ),  # zero where the exponential is infinite, as in torch
        ("tanh(z)", np.tanh, 3e-45),
    ],
)
def test_functions_are_right_to_some_units_in_the_last_place(
    formula: str, twin: Callable[[Any], Any], least: float
) -> None:
    """Beside numpy's in float64: also where they are tiny; where they are subnormal to as many of the least number."""
    compiled = build.kernels(Formula(formula=formula))
    assert compiled is not None
    activate = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    function = activate.from_address(compiled[torch.float32])
    sizes = np.logspace(-30, 0, 4001)
    edges = [0, math.inf, -math.inf, math.nan]
    z = np.concatenate([np.linspace(-110, 110, 100_003), sizes, -sizes, edges], dtype=np.float32)
    found = z.copy()  # in place where the value tells the slope
    function(found.ctypes.data, found.ctypes.data, len(z))
    with np.errstate(over="ignore"):
        expected = twin(z.astype(np.float64))
    beyond = expected > np.finfo(np.float32).max
    assert np.isinf(found[beyond]).all()
    np.testing.assert_allclose(found[~beyond], expected[~beyond], rtol=4e-7, atol=least)


FAR = 300.0
"""Times weights: pre-activations of hundreds, where a Gaussian is subnormal or zero, and a sigmoid at its ends."""


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("activation", ["gaussian", "sigmoid", "softplus"])
def test_far_out_a_non_linearity_is_what_it_is(activation: str, precision: str) -> None:
    """Subnormal numbers, exact zeros and infinities of the exponential among them; from there to where it is near one."""
    planned = shard(mlp(activation, depth=1, width=40), "sgd", precision=precision, batch_size=100, steps=2)
    for scale in (FAR, FAR / 100):
        found = []
        for path in PATHS:
            running = training(planned, path=path)
            running.programs[0].theta.mul_(scale)
            running.advance(1)
            table, _ = running.tables()
            assert table is not None
            found.append(table.to_pylist())
        assert_tables_agree(found[1], found[0], 10 * TOLERANCE[precision])


def test_what_is_not_compiled_stays_on_the_portable_path() -> None:
    assert choose(shard(MIXED, "sgd"), "cpu", 2).path == "native"
    assert choose(shard(MIXED, "vsgd_fd"), "cpu", 2).path == "portable"
    assert choose(shard(layers({"kind": "dropout", "p": 0.1}), "sgd"), "cpu", 2).path == "portable"
    assert choose(shard(STACKED, "sgd", problem=ADDING), "cpu", 2).path == "native"
    extended = shard(STACKED, "sgd", problem=ADDING, gradient_range="extended")
    assert choose(extended, "cpu", 2).path == "portable"
    assert choose(shard(CELLS, "sgd", problem=ADDING), "cpu", 2).path == "native"
    assert choose(shard(layers({"kind": "gru", "hidden_size": 4}), problem=ADDING), "cpu", 2).path == "portable"
    assert (
        choose(shard(layers(rnn(4), {"kind": "activation", "activation": "tanh"}), problem=ADDING), "cpu", 2).path
        == "portable"
    )
    assert choose(shard(CONVOLVED, "sgd", problem=IMAGES), "cpu", 2).path == "native"
    for other in (
        [*conv(4, "tanh", weight_normalization="weight"), "flatten"],
        [
            {"kind": "conv2d", "out_channels": 4},
            {"kind": "max_pool"},
            {"kind": "activation", "activation": "tanh"},
            "flatten",
        ],
        [{"kind": "max_pool"}, *conv(4, "tanh"), "flatten"],
    ):
        assert choose(shard(layers(*other), "sgd", problem=IMAGES), "cpu", 2).path == "portable"
    assert choose(shard(MIXED, "sgd"), "cuda", 2).path == "portable"


def test_without_a_compiler_the_portable_path_is_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once in the log, whatever the precisions."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    build.library.cache_clear()
    build._warn.cache_clear()
    plans = [shard(MIXED, "sgd", precision=precision) for precision in ("float32", "float64", "float32")]
    try:
        assert [choose(planned, "cpu", 2).path for planned in plans] == ["portable"] * 3
        assert [record.getMessage() for record in caplog.records] == [
            "training without the compiled step, at a third of the speed or less: no C++ compiler (g++) was found"
        ]
    finally:
        build.library.cache_clear()


def test_what_compiled_code_tells_are_columns_of_the_contract() -> None:
    """As many as `Column` has; torch tells the others."""
    declared = (build.FOLDER / "columns.h").read_text().partition("enum Column {")[2].partition("}")[0]
    assert tuple(name.strip().lower() for name in declared.split(",")) == native.COLUMNS
    assert set(native.COLUMNS) < STATISTICS.keys()
