"""Every column of the statistics against a naive twin, and what must hold of them whatever the magnitude."""

import math
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from engine_samples import (
    DROPPING,
    TEACHER,
    EnginePath,
    Row,
    layers,
    linears,
    mlp,
    program,
    rows,
    shard,
    statistics,
    train,
)
from reference.networks import LOSSES, sequential
from reference.statistics import Seen, backward, forward, layer_gradients, layer_parameters, update

from workers.contract.plan import Shard
from workers.contract.statistics import KEYS, SETS, STATISTICS, Pass, Set, recorded
from workers.engine import statistics as columns
from workers.engine.activations import NON_LINEARITIES
from workers.engine.losses import LossFunction
from workers.engine.native import build
from workers.engine.network import Dropout, Linear
from workers.engine.program import Program
from workers.engine.statistics import Samples, Signal
from workers.engine.train import differentiate, measure

PASSES: tuple[Pass, ...] = get_args(Pass)
STEPS = 4

SHARDS: dict[str, dict[str, Any]] = {
    "sigmoid": {"network": mlp("sigmoid")},
    "relu": {"network": mlp("relu", init={"kind": "kaiming_normal", "bias_std": 1.0})},
    "every kind of layer": {"network": layers(*DROPPING)},
    "dropout before the non-linearity": {
        "network": layers(
            {"kind": "linear", "out_features": 6}, "dropout", {"kind": "activation", "activation": "gaussian"}
        )
    },
    "regression": {"network": mlp("sin"), "problem": TEACHER},
    "saturated": {"network": mlp("tanh", init={"kind": "lecun_normal", "gain": 6.0})},
    "dead": {"network": mlp("erf", init={"kind": "lecun_normal", "gain": 40.0})},
    "momentum and decay": {
        "network": mlp("tanh"),
        "optimizers": [{"kind": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}],
    },
    "two gradients": {"network": mlp("tanh"), "optimizers": ["vsgd_fd"]},
}

EXACT = {"gradient_zero_fraction", "gradient_nonfinite_fraction", "sign_flip_rate", "saturation_fraction"}
WITHOUT_TWIN = {"eps_dominance", "estimate_cosine"}
"""Read off the rules' own states; see tests/test_optimizers.py, tests/test_gradient_free.py and the test below."""


def planned(case: str) -> Shard:
    given = {"optimizers": [{"kind": "sgd", "lr": 0.5}, {"kind": "adam", "lr": 0.05}], **SHARDS[case]}
    return shard(given.pop("network"), *given.pop("optimizers"), batch_size=8, steps=STEPS, seeds=(0, 3), **given)


def seen(at: Program, row: int) -> Seen:
    """What one trial of a program sees at the step where it stands."""
    x, y = at.batches.at(int(at.step))
    at.forward(x, training=True)
    masks = {
        spec.path: layer.mask[row]
        for spec, layer in zip(at.shard.network, at.layers, strict=True)
        if isinstance(layer, Dropout) and layer.mask is not None
    }
    return Seen(sequential(at, row, masks), LOSSES[at.shard.problem.loss](), x[row], y[row])


def told(table: Any) -> dict[tuple[Any, ...], Row]:
    """Rows by (trial, step, layer), null as NaN."""
    return {
        key: {name: math.nan if row[name] is None else row[name] for name in row if name in STATISTICS}
        for key, row in rows(table).items()
    }


@pytest.mark.parametrize("case", SHARDS)
def test_every_statistic_is_its_naive_twins(case: str) -> None:
    """Over several steps of training all columns of all layers are what loops over samples and elements find."""
    given = planned(case)
    whole = told(train(given).statistics)
    places = [seen(at, row) for at in positions(given) for row in range(len(given.trials))]
    for row, trial in enumerate(given.trials):
        path = places[row :: len(given.trials)]
        previous = None
        for step, here in enumerate(path):
            after = layer_parameters(path[step + 1]) if step < STEPS else None
            gradients = layer_gradients(here)
            groups = [backward(here, previous), forward(here), update(layer_parameters(here), after, gradients)]
            for layer, parts in zip(program(given).measured, zip(*groups, strict=True), strict=True):
                expected = {name: value for part in parts for name, value in part.items()}
                found = whole[trial.trial, step, layer.path]
                assert set(expected) == set(recorded("default")) - WITHOUT_TWIN
                for name, value in expected.items():
                    exact = 0 if name in EXACT else 1e-9
                    assert found[name] == pytest.approx(value, rel=exact, abs=exact * 1e-3, nan_ok=True), (
                        name,
                        step,
                        layer.path,
                    )
            previous = gradients


