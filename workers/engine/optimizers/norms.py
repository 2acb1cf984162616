"""Norms of a layer's part of each row, kept in range: a plain float32 sum of squares is zero below |x| = 1e-23. R rows."""

import torch
from torch import Tensor


def norm(values: Tensor) -> Tensor:
    """‖x‖₂ of each row [R, K], float64 [R, 1]; NaN and infinity stay what they are."""
    largest = torch.maximum(values.amax(1, keepdim=True), -values.amin(1, keepdim=True))
    unit = values / largest.clamp_min(torch.finfo(values.dtype).tiny)
    squares: Tensor = torch.linalg.vecdot(unit, unit)
    return squares.unsqueeze(1).double().sqrt() * largest.double()


def in_range(values: Tensor) -> tuple[Tensor, Tensor]:
    """The values over the largest of them, whose norm lies in [1, √K], and that norm, float64 [R, 1]; zeros where all are zero."""
    largest = torch.maximum(values.amax(1, keepdim=True), -values.amin(1, keepdim=True))
    unit = values / largest.clamp_min(torch.finfo(values.dtype).tiny)
    return unit, norm(unit)


def ratio(numerator: Tensor, denominator: Tensor, otherwise: Tensor | float) -> Tensor:
    """Numerator over denominator, [R, 1] each; `otherwise` where one of them is zero. NaN goes through."""
    defined = (numerator != 0) & (denominator != 0)
    return torch.where(defined, numerator / denominator, otherwise)
