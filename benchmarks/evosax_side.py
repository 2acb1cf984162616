"""The losses that evosax's strategies need, on the landscapes of `benchmarks.evaluations`: another reference, of other hands.

    python benchmarks/evosax_side.py [seeds]

In an environment that has evosax 0.3.2, so it imports nothing of the project's. Same starts, first spreads and populations, in float64;
the loss at the mean is looked at after every step. Medians over seeds.
"""

# mypy: ignore-errors
# (evosax is not in the environment that is checked)

import statistics
import sys

import jax
import jax.numpy as jnp
from evosax.algorithms import CMA_ES, SNES, Sep_CMA_ES

GOAL, MOST, SIGMA = 1e-8, 20_000, 0.5


def sphere(x):
    return (x**2).sum()


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


CASES = {
    "snes, sphere": (SNES, sphere, (20, 1.0), 12),
    "sep_cma_es, sphere": (Sep_CMA_ES, sphere, (20, 1.0), 12),
    "cma_es, sphere": (CMA_ES, sphere, (20, 1.0), 12),
    "cma_es, Rosenbrock": (CMA_ES, rosenbrock, (10, 0.0), 10),
}


def main():
    jax.config.update("jax_enable_x64", True)
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    for name, (kind, loss, (dimensions, where), population) in CASES.items():
        strategy = kind(population_size=population, solution=jnp.zeros(dimensions))
        start = jnp.full(dimensions, where)
        compiled = jax.jit(strategy.ask), jax.jit(strategy.tell), jax.jit(jax.vmap(loss)), jax.jit(loss)
        found = [evaluations(strategy, compiled, start, population, seed) for seed in range(seeds)]
        print(f"{name}: {statistics.median(found):,.0f}", flush=True)


def evaluations(strategy, compiled, start, population, seed):
    """Infinite where MOST do not reach it."""
    params = strategy.default_params.replace(std_init=SIGMA)
    ask, tell, losses, loss = compiled
    key = jax.random.key(seed)
    state = strategy.init(key, start, params)
    for step in range(1, MOST // population + 1):
        key, asking, telling = jax.random.split(key, 3)
        tried, state = ask(asking, state, params)
        state, _ = tell(telling, tried, losses(tried), state, params)
        if loss(state.mean) < GOAL:
            return step * population
    return float("inf")


if __name__ == "__main__":
    main()
