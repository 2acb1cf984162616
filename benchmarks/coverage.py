"""How often a 95 % interval holds the truth: interquartile means and probabilities of improvement, by simulation.

    python -m benchmarks.coverage [draws]

Each draw is what one arm, or two, would score on N seeds; the truth is that of the distribution. Normal, log-normal (σ = 1) and
bimodal scores (two equal heaps, four of their standard deviations apart, as where half of the trainings get stuck). The last
row of a table, uneven heaps ten standard deviations apart, is harder than what is promised: at 5 seeds one draw in six sees a
single heap, and no interval can know of the other.
"""

import sys
from collections.abc import Callable
from functools import cache
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from workers.analysis.uncertainty import improvement, interval

Numbers = NDArray[np.float64]
Scores = Callable[[np.random.Generator, tuple[int, ...]], Numbers]


def _heaps(share: float, apart: float) -> Scores:
    """Two normal heaps of unit variance, 1 − share of it at zero."""

    def drawn(generator: np.random.Generator, shape: tuple[int, ...]) -> Numbers:
        return generator.normal(size=shape) + np.where(generator.random(shape) < share, apart, 0.0)

    return drawn


SCORES: dict[str, Scores] = {
    "normal": lambda generator, shape: generator.normal(size=shape),
    "log-normal": lambda generator, shape: generator.lognormal(size=shape),
    "bimodal": _heaps(0.5, 4.0),
}
HARDER: dict[str, Scores] = {"30 % stuck": _heaps(0.3, 10.0)}
SEEDS = (5, 10, 30)
DRAWS = 2000
POPULATION = 1_000_000
PROBABILITIES = (0.5, 0.64, 0.8, 0.92, 0.98)


def main() -> None:
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else DRAWS
    print(f"share of {draws} draws whose 95 % interval holds the truth, by number of seeds")
    print(f"{'interquartile mean':32}" + "".join(f"{seeds:>8}" for seeds in SEEDS))
    for name, scores in (SCORES | HARDER).items():
        print(f"  {name:30}" + "".join(f"{mean_coverage(scores, seeds, draws):8.1%}" for seeds in SEEDS))
    for shared in (0.0, 0.5):
        print(f"P(improvement), {shared:.0%} of the variance shared by a seed")
        for truth in PROBABILITIES:
            cells = "".join(f"{pair_coverage(truth, seeds, draws, shared):8.1%}" for seeds in SEEDS)
            print(f"  {truth:<30}" + cells)


def mean_coverage(scores: Scores, seeds: int, draws: int) -> float:
    """Of `interval`, against the mean of the middle half of a large population."""
    truth = _truth(scores)
    found = (interval(row.tolist()) for row in scores(np.random.default_rng(seeds), (draws, seeds)))
    return float(np.mean([f.low is not None and f.high is not None and f.low <= truth <= f.high for f in found]))


@cache
def _truth(scores: Scores) -> float:
    population = np.sort(scores(np.random.default_rng(0), (POPULATION,)))
    return float(population[POPULATION // 4 : -POPULATION // 4].mean())


def pair_coverage(truth: float, seeds: int, draws: int, shared: float = 0.0) -> float:
    """Of `improvement`, on normal scores; Φ⁻¹(θ)·√2 standard deviations make P = θ.

    Args:
        truth: θ, over runs of different seeds.
        shared: what two runs of a seed have in common of their variance.
    """
    generator = np.random.default_rng(seeds)
    apart = NormalDist().inv_cdf(truth) * sqrt(2)
    held = 0
    for _ in range(draws):
        common, own, other = generator.normal(size=(3, seeds))
        common, own, other = sqrt(shared) * common, sqrt(1 - shared) * own, sqrt(1 - shared) * other
        found = improvement((common + own - apart).tolist(), (common + other).tolist())
        held += found.low <= truth <= found.high
    return held / draws


if __name__ == "__main__":
    main()