def positions(given: Shard) -> list[Program]:
    """Programs that stand at every step of the training."""
    found = []
    for step in range(STEPS + 1):
        at = program(given)
        if step:
            statistics(replace(at, shard=given.model_copy(update={"steps": step, "recorded": [0, step]})))
        at.step.fill_(step)
        found.append(at)
    return found


def scaled(running: Program, factor: float) -> Program:
    """The same program under `factor` times the loss."""
    loss = running.loss
    return replace(
        running,
        loss=LossFunction(
            lambda output, target: loss.value(output, target) * factor,
            lambda output, target: loss.gradient(output, target) * factor,
            lambda output: loss.curvature(output) * factor,
            loss.draw,
            loss.correct,
        ),
    )


LINEAR_IN_THE_LOSS = {
    "gradient_norm", "gradient_rms", "gradient_mean", "gradient_std", "gradient_max_abs", "error_signal_norm",
}  # fmt: skip


@pytest.mark.parametrize(
    ("precision", "exponent"),
    [("float32", -100), ("float32", -1), ("float32", 100), ("float64", -950), ("float64", 1), ("float64", 950)],
)
def test_scaling_the_loss_scales_the_gradient(precision: str, exponent: int) -> None:
    """A factor of 2^k multiplies every magnitude by it, from 1e-286 to 1e+286, and leaves all else as it is, null included."""
    given = standing_still(shard(mlp("tanh"), precision=precision, steps=3, seeds=(0, 1)))
    usual = told(statistics(program(given)))
    other = told(statistics(scaled(program(given), 2.0**exponent)))
    for key, row in usual.items():
        for name, value in row.items():
            expected = value * 2.0**exponent if name in LINEAR_IN_THE_LOSS else value
            if name == "gradient_log10_rms":
                expected = value + exponent * math.log10(2)
            assert other[key][name] == pytest.approx(expected, rel=1e-12, nan_ok=True), (key, name)


def standing_still(given: Shard) -> Shard:
    """Under learning rate zero, which a request cannot ask for."""
    trials = [
        trial.model_copy(update={"hyperparameters": {**trial.hyperparameters, "lr": 0.0}}) for trial in given.trials
    ]
    return given.model_copy(update={"trials": trials})


@pytest.mark.parametrize("gain", [1e-11, 1e-4, 1e11])
def test_float32_tells_what_float64_tells(gain: float) -> None:
    """Where signals shrink or grow by eleven decades a layer, so that no square fits float32, statistics agree to four digits."""
    network = mlp("identity", width=20, init={"kind": "lecun_normal", "gain": gain}, output_init="lecun_normal")
    single, double = (
        told(statistics(program(standing_still(shard(network, precision=precision, steps=1)))))
        for precision in ("float32", "float64")
    )
    for key, row in double.items():
        for name, value in row.items():
            floor = 1e-5 * row["gradient_rms"] if name == "gradient_mean" else 1e-6 * row["activation_std"]
            assert single[key][name] == pytest.approx(value, rel=1e-4, abs=floor, nan_ok=True), (key, name)


