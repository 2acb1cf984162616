"""vSGD-fd: every weight its own learning rate, from the gradient's signal, its noise and its curvature; none to tune.

n samples in the batch, each with a gradient of its own; g their mean, q the mean of their squares. Elementwise:

    p = c_l·ḡ  (c_l·g in the first step),  c_l = max(1, probe_scale·rms(θ_l)/rms(ḡ_l)) for each layer l
    d = (θ + p) − θ as rounded;  h = |∇(θ + d) − g| / |d| on the same samples, clipped to [eps, 1/eps]
    outlier if |g − ḡ| > 2√((v − ḡ²)/n)  or  |h − h̄| > 2√(w − h̄²):  τ ← τ + 1
    ḡ, v, h̄, w ← running means of g, q, h, h² with weight 1/τ      (h̄, w only where d ≠ 0)
    s = n·ḡ²/(v + (n − 1)·ḡ²)
    θ ← θ − (h̄/w)·s·g
    τ ← (1 − s)·τ + 1
    The first slow_start steps only average (τ = 1, 2, 3, …) and move nothing; then v and h̄ are multiplied by C, w by C².

Source: Schaul, Zhang & LeCun, "No more pesky learning rates" (arXiv:1206.1106), for v, τ and the slow start; Schaul & LeCun,
"Adaptive learning rates and parallelization for stochastic, sparse, non-smooth gradients" (arXiv:1301.3764), for h by finite
differences, w and the outliers. Where we deviate: h comes from the batch's mean gradient, one value a step, not from each
sample; the probe is lengthened so that float32 does not absorb it; √w is what is stored, and moves by hypot, since h² leaves
float32's range where h does not; deviations below 1e-6 of the average count as rounding, never as outliers.
The published codes differ in the slow start (10 samples and C = 2; √P samples and C = P/10).

Fixed points: g = 0. A zero gradient moves nothing, and an element that no probe has displaced moves nothing either.
Failure modes: g² and q underflow in float32 below |g| = 1e-19 (s becomes 0 and θ stands still) and overflow above 1e18 (θ
becomes NaN). Where the loss is linear along the probe h is eps, and the step g/h is finite but absurd. It costs two gradients a
step and about twenty passes over memory.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Rule, State

OUTLIER = 2.0
"""Standard deviations beyond which a value is an outlier."""
ROUNDING = 1e-6
"""Relative deviation from the average that float32 may produce by itself."""


def initial_state(theta: Tensor, hyper: Hyper) -> State:
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
    direction = torch.where(state["step"] == 0, gradients.mean, state["mean"])
    scale = hyper["probe_scale"].to(theta.dtype)
    for layer in gradients.layers:
        part = direction[:, layer]
        largest = part.abs().amax(1, keepdim=True)
        unit = part / largest.clamp_min(torch.finfo(theta.dtype).tiny)
        length = scale * rms(theta[:, layer]) / rms(unit)
        direction[:, layer] = unit * torch.where(largest > 0, torch.maximum(largest, length), 0.0)
    return direction


def rms(values: Tensor) -> Tensor:
    """[R, 1] root mean square of each row."""
    return torch.square(values).mean(1, keepdim=True).sqrt_()


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype, n, gradient = theta.dtype, gradients.batch_size, gradients.mean
    assert gradients.at_probe is not None and gradients.displacement is not None and gradients.sample_squares is not None
    mean, square, memory = state["mean"], state["square"], state["memory"]
    curvature, curvature_rms = state["curvature"], state["curvature_rms"]
    eps = hyper["eps"].to(dtype)
    step = state["step"].add_(1)
    starting = step <= hyper["slow_start"]

    size = gradients.displacement.abs()
    observed = size > 0
    h = (gradients.at_probe - gradient).abs_().div_(size).clamp_(eps, 1 / eps)
    h = torch.where(observed, h, curvature)

    memory.add_(outliers(gradient, h, state, n))
    memory.copy_(torch.where(starting, step.to(dtype), memory))
    fresh = memory.reciprocal()
    mean.lerp_(gradient, fresh)
    square.lerp_(gradients.sample_squares, fresh)
    fresh.mul_(observed)
    curvature.lerp_(h, fresh)
    torch.hypot(curvature_rms * (1 - fresh).sqrt_(), h.mul_(fresh.sqrt_()), out=curvature_rms)
    caution = torch.where(step == hyper["slow_start"], hyper["c"], 1.0).to(dtype)
    for average in (square, curvature, curvature_rms):
        average.mul_(caution)

    tiny = torch.finfo(dtype).tiny
    signal = torch.square(mean)
    signal = signal.mul(n).div_(torch.add(square, signal, alpha=n - 1).clamp_min_(tiny)).clamp_max_(1)
    floor = curvature_rms.clamp_min(tiny)
    rate = (curvature / floor).div_(floor).mul_(signal)
    theta.addcmul_(rate.mul_(gradient), -(~starting).to(dtype))
    memory.copy_(torch.where(starting, memory, memory.mul(signal.neg_().add_(1)).add_(1)))


def outliers(gradient: Tensor, h: Tensor, state: State, n: int) -> Tensor:
    """[R, P] bool: the batch's gradient or its curvature lies too far from the averages so far."""
    mean, curvature, curvature_rms = state["mean"], state["curvature"], state["curvature_rms"]
    noise = torch.addcmul(state["square"], mean, mean, value=-1).clamp_min_(0).sqrt_()
    distance = (gradient - mean).abs_().sub_(mean.abs(), alpha=ROUNDING)
    far = distance > noise.mul_(OUTLIER / n**0.5)
    spread = (curvature_rms - curvature).clamp_min_(0).sqrt_().mul_((curvature_rms + curvature).sqrt_())
    distance = (h - curvature).abs_().sub_(curvature, alpha=ROUNDING)
    return far | (distance > spread.mul_(OUTLIER))


RULE = Rule(initial_state, update, probe=probe)
