"""NovoGrad: the gradient over the running root mean square of its layer's norm, then momentum.

    v_l ← beta2·v_l + (1 − beta2)·‖g_l‖²                for each layer l, its weights and bias as one vector; v_l = ‖g_l‖² at first
    m ← beta1·m + g/(√v_l + eps) + weight_decay·θ       (decoupled from the normalisation, coupled to the momentum)
    θ ← θ − lr·m

Source: Ginsburg et al. 2019 (arXiv:1905.11286), algorithm 1. What is remembered is √v_l, since ‖g‖² leaves float32's range where ‖g‖
does not; it stands in all columns of its layer.

Fixed points: m = 0. A gradient that has always been zero moves nothing.
Failure modes: the first gradient of a layer sets v_l alone: after a tiny one the steps are huge until 1/(1 − beta2) steps have passed.
m is a sum and not a mean: the step is lr/(1 − beta1) of a unit vector, twenty times lr at the default. Below ‖g_l‖ = eps (1e-8 at the
default) the rule is momentum SGD with learning rate lr/eps.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.norms import norm
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, nonzero


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {
        "exp_avg": torch.zeros_like(theta),
        "layer_rms": theta.new_zeros(len(theta), len(layout.layers)),
        "step": torch.zeros_like(hyper["lr"]),
    }


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype = theta.dtype
    kept = torch.where(state["step"] == 0, 0.0, hyper["beta2"])
    state["step"].add_(1)
    mean = state["exp_avg"].mul_(hyper["beta1"].to(dtype))
    for place, layer in enumerate(gradients.layout.columns):
        rms, own = state["layer_rms"][:, place : place + 1], gradients.mean[:, layer]
        rms.copy_(torch.hypot(kept.sqrt() * rms.double(), (1 - kept).sqrt() * norm(own)))
        mean[:, layer].addcdiv_(own, rms + nonzero(hyper["eps"], dtype))
    if "weight_decay" in hyper:
        mean.addcmul_(theta, hyper["weight_decay"].to(dtype))
    theta.addcmul_(mean, -hyper["lr"].to(dtype))


def eps_dominated(state: State, hyper: Hyper, layout: Layout) -> Tensor:
    small = state["layer_rms"] < hyper["eps"].to(state["layer_rms"].dtype)
    widths = [columns.stop - columns.start for columns in layout.columns]
    return torch.cat([each.expand(-1, width) for each, width in zip(small.split(1, 1), widths, strict=True)], 1)


RULE = Rule(initial_state, update, eps_dominated)
