"""When two losses are equal: the one rule for the choice of a setting, for ranks, pairs and differences.

The place of a trial in its batch moves the last digits of float32, so that one optimizer under two names does not get the same digits.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROUNDING = 1e-6
"""Losses that are this near, relative to the larger, are equal."""


def tied(x: ArrayLike, y: ArrayLike) -> NDArray[np.bool_]:
    """Equal, or apart by no more than rounding; of infinite numbers only the same.

    Args:
        x, y: of shapes that broadcast, ±∞ allowed, no NaN.
    """
    one, other = np.asarray(x, np.float64), np.asarray(y, np.float64)
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        near: NDArray[np.bool_] = np.abs(one - other) <= ROUNDING * np.maximum(np.abs(one), np.abs(other))
    found: NDArray[np.bool_] = (one == other) | (near & np.isfinite(one) & np.isfinite(other))
    return found


def groups(losses: Sequence[float]) -> list[int]:
    """The place of each loss among groups of equals, the smallest first, from 0.

    Each group is what ties with its smallest: a chain of losses, each tied with the next, is no single group.

    Args:
        losses: +∞ allowed, no NaN.
    """
    found, place, smallest = [0] * len(losses), -1, None
    for index in sorted(range(len(losses)), key=losses.__getitem__):
        if smallest is None or not bool(tied(smallest, losses[index])):
            place, smallest = place + 1, losses[index]
        found[index] = place
    return found
