"""Ranks of the arms."""

from collections.abc import Sequence

from workers.analysis.ties import groups


def ranks(losses: Sequence[float | None]) -> list[int | None]:
    """The rank of each loss, the smallest first: one more than there are smaller ones, so that equal losses share a rank.

    Args:
        losses: +∞ ranks last; None, an arm that has no reported trial, has no rank.
    """
    told = [loss for loss in losses if loss is not None]
    places = groups(told)
    found = iter([1 + sum(other < place for other in places) for place in places])
    return [None if loss is None else next(found) for loss in losses]
