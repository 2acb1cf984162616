"""SM3: Adagrad whose sums are bounded by one number for each row and one for each column of a weight.

    ν ← min(max of ν in its row, max of ν in its column) + g²     for a weight; ν ← ν + g² for a bias; ν = 0 at the start
    m ← momentum·m + (1 − momentum)·g/√(ν + eps)
    θ ← θ − lr·m

Source: Anil, Gupta, Koren & Singer 2019 (arXiv:1901.11150), SM3-II (algorithm 2) with rows and columns as its cover, momentum as in its
experiments, and an eps where the paper has 0/0 = 0; step for step pytorch_optimizer's SM3 without its beta. The paper remembers the maxima
alone, ours ν itself, from which they are read: the same numbers, more memory.

Fixed points: m = 0. A zero gradient moves nothing but what is left in m.
Failure modes: ν never forgets: the steps fall like 1/√k, and for good after one burst of large gradients, which slows all that shares
both its row and its column. Below |g| = √eps (1e-15 at the default) the rule is SGD with learning rate lr/√eps, and below 1e-22 g²
underflows in float32.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Rule, State, nonzero


def initial_state(theta: Tensor, hyper: Hyper) -> State:
    state = {"bound": torch.zeros_like(theta)}
    if "momentum" in hyper:
        state["exp_avg"] = torch.zeros_like(theta)
    return state


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype, gradient, bound = theta.dtype, gradients.mean, state["bound"]
    for columns, shape in gradients.parts():
        if len(shape) == 2:
            own = bound[:, columns].unflatten(1, shape)
            own.copy_(torch.minimum(own.amax(2, keepdim=True), own.amax(1, keepdim=True)))
    bound.addcmul_(gradient, gradient)
    direction = (bound + nonzero(hyper["eps"], dtype)).rsqrt_().mul_(gradient)
    if "momentum" in hyper:
        direction = state["exp_avg"].lerp_(direction, (1 - hyper["momentum"]).to(dtype))
    theta.addcmul_(direction, -hyper["lr"].to(dtype))


def eps_dominated(state: State, hyper: Hyper) -> Tensor:
    bound = state["bound"]
    return bound < hyper["eps"].to(bound.dtype)


RULE = Rule(initial_state, update, eps_dominated)
