"""Intervals that hold the truth as often as they say, a few draws of benchmarks/coverage.py; and arms that are the same."""

from itertools import combinations
from math import inf

import numpy as np
import pytest
from analysis_samples import comparison, run

from benchmarks.coverage import PROBABILITIES, SCORES, mean_coverage, pair_coverage
from workers.analysis.budget import best_of, by_budget
from workers.analysis.result import build_result
from workers.analysis.uncertainty import improvement, interval, paired_difference
from workers.contract.plan import Trial

DRAWS = 300
NOISE = 0.025
"""Two standard deviations of a share near 0.95 of so many draws."""


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("seeds", [10, 30])
def test_intervals_cover_the_truth(name: str, seeds: int) -> None:
    """93 to 97 % of the time, give or take the noise of fewer draws; the benchmark has the whole figures."""
    assert 0.93 - NOISE <= mean_coverage(SCORES[name], seeds, DRAWS) <= 0.97 + NOISE


@pytest.mark.parametrize("name", SCORES)
def test_five_seeds_are_long_rather_than_short(name: str) -> None:
    """At least 95 %, give or take the noise."""
    assert mean_coverage(SCORES[name], 5, DRAWS) >= 0.95 - NOISE


@pytest.mark.parametrize("truth", PROBABILITIES)
@pytest.mark.parametrize(("seeds", "most"), [(5, 1.0), (10, 0.99), (30, 0.99)])
def test_probabilities_of_improvement_are_covered(truth: float, seeds: int, most: float) -> None:
    """However one-sided: of independent runs about as often as they say at 10 and 30 seeds, and rather more often at 5."""
    assert 0.95 - NOISE <= pair_coverage(truth, seeds, DRAWS) <= most


def test_resemblance_of_paired_runs_makes_it_only_safer() -> None:
    """Half of the variance shared."""
    assert min(pair_coverage(0.92, seeds, DRAWS, shared=0.5) for seeds in (5, 10)) >= 0.96


def test_an_interval_stays_within_what_the_number_can_be() -> None:
    """No accuracy is above one, no loss below zero, and neither end is moved when it is infinite."""
    found = interval([0.9, 1.0, 1.0, 0.99, 0.5], (0.0, 1.0))
    assert found.high == 1.0 and found.low is not None and found.low >= 0
    assert interval([0.01, 0.9, 0.2, 0.01, 0.03], (0.0, inf)).low == 0.0
    assert interval([1.0, 2.0, 3.0, inf, inf], (0.0, inf)).high is None


def test_paired_differences_see_what_the_arms_own_intervals_hide() -> None:
    """Seeds that differ by far more than the arms do: the intervals overlap, the interval of the difference is without zero."""
    generator = np.random.default_rng(0)
    seeds = generator.lognormal(size=10)
    worse, better = seeds.tolist(), (seeds - 0.05 + 0.01 * generator.normal(size=10)).tolist()
    found, own, other = paired_difference(better, worse), interval(better), interval(worse)
    assert found.low is not None and found.high is not None and found.low < -0.05 < found.high < 0
    assert own.high is not None and other.low is not None and own.high > other.low


def test_paired_differences_with_divergence() -> None:
    """Two diverged runs differ by nothing; one that diverged alone is infinitely worse; both ways at once is no number."""
    assert paired_difference([inf] * 3, [inf] * 3).model_dump() == {"iqm": 0.0, "low": 0.0, "high": 0.0}
    assert paired_difference([inf] * 3, [1.0] * 3).model_dump() == {"iqm": None, "low": None, "high": None}
    assert paired_difference([inf, 1.0], [1.0, inf]).iqm is None


def test_the_same_arm_twice_is_no_difference() -> None:
    """Whatever the scores: even odds in the middle of their interval, and a difference of zero, without spread."""
    losses = np.random.default_rng(1).lognormal(size=7).tolist()
    found = improvement(losses, losses)
    assert found.probability_of_improvement == 0.5 and found.low + found.high == pytest.approx(1.0)
    assert found.difference is not None and found.difference.model_dump() == {"iqm": 0.0, "low": 0.0, "high": 0.0}


def test_identical_arms_share_a_rank_and_a_known_winner_wins() -> None:
    """Two names for the same losses tie; a third that is better on every seed is first, by a difference without zero."""

    def losses(trial: Trial) -> float:
        noise = np.random.default_rng(trial.seed).lognormal()
        return 0.1 * noise if trial.optimizer == "better" else noise

    spec = comparison("sgd", {"kind": "sgd", "name": "again"}, {"kind": "sgd", "name": "better"}, tuning=None)
    arms = {arm.optimizer: arm for arm in build_result(spec, run(spec, losses), None, None).arms}
    assert [arms[name].rank for name in ("better", "sgd", "again")] == [1, 2, 2]
    tie, win = arms["again"].versus_baseline, arms["better"].versus_baseline
    assert tie and tie.difference and (tie.probability_of_improvement, tie.difference.iqm) == (0.5, 0.0)
    assert win and win.difference and win.difference.high is not None and win.difference.high < 0


def test_the_best_of_k_settings_is_that_of_every_subset() -> None:
    """All C(6, k) subsets written out, at any quantile."""
    ordered = [0.1, 0.2, 0.4, 0.8, 1.6, inf]
    for tried in range(1, 7):
        best = sorted(min(chosen) for chosen in combinations(ordered, tried))
        for probability in (0.25, 0.5, 0.75):
            wanted = best[int(np.ceil(probability * len(best))) - 1]
            assert best_of(ordered, tried, probability) == wanted, (tried, probability)


def test_budgets_are_of_settings_and_count_divergence() -> None:
    """One point for each number of settings; where most settings diverge a single one is expected to, and all find the best."""
    spec = comparison({"kind": "sgd", "lr": [0.1, 1.0, 10.0]}, tuning={"seeds": 2})

    def losses(trial: Trial) -> float | None:
        return 0.3 if trial.hyperparameters["lr"] == 0.1 else None

    trials = run(spec, losses)
    points = build_result(spec, trials, None, None).arms[0].by_budget
    assert [(point.settings, point.median) for point in points] == [(1, None), (2, 0.3), (3, 0.3)]
    assert by_budget(trials[:1]) == []
