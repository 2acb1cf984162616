"""Shares of elements for which something holds, and of what; what was found of several layers, together."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

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


def stacked(layers: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """By name, the same in all: [T] of each layer -> float64 [L, T]."""
    names = [*layers[0]]
    found = [layer[name] for name in names for layer in layers]
    return dict(zip(names, torch.stack(found).double().unflatten(0, (-1, len(layers))), strict=True)) if names else {}


def numbers(values: Sequence[float], device: torch.device) -> Tensor:
    """float64 [n, 1], on the device since it was first asked for: to bring numbers to a GPU in every step is to wait for it."""
    return _numbers(tuple(values), device)


@cache  # without a bound: a captured graph reads them where they are
def _numbers(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=device)[:, None]
