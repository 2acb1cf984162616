"""SM3: Adagrad whose sums are bounded by one number for each row and one for each column of a weight.

    ν ← min(max of ν in its row, max of ν in its column) + g²     for a weight; ν ← ν + g² for a bias; ν = 0 at the start
    m ← momentum·m + (1 − momentum)·g/√(ν + eps)
    θ ← θ − lr·m

Source: Anil, Gupta, Koren & Singer 2019 (arXiv:1901.11150), SM3-II (algorithm 2) with rows and columns as its cover, momentum as in its
experiments, and an eps where the paper has 0/0 = 0; step for step pytorch_optimizer's SM3 without its beta.
Only the maxima are remembered.

Fixed points: m = 0. A zero gradient moves nothing but what is left in m.
Failure modes: ν never forgets: the steps fall like 1/√k, and for good after one burst of large gradients, which slows all that shares
both its row and its column. Below |g| = √eps (1e-15 at the default) the rule is SGD with learning rate lr/√eps, and below 1e-22 g²
underflows in float32.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.factored import by_part, factored
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, nonzero


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    state = factored(theta, layout)
    if "momentum" in hyper:
        state["exp_avg"] = torch.zeros_like(theta)
    return state


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype, gradient = theta.dtype, gradients.mean
    bound = bounds(state, gradients.layout).addcmul_(gradient, gradient)
    for own, shape, rows, columns in by_part(state, gradients.layout):
        if len(shape) == 1:
            rows.copy_(bound[:, own])
        else:
            here = bound[:, own].unflatten(1, shape)
            torch.amax(here, 2, keepdim=True, out=rows)
            torch.amax(here, 1, keepdim=True, out=columns)
    direction = bound.add_(nonzero(hyper["eps"], dtype)).rsqrt_().mul_(gradient)
    if "momentum" in hyper:
        direction = state["exp_avg"].lerp_(direction, (1 - hyper["momentum"]).to(dtype))
    theta.addcmul_(direction, -hyper["lr"].to(dtype))


def bounds(state: State, layout: Layout) -> Tensor:
    """What the remembered maxima say of ν, [R, P]."""
    found = [
        rows if len(shape) == 1 else torch.minimum(rows, columns).flatten(1)
        for _, shape, rows, columns in by_part(state, layout)
    ]
    return torch.cat(found, 1)


def eps_dominated(state: State, hyper: Hyper, layout: Layout) -> Tensor:
    bound = bounds(state, layout)
    return bound < hyper["eps"].to(bound.dtype)


RULE = Rule(initial_state, update, eps_dominated)
