"""What the theory says of step 0 against what autograd finds: slopes of the error signal, and every layer's norms.

    python -m benchmarks.theory [width] [depth]

Each row is the same network three times, drawn anew: torch's own layers and autograd in float64, nothing of the engine. The slope is
minus the least-squares slope of log₁₀‖δ‖ over the hidden layers, in decades per layer.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from workers.contract.initialisers import XavierNormal
from workers.contract.layers import (
    Activation,
    ActNorm,
    BatchNorm,
    Dense,
    GroupNorm,
    Highway,
    Linear,
    Normalization,
    NormalizationSpec,
    Residual,
    SpectralNorm,
    WeightNormalizationSpec,
    WeightStandardization,
)
from workers.contract.network import Layers, Mlp
from workers.contract.shapes import ExpandedLayer, expand
from workers.engine.initialisers import draw_bias, draw_weight
from workers.theory.prediction import LayerSignal, forecast
from workers.theory.resolution import resolved

BATCH, FEATURES, CLASSES, SEEDS = 64, 400, 10, 3

Numbers = NDArray[np.float64]
Theta = Callable[[Tensor], Tensor]


def _gaussian(z: Tensor) -> Tensor:
    return torch.exp(-z.square())


CASES: dict[str, tuple[object, Theta, dict[str, object], dict[str, object]]] = {
    "tanh, torch's default": ("tanh", torch.tanh, {"kind": "torch"}, {}),
    "tanh, σw 1": ("tanh", torch.tanh, {"kind": "lecun_normal"}, {}),
    "tanh, gain 5/3": ("tanh", torch.tanh, {"kind": "lecun_normal", "gain": 5 / 3}, {}),
    "tanh, critical, σb .1": ("tanh", torch.tanh, {"kind": "lecun_normal", "gain": 1.1934, "bias_std": 0.1}, {}),
    "tanh, orthogonal": ("tanh", torch.tanh, {"kind": "orthogonal", "gain": 1.0}, {}),
    "sigmoid, torch's default": ("sigmoid", torch.sigmoid, {"kind": "torch"}, {}),
    "sigmoid, Glorot": ("sigmoid", torch.sigmoid, {"kind": "xavier_normal"}, {}),
    "centred sigmoid, σw 4": (
        "centred_sigmoid",
        lambda z: torch.sigmoid(z) - 0.5,
        {"kind": "lecun_normal", "gain": 4.0},
        {},
    ),
    "softplus, σw 1": ("softplus", functional.softplus, {"kind": "lecun_normal"}, {}),
    "relu, He": ("relu", torch.relu, {"kind": "kaiming_normal"}, {}),
    "relu, torch's default": ("relu", torch.relu, {"kind": "torch"}, {}),
    "gaussian, σw 1": ("gaussian", lambda z: torch.exp(-z.square()), {"kind": "lecun_normal"}, {}),
    "gaussian, critical": (
        "gaussian",
        lambda z: torch.exp(-z.square()),
        {"kind": "lecun_normal", "gain": 1 + 0.5**0.5},
        {},
    ),
    "gelu, σw 1": ("gelu", functional.gelu, {"kind": "lecun_normal"}, {}),
    "sin, σw 1.5": ("sin", torch.sin, {"kind": "lecun_normal", "gain": 1.5}, {}),
    "softsign, σb .3": (
        "softsign",
        functional.softsign,
        {"kind": "lecun_normal", "gain": 1.89749, "bias_std": 0.3},
        {},
    ),
    "z exp(−z²/2), σw 2": (
        {"kind": "expression", "formula": "z*exp(-z**2/2)"},
        lambda z: z * torch.exp(-z.square() / 2),
        {"kind": "lecun_normal", "gain": 2.0},
        {},
    ),
    "sigmoid, batch norm": ("sigmoid", torch.sigmoid, {"kind": "lecun_normal"}, {"normalization": "batch"}),
    "sigmoid, layer norm": ("sigmoid", torch.sigmoid, {"kind": "lecun_normal"}, {"normalization": "layer"}),
    "tanh, RMS norm": ("tanh", torch.tanh, {"kind": "lecun_normal"}, {"normalization": "rms"}),
    "gaussian, batch norm": ("gaussian", _gaussian, {"kind": "lecun_normal"}, {"normalization": "batch"}),
    "gaussian, critical batch norm": (
        "gaussian",
        _gaussian,
        {"kind": "lecun_normal"},
        {"normalization": "critical_batch"},
    ),
    "sigmoid, critical batch norm": (
        "sigmoid",
        torch.sigmoid,
        {"kind": "lecun_normal"},
        {"normalization": "critical_batch"},
    ),
    "sigmoid, layer norm after": (
        "sigmoid",
        torch.sigmoid,
        {"kind": "lecun_normal"},
        {"normalization": {"kind": "layer", "position": "after"}},
    ),
    "softplus, batch norm after": (
        "softplus",
        functional.softplus,
        {"kind": "lecun_normal"},
        {"normalization": {"kind": "batch", "position": "after"}},
    ),
    "tanh, residual": ("tanh", torch.tanh, {"kind": "lecun_normal"}, {"shortcut": "residual"}),
    "sigmoid, residual": ("sigmoid", torch.sigmoid, {"kind": "lecun_normal"}, {"shortcut": "residual"}),
    "relu, residual 1/√L": (
        "relu",
        torch.relu,
        {"kind": "kaiming_normal"},
        {"shortcut": {"kind": "residual", "scale": "depth"}},
    ),
    "tanh, normalised residual .7": (
        "tanh",
        torch.tanh,
        {"kind": "lecun_normal"},
        {"shortcut": {"kind": "residual", "scale": 0.7, "normalized": True}},
    ),
    "tanh, residual, layer norm": (
        "tanh",
        torch.tanh,
        {"kind": "lecun_normal"},
        {"shortcut": "residual", "normalization": "layer"},
    ),
    "softplus, ReZero from .3": (
        "softplus",
        functional.softplus,
        {"kind": "lecun_normal"},
        {"shortcut": {"kind": "rezero", "start": 0.3}},
    ),
    "sigmoid, biases that centre, σw 4": (
        "sigmoid",
        torch.sigmoid,
        {"kind": "lecun_normal", "gain": 4.0, "input_mean": 0.5},
        {},
    ),
    "gaussian, LSUV": ("gaussian", _gaussian, {"kind": "lsuv"}, {}),
    "tanh, group norm": ("tanh", torch.tanh, {"kind": "lecun_normal"}, {"normalization": "group"}),
    "sigmoid, actnorm": ("sigmoid", torch.sigmoid, {"kind": "lecun_normal"}, {"normalization": "actnorm"}),
    "tanh, weight norm": (
        "tanh",
        torch.tanh,
        {"kind": "lecun_normal"},
        {"normalization": {"kind": "weight", "start": "unit"}},
    ),
    "sigmoid, weights standardised, 4": (
        "sigmoid",
        torch.sigmoid,
        {"kind": "xavier_normal"},
        {"normalization": {"kind": "weight_standardization", "gain": 4.0}},
    ),
    "tanh, spectral norm 2": (
        "tanh",
        torch.tanh,
        {"kind": "lecun_normal"},
        {"normalization": {"kind": "spectral", "bound": 2.0}},
    ),
    "tanh, dense": ("tanh", torch.tanh, {"kind": "lecun_normal"}, {"shortcut": "dense"}),
    "sigmoid, dense, layer norm": (
        "sigmoid",
        torch.sigmoid,
        {"kind": "lecun_normal"},
        {"shortcut": "dense", "normalization": "layer"},
    ),
    "sigmoid, highway": ("sigmoid", torch.sigmoid, {"kind": "lecun_normal"}, {"shortcut": "highway"}),
    "tanh, highway, bias 0": (
        "tanh",
        torch.tanh,
        {"kind": "lecun_normal"},
        {"shortcut": {"kind": "highway", "transform_bias": 0}},
    ),
}


class Measured(NamedTuple):
    """[L], the output layer at the end."""

    log10_delta: Numbers
    log10_gradient: Numbers
    sample_std: Numbers


def main() -> None:
    width, depth = (int(sys.argv[at]) if len(sys.argv) > at else default for at, default in ((1, 400), (2, 40)))
    print(f"Decades per layer of the error signal, width {width}, depth {depth}, {SEEDS} draws of the weights:")
    print(f"  {'':30}{'measured':>9}{'predicted':>10}{'off':>7}{'  worst layer: δ':>16}{'gradient':>9}")
    pairs = []
    for name, (activation, theta, init, more) in CASES.items():
        network = Mlp.model_validate({"depth": depth, "width": width, "activation": activation, "init": init, **more})
        measured = [measure(network, theta, seed) for seed in range(SEEDS)]
        found = Measured(*(np.mean(column, axis=0) for column in zip(*measured, strict=True)))
        said = predict(network)
        slopes = [slope(column) for column in (found.log10_delta[:-1], said.log10_delta[:-1])]
        worst = [float(np.abs(own - other).max()) for own, other in zip(found[:2], said[:2], strict=True)]
        pairs.append(np.stack([found.log10_gradient, said.log10_gradient]))
        print(
            f"  {name:30}{slopes[0]:9.3f}{slopes[1]:10.3f}{slopes[1] - slopes[0]:7.3f}{worst[0]:16.2f}{worst[1]:9.2f}"
        )
    both = np.concatenate(pairs, axis=1)
    correlation = float(np.asarray(np.corrcoef(both))[0, 1])
    print(
        f"Correlation of measured and predicted log₁₀ gradient norms over all {both.shape[1]} layers: {correlation:.5f}"
    )


def slope(log10_delta: Numbers) -> float:
    """Decades per layer, hidden layers from the input upwards."""
    return -float(np.polyfit(np.arange(len(log10_delta)), log10_delta, 1)[0])


def predict(network: Mlp | Layers) -> Measured:
    said: list[LayerSignal] = forecast(resolved(expand(network, (FEATURES,), (CLASSES,))), "cross_entropy", BATCH)
    columns = ([getattr(layer, name) for layer in said] for name in Measured._fields)
    return Measured(*(np.array(column) for column in columns))


def measure(network: Mlp | Layers, theta: Theta, seed: int) -> Measured:
    """One batch of independent normal inputs and random labels through autograd, float64.

    Parameters that stand behind a layer of weights are counted with it, and δ is that of the residual stream where there is one.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(BATCH, FEATURES, generator=generator, dtype=torch.float64)
    labels = torch.randint(CLASSES, (BATCH,), generator=generator)
    net = _Net(theta, seed)
    h = net.through(resolved(expand(network, (FEATURES,), (CLASSES,))), x, None)
    net.rows[-1].activation = h
    functional.cross_entropy(h, labels).backward()
    return Measured(
        _numpy(
            [
                _norm((row.pre_activation if row.stream is None else net.streams[row.stream]).grad).log10()
                for row in net.rows
            ]
        ),
        _numpy(
            [
                _norm(torch.cat([p.grad.flatten() for p in row.parameters if p.grad is not None])).log10()
                for row in net.rows
            ]
        ),
        _numpy([row.activation.detach().std(0, correction=0).square().mean().sqrt() for row in net.rows]),
    )


