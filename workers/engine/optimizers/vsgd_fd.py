"""vSGD-fd: every weight its own learning rate, from the gradient's signal, its noise and its curvature; none to tune.

n samples in the batch, each with a gradient of its own; g their mean, q the mean of their squares. Elementwise:

    p = c_l·ḡ  (c_l·g in the first step),  c_l = max(1, probe_scale·rms(θ_l)/rms(ḡ_l)) for each layer l
    d = (θ + p) − θ as rounded;  h = |∇(θ + d) − g| / |d| on the same samples, clipped to [eps, 1/eps];
        no observation where d = 0 or ∇(θ + d) = g
    outlier if |g − ḡ| > 2√((v − ḡ²)/n)  or  |h − h̄| > 2√(w − h̄²):  τ ← τ + 1
    ḡ, v, h̄, w ← running means of g, q, h, h² with weight 1/τ      (h̄, w only where h is observed)
    s = n·ḡ²/(v + (n − 1)·ḡ²)
    θ ← θ − (h̄/w)·s·g
    τ ← (1 − s)·τ + 1
    The first slow_start steps only average (τ = 1, 2, 3, …) and move nothing; then v and h̄ are multiplied by C, w by C².

Source: Schaul, Zhang & LeCun, "No more pesky learning rates" (arXiv:1206.1106), for v, τ and the slow start; Schaul & LeCun,
"Adaptive learning rates and parallelization for stochastic, sparse, non-smooth gradients" (arXiv:1301.3764), for h by finite
differences, w and the outliers. Where we deviate: h comes from the batch's mean gradient, one value a step, not from each
sample; the probe is lengthened so that float32 does not absorb it; √w is what is stored, since h² leaves float32's range where
h does not; deviations below 1e-6 of the average count as rounding, never as outliers; h = 0 is no
observation: what it shows is an input that was off in the whole batch, or a change below the format's resolution, and a
weight that is mostly off would collect a curvature of zero and jump when its input comes on.
The published codes differ in the slow start (10 samples and C = 2; √P samples and C = P/10).

Fixed points: g = 0. A zero gradient moves nothing, and a weight whose gradient no probe has changed (the loss is linear in it)
does not move either.
Failure modes: g² and q underflow in float32 below |g| = 1e-19 (s becomes 0 and θ stands still) and overflow above 1e18 (θ
becomes NaN). Where the loss is almost linear along the probe, the step g/h is finite but absurd. It costs two gradients a
step and some sixty passes over memory.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, nonzero

OUTLIER = 2.0
"""Standard deviations beyond which a value is an outlier."""
ROUNDING = 1e-6
"""Relative deviation from the average that float32 may produce by itself."""


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {
        "mean": torch.zeros_like(theta),
        "square": torch.zeros_like(theta),
        "curvature": torch.zeros_like(theta),
        "curvature_rms": torch.zeros_like(theta),
        "memory": torch.ones_like(theta),
        "step": torch.zeros_like(hyper["eps"]),
    }


def probe(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> Tensor:
    """The running mean of the gradient, each layer's lengthened to probe_scale of its weights where it is shorter."""
    first = (state["step"] == 0).to(theta.dtype)
    direction = torch.addcmul(state["mean"], gradients.mean, first)  # the mean is zero at first
    scale = hyper["probe_scale"].to(theta.dtype)
    for layer in gradients.layout.columns:
        part = direction[:, layer]
        largest = part.abs().amax(1, keepdim=True)
        unit = part.div_(largest.clamp_min(torch.finfo(theta.dtype).tiny))
        length = scale * rms(theta[:, layer]) / rms(unit)
        unit.mul_(torch.where(largest > 0, torch.maximum(largest, length), 0.0))
    return direction


