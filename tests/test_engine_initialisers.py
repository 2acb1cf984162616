"""Initial weights and biases against their formulas and torch.nn.init, and what they do to a signal against mean-field theory."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from engine_samples import layers, mlp, program, rows, shard, statistics
from pydantic import TypeAdapter
from torch import Tensor, nn

from workers.contract.initialisers import InitSpec
from workers.contract.shapes import ExpandedLayer
from workers.engine.initialisers import INITIALISERS, draw_bias, draw_weight
from workers.engine.network import Linear
from workers.engine.network.convolution import Convolution
from workers.engine.recording import Recording
from workers.engine.train import advance

_init: TypeAdapter[Any] = TypeAdapter(InitSpec)

OUT, INTO = 300, 500

IN_TORCH: dict[str, Callable[[Tensor], Any]] = {
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "lecun_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="linear"),
    "lecun_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
    "kaiming_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
    "kaiming_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
    "scaled_uniform_orthogonal": nn.init.orthogonal_,  # the same where there are fewer rows than columns
    "delta_orthogonal": nn.init.orthogonal_,  # of a dense layer
    "lsuv": nn.init.orthogonal_,  # before it has seen anything
    "torch": lambda w: w.copy_(nn.Linear(INTO, OUT, dtype=torch.float64).weight),
}

VARIANCE: dict[str, float] = {
    "xavier_uniform": 2 / (INTO + OUT),
    "xavier_normal": 2 / (INTO + OUT),
    "lecun_uniform": 1 / INTO,
    "lecun_normal": 1 / INTO,
    "kaiming_uniform": 2 / INTO,
    "kaiming_normal": 2 / INTO,
    "orthogonal": 1 / INTO,  # orthonormal rows: the squares in one of them sum to 1
    "scaled_uniform_orthogonal": 1 / INTO,
    "delta_orthogonal": 1 / INTO,
    "lsuv": 1 / INTO,
    "torch": 1 / (3 * INTO),
}
"""Of one weight at the default gain."""

DRAWN = sorted(set(INITIALISERS) - {"identity", "zeros"})
"""What is drawn at random."""
UNIFORM = {"xavier_uniform", "lecun_uniform", "kaiming_uniform", "torch"}


def weight(kind: str, out: int = OUT, into: int = INTO, seed: int = 0, path: str = "a", **more: Any) -> Tensor:
    return draw_weight(_init.validate_python({"kind": kind, **more}), out, into, seed, path)


def bias(kind: str, **more: Any) -> Tensor:
    return draw_bias(_init.validate_python({"kind": kind, **more}), torch.ones(OUT, INTO, dtype=torch.float64), 0, "a")


def of_torch(kind: str) -> Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        drawn = torch.empty(OUT, INTO, dtype=torch.float64)
        IN_TORCH[kind](drawn)
    return drawn


@pytest.mark.parametrize("gain", [None, 0.5, 3.0])
@pytest.mark.parametrize("kind", DRAWN)
def test_variance_is_the_formulas(kind: str, gain: float | None) -> None:
    """Var W of 150,000 weights is within five standard errors of the formula, whose deviation a gain multiplies."""
    default = _init.validate_python(kind).gain
    given: dict[str, Any] = {} if gain is None else {"gain": gain}
    drawn = weight(kind, **given)
    expected = VARIANCE[kind] * ((gain or default) / default) ** 2
    kurtosis = 9 / 5 if kind in UNIFORM else 3
    error = math.sqrt((kurtosis - 1) / drawn.numel())
    assert drawn.square().mean().item() / expected == pytest.approx(1, abs=5 * error)
    assert abs(drawn.mean().item()) < 5 * math.sqrt(expected / drawn.numel())


@pytest.mark.parametrize("kind", DRAWN)
def test_has_the_distribution_of_torch_nn_init(kind: str) -> None:
    """The quantiles of our weights are those of torch's own function, up to what 150,000 draws leave open."""
    at = torch.tensor([0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0], dtype=torch.float64)
    ours, theirs = (w.flatten().quantile(at) for w in (weight(kind), of_torch(kind)))
    scale = math.sqrt(VARIANCE[kind])
    inner = slice(1, -1)
    torch.testing.assert_close(ours[inner], theirs[inner], rtol=0, atol=0.025 * scale)
    ends = 0.001 if kind in UNIFORM else 1.0  # a normal's extremes vary
    torch.testing.assert_close(ours[[0, -1]], theirs[[0, -1]], rtol=0, atol=ends * scale)


