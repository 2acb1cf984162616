"""Ranks of the arms."""

from bisect import bisect_left
from collections.abc import Sequence


def ranks(losses: Sequence[float | None]) -> list[int | None]:
    """The rank of each loss, the smallest first: one more than there are smaller ones, so that equal losses share a rank.

    Args:
        losses: +∞ ranks last; None, an arm that has no reported trial, has no rank.
    """
    ordered = sorted(loss for loss in losses if loss is not None)
    return [None if loss is None else 1 + bisect_left(ordered, loss) for loss in losses]
