"""Sophia-G: a running mean of the gradient over one of the curvature, no element moving further than lr.

    θ ← (1 − lr·weight_decay)·θ                                (decoupled)
    m ← beta1·m + (1 − beta1)·g
    h ← beta2·h + (1 − beta2)·ĥ                                every update_period steps, the first step among them
    θ ← θ − lr·clip(m/max(gamma·h, eps), −1, 1)

ĥ is Gauss-Newton-Bartlett: the labels of the batch drawn from the network's own predictions, n times the square of the gradient of that
mean loss. Its expectation is the diagonal of the Gauss-Newton matrix, whatever the network is made of; it costs a gradient, and is
taken only when it is due.

Source: Liu et al. 2023 (arXiv:2305.14342), algorithms 2 and 3, with their β and eps; the arithmetic is step for step that of
pytorch_optimizer's SophiaH(p=1) given gamma·ĥ. h is not corrected for starting at zero, there as here: the first steps are those of
Signum, lr in every coordinate, until h has grown.

Fixed points: m = 0. A zero gradient moves nothing from a fresh state.
Failure modes: where gamma·h is small beside |m| every element is clipped, and the rule is Signum: it circles the optimum at a distance of
about lr. ĥ is one draw, as noisy as the square of a normal number, and too small where the network is sure of itself. g² underflows in
float32 below |g| = 1e-19: then eps decides. A NaN gradient makes m NaN, and θ.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, nonzero, shrink


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {
        "exp_avg": torch.zeros_like(theta),
        "hessian": torch.zeros_like(theta),
        "step": torch.zeros_like(hyper["lr"]),
    }


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    """Where nobody's period is up, there is no curvature."""
    dtype = theta.dtype
    shrink(theta, hyper)
    mean = state["exp_avg"].lerp_(gradients.mean, (1 - hyper["beta1"]).to(dtype))
    if gradients.curvature is not None:
        due = state["step"] % hyper["update_period"] == 0
        state["hessian"].lerp_(gradients.curvature, ((1 - hyper["beta2"]) * due).to(dtype))
    state["step"].add_(1)
    below = torch.mul(state["hessian"], hyper["gamma"].to(dtype))
    torch.maximum(below, nonzero(hyper["eps"], dtype), out=below)
    theta.addcmul_(torch.div(mean, below, out=below).clamp_(-1, 1), -hyper["lr"].to(dtype))


def eps_dominated(state: State, hyper: Hyper, layout: Layout) -> Tensor:
    """Where the step is not as long as it may be, and eps is why."""
    mean, dtype = state["exp_avg"], state["exp_avg"].dtype
    eps = hyper["eps"].to(dtype)
    return (state["hessian"] * hyper["gamma"].to(dtype) < eps) & (mean.abs() < eps)


RULE = Rule(initial_state, update, eps_dominated)