@dataclass
class _Row:
    pre_activation: Tensor
    activation: Tensor
    stream: str | None
    parameters: list[Tensor]


class _Net:
    """A network layer by layer, remembering what is measured."""

    def __init__(self, theta: Theta, seed: int) -> None:
        self.theta, self.seed = theta, seed
        self.rows: list[_Row] = []
        self.streams: dict[str, Tensor] = {}

    def through(self, layers: list[ExpandedLayer], x: Tensor, stream: str | None) -> Tensor:
        for layer in layers:
            x = self.one(layer, x, stream)
        return x

    def own(self, tensor: Tensor) -> Tensor:
        tensor = tensor.double().requires_grad_()
        self.rows[-1].parameters.append(tensor)
        return tensor

    def one(self, layer: ExpandedLayer, x: Tensor, stream: str | None) -> Tensor:
        spec = layer.spec
        if isinstance(spec, Linear):
            assert layer.init is not None
            self.rows.append(_Row(x, x, stream, []))
            shape = layer.out_shape[0], layer.in_shape[0]
            drawn = draw_weight(layer.init, *shape, self.seed, layer.path)
            if layer.init.kind == "lsuv":
                drawn *= layer.init.number() / functional.linear(x, drawn).std(correction=0).item()
            learned, bias = self.own(drawn), self.own(draw_bias(layer.init, drawn, self.seed, layer.path))
            weight = self.made(spec.weight_normalization, learned)
            z = functional.linear(x, weight, bias)
            z.retain_grad()
            self.rows[-1].pre_activation = z
            return z
        if isinstance(spec, Activation):
            self.rows[-1].activation = self.theta(x)
            return self.rows[-1].activation
        if isinstance(spec, Normalization):
            return self.normalised(spec.normalization, x)
        if isinstance(spec, Dense):
            return torch.cat([x, self.through(layer.layers, x, stream)], 1)
        assert isinstance(spec, Residual | Highway)
        branch = self.through(layer.layers, x, stream or layer.path)
        if isinstance(spec, Residual):
            carried, scale = spec.shares
            y = carried * x + (self.own(torch.tensor([scale])) if spec.trainable else scale) * branch
        else:
            width = x.shape[1]
            weight = self.own(draw_weight(XavierNormal(), width, width, self.seed, layer.path))
            t = torch.sigmoid(functional.linear(x, weight, self.own(torch.full((width,), spec.transform_bias))))
            y = t * branch + (1 - t) * x
        y.retain_grad()
        self.streams[layer.path] = y
        return y

    def made(self, spec: WeightNormalizationSpec | None, v: Tensor) -> Tensor:
        if spec is None:
            return v
        if isinstance(spec, SpectralNorm):
            largest: Tensor = torch.linalg.matrix_norm(v, 2)
            return spec.bound * v / largest
        if isinstance(spec, WeightStandardization):
            v, g = v - v.mean(1, keepdim=True), torch.full((len(v),), spec.gain)
        else:
            g = torch.ones(len(v)) if spec.start == "unit" else v.detach().norm(dim=1)
        length: Tensor = torch.linalg.vector_norm(v, dim=1, keepdim=True)
        return self.own(g)[:, None] * v / length

    def normalised(self, spec: NormalizationSpec, x: Tensor) -> Tensor:
        ones = torch.ones(x.shape[1], dtype=x.dtype)
        if spec.kind == "rms":
            return functional.rms_norm(x, x.shape[1:], self.own(ones), spec.eps)
        scale, shift = (spec.gamma, spec.beta) if isinstance(spec, BatchNorm) else (1.0, 0.0)
        gamma, beta = self.own(scale * ones), self.own(shift * ones)
        if isinstance(spec, ActNorm):
            gamma = self.own(ones / torch.sqrt(x.detach().var(0, correction=0) + spec.eps))
            return gamma * x + self.own(-gamma.detach() * x.detach().mean(0))
        if isinstance(spec, GroupNorm):
            return functional.group_norm(x, spec.groups, self.own(ones), self.own(torch.zeros(x.shape[1])), spec.eps)
        if spec.kind == "layer":
            return functional.layer_norm(x, x.shape[1:], gamma, beta, spec.eps)
        return functional.batch_norm(x, None, None, gamma, beta, training=True, eps=spec.eps)


def _norm(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    norm: Tensor = torch.linalg.vector_norm(tensor)
    return norm


def _numpy(values: list[Tensor]) -> Numbers:
    return torch.stack(values).detach().numpy()


if __name__ == "__main__":
    main()
