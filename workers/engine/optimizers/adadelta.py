"""Adadelta: the gradient over its running root mean square, times that of the steps so far: units of θ, no learning rate needed.

    g ← g + weight_decay·θ                              (coupled)
    v ← rho·v + (1 − rho)·g²
    d = √(u + eps)/√(v + eps)·g
    u ← rho·u + (1 − rho)·d²
    θ ← θ − lr·d

Source: Zeiler 2012 (arXiv:1212.5701), algorithm 1, where lr = 1; step for step torch.optim.Adadelta, except that eps is at least
the smallest normal number.

Fixed points: g = 0. A zero gradient moves nothing.
Failure modes: eps starts everything: the first steps are about √eps and grow from there, slowly. It acts on g²: below |g| = √eps (1e-3
at the default!) the rule is SGD, which makes it the most dependent on the gradient's size of all adaptive rules. A smaller eps cures
that and makes the first steps smaller still.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, decayed, nonzero


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {"square_avg": torch.zeros_like(theta), "acc_delta": torch.zeros_like(theta)}


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype = theta.dtype
    gradient = decayed(theta, gradients.mean, hyper)
    eps, fresh = nonzero(hyper["eps"], dtype), (1 - hyper["rho"]).to(dtype)
    scratch = torch.square(gradient)
    square = state["square_avg"].lerp_(scratch, fresh)
    delta = torch.add(state["acc_delta"], eps).div_(torch.add(square, eps, out=scratch)).sqrt_().mul_(gradient)
    state["acc_delta"].lerp_(torch.square(delta, out=scratch), fresh)
    theta.addcmul_(delta, -hyper["lr"].to(dtype))


def eps_dominated(state: State, hyper: Hyper, layout: Layout) -> Tensor:
    """Compares eps with v, not with √v: it stands under the root."""
    return state["square_avg"] < hyper["eps"].to(state["square_avg"].dtype)


RULE = Rule(initial_state, update, eps_dominated)