@pytest.mark.parametrize(("out", "into"), [(30, 50), (50, 30), (40, 40), (1, 5), (5, 1)])
def test_orthogonal_is(out: int, into: int) -> None:
    """Rows or columns, whichever are fewer, are orthonormal; all times the gain."""
    drawn = weight("orthogonal", out, into, gain=2.0) / 2
    product = drawn @ drawn.T if out <= into else drawn.T @ drawn
    torch.testing.assert_close(product, torch.eye(min(out, into), dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("out", "into"), [(30, 50), (50, 30), (40, 40), (1, 5), (5, 1)])
def test_scaled_uniform_orthogonal_keeps_mean_squares(out: int, into: int) -> None:
    """Of any shape: (Wx)² is x² on average over inputs of one length; it is a multiple of the orthogonal of the same draw."""
    drawn, plain = weight("scaled_uniform_orthogonal", out, into), weight("orthogonal", out, into)
    assert drawn.square().sum().item() == pytest.approx(out, rel=1e-12)  # trace of WᵀW, for E x² = 1
    torch.testing.assert_close(drawn / plain, torch.full_like(plain, math.sqrt(max(out / into, 1))))


def test_orthogonal_is_uniform() -> None:
    """Over many draws of 2×2, angles are uniform and determinants as often −1 as 1: no sign is preferred."""
    drawn = torch.stack([weight("orthogonal", 2, 2, seed) for seed in range(2000)])
    angle = torch.atan2(drawn[:, 1, 0], drawn[:, 0, 0]).numpy()
    counts = np.histogram(angle, bins=8, range=(-np.pi, np.pi))[0]
    assert ((counts - 250) ** 2 / 250).sum() < 24.3  # 0.1 % point of χ² with 7 degrees of freedom
    assert abs(torch.linalg.det(drawn).sum().item()) < 5 * math.sqrt(2000)


@pytest.mark.parametrize("kind", INITIALISERS)
def test_biases(kind: str) -> None:
    """Zero unless torch's own, which is uniform in ±gain/√fan_in as nn.Linear's, or normal of the deviation that is asked for."""
    plain = bias(kind)
    if kind == "torch":
        linear = nn.Linear(INTO, OUT).bias.abs().max().item()
        for gain in (1.0, 2.0):
            largest = bias(kind, gain=gain).abs().max().item()
            assert 0.97 * gain / math.sqrt(INTO) < largest <= gain / math.sqrt(INTO)
        assert plain.abs().max().item() == pytest.approx(linear, rel=0.03)
    else:
        assert not plain.any()
    assert bias(kind, bias_std=0.3).std().item() == pytest.approx(0.3, rel=5 / math.sqrt(2 * OUT))
    assert not bias(kind, bias_std=0.0).any()


def test_the_torch_default_is_bounded_as_nn_linear() -> None:
    """No weight of either is beyond 1/√fan_in, and the largest of both come close."""
    bound = 1 / math.sqrt(INTO)
    for drawn in (weight("torch"), nn.Linear(INTO, OUT).weight.double()):
        assert 0.999 * bound < drawn.abs().max().item() <= bound


@pytest.mark.parametrize("kind", DRAWN)
def test_draws_belong_to_seed_and_path(kind: str) -> None:
    """Repeated they are the same; another seed or another layer gives others, uncorrelated."""
    drawn = weight(kind)
    assert torch.equal(drawn, weight(kind))
    for other in (weight(kind, seed=1), weight(kind, path="b")):
        correlation = torch.corrcoef(torch.stack([drawn.flatten(), other.flatten()]))[0, 1].item()
        assert abs(correlation) < 5 / math.sqrt(drawn.numel())


@pytest.mark.parametrize(("out", "into"), [(4, 6), (6, 4), (5, 5)])
def test_identity_is_eye_or_dirac(out: int, into: int) -> None:
    """As torch.nn.init has them, times the gain; noise comes on top."""
    expected = nn.init.eye_(torch.empty(out, into, dtype=torch.float64))
    assert torch.equal(weight("identity", out, into, gain=3.0), 3 * expected)
    noisy = weight("identity", 300, 300, noise=0.1) - torch.eye(300, dtype=torch.float64)
    assert noisy.std().item() == pytest.approx(0.1, rel=0.02)
    kernel = draw_weight(_init.validate_python("identity"), out, into * 9, 0, "a", 9)
    assert torch.equal(kernel.view(out, into, 3, 3), nn.init.dirac_(torch.empty(out, into, 3, 3)).double())


@pytest.mark.parametrize("out", [5, 8])
def test_a_delta_orthogonal_convolution_keeps_norms(out: int) -> None:
    """Of any image, whatever its size, as long as there are as many channels: ‖W∗x‖ = gain·‖x‖."""
    drawn = draw_weight(_init.validate_python({"kind": "delta_orthogonal", "gain": 2.0}), out, 5 * 9, 0, "a", 9)
    x = torch.randn(1, 5, 6, 7, dtype=torch.float64)
    given = nn.functional.conv2d(x, drawn.view(out, 5, 3, 3), padding=1)
    assert given.norm().item() == pytest.approx(2 * x.norm().item(), rel=1e-12)


def test_biases_take_out_the_mean_of_what_arrives() -> None:
    """Behind a sigmoid with m = ½, every layer starts as that of the centred sigmoid; the first layer's inputs have no mean."""
    own = {"kind": "orthogonal", "gain": 3.0, "input_mean": 0.5}
    plain, centred = (
        program(shard({"kind": "mlp", "depth": 3, "width": 7, "activation": activation, "init": init}, seeds=(0, 1)))
        for activation, init in (("sigmoid", own), ("centred_sigmoid", {**own, "input_mean": 0.0}))
    )
    x, _ = plain.batches.at(0)
    torch.testing.assert_close(plain.forward(x, training=False), centred.forward(x, training=False), rtol=0, atol=1e-12)
    assert not torch.equal(plain.theta, centred.theta)


@pytest.mark.parametrize("activation", ["sigmoid", "gaussian", "softplus"])
def test_lsuv_gives_every_layer_unit_variance(activation: str) -> None:
    """Of W x over training inputs, for dense layers and convolutions, each seed by its own; biases that centre go with the weights."""
    own = {"kind": "lsuv", "gain": 1.5, "input_mean": 0.25}
    theta = {"kind": "activation", "activation": activation}
    network = layers(
        {"kind": "linear", "out_features": 16, "init": "torch"},
        {"kind": "unflatten", "shape": [1, 4, 4]},
        {"kind": "conv2d", "out_channels": 3},
        theta,
        {"kind": "conv2d", "out_channels": 9, "bias": False},
        theta,
        {"kind": "conv2d", "out_channels": 10},
        theta,
        "flatten",
        {"kind": "linear", "out_features": 12},
        theta,
        init=own,
        output_init="torch",
    )
    running = program(shard(network, "sgd", "adam", seeds=(0, 1)))
    x = running.data.training.x.expand(4, -1, -1)
    running.forward(x, training=False)
    weighted = [place.layer for place in running.measured][1:-1]
    for layer in weighted:
        assert isinstance(layer, Linear | Convolution)
        bias = layer.bias if layer.bias is not None else torch.zeros(4, layer.weight.shape[1], dtype=torch.float64)
        shape = (4, 1, -1, *[1] * (layer.output.dim() - 3))
        given = layer.output - bias.view(shape)
        torch.testing.assert_close(given.flatten(1).std(1, correction=0), torch.full((4,), 1.5, dtype=torch.float64))
        if layer.bias is not None:
            torch.testing.assert_close(bias, -0.25 * layer.weight.flatten(2).sum(2))
        assert torch.equal(layer.weight[:2], layer.weight[2:]) and not torch.equal(layer.weight[0], layer.weight[1])


WIDTH, DEPTH, SEEDS = 512, 6, 4


class MeanField(NamedTuple):
    """Var W = gain²/fan_in, Var b = bias_std²; q is the variance of a pre-activation that one layer hands on to the next."""

    gain: float
    bias_std: float
    q: float
    decades_per_layer: float
    """½ log₁₀ χ₁ with χ₁ = gain²·E[θ′(√q z)²]: how the norm of δ changes on its way down (Schoenholz et al. 2017)."""


MEAN_FIELD = {
    "sigmoid": MeanField(1.0, 0.0, 0.264687, -0.626992),
    "gaussian": MeanField(1.0, 0.0, 0.556693, -0.207738),
    "tanh": MeanField(1.39558, 0.3, 0.763475, 0.0),
}


@pytest.mark.parametrize("kind", MEAN_FIELD)
def test_signals_vanish_as_mean_field_theory_says(kind: str) -> None:
    """At step 0, δ changes by the predicted decades per layer, wherever the inputs start from the variance that stays.

    At width n a layer's log₁₀ rate scatters by about √(0.05/n): 0.01 here. A slope fitted to five of them scatters by half of
    it, the mean over four seeds by half of that: 0.0025. Five of those are allowed, and the shift of 1/n that is as large again.
    """
    theory = MEAN_FIELD[kind]
    own = {"kind": "lecun_normal", "gain": theory.gain, "bias_std": theory.bias_std}
    first = {**own, "gain": math.sqrt(theory.q - theory.bias_std**2)}
    activation = {"kind": "activation", "activation": kind}
    network = layers(
        {"kind": "linear", "out_features": WIDTH, "init": first, "name": "first"},
        activation,
        {"kind": "repeat", "times": DEPTH - 1, "layers": [{"kind": "linear", "out_features": WIDTH}, activation]},
        init=own,
        output_init="lecun_normal",
    )
    inputs = {"kind": "teacher", "inputs": WIDTH, "targets": 10, "count": 250}
    given = shard(network, problem=inputs, batch_size=128, precision="float32", steps=1, seeds=tuple(range(SEEDS)))
    norms = np.zeros((SEEDS, DEPTH))
    for (trial, step, _), row in rows(statistics(program(given))).items():
        if step == 0 and row["depth"] < DEPTH:
            norms[trial, row["depth"]] = row["error_signal_norm"]
    slopes = np.polyfit(np.arange(DEPTH), np.log10(norms).T, 1)[0]
    assert -slopes.mean() == pytest.approx(theory.decades_per_layer, abs=0.015)


@torch.no_grad()
def test_an_update_changes_a_network_that_starts_by_fixup_as_much_at_any_depth() -> None:
    """Three steps of SGD move the outputs of 4 and of 64 blocks alike; without its scales and zeros 64 blocks are moved far more."""
    moved = {}
    for shortcut in ("fixup", "plain"):
        for blocks in (4, 64):
            network = mlp(depth=2 * blocks + 1, width=32, activation="relu", init="kaiming_normal", shortcut="fixup")
            planned = shard(network, {"kind": "sgd", "lr": 0.01}, problem="digits", batch_size=128, steps=3)
            if shortcut == "plain":
                planned = planned.model_copy(update={"network": without_fixup(planned.network)})
            running = program(planned)
            x, _ = running.batches.at(0)
            before = running.forward(x, training=False).clone()
            advance(running, Recording(running), 0, 3)
            moved[shortcut, blocks] = float((running.forward(x, training=False) - before).square().mean().sqrt())
    assert 0.8 < moved["fixup", 64] / moved["fixup", 4] < 1.25
    assert not moved["plain", 64] < 100 * moved["plain", 4]


def without_fixup(layers: list[ExpandedLayer]) -> list[ExpandedLayer]:
    """Every layer of a branch as the network's first one starts."""
    start = {"init": layers[0].init}
    return [
        layer.model_copy(update={"layers": [one.model_copy(update=start) if one.init else one for one in layer.layers]})
        for layer in layers
    ]