def test_squared_layer_norms_sum_to_the_squared_total() -> None:
    """Gradient, weights and update of the layers add up to those of all parameters."""
    given = shard(layers(*DROPPING), "adam", steps=1)
    running = program(given)
    before = running.theta.clone()
    table = told(statistics(program(given)))
    statistics(running)
    start = [row for (_, step, _), row in table.items() if step == 0]
    for name, total in {"weight_norm": before, "update_norm": running.theta - before}.items():
        assert sum(row[name] ** 2 for row in start) == pytest.approx(total.square().sum().item(), rel=1e-12)
    end = [row for (_, step, _), row in table.items() if step == 1]
    assert sum(row["gradient_norm"] ** 2 for row in end) == pytest.approx(running.gradient.square().sum().item())


def test_step_0_is_before_the_first_update() -> None:
    """The first row is of the weights as drawn, and has no step before it to compare with; the last one moved nothing."""
    given = shard(mlp(), "sgd", "adam", steps=2, seeds=(5,))
    drawn, table = program(given), told(train(given).statistics)
    for index, layer in enumerate(drawn.measured):
        norm = drawn.theta[0, drawn.columns[index]].norm().item()
        for trial in (0, 1):
            first, last = table[trial, 0, layer.path], table[trial, 2, layer.path]
            assert first["weight_norm"] == pytest.approx(norm, rel=1e-12)
            assert math.isnan(first["sign_flip_rate"]) and math.isnan(first["gradient_cosine"])
            assert first["update_norm"] > 0
            for name in ("update_norm", "update_to_weight_ratio", "effective_lr"):
                assert math.isnan(last[name])
            assert last["sign_flip_rate"] >= 0


@pytest.mark.parametrize("optimizer", ["adam", "vsgd_fd"])
def test_recorded_rows_do_not_depend_on_which_others_are(optimizer: str) -> None:
    """A row compares with the step before, recorded or not."""
    given = shard(mlp(), optimizer, steps=9)
    everything = told(train(given).statistics)
    few = told(train(given.model_copy(update={"recorded": [0, 4, 7, 9]})).statistics)
    assert {step for _, step, _ in few} == {0, 4, 7, 9}
    for key, row in few.items():
        assert row == pytest.approx(everything[key], rel=1e-12, nan_ok=True)


def test_exact_zeros_and_non_finite_elements_are_counted() -> None:
    """Of eight weights of known gradient: zeros, tiny numbers that are none, an infinity and a NaN."""
    running = program(shard(layers({"kind": "linear", "out_features": 3, "output": True}), precision="float32"))
    linear = linears(running)[0]
    x, y = running.batches.at(0)
    running.backward(running.loss.gradient(running.forward(x, training=True), y))
    running.gradient.fill_(1e-45)
    running.gradient[0, :3], running.gradient[0, 3], running.gradient[0, 4] = 0.0, math.inf, math.nan
    signal = Signal(running.gradient, linear.error_signal, Samples(linear.error_signal, linear.input, biased=True))
    row = columns.backward([signal], None, None, PASSES)
    assert row["gradient_zero_fraction"].item() == 3 / 42
    assert row["gradient_nonfinite_fraction"].item() == 2 / 42
    assert not row["gradient_norm"].isfinite()
    running.gradient.zero_()
    row = columns.backward([signal], [running.gradient], None, PASSES)
    assert row["gradient_norm"].item() == 0.0
    for name in ("gradient_log10_rms", "gradient_cosine"):
        assert row[name].isnan().all()


def test_one_sample_has_no_noise_to_compare_with() -> None:
    """With a batch of one, the signal-to-noise ratio is null in every layer, not rounding over rounding."""
    for precision in ("float32", "float64"):
        table = told(
            train(shard(mlp("sigmoid", depth=4), batch_size=1, precision=precision, seeds=(0, 1, 2))).statistics
        )
        assert all(math.isnan(row["gradient_snr"]) for row in table.values())


