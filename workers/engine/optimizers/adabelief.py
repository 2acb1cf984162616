"""AdaBelief: Adam that divides by how far the gradient is from its running mean: long steps where it does what was expected.

    m ← beta1·m + (1 − beta1)·g
    s ← beta2·s + (1 − beta2)·(g − m)² + eps
    θ ← (1 − lr·weight_decay)·θ                         (decoupled)
    θ ← θ − lr·(m/(1 − beta1^k)) / (√(s/(1 − beta2^k)) + eps)          in the k-th step, k = 1, 2, …

Source: Zhuang et al. 2020 (arXiv:2010.07468), algorithm 2 with decoupled decay, as the authors' code, where eps is added to s in
every step and stays there (in sum eps/(1 − beta2)), and once more to the root.

Fixed points: m = 0. A gradient that has always been zero moves nothing.
Failure modes: a steady gradient has no deviation, and its step grows up to lr·g/√(eps/(1 − beta2)). eps acts on the squared deviation:
below |g − m| = 3e-7 at the defaults (1e-16) the steps shrink with the gradient. In float32 (g − m)² underflows below 1e-22.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, nonzero, shrink


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {
        "exp_avg": torch.zeros_like(theta),
        "exp_avg_var": torch.zeros_like(theta),
        "step": torch.zeros_like(hyper["lr"]),
    }


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype, gradient = theta.dtype, gradients.mean
    eps = nonzero(hyper["eps"], dtype)
    shrink(theta, hyper)
    mean = state["exp_avg"].lerp_(gradient, (1 - hyper["beta1"]).to(dtype))
    scratch = torch.sub(gradient, mean).square_()
    deviation = state["exp_avg_var"].lerp_(scratch, (1 - hyper["beta2"]).to(dtype)).add_(eps)
    step = state["step"].add_(1)
    root_correction = (1 - hyper["beta2"] ** step).sqrt()
    length = hyper["lr"] * root_correction / (1 - hyper["beta1"] ** step)
    torch.sqrt(deviation, out=scratch).add_(nonzero(root_correction * hyper["eps"], dtype))
    theta.addcmul_(torch.div(mean, scratch, out=scratch), -length.to(dtype))


def eps_dominated(state: State, hyper: Hyper, layout: Layout) -> Tensor:
    """More than half of s is what eps has added so far."""
    deviation = state["exp_avg_var"]
    added = hyper["eps"] * (1 - hyper["beta2"] ** state["step"]) / (1 - hyper["beta2"])
    return deviation < (2 * added).to(deviation.dtype)


RULE = Rule(initial_state, update, eps_dominated)