def rms(values: Tensor) -> Tensor:
    """[R, 1] root mean square of each row."""
    return torch.square(values).mean(1, keepdim=True).sqrt_()


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    """Yes and no are 1 and 0 in θ's precision: products with them cost a pass, torch.where thirty."""
    assert gradients.sample_squares is not None
    dtype, n, gradient = theta.dtype, gradients.batch_size, gradients.mean
    mean, square, memory, curvature = state["mean"], state["square"], state["memory"], state["curvature"]
    step = state["step"].add_(1)
    moving = (step > hyper["slow_start"]).to(dtype)

    h, observed = measured(gradients, nonzero(hyper["eps"], dtype))
    memory.addcmul_(outliers(gradient, h, observed, state, n), moving)
    fresh = memory.reciprocal()
    mean.lerp_(gradient, fresh)
    square.lerp_(gradients.sample_squares, fresh)
    fresh.mul_(observed)
    curvature.lerp_(h, fresh)
    curvature_rms = average_square(state["curvature_rms"], h, fresh)
    caution = torch.where(step == hyper["slow_start"], hyper["c"], 1.0).to(dtype)
    for average in (square, curvature, curvature_rms):
        average.mul_(caution)

    tiny = torch.finfo(dtype).tiny
    signal = torch.square(mean)
    scratch = torch.add(square, signal, alpha=n - 1).clamp_min_(tiny)
    signal.mul_(n).div_(scratch).clamp_max_(1).mul_(moving)
    floor = torch.clamp_min(curvature_rms, tiny, out=scratch)
    rate = torch.div(curvature, floor, out=h).div_(floor).mul_(signal)
    theta.addcmul_(rate, gradient, value=-1)
    memory.addcmul_(memory, signal, value=-1).add_((step != hyper["slow_start"]).to(dtype))


def measured(gradients: Gradients, eps: Tensor) -> tuple[Tensor, Tensor]:
    """[R, P] each: h, 0 where nothing could be observed; 1 where something could, else 0."""
    assert gradients.at_probe is not None and gradients.displacement is not None
    size = gradients.displacement.abs()
    h = torch.sub(gradients.at_probe, gradients.mean).abs_()
    observed = size.sign().mul_(h.sign())
    limits = torch.finfo(size.dtype)
    size.clamp_min_(limits.smallest_normal * limits.eps)  # the smallest number there is: changes only 0
    h.div_(size)
    torch.maximum(h, eps, out=h)
    torch.minimum(h, 1 / eps, out=h)
    return h.mul_(observed), observed


def outliers(gradient: Tensor, h: Tensor, observed: Tensor, state: State, n: int) -> Tensor:
    """[R, P], 1 or 0: the batch's gradient or its curvature lies too far from the averages so far. Squares are compared."""
    mean, curvature = state["mean"], state["curvature"]
    noise = torch.addcmul(state["square"], mean, mean, value=-1).clamp_min_(0).mul_(OUTLIER**2 / n)
    distance = torch.sub(gradient, mean).abs_().sub_(mean.abs(), alpha=ROUNDING).relu_().square_()
    far = distance.gt_(noise)
    # In units of √w, whose square may be too large for the format.
    unit = torch.clamp_min(state["curvature_rms"], torch.finfo(h.dtype).tiny, out=noise)
    level = curvature / unit
    distance = torch.div(h, unit).sub_(level).abs_().sub_(level, alpha=ROUNDING).relu_().square_()
    spread = level.square_().neg_().add_(1).clamp_min_(0).mul_(OUTLIER**2)
    return torch.maximum(far, distance.gt_(spread).mul_(observed), out=far)


def average_square(root: Tensor, value: Tensor, weight: Tensor) -> Tensor:
    """√((1 − weight)·root² + weight·value²) in place of root, by way of the larger one, so that no square overflows."""
    larger = torch.maximum(root, value).clamp_min_(torch.finfo(root.dtype).tiny)
    share = torch.div(value, larger).square_()
    return root.div_(larger).square_().lerp_(share, weight).sqrt_().mul_(larger)


RULE = Rule(initial_state, update, probe=probe)
