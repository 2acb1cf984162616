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
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workers.engine.network import Activation, Dropout, Layer, Linear
from workers.engine.network.reshape import Reshape
from workers.engine.program import Program

LANCZOS = 16
"""Steps of Lanczos' method."""
GOLDEN = (5**0.5 - 1) / 2
"""Its multiples, less whole numbers, are spread evenly: a start that no eigenvector is likely to be orthogonal to."""


def through_linear(layer: Linear, above: Tensor) -> Tensor:
    return above @ layer.matrix.unsqueeze(1).double()


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


def to_output(program: Program, samples: int) -> Iterator[tuple[Linear, Tensor]]:
    """J at the output of every linear layer, from the top down, for the first samples of the batch that was passed forward last."""
    output = program.measured[-1].layer.output[:, :samples]
    above = torch.eye(output.shape[2], dtype=torch.float64, device=output.device)
    above = above.expand(*output.shape[:2], *above.shape)
    for place in range(len(program.layers) - 1, program.lowest - 1, -1):
        layer = program.layers[place]
        if isinstance(layer, Linear):
            yield layer, above
        if place > program.lowest:
            above = THROUGH[type(layer)](layer, above)


def spectrum(jacobian: Tensor) -> Spectrum:
    """Means over the samples of what the singular values of [T, N, K, O] come to."""
    values = _finite(torch.linalg.svdvals, jacobian.double())
    return Spectrum(
        values[..., 0].mean(1), values.median(-1).values.mean(1), values.square().sum(-1).mean(1) / jacobian.shape[2]
    )


def slope_below(program: Program, layer: Linear, samples: int) -> Tensor | None:
    """What J is multiplied by, element by element, from a linear layer down to the next one, [T, N, I]; None below the lowest."""
    place = program.layers.index(layer)
    found = torch.ones_like(layer.input[:, :samples], dtype=torch.float64).unsqueeze(2)
    for below in reversed(program.layers[program.lowest : place]):
        if isinstance(below, Linear):
            return found.squeeze(2)
        found = THROUGH[type(below)](below, found)
    return None


def of_one_layer(layer: Linear, slope: Tensor) -> tuple[Tensor, Tensor]:
    """(largest singular value, ‖J‖²_F/O) of J = ∂z_l/∂z_{l−1} = W diag(s), means over the samples, float64 [T] each.

    Args:
        slope: s, from one linear layer to the next, [T, N, I].
    """
    weight, s = layer.matrix.double(), slope.double()
    squares = torch.bmm(s.square(), weight.square().sum(1)[..., None])[..., 0] / layer.out
    largest = largest_eigenvalue(lambda v: torch.bmm(torch.bmm(v * s, weight.mT), weight) * s, s)
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
