"""What the theory says of step 0 against what autograd finds: slopes of the error signal, and every layer's norms.

    python -m benchmarks.theory [width] [depth]

Each row is the same network three times, drawn anew: torch's own layers and autograd in float64, nothing of the engine. The slope is
minus the least-squares slope of log₁₀‖δ‖ over the hidden layers, in decades per layer.
"""

import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from workers.contract.network import Layers, Mlp
from workers.contract.shapes import expand
from workers.engine.initialisers import draw_bias, draw_weight
from workers.theory.prediction import LayerSignal, forecast

BATCH, FEATURES, CLASSES, SEEDS = 64, 400, 10, 3

Numbers = NDArray[np.float64]
Theta = Callable[[Tensor], Tensor]

CASES: dict[str, tuple[object, Theta, dict[str, object]]] = {
    "tanh, torch's default": ("tanh", torch.tanh, {"kind": "torch"}),
    "tanh, σw 1": ("tanh", torch.tanh, {"kind": "lecun_normal"}),
    "tanh, gain 5/3": ("tanh", torch.tanh, {"kind": "lecun_normal", "gain": 5 / 3}),
    "tanh, critical, σb .1": ("tanh", torch.tanh, {"kind": "lecun_normal", "gain": 1.1934, "bias_std": 0.1}),
    "tanh, orthogonal": ("tanh", torch.tanh, {"kind": "orthogonal", "gain": 1.0}),
    "sigmoid, torch's default": ("sigmoid", torch.sigmoid, {"kind": "torch"}),
    "sigmoid, Glorot": ("sigmoid", torch.sigmoid, {"kind": "xavier_normal"}),
    "centred sigmoid, σw 4": (
        "centred_sigmoid",
        lambda z: torch.sigmoid(z) - 0.5,
        {"kind": "lecun_normal", "gain": 4.0},
    ),
    "softplus, σw 1": ("softplus", functional.softplus, {"kind": "lecun_normal"}),
    "relu, He": ("relu", torch.relu, {"kind": "kaiming_normal"}),
    "relu, torch's default": ("relu", torch.relu, {"kind": "torch"}),
    "gaussian, σw 1": ("gaussian", lambda z: torch.exp(-z.square()), {"kind": "lecun_normal"}),
    "gaussian, critical": (
        "gaussian",
        lambda z: torch.exp(-z.square()),
        {"kind": "lecun_normal", "gain": 1 + 0.5**0.5},
    ),
    "gelu, σw 1": ("gelu", functional.gelu, {"kind": "lecun_normal"}),
    "sin, σw 1.5": ("sin", torch.sin, {"kind": "lecun_normal", "gain": 1.5}),
    "softsign, σb .3": ("softsign", functional.softsign, {"kind": "lecun_normal", "gain": 1.89749, "bias_std": 0.3}),
    "z exp(−z²/2), σw 2": (
        {"kind": "expression", "formula": "z*exp(-z**2/2)"},
        lambda z: z * torch.exp(-z.square() / 2),
        {"kind": "lecun_normal", "gain": 2.0},
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
    print(f"  {'':28}{'measured':>9}{'predicted':>10}{'off':>7}{'  worst layer: δ':>16}{'gradient':>9}")
    pairs = []
    for name, (activation, theta, init) in CASES.items():
        network = Mlp.model_validate({"depth": depth, "width": width, "activation": activation, "init": init})
        measured = [measure(network, theta, seed) for seed in range(SEEDS)]
        found = Measured(*(np.mean(column, axis=0) for column in zip(*measured, strict=True)))
        said = predict(network)
        slopes = [slope(column) for column in (found.log10_delta[:-1], said.log10_delta[:-1])]
        worst = [float(np.abs(own - other).max()) for own, other in zip(found[:2], said[:2], strict=True)]
        pairs.append(np.stack([found.log10_gradient, said.log10_gradient]))
        print(
            f"  {name:28}{slopes[0]:9.3f}{slopes[1]:10.3f}{slopes[1] - slopes[0]:7.3f}{worst[0]:16.2f}{worst[1]:9.2f}"
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
    said: list[LayerSignal] = forecast(expand(network, (FEATURES,), (CLASSES,)), "cross_entropy", BATCH)
    columns = ([getattr(layer, name) for layer in said] for name in Measured._fields)
    return Measured(*(np.array(column) for column in columns))


def measure(network: Mlp, theta: Theta, seed: int) -> Measured:
    """One batch of independent normal inputs and random labels through autograd, float64."""
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(BATCH, FEATURES, generator=generator, dtype=torch.float64)
    labels = torch.randint(CLASSES, (BATCH,), generator=generator)
    parameters, pre_activations, activations = [], [], []
    layers = [layer for layer in expand(network, (FEATURES,), (CLASSES,)) if layer.init is not None]
    for layer in layers:
        assert layer.init is not None
        shape = layer.out_shape[0], layer.in_shape[0]
        weight, bias = (draw(layer.init, *shape, seed, layer.path) for draw in (draw_weight, draw_bias))
        parameters += [weight.requires_grad_(), bias.requires_grad_()]
        z = functional.linear(h, weight, bias)
        z.retain_grad()
        h = z if layer is layers[-1] else theta(z)
        pre_activations.append(z)
        activations.append(h.detach())
    functional.cross_entropy(h, labels).backward()
    gradients = [
        torch.hypot(_norm(weight.grad), _norm(bias.grad))
        for weight, bias in zip(parameters[::2], parameters[1::2], strict=True)
    ]
    spread = [a.std(0, correction=0).square().mean().sqrt() for a in activations]
    return Measured(
        _numpy([_norm(z.grad).log10() for z in pre_activations]),
        _numpy([norm.log10() for norm in gradients]),
        _numpy(spread),
    )


def _norm(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    norm: Tensor = torch.linalg.vector_norm(tensor)
    return norm


def _numpy(values: list[Tensor]) -> Numbers:
    return torch.stack(values).detach().numpy()


if __name__ == "__main__":
    main()
