"""The forecast of step 0 against autograd in float64, and against what the engine's own statistics end up in a result as."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from analysis_samples import comparison
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from benchmarks.forecast import EXAMPLES, measured, shards
from workers.analysis.predicted import beside, predict
from workers.contract.network import Layers, Mlp, NetworkSpec
from workers.contract.problems import Digits, Teacher
from workers.contract.results import LayerDiagnosis, Stage
from workers.contract.shapes import expand
from workers.theory.prediction import forecast

WIDTH, DEPTH, FEATURES, CLASSES, BATCH, SEEDS = 300, 12, 200, 10, 64, 4

Numbers = NDArray[np.float64]


class Measured(NamedTuple):
    """[L] each, means over seeds."""

    log10_delta: Numbers
    log10_gradient: Numbers
    sample_std: Numbers
    q: Numbers
    saturation: Numbers


def measure(
    theta: Callable[[Tensor], Tensor], *, sigma_w: float, sigma_b: float, dropout: float, regression: bool
) -> Measured:
    """Plain torch: normal inputs, random labels or targets, normal weights, one backward pass."""
    found = []
    for seed in range(SEEDS):
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int, source: torch.Generator = generator) -> Tensor:
            return torch.randn(*shape, generator=source, dtype=torch.float64)

        h, widths = normal(BATCH, FEATURES), [FEATURES, *[WIDTH] * DEPTH, CLASSES]
        weights, biases, zs, activations = [], [], [], []
        for layer, (into, out) in enumerate(pairwise(widths)):
            top = layer == DEPTH
            weights.append((normal(out, into) * (1 if top else sigma_w) / into**0.5).requires_grad_())
            biases.append((normal(out) * sigma_b).requires_grad_())
            z = functional.linear(h, weights[-1], biases[-1])
            z.retain_grad()
            zs.append(z)
            h = z if top else theta(z)
            activations.append(h.detach())
            if not top and dropout:
                h = h * (torch.rand(h.shape, generator=generator) >= dropout) / (1 - dropout)
        if regression:
            functional.mse_loss(h, normal(BATCH, CLASSES)).backward()
        else:
            functional.cross_entropy(h, torch.randint(CLASSES, (BATCH,), generator=generator)).backward()
        found.append([[_numbers(*layer, theta) for layer in zip(zs, activations, weights, biases, strict=True)]])
    return Measured(*np.mean(found, axis=(0, 1)).T)


def _numbers(z: Tensor, a: Tensor, weight: Tensor, bias: Tensor, theta: Callable[[Tensor], Tensor]) -> list[float]:
    assert z.grad is not None and weight.grad is not None and bias.grad is not None
    probe = z.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(theta(probe).sum(), probe)
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64, requires_grad=True)
    (steepest,) = torch.autograd.grad(theta(grid).sum(), grid)
    return [
        float(z.grad.norm().log10()),
        float(torch.hypot(weight.grad.norm(), bias.grad.norm()).log10()),
        float(a.std(0, correction=0).square().mean().sqrt()),
        float(z.detach().square().mean()),
        float((slope.abs() < 0.1 * steepest.abs().max()).double().mean()),
    ]


CASES: list[tuple[str, Callable[[Tensor], Tensor], dict[str, Any]]] = [
    ("tanh", torch.tanh, {"sigma_w": 1.0, "sigma_b": 0.0}),
    ("tanh", torch.tanh, {"sigma_w": 1.5, "sigma_b": 0.2, "regression": True}),
    ("sigmoid", torch.sigmoid, {"sigma_w": 1.0, "sigma_b": 0.0}),
    ("gaussian", lambda z: torch.exp(-z.square()), {"sigma_w": 1.7, "sigma_b": 0.1}),
    ("relu", torch.relu, {"sigma_w": 2**0.5, "sigma_b": 0.0}),
    ("softplus", functional.softplus, {"sigma_w": 1.0, "sigma_b": 0.0, "regression": True}),
    ("erf", torch.erf, {"sigma_w": 1.2, "sigma_b": 0.3, "dropout": 0.2}),
]


@pytest.mark.parametrize(("name", "theta", "case"), CASES)
def test_the_forecast_is_what_autograd_finds(
    name: str, theta: Callable[[Tensor], Tensor], case: dict[str, Any]
) -> None:
    """Every layer's error signal within .08 decades, gradient within .2; spread, variance and saturation; slopes within .01."""
    case = {"dropout": 0.0, "regression": False, **case}
    found = measure(theta, **case)
    block: list[Any] = [{"kind": "linear", "out_features": WIDTH}, {"kind": "activation", "activation": name}]
    if case["dropout"]:
        block.append({"kind": "dropout", "p": case["dropout"]})
    init = {"kind": "lecun_normal", "gain": case["sigma_w"], "bias_std": case["sigma_b"]}
    network = Layers.model_validate(
        {"layers": [{"kind": "repeat", "times": DEPTH, "layers": block, "name": "hidden"}], "init": init}
    )
    loss = "mean_squared_error" if case["regression"] else "cross_entropy"
    said = forecast(expand(network, (FEATURES,), (CLASSES,)), loss, BATCH)  # type: ignore[arg-type]
    columns = {field: np.array([getattr(layer, field) for layer in said]) for field in Measured._fields}
    assert np.abs(columns["log10_delta"] - found.log10_delta).max() < 0.08
    assert np.abs(columns["log10_gradient"] - found.log10_gradient).max() < 0.2
    slopes = [np.polyfit(np.arange(DEPTH), delta[:-1], 1)[0] for delta in (columns["log10_delta"], found.log10_delta)]
    assert slopes[0] == pytest.approx(slopes[1], abs=0.01)
    # where samples have collapsed, a layer's variance is that of a single draw
    assert columns["q"][:-1] == pytest.approx(found.q[:-1], rel=0.2)
    assert columns["saturation"][:-1] == pytest.approx(found.saturation[:-1], abs=0.03)
    assert np.abs(np.log10(columns["sample_std"] / found.sample_std)).max() < 0.1


