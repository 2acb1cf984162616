"""Interquartile means, bootstraps, probabilities of improvement and ranks, against loops written out."""

from collections.abc import Callable
from itertools import product
from math import inf
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from workers.analysis.ranking import ranks
from workers.analysis.uncertainty import improvement, interval, iqm


def slow_iqm(values: list[float]) -> float:
    """Sorts, drops a quarter at either end, averages the rest."""
    ordered = sorted(values)
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / len(kept)


def slow_bootstrap(count: int, statistic: Callable[[list[int]], float], resamples: int) -> tuple[float, float]:
    """Percentiles of a statistic of places drawn with replacement, with a generator of its own."""
    generator = np.random.default_rng(12345)
    found = [statistic(generator.integers(count, size=count).tolist()) for _ in range(resamples)]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 20])
def test_the_interquartile_mean_is_that_of_a_slow_loop_and_of_scipy(count: int) -> None:
    """At every number of seeds, whether or not it divides by four."""
    values = np.random.default_rng(count).lognormal(size=count).tolist()
    assert float(iqm(values)) == pytest.approx(slow_iqm(values), rel=1e-14)
    assert float(iqm(values)) == pytest.approx(stats.trim_mean(values, 0.25), rel=1e-14)


def test_the_interquartile_mean_of_five_by_hand() -> None:
    """The middle three."""
    assert float(iqm([100.0, 1.0, 3.0, 2.0, -50.0])) == 2.0


def test_ties_stay_ties() -> None:
    """Neither rounding nor the order of the seeds makes a difference of 0.1, 0.1, 0.1 and 0.1."""
    values = [0.1, 0.3, 0.7, 0.2, 0.6, 0.9, 0.4]
    assert float(iqm([0.1] * 3)) == 0.1 and float(iqm([0.1] * 7)) == 0.1
    assert len({float(iqm(values[cut:] + values[:cut])) for cut in range(7)}) == 1


