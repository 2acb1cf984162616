"""What arrays mean: numbers that can be trained on, and targets that are classes or quantities."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import invalid
from service.reading.checks import MAX_NAME, at, no_room, shown, wrong
from workers.contract.base import Violation
from workers.contract.problems import MIN_SAMPLES, DatasetFacts, Loss

LARGEST = 1e100
"""Magnitude of a number: the variance of larger ones could not be taken."""
MOST_CLASSES = 1000
FEW_CLASSES = 50
ROWS_OF_A_CLASS = 5
"""Whole numbers are taken for classes if they have at most FEW_CLASSES different values, each in this many rows on average."""
EXACT = {
    "b": np.uint8,
    "i1": np.float32,
    "i2": np.float32,
    "u1": np.uint8,
    "u2": np.float32,
    "f2": np.float32,
    "f4": np.float32,
}
"""Types that numbers are kept in where that loses nothing; all others are kept in float64."""
CHUNK = 2**20
"""Numbers looked at together."""


class Table(NamedTuple):
    """What a file holds."""

    x: NDArray[Any]
    """Numbers or booleans [N, ...]."""
    y: NDArray[Any]
    """[N], or [N, O]: numbers or booleans."""
    words: list[str] | None
    """Where the targets are text: y says which of these."""
    columns: list[str] | None
    """Names of the columns of x; None where they have none."""
    targets: list[str] | None
    """Names of the columns of y."""


class Data(NamedTuple):
    """A data set that can be trained on."""

    x: NDArray[Any]
    """uint8, float32 or float64 [N, *shape], finite."""
    y: NDArray[Any]
    """int64 classes [N], or float64 targets [N, O]."""
    loss: Loss
    classes: list[str] | None
    columns: list[str] | None
    targets: list[str] | None
    notes: list[str]
    """What is no error and worth knowing."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.x.shape[1:]

    @property
    def outputs(self) -> int:
        return len(self.classes) if self.classes is not None else self.y.shape[1]

    @property
    def facts(self) -> DatasetFacts:
        return DatasetFacts(loss=self.loss, shape=self.shape, outputs=self.outputs, samples=len(self.x))


def understood(table: Table, loss: Loss | None, limit: int) -> Data:
    """The table with its targets read as classes or quantities, in the types that data sets are kept in.

    Raises:
        Problem
    """
    if len(table.x) < MIN_SAMPLES:
        message = (
            f"it has {len(table.x)} rows, at least {MIN_SAMPLES} are needed: 60 % train, the others validate and test"
        )
        raise invalid([wrong("", message, "too_few_rows")])
    x = _compact(table.x, limit)
    if found := _bad_numbers(x, table.columns, "x"):
        raise invalid([found])
    if bool((x == x[:1]).all()):
        raise invalid(
            [wrong("" if table.columns else "/x", "all rows are alike: there is nothing to learn from", "constant")]
        )
    notes = _constant(x, table.columns)
    as_classes = loss == "cross_entropy" if loss else table.words is not None or _looks_like_classes(table.y)
    if as_classes:
        y, classes = _classes(table)
        if loss is None and table.words is None and table.y.dtype.kind != "b":
            notes.append(
                f"{_target(table)} has {len(classes)} different whole numbers and is taken for classes: "
                "say loss=mean_squared_error if they are quantities"
            )
        counts = np.bincount(y)
        rare = [
            f"{shown(name)!r} ({count})" for name, count in zip(classes, counts, strict=True) if count < ROWS_OF_A_CLASS
        ]
        if rare:
            notes.append(f"classes in so few rows that a split may lack them: {', '.join(rare[:20])}")
        return Data(x, y, "cross_entropy", classes, table.columns, table.targets, notes)
    return Data(x, _targets(table), "mean_squared_error", None, table.columns, table.targets, notes)


def _compact(x: NDArray[Any], limit: int) -> NDArray[Any]:
    kind = EXACT.get("b" if x.dtype.kind == "b" else x.dtype.str[1:], np.float64)
    if x.size * np.dtype(kind).itemsize > limit:
        raise no_room("x", x.size * np.dtype(kind).itemsize, limit)
    return np.ascontiguousarray(x, dtype=kind)


