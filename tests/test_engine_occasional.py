"""The statistics of the occasional groups: against naive twins, at their intervals, on every path, and what must hold of them."""

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from engine_samples import (
    TEACHER,
    EnginePath,
    Row,
    layers,
    mlp,
    only,
    program,
    rows,
    shard,
    train,
    train_interrupted,
    with_a_diverging,
)
from reference import occasional as twins
from reference.statistics import Seen
from test_engine_statistics import positions, seen, standing_still

from workers.contract.comparison import Record
from workers.contract.plan import Shard
from workers.contract.statistics import JACOBIAN_SAMPLES, OCCASIONAL, STATISTICS, Occasional, recorded
from workers.engine.activations import NON_LINEARITIES
from workers.engine.native import build
from workers.engine.statistics.backward import Samples
from workers.engine.statistics.histogram import histogram, shares_of_weights
from workers.engine.statistics.noise import noise
from workers.engine.statistics.rank import effective_rank
from workers.engine.statistics.trajectory import Last, alphas
from workers.engine.statistics.units import between, correlation

NAMES: dict[Occasional, list[str]] = {
    group: [name for name, statistic in STATISTICS.items() if statistic.group == group] for group in OCCASIONAL
}
STEPS = 4
BY_LANCZOS = {"curvature_largest", "layer_jacobian_largest"}

SHARDS: dict[str, dict[str, Any]] = {
    "sigmoid": {"network": mlp("sigmoid")},
    "gaussian": {"network": mlp("gaussian", init={"kind": "lecun_normal", "gain": 2.0})},
    "relu": {"network": mlp("relu", init={"kind": "kaiming_normal", "bias_std": 1.0})},
    "without bias": {
        "network": layers(
            {"kind": "linear", "out_features": 5, "bias": False}, {"kind": "activation", "activation": "tanh"}
        )
    },
    "regression": {"network": mlp("sin"), "problem": TEACHER},
    "saturated": {"network": mlp("tanh", init={"kind": "lecun_normal", "gain": 6.0})},
}


def full(given: Shard, **more: Any) -> Shard:
    each: dict[Occasional, int] = dict.fromkeys(OCCASIONAL, 1)
    return given.model_copy(update={"statistics": recorded("full"), "intervals": each, **more})


def planned(case: str) -> Shard:
    given = dict(SHARDS[case])
    optimizers = [{"kind": "sgd", "lr": 0.5}, {"kind": "adam", "lr": 0.05}]
    return full(shard(given.pop("network"), *optimizers, batch_size=8, steps=STEPS, seeds=(0, 3), **given))


def told(given: Shard, path: EnginePath = "portable", **more: Any) -> dict[tuple[Any, ...], Row]:
    """Rows by (trial, step, layer), null as NaN."""
    found = rows(train(given, path=path, **more).statistics)
    return {key: {name: math.nan if row[name] is None else row[name] for name in row} for key, row in found.items()}


@pytest.mark.parametrize("case", SHARDS)
def test_every_statistic_is_its_naive_twins(case: str) -> None:
    given = planned(case)
    whole = told(given)
    places = [
        seen(at, row)
        for at in positions(given.model_copy(update={"statistics": ("gradient_norm",)}))
        for row in range(4)
    ]
    for row, trial in enumerate(given.trials):
        path = places[row::4]
        for step, here in enumerate(path):
            with torch.no_grad():
                loss = float(here.loss(here.network(here.x), here.y))
            before: Seen | None = path[step - 1] if step else None
            parts = [
                twins.trajectory(here, before, path[0]),
                twins.noise(here, float(trial.hyperparameters["lr"]), loss),  # type: ignore[arg-type]
                twins.histogram(here),
                twins.units(here),
                twins.ranks(here),
                twins.jacobians(here, JACOBIAN_SAMPLES["jacobian"]),
                twins.curvature(here, JACOBIAN_SAMPLES["curvature"]),
            ]
            for layer, groups in zip(program(given).measured, zip(*parts, strict=True), strict=True):
                expected = {name: value for group in groups for name, value in group.items()}
                assert set(expected) == {name for names in NAMES.values() for name in names}
                found = whole[trial.trial, step, layer.path]
                for name, value in expected.items():
                    off = 1e-4 if name in BY_LANCZOS else 1e-7
                    assert found[name] == pytest.approx(value, rel=off, abs=1e-9, nan_ok=True), (name, step, layer.path)