def test_samples_of_a_residual_layer_are_weighed_by_the_layers_own_error_signal() -> None:
    """gradient_snr is of the gradients that each sample gives the layer alone, whichever δ the row tells of."""
    running = program(shard(mlp("tanh", depth=4, shortcut="residual"), seeds=(0, 1), batch_size=8))
    x, y = running.batches.at(0)
    differentiate(running, x, y)
    found = measure(running, 0)["gradient_snr"]
    assert any(place.error_signal is not place.layer.error_signal for place in running.measured)
    for index, place in enumerate(running.measured):
        layer = place.layer
        assert isinstance(layer, Linear)
        inputs = torch.cat([layer.input, torch.ones_like(layer.input[..., :1])], 2)
        of_samples = 8 * torch.einsum("tbo,tbi->tboi", layer.error_signal, inputs)
        signal, total = of_samples.mean(1).square().sum((1, 2)), of_samples.square().sum((2, 3)).mean(1)
        torch.testing.assert_close(found[index], signal / (total - signal), rtol=1e-10, atol=0)


def test_eps_dominance_is_the_share_of_elements() -> None:
    """Per layer, the share whose root mean square of Adam, counted by hand after the first step, is below eps; null without eps."""
    given = shard(mlp("sigmoid"), {"kind": "adam", "eps": 1e-3}, {"kind": "sgd"}, steps=1)
    table = told(train(given).statistics)
    gradients = layer_gradients(seen(program(given), 0))
    for layer, g in zip(program(given).measured, gradients, strict=True):
        # after one step the corrected mean square is g² itself
        assert table[0, 0, layer.path]["eps_dominance"] == sum(abs(value) < 1e-3 for value in g) / len(g)
        assert math.isnan(table[1, 0, layer.path]["eps_dominance"])
    assert 0 < table[0, 0, "hidden.0.linear"]["eps_dominance"] < 1


@pytest.mark.parametrize("kind", NON_LINEARITIES)
def test_a_layer_that_is_not_finite_has_no_forward_statistics(kind: str) -> None:
    """Comparisons with NaN are false, and a bounded θ hides an infinity: neither may read as a share; large numbers may."""
    z = torch.tensor([[[0.0, math.nan]], [[0.0, math.inf]], [[-math.inf, 1.0]], [[3e38, 3e38]], [[1.0, 2.0]]])
    non_linearity = NON_LINEARITIES[kind]
    row = columns.forward([columns.Activity(non_linearity, z, non_linearity.value(z))], PASSES)
    for (value,) in row.values():
        assert value[:3].isnan().all() and value[4].isfinite()
    assert row["saturation_fraction"][0, 3].isfinite()


@pytest.mark.parametrize("path", ["portable", "native"])
@pytest.mark.parametrize(
    "asked",
    [
        "core",
        ["gradient_cosine"],
        ["forward", "eps_dominance"],
        ["update", "gradient_snr"],
        ["alpha"],
        ["noise", "curvature_trace"],
    ],
)
def test_what_is_recorded_does_not_depend_on_what_else_is(asked: Set | list[str], path: EnginePath) -> None:
    """Fewer columns, in the table's order, with the numbers that they have among all others; in compiled code, which sums them in another
    order then, up to rounding.
    """
    if path == "native" and build.library(torch.float32) is None:
        pytest.skip("no compiler here")
    given = shard(mlp("tanh"), "adam", "sgd", steps=3)
    others = "full" if set(asked) & {"alpha", "noise"} else ["default", "update"]
    whole = train(given.model_copy(update={"statistics": recorded(others)}), path=path).statistics
    few = train(given.model_copy(update={"statistics": recorded(asked)}), path=path).statistics
    assert few.column_names == [*KEYS, *recorded(asked)]
    if path == "portable":
        assert few.equals(whole.select(few.column_names))
    for key, row in told(few).items():
        expected = {name: told(whole)[key][name] for name in row}
        assert row == pytest.approx(expected, rel=1e-12, abs=1e-15, nan_ok=True), key


def test_the_sets_are_one_within_the_other() -> None:
    """Every set holds those before it; the core has what a diagnosis must have."""
    core, default, full = (set(recorded(name)) for name in SETS)
    assert core < default <= full == set(STATISTICS)
    assert {"error_signal_norm", "gradient_norm", "activation_std", "activation_sample_std"} <= core
    assert len(core) == 12
