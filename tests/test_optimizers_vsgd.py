"""What the papers of vSGD show: its learning rates anneal near a resting optimum and stay up on a moving one."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from optimizer_samples import numbers_and_flags
from torch import Tensor

from workers.contract.optimizers import VsgdB, VsgdFd, VsgdG, VsgdL
from workers.engine.optimizers import RULES, Gradients, Layout

ROWS, STEPS = 200, 1001
KINDS = {"vsgd_fd": VsgdFd(slow_start=10), "vsgd_l": VsgdL(), "vsgd_b": VsgdB(), "vsgd_g": VsgdG()}


@torch.no_grad()
def rates_and_distances(kind: str, optimum: Callable[[int], float]) -> tuple[np.ndarray, np.ndarray]:
    """One weight, one sample a step, loss (θ − x)²/2 with x standard normal around the optimum: the 1-D case of
    Schaul, Zhang & LeCun 2013.

    Returns the median learning rate that was taken and the mean squared distance from the optimum, over the rows, [STEPS] each.
    """
    rule = RULES[kind]
    numbers, _ = numbers_and_flags(KINDS[kind])
    hyper = {name: torch.full((ROWS, 1), value, dtype=torch.float64) for name, value in numbers.items()}
    theta = torch.full((ROWS, 1), 5.0, dtype=torch.float64)
    layout, zero = Layout.of([((1,),)]), torch.zeros(ROWS, 1)
    state = rule.initial_state(theta, hyper, layout)
    generator = torch.Generator().manual_seed(0)
    rates, distances = [], []
    for k in range(STEPS):
        x = optimum(k) + torch.randn(ROWS, 1, generator=generator, dtype=torch.float64)
        own: Tensor = theta - x
        told = Gradients(own, 1, layout, zero, sample_squares=own.square(), curvature=torch.ones_like(own))
        if rule.probe is not None:
            displacement = rule.probe(theta, told, state, hyper)
            told = replace(told, at_probe=own + displacement, displacement=displacement)
        before = theta.clone()
        rule.update(theta, told, state, hyper)
        rates.append(((before - theta) / own).median().item())
        distances.append((theta - optimum(k)).square().mean().item())
    return np.array(rates), np.array(distances)


@pytest.mark.parametrize("kind", KINDS)
def test_rates_anneal_as_one_over_t(kind: str) -> None:
    """Near a resting optimum rate and squared distance fall like 1/t, without anyone's schedule."""
    rates, distances = rates_and_distances(kind, lambda k: 0.0)
    late = np.array([100, 200, 400, 700, 1000])
    for fallen in (rates, distances):
        slope = np.polyfit(np.log(late), np.log(fallen[late]), 1)[0]
        assert -1.3 < slope < -0.7
    assert distances[1000] < 0.01 < 5 < distances[0]


@pytest.mark.parametrize("kind", KINDS)
def test_rates_stay_up_on_a_moving_optimum(kind: str) -> None:
    """Where the optimum moves by a tenth of the noise in every step the rate stays, and θ follows."""
    rates, distances = rates_and_distances(kind, lambda k: 0.1 * k)
    assert rates[100:].min() > 0.05
    assert rates[900:].mean() > 0.8 * rates[100:200].mean()
    assert distances[100:].max() < 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_rates_recover_after_a_jump(kind: str) -> None:
    """Rates that have annealed grow again when the optimum jumps, and θ goes there."""
    rates, distances = rates_and_distances(kind, lambda k: 5.0 if k >= 300 else 0.0)
    assert rates[300:330].max() > 10 * rates[299]
    assert distances[301] > 10
    assert distances[600] < 0.1