def _bad_numbers(values: NDArray[Any], columns: list[str] | None, name: str) -> Violation | None:
    """The first number that is missing, infinite or beyond every use."""
    if values.dtype.kind != "f":
        return None
    for start, chunk in _chunks(values):
        fine = np.abs(chunk) <= np.float64(LARGEST)
        if fine.all():
            continue
        row, *place = (int(index) for index in np.argwhere(~fine)[0])
        value = chunk[(row, *place)]
        named = at(columns[place[0]], start + row) if columns and place else at(name, start + row, *place)
        what = f"column {shown(columns[place[0]])!r}" if columns and place else name
        where = f"row {start + row + 1:,}" + (f", place {tuple(place)}" if place and not columns else "")
        if np.isnan(value):
            message = f"{what} has no number in {where}: fill what is missing, or leave the row out"
            return wrong(named, message, "missing_value")
        message = f"{what} is {value:g} in {where}: a finite number within ±{LARGEST:g} is needed"
        return wrong(named, message, "not_finite")
    return None


def _chunks(values: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    rows = max(1, CHUNK * len(values) // max(1, values.size))
    for start in range(0, len(values), rows):
        yield start, values[start : start + rows]


def _constant(x: NDArray[Any], columns: list[str] | None) -> list[str]:
    """A note on the features that never vary; of images and sequences single places may well not."""
    if x.ndim != 2:
        return []
    still = np.flatnonzero((x == x[:1]).all(0))
    names = [shown(columns[index]) if columns else str(index) for index in still[:20]]
    if not names:
        return []
    more = f" and {len(still) - 20:,} more" if len(still) > 20 else ""
    return [f"constant, so that they say nothing and are only centred: {', '.join(names)}{more}"]


def _looks_like_classes(y: NDArray[Any]) -> bool:
    if y.ndim != 1:
        return False
    if y.dtype.kind == "b":
        return True
    values = np.unique(y)
    whole = bool(np.isfinite(values).all() and (values == np.round(values)).all())
    return whole and len(values) <= min(FEW_CLASSES, len(y) // ROWS_OF_A_CLASS)


def _classes(table: Table) -> tuple[NDArray[np.int64], list[str]]:
    """Each row's class by its place among the sorted names, and the names."""
    y, here = table.y, at(_target(table))
    if y.ndim != 1:
        message = f"{y.shape[1]} columns cannot be one class: give a column of classes, or loss=mean_squared_error"
        raise invalid([wrong(here, message, "wrong_shape")])
    if found := _bad_numbers(y, None, _target(table)):
        raise invalid([found])
    values, y = np.unique(y, return_inverse=True)
    if table.words is not None:
        names = [table.words[value] for value in values]
        order = np.argsort(np.array(names, dtype=object), kind="stable")
        names, y = [names[index] for index in order], np.argsort(order)[y]
    else:
        names = [str(int(value)) if values.dtype.kind in "iuf" else str(value).lower() for value in values]
    if len(values) < 2:
        message = f"every row is of the same class, {shown(names[0])!r}: at least two are needed"
        raise invalid([wrong(here, message, "one_class")])
    if len(values) > min(MOST_CLASSES, len(y) // 2):
        message = (
            f"{_target(table)} has {len(values):,} different values in {len(y):,} rows, too many for classes (at most "
            f"{MOST_CLASSES:,}, in two rows each on average): is it the right column, or loss=mean_squared_error?"
        )
        raise invalid([wrong(here, message, "too_many_classes")])
    if values.dtype.kind == "f" and (values != np.round(values)).any():
        message = (
            f"{_target(table)} has fractions, which are no classes: loss=mean_squared_error, or whole numbers or text"
        )
        raise invalid([wrong(here, message, "wrong_type")])
    for name in names:
        if len(name) > MAX_NAME or any(sign < " " or "\ud800" <= sign <= "\udfff" for sign in name):
            message = (
                f"the class {shown(name)!r} is longer than {MAX_NAME} characters or has characters that cannot be shown"
            )
            raise invalid([wrong(here, message, "bad_name")])
    return y.astype(np.int64), names


def _targets(table: Table) -> NDArray[np.float64]:
    y, name = table.y, _target(table)
    if table.words is not None:
        message = f"{name} is text and cannot be a quantity: leave loss out, or say loss=cross_entropy"
        raise invalid([wrong(at(name), message, "wrong_type")])
    y = np.ascontiguousarray(y, dtype=np.float64)
    columns = table.targets if y.ndim == 2 else None
    if found := _bad_numbers(y, columns, name):
        raise invalid([found])
    y = y.reshape(len(y), -1)
    still = np.flatnonzero((y == y[:1]).all(0))
    if len(still):
        names = table.targets or (
            [name] if y.shape[1] == 1 else [f"{name}, column {index}" for index in range(y.shape[1])]
        )
        message = f"the target {shown(names[still[0]])} is the same in every row: there is nothing to predict"
        raise invalid([wrong(at(names[still[0]] if table.targets else name), message, "constant")])
    return y


def _target(table: Table) -> str:
    return table.targets[0] if table.targets else "y"