def test_groups_are_measured_at_their_intervals() -> None:
    """At every so many recorded steps from step 0, and at the last; null at the others, where all else is as it was."""
    base = shard(mlp("tanh"), "adam", steps=12, recorded=[0, 1, 2, 3, 5, 8, 12])
    given = full(base, intervals={"trajectory": 1, "noise": 2, "histogram": 3, "units": 1, "rank": 5, "curvature": 100})
    whole = told(full(base))
    table = told(given)
    for group in OCCASIONAL:
        interval = given.intervals.get(group, 4)
        for key, row in table.items():
            due = key[1] in {*base.recorded[::interval], base.steps}
            for name in NAMES[group]:
                assert row[name] == pytest.approx(whole[key][name] if due else math.nan, rel=1e-12, nan_ok=True), name
    others = recorded("default")
    plain = told(base)
    assert all(table[key][name] == pytest.approx(plain[key][name], nan_ok=True) for key in plain for name in others)


@pytest.mark.parametrize("gradient_range", ["standard", "extended"])
def test_compiled_code_makes_way_for_them(gradient_range: str, tmp_path: Path) -> None:
    """On the native path rows are those of the portable one, interrupted or not, in the extended range too."""
    if build.library(torch.float32) is None:
        pytest.skip("no compiler here")
    given = full(
        shard(mlp("sigmoid"), "sgd", "rprop", "fromage", steps=9, recorded=[0, 1, 4, 5, 9], seeds=(1, 2)),
        intervals={"trajectory": 1, "noise": 2, "units": 2, "jacobian": 2, "curvature": 3},
        gradient_range=gradient_range,
    )
    portable, native = told(given), told(given, path="native")
    for key, row in portable.items():
        for name in (name for names in NAMES.values() for name in names):
            assert native[key][name] == pytest.approx(row[name], rel=1e-6, abs=1e-12, nan_ok=True), (name, key)
    resumed = rows(train_interrupted(given, [4, 5], tmp_path, path="native").statistics)
    whole = rows(train(given, path="native").statistics)
    assert resumed == whole


def test_a_resumed_training_looks_back_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    given = full(shard(mlp("tanh"), "adam", steps=6, seeds=(0, 1)))
    whole = rows(train(given).statistics)
    assert rows(train_interrupted(given, [1, 3], tmp_path).statistics) == whole
    assert all(row["distance"] > 0 and row["alpha"] is not None for (_, step, _), row in whole.items() if step)


@pytest.mark.parametrize("gradient_range", ["standard", "extended"])
def test_float32_tells_what_float64_tells(gradient_range: Literal["standard", "extended"]) -> None:
    """Where gains of 1e-4 a layer leave squares of 1e-40 to be taken."""
    network = mlp(
        "identity", depth=5, width=12, init={"kind": "lecun_normal", "gain": 1e-4}, output_init="lecun_normal"
    )
    single, double = (
        told(full(standing_still(shard(network, precision=precision, steps=1, gradient_range=gradient_range))))
        for precision in ("float32", "float64")
    )
    numbers = [name for group in ("noise", "histogram", "units", "rank") for name in NAMES[group]]
    for key, row in double.items():
        for name in numbers:
            assert single[key][name] == pytest.approx(row[name], rel=2e-3, abs=2e-3, nan_ok=True), (key, name)


def test_alpha_is_where_the_parabola_says() -> None:
    """On a parabola with its minimum at 1: a step to 0.5 is half-way, to 1 is there, to 2 as far beyond; none has no slope."""
    theta0, curvature = torch.zeros(4, 1, dtype=torch.float64), 3.0
    theta1 = torch.tensor([[0.5], [1.0], [2.0], [0.0]], dtype=torch.float64)
    slopes = [curvature * (theta - 1) for theta in (theta0, theta1)]
    zero = torch.zeros(1, 4, dtype=torch.float64)
    found = alphas([theta1], [slopes[1]], Last([theta0], [slopes[0]], zero))[0].tolist()
    assert found[:3] == pytest.approx([-0.5, 0.0, 1.0]) and math.isnan(found[3])
    # as Cockpit's tests have it: the minimum lies at t* of the step, alpha is its step over t* less one
    assert [step / 1.0 - 1 for step in (0.5, 1.0, 2.0)] == pytest.approx(found[:3])


