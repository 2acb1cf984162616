"""Reads the parts of a comparison as one sorted table, and merges them into one file, a bounded number of rows at a time.

Shards and rounds leave their parts side by side: any one of them holds a few trials, at some of the steps. Rows are counted by
trial first; then so many trials at a time as make ROWS rows are read from all parts and sorted in memory. A trial that has
more by itself is read some steps at a time.
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import reduce
from operator import and_
from typing import TypeVar

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from workers.contract.statistics import COLUMNS
from workers.store.columns import KINDS
from workers.store.files import Folder, Root, folder
from workers.store.parts import Kind, Part

ROWS = 2**17
"""Sorted in memory at a time: about 33 MB in all columns."""
BATCH_ROWS = 2**14
ROW_GROUP = 2**15
READ_AHEAD: dict[str, int] = {"batch_size": BATCH_ROWS, "batch_readahead": 4, "fragment_readahead": 2}
"""Little: the default holds half a gigabyte while it looks for a few rows."""
MERGED = b"plumbline.parts"
"""In the merged file's metadata: the parts that it holds."""

Found = TypeVar("Found")


def read_statistics(
    root: Root,
    comparison_id: str,
    parts: Sequence[Part],
    *,
    columns: Sequence[str] | None = None,
    variants: Collection[str] | None = None,
    optimizers: Collection[str] | None = None,
    layers: Collection[str] | None = None,
    seeds: Collection[int] | None = None,
    steps: Collection[int] | None = None,
    trials: Collection[int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Statistics by trial, step and depth, from the merged file and from parts that it does not hold yet.

    Args:
        parts: as the record lists them.
        columns: which, in which order; all if None.
        variants, optimizers, layers, seeds, steps, trials: rows with one of these values; all if None.
    """
    chosen = {
        "variant": variants,
        "optimizer": optimizers,
        "layer": layers,
        "seed": seeds,
        "step": steps,
        "trial": trials,
    }
    conditions = [ds.field(name).isin(list(values)) for name, values in chosen.items() if values is not None]
    names = list(COLUMNS if columns is None else columns)
    for table in _in_order(_Rows(folder(root, comparison_id), "statistics", parts), names, conditions):
        yield from table.to_batches(max_chunksize=BATCH_ROWS)


def statistics_schema(columns: Sequence[str] | None = None) -> pa.Schema:
    """What the batches of `read_statistics` look like."""
    schema = KINDS["statistics"].schema
    return pa.schema([schema.field(name) for name in (COLUMNS if columns is None else columns)])


def read_curves(root: Root, comparison_id: str, parts: Sequence[Part]) -> pa.Table:
    """Losses and accuracies over whole splits, by trial and step; a hundred rows a trial at most."""
    schema = KINDS["curves"].schema
    tables = _in_order(_Rows(folder(root, comparison_id), "curves", parts), schema.names, [])
    return pa.concat_tables([schema.empty_table(), *tables])


def compact(root: Root, comparison_id: str, parts: Sequence[Part]) -> None:
    """Merges the parts of a comparison that has ended into statistics.parquet and curves.parquet.

    Doing it again, or twice at once, does no harm: a merged file knows which parts it holds. Then parts and checkpoints,
    which are of no more use, go.
    """
    here = folder(root, comparison_id)
    for kind in KINDS:
        _merge(here, kind, [part for part in parts if part.kind == kind])
    for name in ("parts", "checkpoints"):
        here.clear(name)


def _merge(here: Folder, kind: Kind, parts: list[Part]) -> None:
    held = _held(here, kind) or set()
    paths = {part.path for part in parts}
    if paths <= held:
        return
    schema = KINDS[kind].schema.with_metadata({MERGED: json.dumps(sorted(held | paths)).encode()})
    with (
        here.writing(f"{kind}.parquet") as unfinished,
        pq.ParquetWriter(unfinished, schema, compression="zstd") as file,
    ):
        for table in _in_order(_Rows(here, kind, parts), schema.names, []):
            file.write_table(table.replace_schema_metadata(schema.metadata), row_group_size=ROW_GROUP)


class _Rows:
    """All rows of one kind. Its files are looked up again when they go, merged by someone else in the middle of reading."""

    def __init__(self, here: Folder, kind: Kind, parts: Sequence[Part]) -> None:
        self._here, self.kind, self._parts = here, kind, parts
        self._dataset = self._open()

    def __bool__(self) -> bool:
        return bool(self._dataset.files)

    def table(self, names: Sequence[str], where: ds.Expression | None) -> pa.Table:
        return self._read(lambda dataset: dataset.to_table(columns=list(names), filter=where, **READ_AHEAD))

    def count(self, name: str, where: ds.Expression | None) -> dict[int, int]:
        """How many rows there are with each value, by increasing value."""

        def counted(dataset: ds.Dataset) -> dict[int, int]:
            counts: dict[int, int] = {}
            for batch in dataset.to_batches(columns=[name], filter=where, **READ_AHEAD):
                for found in batch.column(0).value_counts().to_pylist():
                    counts[found["values"]] = counts.get(found["values"], 0) + found["counts"]
            return dict(sorted(counts.items()))

        return self._read(counted)

    def _read(self, action: Callable[[ds.Dataset], Found]) -> Found:
        try:
            return action(self._dataset)
        except FileNotFoundError:
            self._dataset = self._open()
            return action(self._dataset)

    def _open(self) -> ds.Dataset:
        held = _held(self._here, self.kind)
        files = [] if held is None else [self._here.at(f"{self.kind}.parquet")]
        files += [self._here.at(part.path) for part in self._parts if part.path not in (held or ())]
        return ds.FileSystemDataset.from_paths(
            files, schema=KINDS[self.kind].schema, format=ds.ParquetFileFormat(), filesystem=self._here.files
        )


def _held(here: Folder, kind: Kind) -> set[str] | None:
    """The parts that the merged file holds; None if there is no such file."""
    try:
        metadata = pq.read_schema(here.at(f"{kind}.parquet"), filesystem=here.files).metadata
    except FileNotFoundError:
        return None
    return set(json.loads(metadata[MERGED]))


def _in_order(rows: _Rows, names: Sequence[str], conditions: list[ds.Expression]) -> Iterator[pa.Table]:
    """Tables of about ROWS rows, sorted, each after the one before."""
    if not rows:
        return
    order = KINDS[rows.kind].order
    needed = list(dict.fromkeys([*names, *(name for name, _ in order)]))
    for span in _spans(rows, conditions):
        yield rows.table(needed, span).sort_by(list(order)).select(list(names))


def _spans(rows: _Rows, conditions: list[ds.Expression]) -> Iterator[ds.Expression]:
    """Conditions that cut the rows into stretches of about ROWS, in their order."""
    trials = rows.count("trial", _all(conditions))
    for first, last in _ranges(trials):
        span = [*conditions, *_between("trial", first, last)]
        if first < last or trials[first] <= ROWS:
            yield reduce(and_, span)
            continue
        for start, end in _ranges(rows.count("step", reduce(and_, span))):
            yield reduce(and_, [*span, *_between("step", start, end)])


def _all(conditions: list[ds.Expression]) -> ds.Expression | None:
    return reduce(and_, conditions) if conditions else None


def _between(name: str, first: int, last: int) -> list[ds.Expression]:
    return [ds.field(name) >= first, ds.field(name) <= last]


def _ranges(counts: dict[int, int]) -> Iterator[tuple[int, int]]:
    """Cuts increasing values into (first, last) of at most ROWS rows together; one value alone may have more."""
    first = last = None
    total = 0
    for value, count in counts.items():
        if first is not None and last is not None and total + count > ROWS:
            yield first, last
            first, total = None, 0
        first = value if first is None else first
        last, total = value, total + count
    if first is not None and last is not None:
        yield first, last
