"""Schedule-free AdamW: schedule-free SGD on the gradient over its running root mean square.

    y = (1 − beta1)·z + beta1·θ                         θ is x, the average; z = θ at the start
    v ← beta2·v + (1 − beta2)·∇(y)²
    z ← z − lr·(∇(y)/(√(v/(1 − beta2^k)) + eps) + weight_decay·y)      (decoupled)
    θ ← (1 − 1/k)·θ + z/k                               in the k-th step, k = 1, 2, …

Source: Defazio et al. 2024 (arXiv:2405.15682), algorithm 1, for a constant lr without warm-up. pytorch_optimizer's
ScheduleFreeAdamW has a second eps, 1e-15 under the root, which cuts off gradients below 3e-8 whatever eps is. As in
schedule_free_sgd, the gradient at y is asked for as a second one.

Fixed points: z = θ and g = 0. A zero gradient moves θ only towards z.
Failure modes: Adam's, eps and underflow included. Every step since the start has the same weight in θ: a bad start is forgotten only
like 1/k.
"""

import torch
from torch import Tensor

from workers.engine.optimizers import schedule_free_sgd
from workers.engine.optimizers.adam import eps_dominated
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, nonzero


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {"exp_avg_sq": torch.zeros_like(theta), **schedule_free_sgd.initial_state(theta, hyper, layout)}


def probe(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> Tensor:
    """From θ to y."""
    return (state["z"] - theta).mul_((1 - hyper["beta1"]).to(theta.dtype))


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    assert gradients.at_probe is not None
    dtype, gradient = theta.dtype, gradients.at_probe
    scratch = torch.square(gradient)
    square = state["exp_avg_sq"].lerp_(scratch, (1 - hyper["beta2"]).to(dtype))
    root_correction = (1 - hyper["beta2"] ** (state["step"] + 1)).sqrt()
    torch.sqrt(square, out=scratch).add_(nonzero(root_correction * hyper["eps"], dtype))
    direction = torch.div(gradient, scratch, out=scratch).mul_(root_correction.to(dtype))
    schedule_free_sgd.descend(theta, direction, gradients, state, hyper)


RULE = Rule(initial_state, update, eps_dominated, probe)
