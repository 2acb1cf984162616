"""Adafactor: RMSprop with a mean square of rank one for each weight, clipped, and steps relative to the size of θ.

    v ← (1 − k^−0.8)·v + k^−0.8·(g² + eps1)             in the k-th step, k = 1, 2, …
    V = (means of v by row)·(means of v by column)ᵀ/(mean of v)    for a weight; V = v for a bias
    u = g/√V;  û = u/max(1, RMS(u)/d)                   RMS over each weight and each bias by itself
    θ ← (1 − lr·weight_decay)·θ                         (decoupled)
    θ ← θ − min(lr, 1/√k)·max(eps2, RMS(θ))·û           RMS(θ) before the decay

Source: Shazeer & Stern 2018 (arXiv:1804.04235), algorithms 4 to 6; the decay is torch.optim.Adafactor's. Only the means by row and
by column are remembered. torch.optim.Adafactor puts eps1 elsewhere:
it keeps the mean of v above eps1, unsquared, so that at its default gradients below 3e-4 lose their normalisation.

Fixed points: g = 0. A zero gradient leaves the decay alone.
Failure modes: the steps do not shrink with the gradient before k > 1/lr², then like 1/√k. A weight at zero moves by eps2 of the rate only.
Where squares are far from rank one, elements are scaled by their neighbours. Below |g| = √eps1 (1e-15 at the default) the steps shrink
with the gradient.
"""

from math import sqrt

import torch
from torch import Tensor

from workers.engine.optimizers.factored import by_part, factored
from workers.engine.optimizers.norms import norm
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, at, nonzero, shrink

DECAY = -0.8


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return factored(theta, layout) | {"step": torch.zeros_like(hyper["lr"])}


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype = theta.dtype
    step = state["step"].add_(1)
    squares = gradients.mean.square().add_(nonzero(hyper["eps1"], dtype))
    fresh = step.pow(DECAY).to(dtype)
    rate = torch.minimum(hyper["lr"], step.rsqrt())
    move = torch.empty_like(theta)
    for columns, shape, rows, across in by_part(state, gradients.layout):
        root_count = sqrt(columns.stop - columns.start)
        size = torch.maximum(hyper["eps2"], norm(theta[:, columns]) / root_count)
        root = remembered(squares[:, columns].unflatten(1, shape), rows, across, fresh)
        direction = gradients.mean[:, columns] / root.flatten(1)
        excess = (norm(direction) / (root_count * hyper["d"])).clamp_min(1)
        torch.mul(direction, (at(rate, columns) * size / excess).to(dtype), out=move[:, columns])
    shrink(theta, hyper)
    theta.sub_(move)


def remembered(squares: Tensor, rows: Tensor, columns: Tensor, fresh: Tensor) -> Tensor:
    """√V [R, *shape] once these squares have been averaged in; no product of two squares, which float32 may not hold."""
    if squares.dim() == 2:
        return rows.lerp_(squares, fresh).sqrt()
    rows.lerp_(squares.mean(2, keepdim=True), fresh[:, None])
    columns.lerp_(squares.mean(1, keepdim=True), fresh[:, None])
    estimate: Tensor = rows.sqrt() * (columns / rows.mean(1, keepdim=True)).sqrt()
    return estimate


RULE = Rule(initial_state, update)
