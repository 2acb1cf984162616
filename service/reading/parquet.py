"""Parquet. Its footer says how many numbers there are before any is read, and columns are read one at a time."""

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from service.errors import Problem, invalid
from service.reading import columns as reading
from service.reading.checks import MAX_COLUMNS, check_names, megabytes, no_room, shown, wrong
from service.reading.meaning import Table

BROKEN = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError)
"""What damaged files raise, and those of types that Arrow does not read."""
MOST_FOOTER_BYTES = 64 * 2**20


def read(path: Path, target: list[str] | None, limit: int) -> Table:
    """Numbers of all columns but the target's.

    Raises:
        Problem
    """
    try:
        with pq.ParquetFile(
            path, thrift_string_size_limit=MOST_FOOTER_BYTES, thrift_container_size_limit=10 * MAX_COLUMNS
        ) as file:
            return _read(file, target, limit)
    except Problem:
        raise
    except BROKEN as error:
        _refuse(f"it cannot be read as Parquet: {shown(' '.join(str(error).split()))}")


def _read(file: pq.ParquetFile, target: list[str] | None, limit: int) -> Table:
    schema, rows = file.schema_arrow, file.metadata.num_rows
    check_names(schema.names)
    targets = reading.chosen(schema.names, target)
    reading.refuse(reading.type_complaint(field.name, field.type, target=field.name in targets) for field in schema)
    features = [name for name in schema.names if name not in targets]
    if (needed := 8 * len(features) * rows) > limit:
        raise no_room("the table", needed, limit)
    if (unpacked := _largest_chunk(file)) > limit:
        _refuse(f"a part of it unpacks to {megabytes(unpacked)}, the limit here is {megabytes(limit)}")
    y, words = reading.target_values(targets, [_column(file, name) for name in targets])
    x = np.empty((rows, len(features)))
    for index, name in enumerate(features):
        column = _column(file, name)
        reading.refuse([reading.number_complaint(name, column)])
        x[:, index] = reading.numbers(column)
    return Table(x, y, words, features, targets)


def _largest_chunk(file: pq.ParquetFile) -> int:
    groups = (file.metadata.row_group(index) for index in range(file.num_row_groups))
    return max(
        (group.column(index).total_uncompressed_size for group in groups for index in range(group.num_columns)),
        default=0,
    )


def _column(file: pq.ParquetFile, name: str) -> Any:
    """One column; names with dots would be taken for paths, so it is found by its place."""
    table = file.reader.read_column(file.schema_arrow.names.index(name))
    return table


def _refuse(message: str) -> NoReturn:
    raise invalid([wrong("", message, "unreadable")])
