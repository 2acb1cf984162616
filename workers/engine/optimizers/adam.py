"""Adam: a running mean over a running root mean square, both corrected for their start at zero.

    g ← g + weight_decay·θ                              (coupled)
    m ← beta1·m + (1 − beta1)·g
    v ← beta2·v + (1 − beta2)·g²                        amsgrad: u ← max(u, v), and u in v's place below
    θ ← θ − lr·(m/(1 − beta1^k)) / (√(v/(1 − beta2^k)) + eps)          in the k-th step, k = 1, 2, …

Source: Kingma & Ba 2015 (arXiv:1412.6980), algorithm 1; Reddi et al. 2018 (AMSGrad, the maximum before the correction); step
for step torch.optim.Adam, except that eps is at least the smallest normal number, where eps = 0 in torch makes a zero
gradient NaN. Computed as θ − (lr·c/(1 − beta1^k))·m/(√v + c·eps) with c = √(1 − beta2^k): the same, one pass less.

Fixed points: m = 0. A gradient that has always been zero moves nothing; after one that was not, θ coasts while m decays.
Failure modes: |step| ≈ lr near an optimum too, so θ wanders unless lr is lowered. Once √(v/(1 − beta2^k)) < eps (|g| below
1e-8 at the default) the rule is momentum SGD with learning rate lr/eps: deep layers stop. With eps = 1e-30 the steps do not
depend on the gradient's size down to 1e-16 in float32; below 1e-21 v underflows to zero and m/eps explodes. A gradient that is
rare and large meets a v that has forgotten it (AMSGrad's reason).
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, decayed, nonzero


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout, *, amsgrad: bool = False) -> State:
    state = {
        "exp_avg": torch.zeros_like(theta),
        "exp_avg_sq": torch.zeros_like(theta),
        "step": torch.zeros_like(hyper["lr"]),
    }
    if amsgrad:
        state["max_exp_avg_sq"] = torch.zeros_like(theta)
    return state


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, *, amsgrad: bool = False) -> None:
    step(theta, decayed(theta, gradients.mean, hyper), state, hyper, amsgrad=amsgrad)


def step(theta: Tensor, gradient: Tensor, state: State, hyper: Hyper, *, amsgrad: bool) -> None:
    """The arithmetic after weight decay, of whichever kind."""
    dtype = theta.dtype
    mean = state["exp_avg"].lerp_(gradient, (1 - hyper["beta1"]).to(dtype))
    scratch = torch.square(gradient)
    square = state["exp_avg_sq"].lerp_(scratch, (1 - hyper["beta2"]).to(dtype))
    if amsgrad:
        square = torch.maximum(state["max_exp_avg_sq"], square, out=state["max_exp_avg_sq"])
    count = state["step"].add_(1)
    root_correction = (1 - hyper["beta2"] ** count).sqrt()
    length = hyper["lr"] * root_correction / (1 - hyper["beta1"] ** count)
    torch.sqrt(square, out=scratch).add_(nonzero(root_correction * hyper["eps"], dtype))
    theta.addcmul_(torch.div(mean, scratch, out=scratch), -length.to(dtype))


def eps_dominated(state: State, hyper: Hyper, layout: Layout) -> Tensor:
    root = state.get("max_exp_avg_sq", state["exp_avg_sq"]).sqrt()
    root_correction = (1 - hyper["beta2"] ** state["step"]).sqrt()
    return root < (root_correction * hyper["eps"]).to(root.dtype)


RULE = Rule(initial_state, update, eps_dominated)
