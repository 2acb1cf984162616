"""CSV in UTF-8: a line of names, then a row a line. Commas, semicolons, tabs or bars part the values."""

from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
from pyarrow import csv

from service.errors import invalid
from service.reading import columns as reading
from service.reading.checks import MAX_COLUMNS, check_names, megabytes, no_room, shown, wrong
from service.reading.meaning import Table

DELIMITERS = ",;\t|"
BLOCK_BYTES = 8 * 2**20
"""Read together; a row has to fit."""


def read(path: Path, target: list[str] | None, limit: int) -> Table:
    """Numbers of all columns but the target's.

    Raises:
        Problem
    """
    delimiter = _delimiter(path)
    parsing = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    converting = csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    try:
        options = csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)
        table = csv.read_csv(path, read_options=options, parse_options=parsing, convert_options=converting)
    except (pa.ArrowException, ValueError, OSError) as error:
        _refuse(f"it cannot be read as CSV: {_words(error)}")
    names = table.column_names
    check_names(names)
    targets = reading.chosen(names, target)
    reading.refuse(reading.type_complaint(name, table[name].type, target=name in targets) for name in names)
    features = [name for name in names if name not in targets]
    if (needed := 8 * len(features) * table.num_rows) > limit:
        raise no_room("the table", needed, limit)
    y, words = reading.target_values(targets, [table[name] for name in targets])
    reading.refuse(reading.number_complaint(name, table[name]) for name in features)
    x = np.empty((table.num_rows, len(features)))
    for index, name in enumerate(features):
        x[:, index] = reading.numbers(table[name])
    return Table(x, y, words, features, targets)


def _delimiter(path: Path) -> str:
    """The sign that parts the first line most often. A line too long to be one of names is refused before it is parsed."""
    with path.open("rb") as file:
        line = file.readline(BLOCK_BYTES)
    if len(line) >= BLOCK_BYTES:
        _refuse(f"its first line is longer than {megabytes(BLOCK_BYTES)}: it should name the columns")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse(f"it is neither npz nor Parquet, and no CSV in UTF-8: byte {error.start} cannot be read")
    if "\x00" in text:
        _refuse("it is neither npz nor Parquet, and no CSV: there are null characters in its first line")
    if not text.strip():
        _refuse("its first line is empty: it should name the columns")
    counts = {sign: text.count(sign) for sign in DELIMITERS}
    found = max(counts, key=lambda sign: counts[sign])
    if counts[found] > MAX_COLUMNS:
        _refuse(f"its first line has more than {MAX_COLUMNS:,} columns: are rows and columns swapped?")
    if not counts[found]:
        _refuse(
            f"its first line has one column only, {shown(text.strip())!r}: names with commas between them are needed"
        )
    return found


def _words(error: Exception) -> str:
    return shown(" ".join(str(error).split()).removeprefix("CSV parse error: "))


def _refuse(message: str) -> NoReturn:
    raise invalid([wrong("", message, "unreadable")])
