"""Wrappers as others have them: torch's schedulers and clipping, pytorch_optimizer's SAM, look-ahead and agc, round optimizers of torch.

One row at a time, a parameter for each layer's weight and bias, in float64.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytorch_optimizer
import torch
from numpy.typing import NDArray
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR, StepLR

from reference.optimizers import BY_OTHERS, Arguments, flat
from reference.tensors import Shapes
from workers.contract.optimizers import Optimizer

Array = NDArray[np.float64]
SampleGradients = Callable[[int, Array], Array]


def trajectory(
    spec: Optimizer, theta: Array, gradients: SampleGradients, shapes: Shapes, steps: int, total: int
) -> list[Array]:
    """θ [P] after each step of a training of `total`."""
    own: Arguments = {name: value for name, value in spec.hyperparameters().items() if "." not in name}
    parts, start = [], 0
    for shape in [shape for layer in shapes for shape in layer]:
        size = int(np.prod(shape))
        parts.append(Parameter(torch.from_numpy(theta[start : start + size].copy()).reshape(shape)))
        start += size
    layers = in_layers(parts, shapes)
    around: dict[str, Any] = dict(spec.wrappers())
    make, translated = BY_OTHERS[spec.model_dump()["kind"]]
    arguments = translated(own)
    decay = around.get("added_decay")
    if decay is not None:
        arguments["weight_decay"] = decay.weight_decay
    if "depth_lr" in around:
        rates = depth_factors(around["depth_lr"], len(layers))
        groups: Any = [{"params": ps, "lr": arguments["lr"] * rate} for ps, rate in zip(layers, rates, strict=True)]
    else:
        groups = parts
    optimizer: Any = make(groups, **arguments)
    scheduler = scheduled(around["schedule"], optimizer, total) if "schedule" in around else None
    stepping: Any = optimizer
    if "lookahead" in around:
        look = around["lookahead"]
        stepping = pytorch_optimizer.Lookahead(optimizer, k=look.k, alpha=look.alpha, pullback_momentum="none")
    path = []
    for k in range(steps):

        def look_at(k: int = k) -> None:
            gradient = torch.from_numpy(gradients(k, flat(parts)).mean(axis=0))
            start = 0
            for part in parts:
                part.grad = gradient[start : start + part.numel()].clone().reshape(part.shape)
                start += part.numel()

        look_at()
        if "sam" in around:
            kept = [part.detach().clone() for part in parts]
            with torch.no_grad():
                for part, way in zip(parts, ascent(around["sam"], parts), strict=True):
                    part.add_(way)
            look_at()
            with torch.no_grad():
                for part, value in zip(parts, kept, strict=True):
                    part.copy_(value)
        if "clip" in around:
            clipped(around["clip"], layers)
        stepping.step()
        if scheduler is not None:
            scheduler.step()
        path.append(flat(parts))
    return path


def ascent(spec: Any, parts: Sequence[Parameter]) -> list[torch.Tensor]:
    """Foret et al., equation 2; Kwon et al., equation 10 with η = 0. pytorch_optimizer's has the norm in float32."""
    scales = [part.abs() if spec.kind == "asam" else torch.ones_like(part) for part in parts]
    gradients = [part.grad if part.grad is not None else torch.zeros_like(part) for part in parts]
    length = sum(float((scale * g).square().sum()) for scale, g in zip(scales, gradients, strict=True)) ** 0.5
    return [spec.rho * scale**2 * g / length for scale, g in zip(scales, gradients, strict=True)]


def in_layers(parts: Sequence[Parameter], shapes: Shapes) -> list[list[Parameter]]:
    found, rest = [], list(parts)
    for shape in shapes:
        found.append(rest[: len(shape)])
        rest = rest[len(shape) :]
    return found


def scheduled(spec: Any, optimizer: Any, total: int) -> LRScheduler:
    warmup = spec.warmup_steps
    rest = total - warmup
    after: dict[str, Callable[[], LRScheduler]] = {
        "linear_warmup": lambda: ConstantLR(optimizer, factor=1.0),
        "linear": lambda: LinearLR(optimizer, 1.0, spec.final_factor, rest),
        "cosine": lambda: CosineAnnealingLR(optimizer, rest, spec.final_factor * optimizer.defaults["lr"]),
        "step": lambda: StepLR(optimizer, spec.step_size, spec.gamma),
    }
    if not warmup:
        return after[spec.kind]()
    rise = LinearLR(optimizer, 1 / warmup, 1.0, max(1, warmup - 1))
    return SequentialLR(optimizer, [rise, after[spec.kind]()], [warmup])


def clipped(spec: Any, layers: list[list[Parameter]]) -> None:
    everything = [part for layer in layers for part in layer]
    match spec.kind:
        case "value":
            clip_grad_value_(everything, spec.clip_value)
        case "norm":
            clip_grad_norm_(everything, spec.max_norm)
        case "norm_per_layer":
            for layer in layers:
                clip_grad_norm_(layer, spec.max_norm)
        case "adaptive":
            for part in [part for layer in layers[:-1] for part in layer]:
                assert part.grad is not None
                part.grad = pytorch_optimizer.agc(part, part.grad, spec.eps, spec.clip_factor)


def depth_factors(spec: Any, layers: int) -> list[float]:
    if spec.kind == "power":
        return [(layers - place) ** spec.power for place in range(layers)]
    return [spec.base ** (layers - 1 - place) for place in range(layers)]