def test_orthogonal_weights_scatter_less() -> None:
    """Their band is that of θ′ alone; it narrows as 1/√width, and the layer below the loss has none."""

    def band(init: str, width: int) -> list[float]:
        network: NetworkSpec = Mlp.model_validate({"depth": 10, "width": width, "activation": "tanh", "init": init})
        return [layer.band for layer in forecast(expand(network, (64,), (10,)), "cross_entropy", 128)]

    assert band("orthogonal", 64)[0] < 0.5 * band("lecun_normal", 64)[0]
    assert band("lecun_normal", 256)[0] == pytest.approx(band("lecun_normal", 64)[0] / 2, rel=0.01)
    assert band("lecun_normal", 64)[-1] == 0


def test_nothing_breaks_where_numbers_end() -> None:
    """Signals that vanish or explode beyond any format, at a thousand layers; regressions explode in the loss, too."""
    for gain, verdict in ((1e-6, "underflowed"), (1e3, "exploding")):
        for activation in ("relu", "tanh", "gaussian", "bent_identity"):
            init = {"kind": "lecun_normal", "gain": gain}
            network = Mlp.model_validate({"depth": 1000, "width": 16, "activation": activation, "init": init})
            told = predict(expand(network, (20,), (1,)), Teacher(), 32, "float64")
            assert told.verdict in (verdict, "exploding"), activation
            assert len(told.layers) == 1001


@pytest.mark.parametrize(
    "asked",
    [
        {"init": {"kind": "xavier_normal", "input_mean": 0.5}},
        {"normalization": "weight_standardization"},
        {"normalization": "layer"},
        {"normalization": {"kind": "group", "groups": 4}},
    ],
)
@pytest.mark.parametrize("activation", ["sigmoid", "gaussian", "softplus"])
def test_nothing_breaks_where_a_mean_is_all_there_is(asked: dict[str, Any], activation: str) -> None:
    """Units that are alike up to rounding, their mean taken out: what is left is no negative square."""
    for depth in (*range(6, 20), 200):
        network = Mlp.model_validate({"depth": depth, "width": 48, "activation": activation, **asked})
        assert len(predict(expand(network, (64,), (10,)), Digits(), 128, "float32").layers) == depth + 1


def test_the_ratio_is_measured_over_predicted() -> None:
    """Layer by layer by name, null where either is zero."""
    spec = comparison("sgd")
    said = predict(expand(Mlp(depth=2, width=64), (64,), (10,)), Digits(), 128, "float32")
    norms = [10 ** (layer.error_signal_log10 or 0) for layer in said.layers]
    measured = Stage(
        step=0, verdict="healthy", decades_per_layer=0.0, decades=0.0,
        layers=[
            LayerDiagnosis(layer="hidden.0.linear", verdict="healthy", gradient_norm=0.0, error_signal_norm=2 * norms[0]),
            LayerDiagnosis(layer="output", verdict="healthy", gradient_norm=None, error_signal_norm=norms[2]),
        ],
    )  # fmt: skip
    first, output = beside(said, measured).layers
    assert (first.layer, output.layer) == ("hidden.0.linear", "output")
    assert (first.error_signal_ratio, output.error_signal_ratio) == pytest.approx((2, 1))
    assert first.gradient_ratio is None and output.gradient_ratio is None
    assert spec.baseline == "sgd"


def test_the_forecast_of_an_example_is_what_its_training_measures() -> None:
    """Real data, a width of 64: every layer of the first example within half a decade (`python -m benchmarks.forecast` shows all)."""
    (shard,) = shards(EXAMPLES / "sigmoid-digits.json", 3)
    found, said = measured(shard), predict(shard.network, shard.problem, shard.batch_size, shard.precision)
    off = [layer.gradient_log10 - found[layer.layer] for layer in said.layers if layer.gradient_log10 is not None]
    assert len(off) == len(found) == 7 and np.abs(off).max() < 0.5
