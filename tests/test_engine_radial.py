"""Radial units: where they start, what stays frozen, and that a deep stack of them keeps its gradient."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import assert_same, layers, parameters, program, shard, train, train_interrupted, training
from sklearn.cluster import KMeans
from torch import Tensor

from workers.contract.memory import STARTING_SAMPLES
from workers.engine.network.radial import Rbf
from workers.engine.program import Program, every
from workers.engine.train import differentiate, measure

GAUSSIAN = {"kind": "activation", "activation": "gaussian"}


def rbf(units: int = 6, **fields: Any) -> dict[str, Any]:
    return {"kind": "rbf", "out_features": units, **fields}


def stack(depth: int, units: int = 64, **fields: Any) -> dict[str, Any]:
    return layers({"kind": "repeat", "times": depth, "name": "hidden", "layers": [rbf(units, **fields), GAUSSIAN]})


def radial(running: Program) -> list[Rbf]:
    return [layer for layer in every(running.layers) if isinstance(layer, Rbf)]


def received(running: Program, place: int) -> Tensor:
    """What the radial layer at a place receives of the whole training split, as in training, [T, N, I]."""
    x = running.data.training.x
    running.forward(x.expand(len(running.trials), *x.shape), training=True)
    return radial(running)[place].input


def distance_to_samples(centres: Tensor, x: Tensor) -> Tensor:
    """Of each centre to the nearest sample."""
    return torch.cdist(centres, x, compute_mode="donot_use_mm_for_euclid_dist").amin(1)


@pytest.mark.parametrize("place", [0, 1])
def test_centres_are_samples_of_the_layers_own_input(place: int) -> None:
    """Different ones, of the layer's own input, not of the network's."""
    running = program(shard(layers(rbf(), GAUSSIAN, rbf(9), GAUSSIAN), seeds=(0, 1)))
    x = received(running, place)
    for row, centres in enumerate(radial(running)[place].centres):
        assert distance_to_samples(centres, x[row]).max() < 1e-12
        assert len(centres.unique(dim=0)) == len(centres)


def test_more_units_than_samples() -> None:
    """Every sample is a centre, and some are so twice."""
    for start in ("samples", "k_means"):
        running = program(shard(layers(rbf(150, centres=start), GAUSSIAN), problem="wine"))
        x = received(running, 0)[0]
        assert len(radial(running)[0].centres[0].unique(dim=0)) == len(x.unique(dim=0)) == 106


def test_means_are_those_of_their_samples() -> None:
    """Each is the mean of the samples that are nearest to it, and they are about as good as scikit-learn's best of ten."""
    running = program(shard(layers(rbf(5, centres="k_means"), GAUSSIAN)))
    x, centres = received(running, 0)[0], radial(running)[0].centres[0]
    distance, nearest = torch.cdist(x, centres).min(1)
    for index, centre in enumerate(centres):
        torch.testing.assert_close(centre, x[nearest == index].mean(0))
    best = KMeans(5, n_init=10, random_state=0).fit(x.numpy()).inertia_
    assert best * (1 - 1e-9) <= float(distance.square().sum()) <= 1.2 * best


@pytest.mark.parametrize("distance", ["euclidean", "scaled", "unit_sphere", "log"])
def test_the_median_distance_is_one_width(distance: str) -> None:
    """Half of the starting samples are nearer to a centre than its width, half are farther: 1/w² = 1/median r²."""
    running = program(shard(layers(rbf(20, distance=distance), GAUSSIAN), problem="wine"))
    received(running, 0)
    z = radial(running)[0].output
    assert (z >= 0).all()
    assert float(z.median()) == pytest.approx(1, abs=1e-12)


def test_the_width_by_the_dimension() -> None:
    """1/w² = √(n/2): 13 inputs."""
    running = program(shard(layers(rbf(distance="scaled", width="dimension"), GAUSSIAN)))
    torch.testing.assert_close(radial(running)[0].inverse_widths.square(), torch.full((1, 6), (13 / 2) ** 0.5).double())


def test_scales_of_distances() -> None:
    """Over a batch: E r² = 1; 0 ≤ r² ≤ 4; the logarithm of r² has mean zero and deviation one where d² is far above the floor."""
    for distance in ("scaled", "unit_sphere", "log"):
        running = program(shard(layers(rbf(7, distance=distance, centres="normal"), GAUSSIAN)))
        received(running, 0)
        square = radial(running)[0].radius[0].square()
        if distance == "scaled":
            torch.testing.assert_close(square.mean(0), torch.ones(7, dtype=torch.float64))
        elif distance == "unit_sphere":
            assert 0 <= float(square.min()) < float(square.max()) <= 4
        else:
            torch.testing.assert_close(square.log().mean(0), torch.zeros(7, dtype=torch.float64))
            torch.testing.assert_close(square.log().std(0), torch.ones(7, dtype=torch.float64), rtol=0.01, atol=0)


