"""D-Adaptation for Adam: the learning rate is a lower bound on the distance D to the solution, found on the way; lr stays 1.

    g ← g + weight_decay·θ                              (coupled)
    n ← √beta2·n + (1 − √beta2)·d·lr·⟨g, s/(√v + eps)⟩
    m ← beta1·m + (1 − beta1)·d·lr·g
    v ← beta2·v + (1 − beta2)·g²
    s ← √beta2·s + (1 − √beta2)·d·lr·g
    d ← max(d, n/((1 − √beta2)·‖s‖₁))                   d = d0 at the start
    θ ← θ − m/(√v + eps)

Source: Defazio & Mishchenko 2023 (arXiv:2301.07733), algorithm 5; step for step pytorch_optimizer's DAdaptAdam at its defaults, which is
the authors' code. Sums run over all parameters of a trial; n and d are float64.

Fixed points: m = 0. A gradient that has always been zero moves nothing.
Failure modes: d never falls: one overestimate stays. It starts at 1e-6, so the first steps hardly move, and on a
gradient that does not turn it grows without bound. Adam's eps and underflow.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, decayed, nonzero


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {
        "exp_avg": torch.zeros_like(theta),
        "exp_avg_sq": torch.zeros_like(theta),
        "s": torch.zeros_like(theta),
        "numerator": torch.zeros_like(hyper["lr"]),
        "d": hyper["d0"].clone(),
    }


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype, eps = theta.dtype, nonzero(hyper["eps"], theta.dtype)
    gradient = decayed(theta, gradients.mean, hyper)
    length, memory = state["d"] * hyper["lr"], hyper["beta2"].sqrt()
    scratch = torch.sqrt(state["exp_avg_sq"]).add_(eps)
    inner = torch.div(state["s"], scratch, out=scratch).mul_(gradient).sum(1, keepdim=True).double()
    state["numerator"].mul_(memory).add_((1 - memory) * length * inner)
    scaled = torch.mul(gradient, length.to(dtype))
    state["exp_avg"].lerp_(scaled, (1 - hyper["beta1"]).to(dtype))
    state["exp_avg_sq"].lerp_(torch.square(gradient, out=scratch), (1 - hyper["beta2"]).to(dtype))
    state["s"].lerp_(scaled, (1 - memory).to(dtype))

    denominator = (1 - memory) * state["s"].abs().sum(1, keepdim=True).double()
    estimate = torch.where(denominator != 0, state["numerator"] / denominator, 0.0)
    state["d"].copy_(torch.maximum(state["d"], estimate))
    root = torch.sqrt(state["exp_avg_sq"], out=scratch).add_(eps)
    theta.addcdiv_(state["exp_avg"], root, value=-1)


def eps_dominated(state: State, hyper: Hyper, layout: Layout) -> Tensor:
    root = state["exp_avg_sq"].sqrt()
    return root < hyper["eps"].to(root.dtype)


RULE = Rule(initial_state, update, eps_dominated)
