"""NAdam: Adam with Nesterov's look-ahead: the mean that the next step will have, as far as it is known.

    g ← g + weight_decay·θ                              (coupled)
    m ← beta1·m + (1 − beta1)·g
    v ← beta2·v + (1 − beta2)·g²
    μ_k = beta1·(1 − 0.5·0.96^(k·momentum_decay)),  Π_k = μ_1·…·μ_k
    θ ← θ − lr·((1 − μ_k)/(1 − Π_k)·g + μ_{k+1}/(1 − Π_{k+1})·m) / (√(v/(1 − beta2^k)) + eps)    in the k-th step, k = 1, 2, …

Source: Dozat 2016 (ICLR workshop); step for step torch.optim.NAdam, with Adam's exception for eps = 0.

Fixed points: m = 0 and g = 0. A gradient that has always been zero moves nothing; after one that was not, θ coasts while m decays.
Failure modes: Adam's, eps and underflow included; half of the last gradient enters undamped, so noise does, too.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.adam import eps_dominated
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, decayed, nonzero


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {
        "exp_avg": torch.zeros_like(theta),
        "exp_avg_sq": torch.zeros_like(theta),
        "mu_product": torch.ones_like(hyper["lr"]),
        "step": torch.zeros_like(hyper["lr"]),
    }


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype = theta.dtype
    gradient = decayed(theta, gradients.mean, hyper)
    mean = state["exp_avg"].lerp_(gradient, (1 - hyper["beta1"]).to(dtype))
    scratch = torch.square(gradient)
    square = state["exp_avg_sq"].lerp_(scratch, (1 - hyper["beta2"]).to(dtype))
    step = state["step"].add_(1)
    now, then = weight(hyper, step), weight(hyper, step + 1)
    product = state["mu_product"].mul_(now)
    root_correction = (1 - hyper["beta2"] ** step).sqrt()
    length = hyper["lr"] * root_correction
    torch.sqrt(square, out=scratch).add_(nonzero(root_correction * hyper["eps"], dtype))
    direction = gradient * (length * (1 - now) / (1 - product)).to(dtype)
    direction.addcmul_(mean, (length * then / (1 - product * then)).to(dtype))
    theta.addcdiv_(direction, scratch, value=-1)


def weight(hyper: Hyper, step: Tensor) -> Tensor:
    """μ of that step, [R, 1]."""
    return hyper["beta1"] * (1 - 0.5 * 0.96 ** (step * hyper["momentum_decay"]))


RULE = Rule(initial_state, update, eps_dominated)
