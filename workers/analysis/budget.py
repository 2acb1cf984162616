"""What a smaller tuning budget would have found: the best of k settings drawn from the n that ran. n settings.

Dodge et al. 2019, Show Your Work, equation 4, of the distribution rather than its mean, which a single diverged setting makes
infinite; and without replacement, since a grid never holds a setting twice.
"""

from collections.abc import Iterable, Sequence
from math import comb, isfinite

from workers.analysis.selection import REPORTED, TrialScore, final_loss, identity, mean
from workers.contract.results import BudgetPoint

QUARTILES = (0.25, 0.5, 0.75)


def by_budget(trials: Iterable[TrialScore]) -> list[BudgetPoint]:
    """For every number of settings tried, the quartiles of the validation loss of the best of them.

    Args:
        trials: those that chose the setting of one arm; a setting's loss is the mean over its trials, as in `choose`.

    Returns:
        nothing where fewer than two settings have ended.
    """
    losses: dict[tuple[object, ...], list[float]] = {}
    for trial in trials:
        if trial.outcome in REPORTED:
            losses.setdefault(identity(trial.hyperparameters), []).append(final_loss(trial))
    means = sorted(mean(values) for values in losses.values())
    if len(means) < 2:
        return []
    return [_point(means, tried) for tried in range(1, len(means) + 1)]


def best_of(ordered: Sequence[float], tried: int, probability: float) -> float:
    """The quantile of the smallest of `tried` values drawn without replacement.

    P(min ≤ x₍ᵢ₎) = 1 − C(n−i, k)/C(n, k), i = 1 … n.

    Args:
        ordered: [n] increasing, +∞ allowed.
        tried: k, 1 … n.
    """
    count = len(ordered)
    everything = comb(count, tried)
    for place, value in enumerate(ordered, start=1):
        if everything - comb(count - place, tried) >= probability * everything:
            return value
    raise AssertionError("the last of them is reached with certainty")


def _point(ordered: Sequence[float], tried: int) -> BudgetPoint:
    low, median, high = (best_of(ordered, tried, probability) for probability in QUARTILES)
    return BudgetPoint(settings=tried, median=_told(median), low=_told(low), high=_told(high))


def _told(value: float) -> float | None:
    return value if isfinite(value) else None
