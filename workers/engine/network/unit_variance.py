"""Layer-sequential unit variance (Mishkin & Matas 2016): weights from what the layer makes of a batch. T trials."""

import torch
from torch import Tensor


def to_unit_variance(weight: Tensor, bias: Tensor | None, given: Tensor, gain: float, input_mean: float) -> None:
    """Multiplies W by gain/std(W x) of each trial, in place. A collapsed output, or one that is not finite, is left alone.

    Args:
        weight: [T, O, ...].
        bias: [T, O], of which −m Σ_j W_ij goes with the weights.
        given: W x over a batch, [T, ...].
        input_mean: m.
    """
    deviation = given.flatten(1).double().std(1, correction=0)
    usable = (deviation > 0) & deviation.isfinite()
    factor = torch.where(usable, gain / torch.where(usable, deviation, 1.0), 1.0).to(weight)
    before = weight.flatten(2).sum(2) if bias is not None and input_mean else None
    weight.mul_(factor.view(-1, *[1] * (weight.dim() - 1)))
    if bias is not None and before is not None:
        bias.add_(input_mean * (before - weight.flatten(2).sum(2)))
