"""Norms that neither underflow nor overflow: elements are brought into range by a power of two first.

At depth 30 a sigmoid network's gradient is near 1e-28 and a plain float32 norm of it is exactly zero.
"""

import math

import torch
from torch import Tensor


def in_range(x: Tensor) -> tuple[Tensor, Tensor]:
    """x·2^−e with e near log₂ max|x|, for each row, exactly; and e.

    Args:
        x: [T, ...].

    Returns:
        The scaled tensor, and e as float64 [T]. Rows of zeros keep e = 0; non-finite rows stay non-finite.
    """
    rows = x.flatten(1)
    peak = torch.maximum(rows.amax(1), -rows.amin(1))
    # 126 in float32, 1022 in float64: 2 to it is a factor that is finite, and so is its product with anything below one
    furthest = round(-math.log2(torch.finfo(x.dtype).tiny))
    exponent = torch.frexp(torch.nan_to_num(peak, nan=0.0, posinf=0.0)).exponent.clamp(-furthest, furthest + 1).double()
    factor = torch.exp2(-exponent).to(x.dtype)
    return x * factor.view(-1, *[1] * (x.dim() - 1)), exponent


def norm(x: Tensor) -> Tensor:
    """‖x‖₂ of each row, float64 [T], whatever the magnitude."""
    scaled, exponent = in_range(x)
    length: Tensor = torch.linalg.vector_norm(scaled.flatten(1), dim=1)
    return length.double() * torch.exp2(exponent)


def dot(x: Tensor, y: Tensor) -> Tensor:
    """Row by row x·y, float64 [T]; the caller has brought both into range."""
    return (x * y).flatten(1).sum(1).double()
