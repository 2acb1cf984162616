"""From the columns of an Arrow table to arrays: what is a number, what is missing, what is text."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds
from numpy.typing import NDArray

from service.errors import invalid, invalid_parameter
from service.reading.checks import at, shown, wrong
from workers.contract.base import Violation

DEFAULT_TARGET = "target"
MOST_TARGETS = 1000


def chosen(names: list[str], target: list[str] | None) -> list[str]:
    """The columns to predict.

    Raises:
        Problem: they are not there, or nothing else is.
    """
    wanted = target or [DEFAULT_TARGET]
    known = ", ".join(shown(name) for name in names[:20]) + (", …" if len(names) > 20 else "")
    for name in wanted:
        if name not in names:
            hint = "" if target else ": say by target=NAME which column is to be predicted"
            raise invalid_parameter(
                "target", f"there is no column {shown(name)!r}{hint}. There is: {known}", "unknown_column"
            )
    if len(set(wanted)) < len(wanted) or len(wanted) > MOST_TARGETS:
        raise invalid_parameter("target", f"name each column once, and at most {MOST_TARGETS}", "duplicate_name")
    if len(wanted) == len(names):
        raise invalid_parameter(
            "target", "every column is a target: at least one feature is needed beside it", "no_features"
        )
    return wanted


def type_complaint(name: str, kind: pa.DataType, *, target: bool) -> Violation | None:
    """What is wrong with a column by its type alone. Text is looked into later, and may be classes."""
    if is_number(kind) or is_text(kind) or kinds.is_null(kind):
        return None
    what = "dates or times" if kinds.is_temporal(kind) else f"values of type {shown(str(kind))}"
    change = "numbers or text" if target else "numbers, days since a first one for instance"
    message = f"column {shown(name)!r} holds {what}: {change} are needed, or leave it out"
    return wrong(at(name), message, "wrong_type")


def number_complaint(name: str, column: pa.ChunkedArray) -> Violation | None:
    """Why a column is no feature: text, or something missing in it."""
    if is_text(column.type):
        row, value = next(((row, value) for row, value in _values(column) if not _is_number(value)), (0, None))
        message = (
            f"column {shown(name)!r} holds text, {shown(str(value))!r} in row {row + 1:,}: numbers are needed; "
            "write categories as columns of 0 and 1, or leave it out"
        )
        return wrong(at(name, row), message, "text")
    return missing_complaint(name, column)


def missing_complaint(name: str, column: pa.ChunkedArray) -> Violation | None:
    count = column.null_count
    if not count and kinds.is_floating(column.type):
        count = pc.sum(pc.is_nan(column)).as_py() or 0
    if not count:
        return None
    if count == len(column):
        message = f"column {shown(name)!r} is empty: fill it, or leave it out"
        return wrong(at(name), message, "missing_value")
    row = pc.index(pc.is_null(column, nan_is_null=True), True).as_py()
    message = (
        f"column {shown(name)!r} has {count:,} missing values, the first in row {row + 1:,}: "
        "fill them, or leave the column or these rows out"
    )
    return wrong(at(name, row), message, "missing_value")


def numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column without missing values, as numpy has it."""
    if kinds.is_decimal(column.type):
        column = column.cast(pa.float64())
    found: NDArray[Any] = column.to_numpy()
    return found


def target_values(names: list[str], columns: list[pa.ChunkedArray]) -> tuple[NDArray[Any], list[str] | None]:
    """[N] of one column, of text as places among its words; [N, O] of several, which have to be numbers. And the words.

    Raises:
        Problem
    """
    complaint = missing_complaint if len(names) == 1 else number_complaint
    refuse(complaint(name, column) for name, column in zip(names, columns, strict=True))
    if len(names) > 1:
        return np.stack([numbers(column).astype(np.float64) for column in columns], 1), None
    (column,) = columns
    if not is_text(column.type):
        return numbers(column), None
    coded = column if kinds.is_dictionary(column.type) else column.dictionary_encode()
    coded = coded.unify_dictionaries().combine_chunks()
    return coded.indices.to_numpy(), coded.dictionary.to_pylist()


def refuse(found: Iterable[Violation | None]) -> None:
    """Raises a Problem with up to twenty complaints, if there is one."""
    told = list(islice((one for one in found if one is not None), 20))
    if told:
        raise invalid(told)


def is_number(kind: pa.DataType) -> bool:
    return bool(kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind) or kinds.is_decimal(kind))


def is_text(kind: pa.DataType) -> bool:
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind))


def _values(column: pa.ChunkedArray) -> Iterable[tuple[int, Any]]:
    row = 0
    for chunk in column.chunks:
        for value in chunk:
            yield row, value.as_py()
            row += 1


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return value is None
    return True