def test_noise_scale_is_that_of_a_known_distribution() -> None:
    """For samples with gradients G + N(0, s²) in n directions the scale is n s²/‖G‖², in the mean over many batches."""
    torch.manual_seed(0)
    n, spread, batch, trials = 40, 0.5, 64, 400
    expected = n * spread**2 / n
    delta = (1 + spread * torch.randn(trials, batch, n, dtype=torch.float64)) / batch
    ones = torch.ones(trials, batch, 1, dtype=torch.float64)
    zeros = torch.zeros(trials, dtype=torch.float64)
    found = noise(Samples(delta, ones, biased=False), zeros, zeros + 0.1, zeros + 1)
    assert found["gradient_noise_scale"].mean().item() == pytest.approx(expected, rel=0.02)
    assert found["cabs_batch_size"].mean().item() == pytest.approx(0.1 * n * spread**2 * (batch - 1) / batch, rel=0.02)


def test_a_batch_of_one_has_no_noise() -> None:
    table = told(full(shard(mlp("tanh"), batch_size=1, steps=2)))
    assert all(math.isnan(row[name]) for row in table.values() for name in NAMES["noise"])


def test_histogram_counts_everything_once() -> None:
    """Shares and the share of zeros make one; a gradient of zeros, or one with a NaN, has no histogram."""
    g = torch.tensor([[1.0, 0.5, 0.1, 0.0999, 1e-5, -1e-10, 0.0, 0.0]])
    found = {name: value.item() for name, value in histogram(g).items()}
    assert sum(found.values()) == 6 / 8
    assert [found[f"gradient_decade_{place}"] * 8 for place in (0, 1, 4, 5, 9)] == [3, 1, 1, 0, 1]
    assert torch.stack(list(histogram(g * 2.0**-90).values())).sum().item() == 6 / 8
    for odd in (0.0, math.nan, math.inf):
        assert all(value.isnan().all() for value in histogram(torch.tensor([[odd, 0.0]])).values())


def test_the_gradient_is_shared_out_over_the_sizes_of_weights() -> None:
    """All of it; a zero weight is among the small ones; of nothing there is no share."""
    theta, g = torch.tensor([[2.0, -0.3, 0.01, 0.0]]), torch.tensor([[1.0, 1.0, -1.0, 1.0]])
    for scale in (1.0, 2.0**-110):
        assert [value.item() for value in shares_of_weights(g * scale, theta).values()] == [0.5, 0.0, 0.25, 0.25]
    for odd in ((g * 0, theta), (g, theta * 0), (g * math.nan, theta)):
        assert all(value.isnan().all() for value in shares_of_weights(*odd).values())


def test_a_gaussians_top_is_told_from_its_tails() -> None:
    assert between(NON_LINEARITIES["gaussian"]) == pytest.approx((-math.sqrt(0.5), math.sqrt(0.5)), abs=2e-3)
    assert between(NON_LINEARITIES["sigmoid"]) == pytest.approx((0.0, 0.0), abs=5e-3)
    near, far = (
        told(full(shard(mlp("gaussian", init={"kind": "lecun_normal", "gain": gain}), steps=1)))[
            0, 0, "hidden.0.linear"
        ]
        for gain in (0.01, 100.0)
    )
    assert near["saturation_fraction"] > 0.9 and near["flat_top_fraction"] == near["saturation_fraction"]
    assert far["saturation_fraction"] > 0.9 and far["flat_top_fraction"] < 0.1


def test_correlation_and_rank_at_their_ends() -> None:
    """Equal samples 1, opposite pairs −1/3, a nearly collapsed layer told from a collapsed one; k equal directions have rank k."""
    one = torch.arange(4.0).expand(1, 4, 4)
    assert correlation(one).item() == 1.0
    assert correlation(one * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None]).item() == pytest.approx(-1 / 3, abs=1e-6)
    assert 0 < 1 - correlation(one + 1e-4 * torch.eye(4)).item() < 1e-7
    assert correlation(torch.ones(1, 4, 4)).isnan()
    for k in (1, 3, 4):
        matrix = torch.zeros(1, 4, 9)
        matrix[0, range(k), range(k)] = 1e-30
        assert effective_rank(matrix).item() == pytest.approx(k)
    assert effective_rank(torch.zeros(1, 3, 3)).isnan().all()


