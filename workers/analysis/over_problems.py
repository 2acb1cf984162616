"""Several problems together: a ranking over all, and performance profiles. P problems, N seeds, A arms.

An arm is a variant under an optimizer, the same on every problem. Losses of different problems have nothing in common, so what is
averaged over problems is ranks and shares. The bootstrap draws seeds, within each problem and alike for all arms, so that what a seed
gives them in common stays in common (Agarwal et al. 2021 draw runs within each task).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from workers.analysis.ranking import ranks
from workers.analysis.ties import tied
from workers.analysis.uncertainty import Numbers, improvement, iqm
from workers.contract.results import Overall, Profile

ArmName = tuple[str, str]
"""Of variant and optimizer."""


class Run(NamedTuple):
    """An arm on one problem and seed."""

    loss: float
    """On the test split, +∞ where it diverged."""
    cost: float
    """Evaluations to target; +∞ where it is missed."""


Runs = Mapping[ArmName, Mapping[int, Run]]
"""Of one problem, by arm and seed."""

RESAMPLES = 1000
SEED = 1
"""Of the resampling: the same trials give the same interval."""
RATIOS = [round(float(ratio), 6) for ratio in 2.0 ** (np.arange(41) / 4)]
"""From 1 to 1024, four to each doubling."""


def overall(problems: Sequence[Runs], baseline: str) -> list[Overall]:
    """The ranking over problems, by mean rank.

    Args:
        problems: [P] the same arms in each.
        baseline: name of its optimizer.

    Returns:
        nothing while an arm has no run on some problem.
    """
    arms, losses = _numbers(problems, 0)
    if losses is None:
        return []
    means = _mean_ranks(losses, None)
    draw = np.random.default_rng(SEED)
    drawn = np.stack([_mean_ranks(losses, draw) for _ in range(RESAMPLES)])  # [R, A]
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    found = [
        Overall(
            variant=arm[0],
            optimizer=arm[1],
            rank=rank or 0,
            mean_rank=float(mean),
            low=min(float(lower), float(mean)),
            high=max(float(upper), float(mean)),
            probability_of_improvement=None if arm[1] == baseline else _improvement(losses, arms, arm, baseline),
        )
        for arm, rank, mean, lower, upper in zip(arms, ranks(means.tolist()), means, low, high, strict=True)
    ]
    return sorted(found, key=lambda one: one.rank)


def profiles(problems: Sequence[Runs]) -> list[Profile]:
    """ρ(τ) = share of the runs in which an arm's cost is at most τ times the least of all arms'; a run that nobody finishes is nobody's.

    Where there are more than two arms, compare each with the best, not the others with each other: who is second depends on who takes part
    (Gould and Scott 2016).

    Returns:
        in the order of the arms; nothing while an arm has no run on some problem, or where no run is finished.
    """
    arms, costs = _numbers(problems, 1)
    if costs is None or not any(np.isfinite(cost).any() for cost in costs):
        return []
    within = [_within(cost) for cost in costs]  # P times [A, N, τ]
    shares = _shares(within, None)
    draw = np.random.default_rng(SEED)
    drawn = np.stack([_shares(within, draw) for _ in range(RESAMPLES)])  # [R, A, τ]
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    return [
        Profile(
            variant=arm[0],
            optimizer=arm[1],
            ratios=RATIOS,
            shares=shares[place].tolist(),
            low=np.minimum(low[place], shares[place]).tolist(),
            high=np.maximum(high[place], shares[place]).tolist(),
        )
        for place, arm in enumerate(arms)
    ]


def _numbers(problems: Sequence[Runs], which: int) -> tuple[list[ArmName], list[Numbers] | None]:
    """The arms, and of each problem [A, N] losses (0) or costs (1) over the seeds that all arms have; None where there are none."""
    arms = list(problems[0])
    found = []
    for runs in problems:
        seeds = sorted(set.intersection(*(set(runs[arm]) for arm in arms)))
        if not seeds:
            return arms, None
        found.append(np.array([[runs[arm][seed][which] for seed in seeds] for arm in arms], np.float64))
    return arms, found


def _mean_ranks(losses: Sequence[Numbers], draw: np.random.Generator | None) -> Numbers:
    """[A] over problems, of all seeds or of as many drawn with replacement; equals share the mean of their places."""
    found = [_places(iqm(_resampled(loss, draw))) for loss in losses]
    return np.asarray(np.mean(found, axis=0), np.float64)


def _places(means: Numbers) -> Numbers:
    """1 + the arms that are better + half of those that are equal."""
    equal = tied(means[:, None], means[None, :])
    better = ~equal & (means[None, :] < means[:, None])
    return np.asarray(1 + better.sum(1) + (equal.sum(1) - 1) / 2, np.float64)


def _resampled(values: Numbers, draw: np.random.Generator | None) -> Numbers:
    """Along the second axis."""
    count = values.shape[1]
    return values if draw is None else values[:, draw.integers(count, size=count)]


def _within(costs: Numbers) -> Numbers:
    """[A, N, τ] whether a run's cost is within τ of the best arm's, given [A, N]."""
    best = costs.min(0)
    with np.errstate(invalid="ignore"):
        # a target that is met before the first step costs nothing, and nobody can be faster
        ratio = np.where(costs == best, 1.0, np.where(best > 0, costs / best, np.inf))
    met = np.isfinite(costs)[..., None]
    return np.asarray(met & (ratio[..., None] <= np.array(RATIOS)), np.float64)


def _shares(within: Sequence[Numbers], draw: np.random.Generator | None) -> Numbers:
    """[A, τ]: problems count alike, however many seeds each has."""
    return np.asarray(np.mean([_resampled(one, draw).mean(1) for one in within], axis=0), np.float64)


def _improvement(losses: Sequence[Numbers], arms: Sequence[ArmName], arm: ArmName, baseline: str) -> float:
    own, other = arms.index(arm), arms.index((arm[0], baseline))
    each = [improvement(one[own].tolist(), one[other].tolist()).probability_of_improvement for one in losses]
    return float(np.mean(each))
