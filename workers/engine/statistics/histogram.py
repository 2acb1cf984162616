"""The histogram of log₁₀|g| of a layer, by decades below its largest element. T trials, n parameters of a layer.

Bin k holds the share of elements with 10^−(k+1) ≤ |g|/max|g| < 10^−k, the largest in bin 0; the last bin all that are smaller and not zero.
Counted from the largest, bins need no bounds that fit all depths, and are the same whatever the loss is multiplied by; `gradient_max_abs`
says where they lie. Beside it, in the place of a histogram of gradient and parameter together: the share of ‖g‖² by decades of |θ|.
"""

import torch
from torch import Tensor

from workers.contract.statistics import DECADES, WEIGHT_DECADES
from workers.engine.scaling import dot, in_range, peaks
from workers.engine.statistics.counting import count


def histogram(gradient: Tensor) -> dict[str, Tensor]:
    """Of one layer's gradient [T, n], float64 [T] each; NaN where all of it is zero or something is not finite."""
    scaled, _ = in_range([gradient], peaks([gradient]))
    size = next(scaled).abs_()
    largest = size.amax(1, keepdim=True)
    bounds = (largest * 10.0**-place for place in range(1, DECADES))
    above = [count(torch.ge, size, bound).double() for bound in bounds]
    above.append(count(torch.gt, size, 0).double())
    shares = torch.stack(above).diff(dim=0, prepend=torch.zeros_like(above[0])[None]) / gradient.shape[1]
    known = (largest.flatten() > 0) & largest.flatten().isfinite()
    return {f"gradient_decade_{place}": torch.where(known, share, torch.nan) for place, share in enumerate(shares)}


def shares_of_weights(gradient: Tensor, parameters: Tensor) -> dict[str, Tensor]:
    """Of one layer [T, n] each, float64 [T]: how much of ‖g‖² is in parameters of each size; NaN where either is zero or not finite."""
    scaled, _ = in_range([gradient], peaks([gradient]))
    size = parameters.abs()
    largest = size.amax(1, keepdim=True)
    energy = next(scaled).square_()
    total = energy.sum(1, dtype=torch.float64)
    bounds = (largest * 10.0**-place for place in range(1, WEIGHT_DECADES))
    above = [dot(energy, (size >= bound).to(energy.dtype)).double() for bound in bounds]
    shares = torch.stack([*above, total]).diff(dim=0, prepend=torch.zeros_like(total)[None]) / total
    known = (largest.flatten() > 0) & largest.flatten().isfinite() & (total > 0) & total.isfinite()
    return {f"gradient_share_of_weights_{k}": torch.where(known, share, torch.nan) for k, share in enumerate(shares)}
