"""Standardisation: mean zero and deviation one on the training split, of each feature.

N samples, F features, S positions, C channels. A feature is a column of [N, F]; of sequences [N, S, F] it is one over all positions,
of images [N, C, H, W] a channel over all pixels: a network that shares its weights over places must find the same scale everywhere.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NUMBERS_AT_ONCE = 2**22
"""What is worked on in float64 at a time: a large data set of bytes is never there in eight times its size."""
ROUNDING = 1e-10
"""A deviation below this share of the feature's largest magnitude is rounding, not variation; of numbers that came as floats of less
precision, one below a few of their own roundings."""


def standardised(values: NDArray[Any], order: NDArray[np.int64], training: int, dtype: torch.dtype) -> Tensor:
    """(v − mean)/deviation, both over the training split; a feature that is constant there, up to rounding, is only centred.

    Args:
        values: [N, F], [N, S, F] or [N, C, H, W].
        order: the samples, those of the training split first.
        training: how many those are.

    Returns:
        In this order, in this type.
    """
    whole = torch.empty(values.shape, dtype=dtype)
    channels = values.ndim - 1 if values.ndim < 4 else 1
    per_column = max(1, values.size // values.shape[channels])
    rounding = max(ROUNDING, 8 * float(np.finfo(values.dtype).eps)) if values.dtype.kind == "f" else ROUNDING
    wide = max(1, NUMBERS_AT_ONCE // per_column)
    for start in range(0, values.shape[channels], wide):
        block = (slice(None),) * channels + (slice(start, start + wide),)
        part = np.asarray(values[block][order], dtype=np.float64)
        axes = tuple(axis for axis in range(part.ndim) if axis != channels)
        mean, std = part[:training].mean(axes, keepdims=True), part[:training].std(axes, keepdims=True)
        largest = np.abs(part[:training]).max(axes, keepdims=True)
        part -= mean
        part /= np.where(std > rounding * largest, std, 1.0)
        whole[block] = torch.from_numpy(part).to(dtype)
    return whole
