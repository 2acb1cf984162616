"""Adamax: Adam with the largest recent gradient, decayed, in place of the root mean square.

    g ← g + weight_decay·θ                              (coupled)
    m ← beta1·m + (1 − beta1)·g
    u ← max(beta2·u, |g| + eps)
    θ ← θ − lr/(1 − beta1^k)·m/u                        in the k-th step, k = 1, 2, …

Source: Kingma & Ba 2015 (arXiv:1412.6980), algorithm 2; step for step torch.optim.Adamax, which puts eps inside the maximum;
except that eps is at least the smallest normal number, where eps = 0 in torch makes a zero gradient NaN.

Fixed points: m = 0. A gradient that has always been zero moves nothing.
Failure modes: one large gradient keeps the steps small for 1/(1 − beta2) steps. Nothing is squared, so nothing underflows
before the gradient does; but |g| < eps (1e-8 at the default) turns it into momentum SGD with learning rate lr/eps.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, decayed, nonzero


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {
        "exp_avg": torch.zeros_like(theta),
        "exp_inf": torch.zeros_like(theta),
        "step": torch.zeros_like(hyper["lr"]),
    }


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype = theta.dtype
    gradient = decayed(theta, gradients.mean, hyper)
    mean = state["exp_avg"].lerp_(gradient, (1 - hyper["beta1"]).to(dtype))
    scratch = gradient.abs().add_(nonzero(hyper["eps"], dtype))
    largest = state["exp_inf"].mul_(hyper["beta2"].to(dtype))
    torch.maximum(largest, scratch, out=largest)
    length = hyper["lr"] / (1 - hyper["beta1"] ** state["step"].add_(1))
    theta.addcmul_(torch.div(mean, largest, out=scratch), -length.to(dtype))


def eps_dominated(state: State, hyper: Hyper, layout: Layout) -> Tensor:
    """More than half of u is eps."""
    return state["exp_inf"] < (2 * hyper["eps"]).to(state["exp_inf"].dtype)


RULE = Rule(initial_state, update, eps_dominated)