def test_networks_that_the_jacobian_does_not_go_through_have_none() -> None:
    """Null in the two groups, the others known; samples' gradients of convolutions are not."""
    norm = shard(mlp("tanh", normalization="batch"), steps=1)
    image = shard(
        layers(
            {"kind": "conv2d", "out_channels": 2, "kernel_size": 3},
            {"kind": "activation", "activation": "tanh"},
            "flatten",
        ),
        problem={"kind": "digits", "images": True},
        steps=1,
    )
    for given in (norm, image):
        for (_, _, layer), row in told(full(given)).items():
            assert all(math.isnan(row[name]) for group in ("jacobian", "curvature") for name in NAMES[group])
            assert row["effective_rank"] >= 1 and row["gradient_effective_rank"] >= 1 and layer


def test_clipped_gradients_are_told_from_raw_ones() -> None:
    clip = {"kind": "sgd", "lr": 0.1, "clip": {"kind": "norm_per_layer", "max_norm": 0.01}}
    paths: tuple[EnginePath, ...] = ("portable", "native")
    for path in paths:
        if path == "native" and build.library(torch.float32) is None:
            continue
        table = told(full(shard(mlp("tanh"), clip, "sgd", steps=2)), path=path)
        for (trial, step, _), row in table.items():
            if trial == 1 or step == 2:
                assert math.isnan(row["clipped_gradient_norm"])
            else:
                assert row["gradient_norm"] > 0.01
                assert row["clipped_gradient_norm"] == pytest.approx(0.01, rel=1e-3)


def test_what_needs_a_gradient_is_null_where_none_is_taken() -> None:
    given = full(shard(mlp("tanh"), "mezo", steps=2), backpropagation=False)
    for row in told(given).values():
        for group, names in NAMES.items():
            for name in names:
                needed = "gradient" in STATISTICS[name].needs
                assert math.isnan(row[name]) or not needed, (group, name)
        assert row["activation_correlation"] <= 1 and row["curvature_trace"] > 0


def test_bad_intervals_are_refused() -> None:
    for intervals in ({"noise": 0}, {"backward": 2}, {"noise": 1.5}):
        with pytest.raises(ValueError, match=r"noise|backward"):
            Record.model_validate({"intervals": intervals})
    assert Record.model_validate({"intervals": {"curvature": 10}}).intervals == {"curvature": 10}


def test_a_mean_field_network_has_the_jacobian_that_theory_says() -> None:
    """χ = σw² E[φ′²] of tanh at its critical point is 1, once the variance has come to its fixed point; and so are the mean squares."""
    critical = {"kind": "lecun_normal", "gain": "critical", "bias_std": 0.3}
    table = told(full(shard(mlp("tanh", depth=8, width=300, init=critical), steps=1, seeds=(0, 1, 2))))
    deep = [table[trial, 0, f"hidden.{place}.linear"] for trial in range(3) for place in range(4, 8)]
    assert np.mean([row["layer_jacobian_mean_square"] for row in deep]) == pytest.approx(1.0, abs=0.03)


def test_a_diverging_trial_ends_nobody_elses_statistics() -> None:
    """Its own are not finite where it diverges; those of its neighbours are as without it."""
    given = full(with_a_diverging(shard(mlp("identity"), "sgd", "adam", steps=60, precision="float32")))
    run = train(given)
    ended = [ending.divergence is not None for ending in run.endings]
    assert any(ended) and not all(ended)
    kept = [place for place, lost in enumerate(ended) if not lost]
    alone, together = told(only(given, *kept)), told(given)
    names = [name for names in NAMES.values() for name in names]
    for key, row in alone.items():
        for name in names:
            assert together[key][name] == pytest.approx(row[name], rel=1e-3, abs=1e-5, nan_ok=True), (key, name)
