"""How sure the figures are: interquartile means, stretched percentile bootstraps over seeds, score intervals. N seeds, R resamples.

As Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice (rliable), advise for few seeds. A
diverged trial's loss is +∞ and takes part like any other number: it moves the mean only once more than a quarter diverged.

A percentile bootstrap of few values is short: at 5 seeds its nominal 95 % cover 89 % of the time. Hesterberg 2015, What
Teachers Should Know About the Bootstrap, section 5.3, widens it by what a t interval has beyond a normal one. He moves the
quantiles' levels; we move the ends away from the estimate, k times as far, since at 5 seeds no quantile of resamples reaches
beyond the sample, whose range holds the truth 94 % of the time:

    k = t₀.₉₇₅(ν) / z₀.₉₇₅      2.19 at 3 seeds, 1.62 at 5, 1.18 at 10, 1.04 at 30

The degrees of freedom are ν = N − 1, and one fewer once values are trimmed, N ≥ 4, where his correction √(N/(N−1)) instead is
too wide at 10.

A probability of improvement has an interval of its own kind: where one arm wins every pair no resample loses any, and the bootstrap
would be certain after two seeds (at a true .98, five seeds, it holds the truth one time in four). Newcombe's score interval asks instead
which probabilities θ make the estimate p likely, with the variance at θ and not at p:

    (p − θ)² = t² V(θ),  V(θ) = θ(1−θ)/N² · [1 + (N−1)·((1−θ)/(2−θ) + θ/(1+θ))]

(Newcombe 2006, Statistics in Medicine 25, p. 559, method 5, after Hanley & McNeil 1982, for N runs of both arms; t has 2N − 2 degrees of
freedom where he has the normal's 1.96, since his 95 % are 93 to 96 at 5.) It holds for independent runs; those of the same seed
go up and down together, which makes p vary less: there the interval is longer than it need be, and the paired difference is what
tells close arms apart. benchmarks/coverage.py has the figures of both.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from workers.analysis.ties import tied
from workers.contract.results import Improvement, Interval

Numbers = NDArray[np.float64]

RESAMPLES = 2001
"""So many that both ends of the interval are resamples themselves, the 50th and the 1950th from 0: no interpolation with ∞."""
LOW, HIGH = 50, 1950
NEXT = 1e-9
"""How near to the estimate an end of its interval may be: at p itself, where that is 0 or 1, both sides of the equation vanish."""
SEED = 1
"""Of the resampling: the same trials give the same interval."""


def iqm(values: Sequence[float] | Numbers) -> Numbers:
    """Mean of what is left along the last axis without ⌊N/4⌋ values at either end.

    Args:
        values: [..., N], N ≥ 1, ±∞ allowed, no NaN; the mean of +∞ and −∞ is NaN.
    """
    ordered = np.sort(np.asarray(values, np.float64), axis=-1)
    cut = ordered.shape[-1] // 4
    with np.errstate(over="ignore", invalid="ignore"):  # sums near the end of the format; ∞ − ∞ of differences
        mean: Numbers = ordered[..., cut : ordered.shape[-1] - cut].mean(-1)
    # a mean lies within its numbers; where they are equal it is their value to the last digit, so that ties stay ties
    return np.clip(mean, ordered[..., cut], ordered[..., -1 - cut])


def interval(values: Sequence[float], bounds: tuple[float, float] = (-inf, inf)) -> Interval:
    """Interquartile mean over seeds with its 95 % bootstrap; infinity becomes null, and so does all of no values.

    Args:
        values: [N], +∞ allowed.
        bounds: what the values cannot exceed, such as 0 and 1 for accuracies; nor does the interval.
    """
    if not values:
        return Interval(iqm=None, low=None, high=None)
    found = np.asarray(values, np.float64)
    mean = float(iqm(found))
    low, high = _ends(iqm(found[_draws(len(values))]), mean, len(values), bounds)
    return Interval(iqm=_told(mean), low=_told(low), high=_told(high))


def paired_difference(own: Sequence[float], baseline: Sequence[float]) -> Interval:
    """Interquartile mean of own − baseline over seeds, with its 95 % bootstrap; negative where own is better.

    What the seeds have in common (weights, batches) cancels, so that it tells arms apart whose own intervals overlap.

    Args:
        own, baseline: [N] losses of the same seeds in the same order, +∞ allowed: two diverged runs differ by nothing.
    """
    x, y = np.asarray(own, np.float64), np.asarray(baseline, np.float64)
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        return interval(np.where(tied(x, y), 0.0, x - y).tolist())


def improvement(own: Sequence[float], baseline: Sequence[float]) -> Improvement:
    """P(own < baseline) over all N² pairs of runs, ties counted half, with its 95 % score interval.

    Args:
        own, baseline: [N] losses of the same seeds in the same order, N ≥ 1, +∞ allowed: two diverged runs tie.
    """
    x, y = np.asarray(own, np.float64), np.asarray(baseline, np.float64)
    ties = tied(x[:, None], y[None, :])
    probability = float(np.where(ties, 0.5, x[:, None] < y).mean())
    low, high = _score_interval(probability, len(x))
    return Improvement(
        probability_of_improvement=probability, low=low, high=high, difference=paired_difference(own, baseline)
    )


@lru_cache(maxsize=1024)
def _score_interval(probability: float, count: int) -> tuple[float, float]:
    """Where (p − θ)² = t² V(θ), below and above p; all of [0, 1] where there is one run of each."""
    if count < 2:
        return 0.0, 1.0
    quantile = float(special.stdtrit(2 * count - 2, 0.975))

    def excess(theta: float) -> float:
        between = (1 - theta) / (2 - theta) + theta / (1 + theta)
        variance = theta * (1 - theta) / count**2 * (1 + (count - 1) * between)
        return (theta - probability) ** 2 - quantile**2 * variance

    low = optimize.brentq(excess, 0.0, probability - NEXT) if probability > 0 else 0.0
    high = optimize.brentq(excess, probability + NEXT, 1.0) if probability < 1 else 1.0
    return low, high


@lru_cache(maxsize=4)
def _draws(count: int) -> NDArray[np.int64]:
    """[R, N] places drawn with replacement, the same at every call: arms are resampled alike."""
    return np.random.default_rng(SEED).integers(count, size=(RESAMPLES, count))


def _ends(resampled: Numbers, estimate: float, count: int, bounds: tuple[float, float]) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles of [R] values, stretched away from the estimate, within bounds."""
    ordered = np.sort(resampled)
    stretch = _stretch(count)

    def stretched(end: float) -> float:
        # what is infinite, or is held against something infinite, stays where it is
        moved = estimate + stretch * (end - estimate) if isfinite(end) and isfinite(estimate) else end
        return min(max(moved, bounds[0]), bounds[1])

    return stretched(float(ordered[LOW])), stretched(float(ordered[HIGH]))


@lru_cache(maxsize=64)
def _stretch(count: int) -> float:
    """The k of the module's formula; 1 for a single value, which has no spread to stretch."""
    if count < 2:
        return 1.0
    freedom = count - 1 - (count >= 4)
    return float(special.stdtrit(freedom, 0.975) / special.ndtri(0.975))


def _told(value: float) -> float | None:
    return value if isfinite(value) else None
