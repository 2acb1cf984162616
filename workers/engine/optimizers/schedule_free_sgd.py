"""Schedule-free SGD: plain steps of z, whose average x is the answer, with gradients taken between the two.

    y = (1 − beta)·z + beta·θ                           θ is x, the average; z = θ at the start
    z ← z − lr·(∇(y) + weight_decay·y)                  (coupled)
    θ ← (1 − 1/k)·θ + z/k                               in the k-th step, k = 1, 2, …

Source: Defazio et al. 2024 (arXiv:2405.15682), equations 1 to 3, for a constant lr; θ is what pytorch_optimizer's ScheduleFreeSGD has
after `eval()`.

θ is where losses are measured, the gradient is wanted at y: so it is asked for as a second gradient, and the one at θ is not used. A
step costs two gradients here where one would do.

Fixed points: z = θ and g = 0. A zero gradient moves θ only towards z.
Failure modes: SGD's: steps in proportion to the gradient. Every step since the start has the same weight in θ, so a bad start is
forgotten only like 1/k; lr must suit the whole training, and too large a one does not average out.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {"z": theta.clone(), "step": torch.zeros_like(hyper["lr"])}


def probe(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> Tensor:
    """From θ to y."""
    return (state["z"] - theta).mul_((1 - hyper["beta"]).to(theta.dtype))


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    assert gradients.at_probe is not None
    descend(theta, gradients.at_probe, gradients, state, hyper)


def descend(theta: Tensor, direction: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    """Steps z along −direction, and averages."""
    assert gradients.displacement is not None
    if "weight_decay" in hyper:
        y = theta + gradients.displacement
        direction = torch.addcmul(direction, y, hyper["weight_decay"].to(theta.dtype))
    z = state["z"].addcmul_(direction, -hyper["lr"].to(theta.dtype))
    theta.lerp_(z, (1 / state["step"].add_(1)).to(theta.dtype))


RULE = Rule(initial_state, update, probe=probe)
