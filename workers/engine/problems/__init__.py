"""Problems: data and loss, one visible table from kind to the function that makes its raw data."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.contract.problems import ProblemSpec, split_sizes
from workers.engine.problems import built_in, spirals, teacher
from workers.engine.seeding import numpy_generator

Raw = tuple[NDArray[np.float64], NDArray[Any]]
"""x [N, F] and y: int64 classes [N], or float64 targets [N, O]."""

PROBLEMS: dict[str, Callable[[Any], Raw]] = {
    "digits": built_in.digits,
    "breast_cancer": built_in.breast_cancer,
    "wine": built_in.wine,
    "diabetes": built_in.diabetes,
    "spirals": spirals.spirals,
    "teacher": teacher.teacher,
}


@dataclass(frozen=True)
class Split:
    x: Tensor
    """[N, F]"""
    y: Tensor
    """int64 [N] for classes, [N, O] for targets."""


@dataclass(frozen=True)
class Data:
    training: Split
    validation: Split
    test: Split


def load(problem: ProblemSpec, dtype: torch.dtype, device: torch.device) -> Data:
    """The problem's splits, standardised on the training split, on the device."""

    def split(x: NDArray[np.float64], y: NDArray[Any]) -> Split:
        targets = torch.from_numpy(y)
        return Split(
            torch.from_numpy(x).to(device, dtype),
            targets.to(device, dtype if targets.is_floating_point() else torch.int64),
        )

    return Data(*(split(x, y) for x, y in _arrays(problem)))


@lru_cache(maxsize=8)
def _arrays(problem: ProblemSpec) -> tuple[Raw, Raw, Raw]:
    x, y = PROBLEMS[problem.kind](problem)
    training, validation, _ = split_sizes(len(x))
    order = numpy_generator(0, "split", problem.kind).permutation(len(x))
    bounds = [order[:training], order[training : training + validation], order[training + validation :]]
    x = _standardised(x, bounds[0])
    if y.dtype.kind == "f":
        y = _standardised(y, bounds[0])
    first, second, third = ((x[rows], y[rows]) for rows in bounds)
    return first, second, third


def _standardised(values: NDArray[np.float64], training: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean zero and deviation one on the training split; a column that is constant there is only centred."""
    mean, std = values[training].mean(0), values[training].std(0)
    scale: NDArray[np.float64] = np.where(std > 0, std, 1.0)
    standardised: NDArray[np.float64] = (values - mean) / scale
    return standardised
