"""Statistics of the way that the parameters take. L layers, T trials, n parameters of a layer. Results are float64 [L, T]."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from workers.engine.scaling import dot, in_range, norms, peaks


class Last(NamedTuple):
    """The step before."""

    parameters: Sequence[Tensor]
    """[T, n] of each layer, from where it was made."""
    gradient: Sequence[Tensor]
    """[T, n] of each layer, there."""
    exponents: Tensor
    """Of two, of this step's gradient less of that one's, float64 [L, T]; zero where both are as they are."""


def distances(parameters: Sequence[Tensor], start: Sequence[Tensor]) -> Tensor:
    """‖θ − θ₀‖₂."""
    return norms([now - then for now, then in zip(parameters, start, strict=True)])


def alphas(parameters: Sequence[Tensor], gradient: Sequence[Tensor], last: Last) -> Tensor:
    """α = −s₁/s₀ = −(g_k · Δθ)/(g_{k−1} · Δθ), Δθ = θ_k − θ_{k−1}: how far the last step went on the parabola with the slopes s₀ and
    s₁ at its ends. Its minimum is at 1/(1 + α) of the step: α = −1 saw no curvature, 0 stepped to the minimum, 1 to the same height.

    What Schneider et al. 2021 (Cockpit, section 3.1) find with losses, slopes and their variances, here of slopes alone, since a layer
    has no loss of its own; on a parabola both are the same. NaN where the step had no slope.
    """
    moved = [now - then for now, then in zip(parameters, last.parameters, strict=True)]
    (ways, _), (ends, end), (begins, begin) = (in_range(each, peaks(each)) for each in (moved, gradient, last.gradient))
    slopes = [(dot(g, way), dot(before, way)) for way, g, before in zip(ways, ends, begins, strict=True)]
    after, before = (torch.stack(each).double() for each in zip(*slopes, strict=True))
    found = -after / before * torch.exp2(end - begin + last.exponents)
    return torch.where(before != 0, found, torch.nan)