@pytest.mark.parametrize("distance", ["scaled", "log"])
def test_evaluation_takes_running_statistics(distance: str) -> None:
    """One sample alone gives what it gives among others, and after many batches nearly what training gives."""
    running = program(shard(layers(rbf(distance=distance), GAUSSIAN), batch_size=100))
    for step in range(60):
        running.forward(running.batches.at(step)[0], training=True)
    x = running.data.training.x[None]
    together = running.forward(x, training=False)
    torch.testing.assert_close(running.forward(x[:, :1], training=False), together[:, :1])
    torch.testing.assert_close(together, running.forward(x, training=True), rtol=0.05, atol=0.05)


def test_arms_of_a_seed_start_alike_whoever_is_there() -> None:
    """Trials of one seed have the same bits, other seeds other centres, and a trial alone starts as it does in company."""
    network = layers(rbf(centres="k_means"), GAUSSIAN, rbf(8), GAUSSIAN)
    together = program(shard(network, "sgd", "adam", seeds=(0, 1)))
    assert torch.equal(together.theta[:2], together.theta[2:])
    assert not torch.equal(together.theta[0], together.theta[1])
    alone = program(shard(network, seeds=(1,)))
    torch.testing.assert_close(alone.theta[0], together.theta[1], rtol=1e-12, atol=1e-12)


def test_the_layers_below_are_as_in_training() -> None:
    """A batch norm normalises what the centres are taken from, and its running statistics have not seen it."""
    network = layers(rbf(), {"kind": "normalization", "normalization": "batch"}, rbf(5), GAUSSIAN)
    running = program(shard(network))
    norm = next(layer for layer in running.remembering if "variance" in layer.state)
    assert not norm.state["mean"].any() and (norm.state["variance"] == 1).all()
    assert distance_to_samples(radial(running)[1].centres[0], received(running, 1)[0]).max() < 1e-12


def test_inside_a_shortcut() -> None:
    """The start reaches layers inside others."""
    block = {"kind": "residual", "layers": [rbf(13), GAUSSIAN]}
    running = program(shard(layers(block)))
    assert distance_to_samples(radial(running)[0].centres[0], received(running, 0)[0]).max() < 1e-12


def test_large_splits_are_not_shown_whole() -> None:
    """STARTING_SAMPLES of them."""
    planned = shard(layers(rbf(3000), GAUSSIAN), problem={"kind": "spirals", "count": 5000})
    assert len(radial(program(planned))[0].centres[0].unique(dim=0)) == STARTING_SAMPLES


@pytest.mark.parametrize("trainable", [[], ["centres"], ["widths"]])
def test_what_is_frozen_stays(trainable: list[str], tmp_path: Path) -> None:
    """Under weight decay, too, and through a checkpoint; it has no row unless something of it is learned."""
    network = layers(rbf(centres="k_means", trainable=trainable), GAUSSIAN)
    planned = shard(network, {"kind": "adamw", "lr": 0.01, "weight_decay": 0.1}, steps=4)
    running = training(planned)
    (layer,) = radial(running.programs[0])
    before = layer.centres.clone(), layer.inverse_widths.clone()
    start = parameters(running).clone()
    running.advance(planned.steps)
    assert torch.equal(layer.centres, before[0]) == ("centres" not in trainable)
    assert torch.equal(layer.inverse_widths, before[1]) == ("widths" not in trainable)
    assert not torch.equal(parameters(running), start)
    found = train(planned)
    assert ("layers.0.rbf" in found.statistics.column("layer").to_pylist()) == bool(trainable)
    assert_same(train_interrupted(planned, [1, 3], tmp_path), found)


def slope(network: dict[str, Any]) -> float:
    """Decades of δ per layer at step 0, negative towards the input."""
    running = program(shard(network, problem="digits", batch_size=128, seeds=(0, 1, 2)))
    with torch.no_grad():
        differentiate(running, *running.batches.at(0))
        norms = measure(running, 0)["error_signal_norm"].log10().mean(1).numpy()[:-1]
    return float(-np.polyfit(np.arange(len(norms)), norms, 1)[0])


@pytest.mark.parametrize(
    "fields",
    [{}, {"centres": "k_means"}, {"distance": "scaled"}, {"distance": "unit_sphere"}, {"distance": "log"}],
    ids=str,
)
def test_a_stack_that_starts_from_its_own_input_keeps_its_gradient(fields: dict[str, Any]) -> None:
    """Ten layers, within a seventh of a decade per layer."""
    assert abs(slope(stack(10, **fields))) < 0.15


def test_a_stack_of_arbitrary_centres_does_not() -> None:
    """Centres from N(0, 1) and a width of one: several decades are lost in every layer."""
    assert slope(stack(6, centres="normal", width=1)) < -5


def test_inputs_that_are_all_alike() -> None:
    """A collapsed signal: everything stays finite, and inputs a millionth apart are told apart in float32."""
    for distance in ("euclidean", "scaled", "unit_sphere", "log"):
        network = layers(
            {"kind": "linear", "out_features": 8, "init": {"kind": "xavier_normal", "gain": 1e-6, "bias_std": 1.0}},
            rbf(distance=distance), GAUSSIAN,
        )  # fmt: skip
        running = program(shard(network, precision="float32"))
        with torch.no_grad():
            differentiate(running, *running.batches.at(0))
        assert running.gradient.isfinite().all()
        if distance == "euclidean":
            assert float(radial(running)[0].output.std()) > 0.1
