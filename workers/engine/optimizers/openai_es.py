"""OpenAI's evolution strategy: the gradient of the loss smoothed by a Gaussian, from mirrored candidates. N candidates.

    z_i ~ N(0, I), z_(i+N/2) = −z_i
    f_i = L(θ + sigma·z_i);   ranked: its centred rank, from −1/2, the lowest loss, to 1/2
    ĝ = Σ f_i·z_i/(N·sigma)
    v ← momentum·v + ĝ
    θ ← θ − lr·v

Source: Salimans et al. 2017 (arXiv:1703.03864), algorithm 1, with the mirrored sampling and the ranks of its section 2.1; the optimizer
round the estimate is SGD, as in algorithm 1. Equal losses share their rank.

Fixed points: ranks that go with no direction. Ranked, it does not change where the loss is scaled or bent by a rising function, and steps
do not shrink towards a minimum: within about sigma of it ranks are noise, unless lr falls. Not ranked, ĝ is without bias the gradient of
the smoothed loss, the step is proportional to the loss. N losses a step.
Failure modes: |ĝ| grows as √(d/N) against |g|; momentum carries over noise. Ranked, losses that are not finite rank last; not ranked, one
of them makes θ NaN.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.draws import Draws
from workers.engine.optimizers.ranks import centred, combined, mirrored
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, found


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout, *, population: int, ranked: bool) -> State:
    return {"momentum_buffer": torch.zeros_like(theta)} if "momentum" in hyper else {}


def ask(theta: Tensor, state: State, hyper: Hyper, draws: Draws, *, population: int, ranked: bool) -> Tensor:
    return mirrored(draws.normal(theta, population // 2) * hyper["sigma"].to(theta.dtype)[:, None])


def estimate(gradients: Gradients, state: State, hyper: Hyper, *, population: int, ranked: bool) -> Tensor:
    tried, losses = found(gradients)
    weights = centred(losses) if ranked else losses
    # each pair's difference first: the losses are large beside what they tell
    half = population // 2
    differences = (weights[:, :half] - weights[:, half:]) / (population * hyper["sigma"] ** 2)
    return combined(differences, tried[:, :half])


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, *, population: int, ranked: bool) -> None:
    direction = estimate(gradients, state, hyper, population=population, ranked=ranked)
    if "momentum" in hyper:
        direction = state["momentum_buffer"].mul_(hyper["momentum"].to(theta.dtype)).add_(direction)
    theta.addcmul_(direction, -hyper["lr"].to(theta.dtype))


RULE = Rule(initial_state, update, ask=ask, estimate=estimate)
