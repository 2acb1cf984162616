"""The Jacobian from each pre-activation to the output, sample by sample, and its singular values.

T trials, N samples, K outputs, O units. J_l = ∂output/∂z_l, [T, N, K, O], goes down as a gradient does, K of them side by side:

    top           J = 1
    z = W x + b   J ← J W
    a = θ(z)      J ← J diag θ′(z)
    dropout       J ← J diag mask

Its largest singular value says how much of an error can reach the layer at all, the median how much of a typical one, and the mean of
their squares is what the product of mean-field χ predicts (Pennington et al. 2017, "Resurrecting the sigmoid", eq. 4, but
per output instead of per unit: ‖J‖²_F/K). Samples must not meet in a layer, as they do in batch norm.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workers.engine.network import Activation, Dropout, Layer, Linear
from workers.engine.network.reshape import Reshape
from workers.engine.program import Program


def through_linear(layer: Linear, above: Tensor) -> Tensor:
    return above @ layer.weight.unsqueeze(1)


def through_activation(layer: Activation, above: Tensor) -> Tensor:
    slope = layer.non_linearity.derivative(layer.input, layer.value)[:, : above.shape[1]]
    return above * slope.unsqueeze(2)


def through_dropout(layer: Dropout, above: Tensor) -> Tensor:
    return above if layer.mask is None else above * layer.mask[:, : above.shape[1]].unsqueeze(2)


def through_flatten(layer: Reshape, above: Tensor) -> Tensor:
    unflattened: Tensor = above.unflatten(3, layer.in_shape)
    return unflattened


THROUGH: dict[type[Layer], Callable[[Any, Tensor], Tensor]] = {
    Linear: through_linear,
    Activation: through_activation,
    Dropout: through_dropout,
    Reshape: through_flatten,
}
"""(layer, J at its output) -> J at its input, after a pass forward."""


class Spectrum(NamedTuple):
    """Of J over the samples, float64 [T] each."""

    largest: Tensor
    median: Tensor
    mean_square: Tensor
    """‖J‖²_F/K, the mean over samples."""


def to_output(program: Program, samples: int) -> Iterator[Tensor]:
    """J at the output of every linear layer, from the top down, for the first samples of the batch that was passed forward last."""
    output = program.measured[-1].layer.output[:, :samples]
    outputs = output.shape[2]
    above = torch.eye(outputs, dtype=output.dtype, device=output.device).expand(*output.shape[:2], outputs, outputs)
    for place in range(len(program.layers) - 1, program.lowest - 1, -1):
        layer = program.layers[place]
        if isinstance(layer, Linear):
            yield above
        if place > program.lowest:
            above = THROUGH[type(layer)](layer, above)


def spectrum(jacobian: Tensor) -> Spectrum:
    """Means over the samples of what the singular values of [T, N, K, O] come to."""
    values = torch.linalg.svdvals(jacobian.double())
    return Spectrum(
        values[..., 0].mean(1), values.median(-1).values.mean(1), values.square().sum(-1).mean(1) / jacobian.shape[2]
    )
