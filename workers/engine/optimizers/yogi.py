"""Yogi: Adam whose mean square moves by at most (1 − beta2)·g² a step, so that it forgets slowly.

    m ← beta1·m + (1 − beta1)·g
    v ← v − (1 − beta2)·sign(v − g²)·g²                 (initial_accumulator at the start)
    θ ← (1 − lr·weight_decay)·θ − lr·m/(√v + eps)       (decoupled)

Source: Zaheer et al. 2018 (NeurIPS), algorithm 2: no corrections for the start, v₀ = 1e-6. pytorch_optimizer's Yogi
divides by √(v/(1 − beta2^k)), which makes v₀ a thousand times as large in the first step, and starts m at v₀, too.

Fixed points: m = 0. A gradient that has always been zero moves nothing.
Failure modes: eps = 1e-3 at the default: below |g| = 1e-3 the rule is momentum SGD with learning rate lr/eps, which the authors wanted.
Below √v₀ = 1e-3 the start, too, takes 1/(1 − beta2) steps or more to be forgotten: v falls by (1 − beta2)·g² a step only.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, nonzero, shrink


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {
        "exp_avg": torch.zeros_like(theta),
        "exp_avg_sq": hyper["initial_accumulator"].to(theta.dtype).expand_as(theta).clone(),
    }


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype, gradient = theta.dtype, gradients.mean
    shrink(theta, hyper)
    mean = state["exp_avg"].lerp_(gradient, (1 - hyper["beta1"]).to(dtype))
    square, fresh = torch.square(gradient), state["exp_avg_sq"]
    direction = torch.sub(square, fresh).sign_().mul_(square)
    fresh.addcmul_(direction, (1 - hyper["beta2"]).to(dtype))
    root = torch.sqrt(fresh, out=square).add_(nonzero(hyper["eps"], dtype))
    theta.addcmul_(torch.div(mean, root, out=root), -hyper["lr"].to(dtype))


def eps_dominated(state: State, hyper: Hyper, layout: Layout) -> Tensor:
    root = state["exp_avg_sq"].sqrt()
    return root < hyper["eps"].to(root.dtype)


RULE = Rule(initial_state, update, eps_dominated)
