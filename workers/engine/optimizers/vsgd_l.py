"""vSGD-l: every weight its own learning rate, from the gradient's signal, its noise and its curvature; none to tune.

n samples in the batch, each with a gradient of its own; g their mean, q the mean of their squares, h the diagonal of the Gauss-Newton
matrix by bbprop (a backward pass with squared weights and squared derivatives), a mean over samples as well. Elementwise:

    ḡ, v, h̄ ← running means of g, q, max(h, eps) with weight 1/τ
    s = n·ḡ²/(v + (n − 1)·ḡ²)
    θ ← θ − (s/h̄)·g
    τ ← (1 − s)·τ + 1
    The first slow_start steps only average (τ = 1, 2, 3, …) and move nothing; then v and h̄ are multiplied by c.

Source: Schaul, Zhang & LeCun 2013, "No more pesky learning rates" (arXiv:1206.1106), algorithm 1 and section 4.2; s is the ratio ḡ²/v of
the paper in its form for mini-batches of n, and used in τ, too. Bbprop: LeCun et al. 1998, "Efficient backprop", section 7. The
published codes differ in the slow start (10 samples and C = 2 for v only; √P samples and C = P/10); 10 steps and C = 10 are the defaults
here: with C = 2 digits in batches of 64 stay at a loss of 2.5, with 10 they come to 0.15. PyPI's pytorch-optimizer calls another
rule VSGD.

Fixed points: g = 0. A zero gradient moves nothing.
Failure modes: a weight that was silent for long has small averages of both g and h, and its first step is up to n times that of Newton.
Where curvature is below eps, eps decides. g² underflows in float32 below |g| = 1e-19 (s becomes 0 and θ stands still) and overflows above
1e18. The diagonal of Gauss-Newton leaves the curvature of the non-linearity out, and bbprop leaves out how units act together.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, nonzero


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {
        "mean": torch.zeros_like(theta),
        "square": torch.zeros_like(theta),
        "curvature": torch.zeros_like(theta),
        "memory": torch.ones_like(theta),
        "step": torch.zeros_like(hyper["eps"]),
    }


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    assert gradients.sample_squares is not None and gradients.curvature is not None
    dtype, n = theta.dtype, gradients.batch_size
    mean, square, curvature, memory = state["mean"], state["square"], state["curvature"], state["memory"]
    step = state["step"].add_(1)
    fresh = memory.reciprocal()
    mean.lerp_(gradients.mean, fresh)
    square.lerp_(gradients.sample_squares, fresh)
    curvature.lerp_(torch.maximum(gradients.curvature, nonzero(hyper["eps"], dtype)), fresh)
    caution = torch.where(step == hyper["slow_start"], hyper["c"], 1.0).to(dtype)
    square.mul_(caution)
    curvature.mul_(caution)

    signal = torch.square(mean)
    scratch = torch.add(square, signal, alpha=n - 1, out=fresh).clamp_min_(torch.finfo(dtype).tiny)
    signal.mul_(n).div_(scratch).clamp_max_(1).mul_((step > hyper["slow_start"]).to(dtype))
    theta.addcmul_(torch.div(signal, curvature, out=scratch), gradients.mean, value=-1)
    memory.addcmul_(memory, signal, value=-1).add_((step != hyper["slow_start"]).to(dtype))


RULE = Rule(initial_state, update)
