"""Diagonal of the Gauss-Newton matrix of the mean loss, by backpropagation of squares. T trials, B samples, O/I out/in features.

As a gradient goes down, with everything squared on the way (bbprop; LeCun et al. 1998, "Efficient backprop", section 7). c is the second
derivative of the mean loss at a layer's output, [T, B, ...], and what units do together is left out:

    top           c = ∂²L/∂output²
    z = W x + b   h_W = Σ_b c xᵀ² [O, I],   h_b = Σ_b c [O],   c ← c W²
    a = θ(z)      c ← θ′(z)²·c
    dropout       c ← mask²·c

It is exact for one layer, and for a chain of layers of one unit each. In float32 c underflows at half the depth at which a gradient does.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from workers.engine.network import Activation, Dropout, Layer, Linear
from workers.engine.network.reshape import Reshape
from workers.engine.program import Program


def through_linear(layer: Linear, above: Tensor) -> Tensor:
    return torch.bmm(above, layer.weight.square())


def through_activation(layer: Activation, above: Tensor) -> Tensor:
    slope = layer.non_linearity.derivative(layer.input, layer.value)
    return slope.square_().mul_(above)


def through_dropout(layer: Dropout, above: Tensor) -> Tensor:
    return above if layer.mask is None else above * layer.mask.square()


def through_flatten(layer: Reshape, above: Tensor) -> Tensor:
    unflattened: Tensor = above.unflatten(2, layer.in_shape)
    return unflattened


THROUGH: dict[type[Layer], Callable[[Any, Tensor], Tensor]] = {
    Linear: through_linear,
    Activation: through_activation,
    Dropout: through_dropout,
    Reshape: through_flatten,
}
"""(layer, c at its output) -> c at its input, after a pass forward. The contract refuses rules that want it where there are others."""


def bbprop(program: Program) -> Tensor:
    """[T, P] of the batch that was passed forward last."""
    found = torch.zeros_like(program.gradient)
    columns = {place.layer: own for place, own in zip(program.measured, program.columns, strict=True)}
    above = program.loss.curvature(program.measured[-1].layer.output)
    for place in range(len(program.layers) - 1, program.lowest - 1, -1):
        layer = program.layers[place]
        if isinstance(layer, Linear):
            layer.curvature(above, found[:, columns[layer]])
        if place > program.lowest:
            above = THROUGH[type(layer)](layer, above)
    return found
