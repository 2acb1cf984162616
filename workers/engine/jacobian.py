"""Jacobians of a network of linear and elementwise layers, sample by sample, and their singular values.

T trials, N samples, K outputs, O/I outputs/inputs of a layer. J = ∂output/∂z_l, [T, N, K, O] in float64, goes down as a gradient does, K
of them side by side:

    top           J = 1
    z = W x + b   J ← J W
    a = θ(z)      J ← J diag θ′(z)
    dropout       J ← J diag mask

Its largest singular value says how much of an error can reach the layer at all, the median how much of a typical one, and the mean of
their squares is what the product of mean-field χ predicts (Pennington et al. 2017, "Resurrecting the sigmoid", but
per output instead of per unit: ‖J‖²_F/K). Samples must not meet in a layer, as they do in batch norm.
"""

from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workers.engine.network import Activation, Dropout, Layer, Linear
from workers.engine.network.reshape import Reshape
from workers.engine.program import Program

LANCZOS = 16
"""Steps of Lanczos' method."""
RESOLVED = 1e-7
"""Of the largest singular value: smaller ones are rounding, where they are square roots."""
GOLDEN = (5**0.5 - 1) / 2
"""Its multiples, less whole numbers, are spread evenly: a start that no eigenvector is likely to be orthogonal to."""


def through_linear(layer: Linear, above: Tensor) -> Tensor:
    below: Tensor = torch.bmm(above.flatten(1, 2), layer.matrix.double()).unflatten(1, above.shape[1:3])
    return below


def through_activation(layer: Activation, above: Tensor) -> Tensor:
    samples = slice(above.shape[1])
    slope = layer.non_linearity.derivative(layer.input[:, samples], layer.value[:, samples])
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


def known(program: Program) -> bool:
    """Whether all that stands above the lowest weights is a layer that J goes through, on features."""
    layers = program.layers[program.lowest :]
    of_features = all(layer.input.dim() == 3 for layer in layers if isinstance(layer, Linear))
    return of_features and all(type(layer) in THROUGH for layer in layers) and isinstance(layers[0], Linear)


def to_output(program: Program, samples: int) -> Iterator[tuple[Linear, Tensor, Tensor]]:
    """J at the output and at the input of every linear layer, from the top down, for the first samples of the batch that was passed
    forward last.
    """
    output = program.measured[-1].layer.output[:, :samples]
    above = torch.eye(output.shape[2], dtype=torch.float64, device=output.device)
    above = above.expand(*output.shape[:2], *above.shape)
    for layer in reversed(program.layers[program.lowest :]):
        below = THROUGH[type(layer)](layer, above)
        if isinstance(layer, Linear):
            yield layer, above, below
        above = below


def spectrum(jacobian: Tensor) -> Spectrum:
    """Means over the samples of what the singular values of [..., T, N, K, O] come to.

    By the eigenvalues of JJᵀ, a fifth of the time of J's own decomposition, and exact to half as many digits: a median below 1e-7 of
    the largest counts as 0.
    """
    squares = _finite(torch.linalg.eigvalsh, jacobian @ jacobian.mT).clamp_min(0)
    largest, median = squares[..., -1].sqrt(), squares[..., (squares.shape[-1] - 1) // 2].sqrt()
    return Spectrum(
        largest.mean(-1),
        torch.where(median > RESOLVED * largest, median, 0.0 * median).mean(-1),
        squares.sum(-1).mean(-1) / jacobian.shape[-2],
    )


def slope_below(program: Program, layer: Linear, samples: int) -> Tensor:
    """What J is multiplied by, element by element, from a linear layer down to the next one, float64 [T, N, I]. There is one."""
    place = program.layers.index(layer)
    found = torch.ones_like(layer.input[:, :samples], dtype=torch.float64).unsqueeze(2)
    for below in takewhile(lambda layer: not isinstance(layer, Linear), reversed(program.layers[:place])):
        found = THROUGH[type(below)](below, found)
    return found.squeeze(2)


def between_layers(weight: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """(largest singular value, ‖J‖²_F/O) of J = ∂z_l/∂z_{l−1} = W diag(s), means over the samples, float64 [T] each.

    Args:
        weight: W, float64 [T, O, I].
        slope: s, from one linear layer to the next, float64 [T, N, I].
    """
    squares = torch.bmm(slope.square(), weight.square().sum(1)[..., None])[..., 0] / weight.shape[1]
    largest = largest_eigenvalue(lambda v: torch.bmm(torch.bmm(v * slope, weight.mT), weight) * slope, slope)
    return largest.sqrt().mean(1), squares.mean(1)


def largest_eigenvalue(of: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """The largest eigenvalue of a symmetric positive matrix, by Lanczos' method; [..., n] -> [...].

    From below; in k steps off by 0.103 (ln n/(k − 1))² relatively at most, on average over starts, and far less where the eigenvalues lie
    apart (Kuczyński & Woźniakowski 1992, theorem 3.2). Directions lose their orthogonality once it is found, which does it no harm.

    Args:
        of: v -> M v.
        like: shape and format of v.
    """
    size = like.shape[-1]
    v = (torch.arange(1, size + 1, dtype=like.dtype, device=like.device) * GOLDEN).frac_().sub_(0.5).expand_as(like)
    v = v / torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    before, off = torch.zeros_like(v), like.new_zeros(*like.shape[:-1], 1)
    steps = min(LANCZOS, size)
    tridiagonal = like.new_zeros(*like.shape[:-1], steps, steps)
    for k in range(steps):
        image = of(v) - off * before
        along = torch.linalg.vecdot(v, image).unsqueeze(-1)
        image = image - along * v
        off = torch.linalg.vector_norm(image, dim=-1, keepdim=True)
        tridiagonal[..., k, k] = along.squeeze(-1)
        if k + 1 < steps:
            tridiagonal[..., k + 1, k] = off.squeeze(-1)  # eigvalsh reads the lower triangle
        before, v = v, image / off.clamp_min(torch.finfo(v.dtype).tiny)
    return _finite(torch.linalg.eigvalsh, tridiagonal)[..., -1].clamp_min(0)


def _finite(values: Callable[[Tensor], Tensor], matrices: Tensor) -> Tensor:
    """Of [..., n, m], NaN where an element is not finite: LAPACK refuses those, and may not converge among subnormal numbers."""
    peak = matrices.abs().amax((-2, -1), keepdim=True)
    known = peak.isfinite() & (peak > 0)
    found = values(torch.where(known, matrices / peak, 0.0)) * torch.where(known, peak, 0.0).squeeze(-1)
    return torch.where(peak.isfinite().squeeze(-1), found, torch.nan)
