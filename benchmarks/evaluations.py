"""How many losses evolution strategies need, beside their references.

    python -m benchmarks.evaluations [seeds]

The sphere Σ x² in 20 dimensions and Rosenbrock's function in 10, to 1e-8 at θ itself, in float64: the median over seeds. All our seeds
are rows of one batched run, with candidates drawn by our own generator; a reference runs seed by seed on NumPy's. References: the
`cmaes` package as it is for CMA-ES and sep-CMA-ES; for SNES and OpenAI's strategy their papers' algorithms, a dozen lines each, below;
`evosax_side.py` has another for all but the last.
R rows (a seed each), N candidates, d parameters.
"""

import statistics
import sys
from collections.abc import Callable, Iterator
from math import inf
from typing import Any, NamedTuple

import cmaes
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.invariance import kind_of, settings
from workers.contract.optimizers import CmaEs, OpenAiEs, Optimizer, SepCmaEs, Snes
from workers.engine.optimizers import RULES, Draws, Gradients, Layout, keys_of

Array = NDArray[np.float64]

SEEDS = 21
GOAL = 1e-8
MOST = 100_000
"""Evaluations after which a run has failed."""
ALLOWED = 1.2
"""Times the reference's evaluations."""


class Landscape(NamedTuple):
    name: str
    losses: Callable[[Array], Array]
    """[..., d] -> [...]"""
    start: Array


def sphere(x: Array) -> Array:
    total: Array = (x**2).sum(-1)
    return total


def rosenbrock(x: Array) -> Array:
    total: Array = (100 * (x[..., 1:] - x[..., :-1] ** 2) ** 2 + (1 - x[..., :-1]) ** 2).sum(-1)
    return total


SPHERE = Landscape("sphere, 20", sphere, np.ones(20))
ROSENBROCK = Landscape("Rosenbrock, 10", rosenbrock, np.zeros(10))

Run = Iterator[Array]
"""θ after each step."""


def cma_es(f: Callable[[Array], Array], start: Array, seed: int, spec: Any) -> Run:
    return told(cmaes.CMA(start.copy(), spec.sigma, seed=seed, population_size=spec.population), f)


def sep_cma_es(f: Callable[[Array], Array], start: Array, seed: int, spec: Any) -> Run:
    return told(cmaes.SepCMA(start.copy(), spec.sigma, seed=seed, population_size=spec.population), f)


def told(strategy: Any, f: Callable[[Array], Array]) -> Run:
    while True:
        asked = [strategy.ask() for _ in range(strategy.population_size)]
        strategy.tell([(x, float(f(x))) for x in asked])
        yield strategy.mean


def snes(f: Callable[[Array], Array], start: Array, seed: int, spec: Any) -> Run:
    """Schaul, Glasmachers & Schmidhuber 2011, algorithm 1; utilities and rates of Wierstra et al. 2014, table 1."""
    random, d, count = np.random.default_rng(seed), len(start), spec.population
    raw = np.maximum(0, np.log(count / 2 + 1) - np.log(np.arange(1, count + 1)))
    utility = raw / raw.sum() - 1 / count
    mu, sigma = start, np.full(d, spec.sigma)
    while True:
        s = random.normal(size=(count, d))
        s = s[np.argsort(f(mu + sigma * s))]
        mu = mu + sigma * (utility @ s)
        sigma = sigma * np.exp((3 + np.log(d)) / (5 * np.sqrt(d)) / 2 * (utility @ (s**2 - 1)))
        yield mu


def openai_es(f: Callable[[Array], Array], start: Array, seed: int, spec: Any) -> Run:
    """Salimans et al. 2017, algorithm 1 with mirrored sampling, losses as they are."""
    random, theta = np.random.default_rng(seed), start
    while True:
        half = random.normal(size=(spec.population // 2, len(start)))
        e = np.concatenate([half, -half])
        theta = theta - spec.lr / (spec.population * spec.sigma) * (f(theta + spec.sigma * e) @ e)
        yield theta


Reference = Callable[[Callable[[Array], Array], Array, int, Any], Run]

CASES: dict[str, tuple[Landscape, Optimizer, Reference]] = {
    "openai_es, sphere": (SPHERE, OpenAiEs(lr=0.15, sigma=0.02, population=20, ranked=False), openai_es),
    "snes, sphere": (SPHERE, Snes(sigma=0.5, population=12), snes),
    "sep_cma_es, sphere": (SPHERE, SepCmaEs(sigma=0.5, population=12), sep_cma_es),
    "cma_es, sphere": (SPHERE, CmaEs(sigma=0.5, population=12), cma_es),
    "cma_es, Rosenbrock": (ROSENBROCK, CmaEs(sigma=0.5, population=10), cma_es),
}
"""Populations as the tutorial has them, 4 + 3·ln d; the strategy of fixed σ takes the rate that is best for it on a sphere, about."""


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS
    print(f"losses until {GOAL:g}, medians of {seeds} seeds\n\n| | ours | reference | times |\n|---|---:|---:|---:|")
    for name in CASES:
        own, other = compared(name, seeds)
        print(f"| {name} | {own:,.0f} | {other:,.0f} | {own / other:.2f} |", flush=True)


def compared(name: str, seeds: int) -> tuple[float, float]:
    """Evaluations of our rule and of its reference, medians over seeds; infinite where half of them failed."""
    landscape, spec, reference = CASES[name]
    each: int = spec.hyperparameters()["population"]  # type: ignore[assignment] # a whole number, as all specs of a population have it
    theirs = [
        steps_of(reference(landscape.losses, landscape.start, seed, spec), landscape, MOST // each)
        for seed in range(seeds)
    ]
    ours = steps_of_rows(landscape, spec, seeds, MOST // each)
    return each * statistics.median(ours), each * statistics.median(theirs)


def steps_of(run: Run, landscape: Landscape, most: int) -> float:
    for step, theta in zip(range(1, most + 1), run, strict=False):
        if landscape.losses(theta) < GOAL:
            return step
    return inf


@torch.no_grad()
def steps_of_rows(landscape: Landscape, spec: Optimizer, seeds: int, most: int) -> list[float]:
    """Of each seed."""
    rule, (hyper, flags) = RULES[kind_of(type(spec))], settings(spec, seeds)
    theta = torch.from_numpy(landscape.start).repeat(seeds, 1)
    layout, unknown = Layout.of([((theta.shape[1],),)]), torch.full_like(theta, torch.nan)
    state, keys = rule.initial_state(theta, hyper, layout, **flags), keys_of(list(range(seeds)), theta.device)
    found = [inf] * seeds
    assert rule.ask is not None
    for step in range(most):
        tried = rule.ask(theta, state, hyper, Draws(keys, torch.tensor(step)), **flags)
        losses = torch.from_numpy(landscape.losses((theta[:, None] + tried).numpy()))
        rule.update(
            theta, Gradients(unknown, 1, layout, losses[:, :1], tried=tried, losses=losses), state, hyper, **flags
        )
        for row, loss in enumerate(landscape.losses(theta.numpy()).tolist()):
            if loss < GOAL and found[row] == inf:
                found[row] = step + 1
        if inf not in found:
            break
    return found


if __name__ == "__main__":
    main()
