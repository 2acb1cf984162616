"""Shares of elements for which something holds."""

from collections.abc import Callable

import torch
from torch import Tensor

Comparison = Callable[..., Tensor]
"""torch.lt, torch.eq and the like."""


def count(comparison: Comparison, x: Tensor, bound: float | Tensor) -> Tensor:
    """How many elements of each row of x [T, ...] satisfy it, [T] in x's format.

    The comparison writes ones and zeros of x's own format: into booleans torch compares four times slower, and sums them
    three times slower.
    """
    held: Tensor = comparison(x, bound, out=torch.empty_like(x))
    return held.flatten(1).sum(1)
