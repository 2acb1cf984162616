"""Adagrad: the gradient over the root of the sum of all its squares.

    g ← g + weight_decay·θ                              (coupled)
    v ← v + g²                                          (initial_accumulator_value at the start)
    θ ← θ − lr/(1 + (k − 1)·lr_decay)·g/(√v + eps)      in the k-th step, k = 1, 2, …

Source: Duchi, Hazan & Singer 2011, figure 1 (the diagonal one); step for step torch.optim.Adagrad, except that eps is at least
the smallest normal number.

Fixed points: g = 0. A zero gradient moves nothing.
Failure modes: v never forgets: the steps fall like 1/√k, and for good after one burst of large gradients. Below |g| = eps (1e-10 at the
default) the rule is SGD with learning rate lr/eps; a positive initial_accumulator_value cuts off far sooner. Below 1e-22 g² underflows
in float32.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, decayed, nonzero


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {
        "sum": hyper["initial_accumulator_value"].to(theta.dtype).expand_as(theta).clone(),
        "step": torch.zeros_like(hyper["lr"]),
    }


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype = theta.dtype
    gradient = decayed(theta, gradients.mean, hyper)
    length = hyper["lr"] / (1 + state["step"] * hyper["lr_decay"])
    state["step"].add_(1)
    root = state["sum"].addcmul_(gradient, gradient).sqrt().add_(nonzero(hyper["eps"], dtype))
    theta.addcmul_(torch.div(gradient, root, out=root), -length.to(dtype))


def eps_dominated(state: State, hyper: Hyper, layout: Layout) -> Tensor:
    root = state["sum"].sqrt()
    return root < hyper["eps"].to(root.dtype)


RULE = Rule(initial_state, update, eps_dominated)
