"""Prodigy: Adam that estimates the distance D to the solution as it goes, and takes it as its learning rate; lr stays 1.

    n ← √beta2·n + (d/d0)·d·lr·⟨g, θ₀ − θ⟩
    s ← √beta2·s + (d/d0)·d·lr·g
    m ← beta1·m + (1 − beta1)·d·g
    v ← beta2·v + (1 − beta2)·d²·g²
    d' = max(d, d_coef·n/‖s‖₁)
    θ ← (1 − d·lr·weight_decay)·θ                       (decoupled)
    θ ← θ − d·lr·m/(√v + d'·eps);  d ← d'               d = d0 at the start; nothing moves while ‖s‖₁ = 0

Source: Mishchenko & Defazio 2024 (arXiv:2306.06101), algorithm 4; step for step pytorch_optimizer's Prodigy at its defaults, which is the
authors' code. Sums run over all parameters of a trial; n and d are float64.

Fixed points: m = 0. A gradient that has always been zero moves nothing.
Failure modes: d never falls: one overestimate stays, and noise makes it grow. In float32 θ₀ − θ is coarse while d is small.
Adam's eps and underflow, with d·g in g's place: at d0 = 1e-6 squares underflow in float32 already below |g| = 1e-16. A layer of
vanishing gradients has no say in d.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, nonzero


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {
        "start": theta.clone(),
        "exp_avg": torch.zeros_like(theta),
        "exp_avg_sq": torch.zeros_like(theta),
        "s": torch.zeros_like(theta),
        "numerator": torch.zeros_like(hyper["lr"]),
        "d": hyper["d0"].clone(),
    }


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype, gradient, d = theta.dtype, gradients.mean, state["d"]
    beta1, beta2 = hyper["beta1"], hyper["beta2"]
    length, memory = d * hyper["lr"], hyper["beta2"].sqrt()
    weight = d / hyper["d0"] * length
    inner = (gradient * (state["start"] - theta)).sum(1, keepdim=True).double()
    state["numerator"].mul_(memory).add_(weight * inner)
    state["s"].mul_(memory.to(dtype)).addcmul_(gradient, weight.to(dtype))
    scaled = gradient * d.to(dtype)
    state["exp_avg"].lerp_(scaled, (1 - beta1).to(dtype))
    state["exp_avg_sq"].lerp_(scaled.square_(), (1 - beta2).to(dtype))

    denominator = state["s"].abs().sum(1, keepdim=True).double()
    seen = denominator != 0
    estimate = torch.where(seen, hyper["d_coef"] * state["numerator"] / denominator, 0.0)
    d.copy_(torch.maximum(d, estimate))
    if "weight_decay" in hyper:
        theta.mul_(torch.where(seen, 1 - length * hyper["weight_decay"], 1.0).to(dtype))
    root = torch.sqrt(state["exp_avg_sq"], out=scaled).add_(nonzero(d * hyper["eps"], dtype))
    theta.addcmul_(torch.div(state["exp_avg"], root, out=root), -length.to(dtype))


def eps_dominated(state: State, hyper: Hyper, layout: Layout) -> Tensor:
    root = state["exp_avg_sq"].sqrt()
    return root < (state["d"] * hyper["eps"]).to(root.dtype)


RULE = Rule(initial_state, update, eps_dominated)
