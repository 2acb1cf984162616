"""Problems: data and loss, one visible table from kind to the function that makes its raw data."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.contract.problems import Dataset, ProblemSpec, split_sizes
from workers.engine.problems import built_in, sequences, spirals, teacher, uploaded
from workers.engine.problems.scaling import standardised
from workers.engine.seeding import numpy_generator

Raw = tuple[NDArray[Any], NDArray[Any]]
"""x [N, ...] and y: int64 classes [N], or float64 targets [N, O]."""

Files = Callable[[str], AbstractContextManager[Path]]
"""A data set's id -> a path to read its file from, within the block."""

PROBLEMS: dict[str, Callable[[Any], Raw]] = {
    "digits": built_in.digits,
    "breast_cancer": built_in.breast_cancer,
    "wine": built_in.wine,
    "diabetes": built_in.diabetes,
    "spirals": spirals.spirals,
    "teacher": teacher.teacher,
    "adding": sequences.adding,
    "copy": sequences.copy,
    "parity": sequences.parity,
    "temporal_order": sequences.temporal_order,
}
"""Those that are made here; a `dataset` is read from its file."""

KEPT_BYTES = 2**28
"""Of problems that were loaded before: the next shard of a comparison, and the next slice of a shard, need the same."""


@dataclass(frozen=True)
class Split:
    x: Tensor
    """[N, ...]"""
    y: Tensor
    """int64 [N] for classes, [N, O] for targets."""


@dataclass(frozen=True)
class Data:
    training: Split
    validation: Split
    test: Split


_kept: dict[tuple[ProblemSpec, torch.dtype], tuple[Tensor, Tensor]] = {}


def none_kept(dataset_id: str) -> NoReturn:
    raise FileNotFoundError(f"the data set {dataset_id} is not here")


def load(problem: ProblemSpec, dtype: torch.dtype, device: torch.device, files: Files = none_kept) -> Data:
    """The problem's splits, standardised on the training split where it is to be, on the device.

    Raises:
        FileNotFoundError: there is no file of this data set.
    """
    x, y = _prepared(problem, dtype, files)
    sizes = split_sizes(len(x))
    return Data(
        *(
            Split(rows.to(device), targets.to(device))
            for rows, targets in zip(x.split(sizes), y.split(sizes), strict=True)
        )
    )


def _prepared(problem: ProblemSpec, dtype: torch.dtype, files: Files) -> tuple[Tensor, Tensor]:
    """All samples, the training split first, then validation and test; kept for the next who asks."""
    if (found := _kept.pop((problem, dtype), None)) is None:
        found = _made(problem, dtype, files)
    _kept[problem, dtype] = found
    while sum(x.nbytes + y.nbytes for x, y in _kept.values()) > KEPT_BYTES and len(_kept) > 1:
        _kept.pop(next(iter(_kept)))
    return found


def _made(problem: ProblemSpec, dtype: torch.dtype, files: Files) -> tuple[Tensor, Tensor]:
    if isinstance(problem, Dataset):
        with files(problem.id) as path:
            x, y = uploaded.arrays(path)
    else:
        x, y = PROBLEMS[problem.kind](problem)
    order = numpy_generator(0, "split", problem.kind).permutation(len(x))
    training = split_sizes(len(x))[0]
    quantities = y.dtype.kind == "f"
    targets = standardised(y, order, training, dtype) if quantities else torch.from_numpy(y[order].astype(np.int64))
    inputs = standardised(x, order, training, dtype) if problem.standardised else torch.from_numpy(x[order]).to(dtype)
    return inputs, targets
