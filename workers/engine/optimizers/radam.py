"""RAdam: Adam that divides by the root mean square only once enough gradients have been seen to know it.

    g ← g + weight_decay·θ                              (coupled)
    m ← beta1·m + (1 − beta1)·g
    v ← beta2·v + (1 − beta2)·g²
    ρ_∞ = 2/(1 − beta2) − 1,  ρ = ρ_∞ − 2k·beta2^k/(1 − beta2^k)             in the k-th step, k = 1, 2, …
    ρ > 5: θ ← θ − lr·r·m/(1 − beta1^k)·√(1 − beta2^k)/(√v + eps)           r² = (ρ−4)(ρ−2)ρ_∞ / ((ρ_∞−4)(ρ_∞−2)ρ)
    else:  θ ← θ − lr·m/(1 − beta1^k)

Source: Liu et al. 2020 (arXiv:1908.03265), algorithm 2; step for step torch.optim.RAdam (a threshold of 5 where the paper has 4),
except that eps is at least the smallest normal number.

Fixed points: m = 0. A gradient that has always been zero moves nothing.
Failure modes: Adam's. Its first steps (five at beta2 = 0.999; all of them where beta2 < 0.67) are those of momentum SGD and depend on
the gradient's size: large gradients can throw θ far away before the rule adapts.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, decayed, nonzero


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {
        "exp_avg": torch.zeros_like(theta),
        "exp_avg_sq": torch.zeros_like(theta),
        "step": torch.zeros_like(hyper["lr"]),
    }


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype, beta2 = theta.dtype, hyper["beta2"]
    gradient = decayed(theta, gradients.mean, hyper)
    mean = state["exp_avg"].lerp_(gradient, (1 - hyper["beta1"]).to(dtype))
    scratch = torch.square(gradient)
    square = state["exp_avg_sq"].lerp_(scratch, (1 - beta2).to(dtype))
    step = state["step"].add_(1)
    length = hyper["lr"] / (1 - hyper["beta1"] ** step)
    most = 2 / (1 - beta2) - 1
    rho = most - 2 * step * beta2**step / (1 - beta2**step)
    known = rho > 5
    variance = (rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho)
    adaptive = torch.where(known, (variance * (1 - beta2**step)).clamp_min(0).sqrt(), 0.0)
    # one of the two terms is zero: a choice by products, as torch.where would branch on every element
    factor = torch.sqrt(square, out=scratch).add_(nonzero(hyper["eps"], dtype)).reciprocal_()
    factor.mul_((length * adaptive).to(dtype)).add_(torch.where(known, 0.0, length).to(dtype))
    theta.addcmul_(mean, factor, value=-1)


def eps_dominated(state: State, hyper: Hyper, layout: Layout) -> Tensor:
    root = state["exp_avg_sq"].sqrt()
    return root < hyper["eps"].to(root.dtype)


RULE = Rule(initial_state, update, eps_dominated)