def test_the_interval_is_that_of_a_slow_bootstrap() -> None:
    """Two thousand resamples leave noise: a tenth of the interval's width."""
    values = np.random.default_rng(3).normal(size=20).tolist()
    found = interval(values)
    low, high = slow_bootstrap(20, lambda places: slow_iqm([values[place] for place in places]), 4000)
    assert found.iqm is not None and found.low is not None and found.high is not None
    assert found.low == pytest.approx(low, abs=0.1 * (high - low))
    assert found.high == pytest.approx(high, abs=0.1 * (high - low))
    assert found.low < found.iqm < found.high


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of 300 samples of 30 normal values, whose interquartile mean is zero; percentile bootstraps are a little short."""
    generator = np.random.default_rng(0)
    found = [interval(generator.normal(size=30).tolist()) for _ in range(300)]
    covered = sum(f.low is not None and f.high is not None and f.low <= 0 <= f.high for f in found)
    assert 0.89 <= covered / 300 <= 0.98


def test_the_same_values_give_the_same_interval() -> None:
    """A repeated decision comes out the same."""
    assert interval([0.3, 0.1, 0.2]) == interval([0.3, 0.1, 0.2])


def test_divergence_counts_as_infinite_and_is_told_as_null() -> None:
    """One of five is trimmed away but may win in a resample; three of five make the mean infinite; so do all."""
    one = interval([1.0, 2.0, 3.0, 4.0, inf])
    assert (one.iqm, one.high) == (3.0, None) and one.low is not None
    assert interval([1.0, 2.0, inf, inf, inf]).iqm is None
    assert interval([inf] * 5).model_dump() == {"iqm": None, "low": None, "high": None}


def test_no_values_and_one_value() -> None:
    """Nothing is known of no seeds, and no spread of one."""
    assert interval([]).model_dump() == {"iqm": None, "low": None, "high": None}
    assert interval([0.5]).model_dump() == {"iqm": 0.5, "low": 0.5, "high": 0.5}


def test_losses_near_the_end_of_the_format_are_no_warning() -> None:
    """Their sum is infinite, their mean is not."""
    assert interval([1e308] * 5).iqm == 1e308


def test_improvement_is_rliables_formula() -> None:
    """Mann-Whitney's U over N², all pairs, ties half, as rliable's probability_of_improvement."""
    x, y = [0.1, 0.2, 0.3, 0.4, 0.4], [0.4, 0.25, 0.5, 0.1, 0.9]
    by_pairs = sum((a < b) + 0.5 * (a == b) for a, b in product(x, y)) / 25
    found = improvement(x, y)
    assert found.probability_of_improvement == pytest.approx(by_pairs, abs=1e-15)
    u = stats.mannwhitneyu(y, x).statistic  # of y over x: how often y is the larger
    assert found.probability_of_improvement == pytest.approx(u / 25, abs=1e-15)


@pytest.mark.parametrize("count", [2, 3, 5, 10, 30])
def test_improvements_interval_is_newcombes(count: int) -> None:
    """Against the roots of his equation multiplied out, a polynomial of the fourth degree; mirrored for the other arm."""
    ones = np.arange(float(count))
    for shift in (0.0, 0.5, 1.0, count / 2, float(count)):
        found = improvement((ones - shift).tolist(), ones.tolist())
        p, z2 = found.probability_of_improvement, float(stats.t.ppf(0.975, 2 * count - 2)) ** 2
        theta = np.polynomial.Polynomial([0, 1])
        both = (2 - theta) * (1 + theta)
        spread = both + (count - 1) * ((1 - theta) * (1 + theta) + theta * (2 - theta))
        quartic = count**2 * (theta - p) ** 2 * both - z2 * theta * (1 - theta) * spread
        roots: list[complex] = quartic.roots().tolist()
        within = [root.real for root in roots if abs(root.imag) < 1e-6 and -1e-9 <= root.real <= 1 + 1e-9]
        assert (found.low, found.high) == pytest.approx((min(within), max(within)), abs=1e-6)
        other = improvement(ones.tolist(), (ones - shift).tolist())
        assert (1 - other.high, 1 - other.low) == pytest.approx((found.low, found.high), abs=1e-9)


@pytest.mark.parametrize("count", range(1, 12))
def test_who_wins_every_pair_is_better_only_where_mann_and_whitneys_exact_test_says_so(count: int) -> None:
    """From five seeds on, one more than the exact test needs; fewer cannot tell, whatever they show."""
    x, y = np.arange(count) / 100, 1 + np.arange(count) / 100
    found = improvement(x.tolist(), y.tolist())
    assert (found.probability_of_improvement, found.high) == (1.0, 1.0)
    assert (found.low > 0.5) == (count >= 5)
    assert found.low <= 0.5 or stats.mannwhitneyu(x, y, method="exact").pvalue < 0.05


def test_improvement_with_divergence() -> None:
    """Diverged runs lose to all others and tie with each other."""
    assert improvement([1.0, 2.0], [inf, inf]).probability_of_improvement == 1.0
    assert improvement([inf, inf], [inf, inf]).probability_of_improvement == 0.5
    assert improvement([inf], [3.0]).probability_of_improvement == 0.0


def test_improvement_of_shifted_normals_is_near_its_closed_form() -> None:
    """Φ(d/√2) for unit normals d apart."""
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=800).tolist(), generator.normal(1.0, size=800).tolist()
    found = improvement(x, y)
    assert found.probability_of_improvement == pytest.approx(NormalDist().cdf(1 / 2**0.5), abs=0.03)
    assert found.low < found.probability_of_improvement < found.high


def test_ranks_are_shared_by_equals_and_denied_to_the_unreported() -> None:
    """Infinite losses come last, together."""
    assert ranks([0.5, 0.1, inf, 0.5, None, inf, 0.7]) == [2, 1, 5, 2, None, 5, 4]
    assert ranks([]) == []


def test_what_ties_is_one_rule_for_pairs_differences_ranks_and_choices() -> None:
    """Losses within a millionth are equal, also where six digits of them are not."""
    astride = 0.1234564999, 0.1234565001
    assert len({f"{loss:.6g}" for loss in astride}) == 2
    assert ranks([*astride, 0.2]) == [1, 1, 3]
    found = improvement([astride[0]] * 3, [astride[1]] * 3)
    assert found.probability_of_improvement == 0.5
    assert found.difference is not None and found.difference.model_dump() == {"iqm": 0.0, "low": 0.0, "high": 0.0}
    apart = 0.1234565, 0.1234570
    assert ranks(apart) == [1, 2] and improvement([apart[0]], [apart[1]]).probability_of_improvement == 1.0


def test_a_chain_of_near_losses_is_no_single_rank() -> None:
    """Each ties with the next; the last does not tie with the first, and so does not share its rank."""
    chain = [1.0 + 0.8e-6 * place for place in range(4)]
    assert ranks(chain) == ranks(chain[::-1])[::-1] == [1, 1, 3, 3]
