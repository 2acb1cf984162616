"""Adafactor: RMSprop with a mean square of rank one for each weight, clipped, and steps relative to the size of θ.

    v ← (1 − k^−0.8)·v + k^−0.8·(g² + eps1)             in the k-th step, k = 1, 2, …
    V = (means of v by row)·(means of v by column)ᵀ/(mean of v)    for a weight; V = v for a bias
    u = g/√V;  û = u/max(1, RMS(u)/d)                   RMS over each weight and each bias by itself
    θ ← (1 − lr·weight_decay)·θ                         (decoupled)
    θ ← θ − min(lr, 1/√k)·max(eps2, RMS(θ))·û           RMS(θ) before the decay

Source: Shazeer & Stern 2018 (arXiv:1804.04235), algorithms 4 to 6; the decay is torch.optim.Adafactor's. The paper remembers the row
and column means alone, ours v itself, of which they are means: the same numbers, more memory. torch.optim.Adafactor puts eps1 elsewhere:
it keeps the mean of v above eps1, unsquared, so that at its default gradients below 3e-4 lose their normalisation.

Fixed points: g = 0. A zero gradient leaves the decay alone.
Failure modes: the steps do not shrink with the gradient before k > 1/lr², then like 1/√k. A weight at zero moves by eps2 of the rate only.
Where squares are far from rank one, elements are scaled by their neighbours. Below |g| = √eps1 (1e-15 at the default) the steps shrink
with the gradient.
"""

from math import sqrt

import torch
from torch import Tensor

from workers.engine.optimizers.norms import norm
from workers.engine.optimizers.rule import Gradients, Hyper, Rule, State, nonzero, shrink

DECAY = -0.8


def initial_state(theta: Tensor, hyper: Hyper) -> State:
    return {"exp_avg_sq": torch.zeros_like(theta), "step": torch.zeros_like(hyper["lr"])}


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype, squares = theta.dtype, state["exp_avg_sq"]
    step = state["step"].add_(1)
    squares.lerp_(gradients.mean.square().add_(nonzero(hyper["eps1"], dtype)), step.pow(DECAY).to(dtype))
    rate = torch.minimum(hyper["lr"], step.rsqrt())
    move = torch.empty_like(theta)
    for columns, shape in gradients.parts():
        root_count = sqrt(columns.stop - columns.start)
        size = torch.maximum(hyper["eps2"], norm(theta[:, columns]) / root_count)
        direction = gradients.mean[:, columns] / root(squares[:, columns], shape)
        excess = (norm(direction) / (root_count * hyper["d"])).clamp_min(1)
        torch.mul(direction, (rate * size / excess).to(dtype), out=move[:, columns])
    shrink(theta, hyper)
    theta.sub_(move)


def root(squares: Tensor, shape: tuple[int, ...]) -> Tensor:
    """√V [R, K] of a weight or a bias; no product of two squares, which float32 may not hold."""
    if len(shape) == 1:
        return squares.sqrt()
    matrix = squares.unflatten(1, shape)
    rows, columns = matrix.mean(2, keepdim=True), matrix.mean(1, keepdim=True)
    estimate: Tensor = rows.sqrt() * (columns / rows.mean(1, keepdim=True)).sqrt()
    return estimate.flatten(1)


RULE = Rule(initial_state, update)
