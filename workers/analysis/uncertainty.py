"""How sure the figures are: interquartile means, and percentile bootstraps over seeds. N seeds, R resamples.

As Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice (rliable), advise for few seeds. A
diverged trial's loss is +∞ and takes part like any other number: it moves the mean only once more than a quarter diverged.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import isfinite

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from workers.contract.results import Improvement, Interval

Numbers = NDArray[np.float64]

RESAMPLES = 2001
"""So many that both ends of the interval are resamples themselves, the 50th and the 1950th from 0: no interpolation with ∞."""
LOW, HIGH = 50, 1950
SEED = 1
"""Of the resampling: the same trials give the same interval."""


def iqm(values: Sequence[float] | Numbers) -> Numbers:
    """Mean of what is left along the last axis without ⌊N/4⌋ values at either end.

    Args:
        values: [..., N], N ≥ 1, +∞ allowed, no NaN.
    """
    ordered = np.sort(np.asarray(values, np.float64), axis=-1)
    cut = ordered.shape[-1] // 4
    with np.errstate(over="ignore"):  # the sum of losses near the end of the format is infinite
        mean = stats.trim_mean(ordered, 0.25, axis=-1)
    # a mean lies within its numbers; where they are equal it is their value to the last digit, so that ties stay ties
    return np.clip(mean, ordered[..., cut], ordered[..., -1 - cut])


def interval(values: Sequence[float]) -> Interval:
    """Interquartile mean over seeds with its 95 % percentile bootstrap; infinity becomes null, and so does all of no values."""
    if not values:
        return Interval(iqm=None, low=None, high=None)
    found = np.asarray(values, np.float64)
    low, high = _ends(iqm(found[_draws(len(values))]))
    return Interval(iqm=_told(float(iqm(found))), low=_told(low), high=_told(high))


def improvement(own: Sequence[float], baseline: Sequence[float]) -> Improvement:
    """P(own < baseline) over all N² pairs of runs, ties counted half, with its 95 % bootstrap.

    The bootstrap draws seeds, and with a seed the runs of both: they share weights and batches.

    Args:
        own, baseline: [N] losses of the same seeds in the same order, N ≥ 1, +∞ allowed: two diverged runs tie.
    """
    x, y = np.asarray(own, np.float64), np.asarray(baseline, np.float64)
    count = len(x)
    wins = (x[:, None] < y) + 0.5 * (x[:, None] == y)  # [N, N]
    drawn = _multiplicities(count)  # [R, N]
    low, high = _ends(((drawn @ wins) * drawn).sum(1) / count**2)
    return Improvement(probability_of_improvement=float(wins.mean()), low=low, high=high)


@lru_cache(maxsize=4)
def _draws(count: int) -> NDArray[np.int64]:
    """[R, N] places drawn with replacement, the same at every call: arms are resampled alike."""
    return np.random.default_rng(SEED).integers(count, size=(RESAMPLES, count))


@lru_cache(maxsize=4)
def _multiplicities(count: int) -> Numbers:
    """[R, N]: how often each resample holds each place."""
    rows = np.arange(RESAMPLES)[:, None] * count
    flat = np.bincount((rows + _draws(count)).ravel(), minlength=RESAMPLES * count)
    return flat.reshape(RESAMPLES, count).astype(np.float64)


def _ends(resampled: Numbers) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles of [R] values."""
    ordered = np.sort(resampled)
    return float(ordered[LOW]), float(ordered[HIGH])


def _told(value: float) -> float | None:
    return value if isfinite(value) else None
