"""Streams of record batches as JSON, CSV, Parquet or Arrow. Nothing is held but the batch at hand."""

import io
import json
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

Format = Literal["json", "csv", "parquet", "arrow"]
Batches = Iterator[pa.RecordBatch]


class Writer(NamedTuple):
    media_type: str
    write: Callable[[pa.Schema, Batches], Iterator[bytes]]


class _Outbox(io.RawIOBase):
    """A file that is only ever written: what was written since the last look."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(memoryview(data))  # type: ignore[arg-type]  # pyarrow writes buffers
        self._parts.append(part)
        self._position += len(part)
        return len(part)

    def tell(self) -> int:
        return self._position

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def finite(column: pa.Array) -> pa.Array:
    """NaN and infinity become null: JSON has neither."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))


def _json(schema: pa.Schema, batches: Batches) -> Iterator[bytes]:
    yield b'{"columns": ' + json.dumps(schema.names).encode() + b', "rows": ['
    separator = b""
    for batch in batches:
        rows = zip(*(finite(column).to_pylist() for column in batch.columns), strict=True)
        text = json.dumps(list(rows), allow_nan=False).encode()[1:-1]
        if text:
            yield separator + text
            separator = b", "
    yield b"]}"


def _csv(schema: pa.Schema, batches: Batches) -> Iterator[bytes]:
    out = _Outbox()
    plain = pa.schema([(field.name, _undictionaried(field.type)) for field in schema])
    with pa.csv.CSVWriter(out, plain) as writer:
        for batch in batches:
            writer.write_batch(batch.cast(plain))
            yield out.taken()
    yield out.taken()


def _undictionaried(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _parquet(schema: pa.Schema, batches: Batches) -> Iterator[bytes]:
    out = _Outbox()
    with pa.parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield out.taken()
    yield out.taken()


def _arrow(schema: pa.Schema, batches: Batches) -> Iterator[bytes]:
    out = _Outbox()
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_stream(out, schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield out.taken()
    yield out.taken()


FORMATS: dict[Format, Writer] = {
    "json": Writer("application/json", _json),
    "csv": Writer("text/csv; charset=utf-8", _csv),
    "parquet": Writer("application/vnd.apache.parquet", _parquet),
    "arrow": Writer("application/vnd.apache.arrow.stream", _arrow),
}
