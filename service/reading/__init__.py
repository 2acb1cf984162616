"""Reads the data set in a file: what it says is told from what cannot be, in words that name the column and the row.

N samples, F features, S positions, C channels, O targets. Nothing is ever unpickled, and nothing is unpacked beyond `limit` bytes.
"""

from pathlib import Path

from service.errors import invalid
from service.reading import csv, npz, parquet
from service.reading.checks import wrong
from service.reading.meaning import Data, Table, understood
from workers.contract.problems import Loss

READERS = {b"PK\x03\x04": npz.read, b"PK\x05\x06": npz.read, b"PAR1": parquet.read}
"""By a file's first bytes; whatever begins otherwise is read as CSV."""

__all__ = ["Data", "Table", "read"]


def read(path: Path, *, target: list[str] | None, loss: Loss | None, limit: int) -> Data:
    """The data set in a file, checked.

    Args:
        path: an npz with arrays x and y, CSV in UTF-8 with a line of names, or Parquet.
        target: of a table, the columns to predict; `target` if None.
        loss: what the targets are for; None infers it.
        limit: bytes that its numbers may take.

    Raises:
        Problem: 422, with what is wrong and where.
    """
    with path.open("rb") as file:
        head = file.read(4)
    if not head:
        raise invalid([wrong("", "the body is empty: send a data set as npz, CSV or Parquet", "empty")])
    reader = READERS.get(head, csv.read)
    try:
        table = reader(path, target, limit)
    except MemoryError:
        message = "it takes more memory to read than there is: send less, or npz, which takes the least"
        raise invalid([wrong("", message, "too_large")]) from None
    return understood(table, loss, limit)
