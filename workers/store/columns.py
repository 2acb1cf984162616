"""What the result files hold: a schema and an order of rows for each kind."""

from typing import NamedTuple

import pyarrow as pa

from workers.contract.statistics import COLUMNS, STATISTICS
from workers.store.parts import Kind

Order = tuple[tuple[str, str], ...]


class Columns(NamedTuple):
    schema: pa.Schema
    order: Order
    """By which rows are sorted, in a part and in the whole."""


KEY_TYPES = {
    "variant": pa.string(),
    "optimizer": pa.string(),
    "trial": pa.int64(),
    "lr": pa.float64(),
    "seed": pa.int64(),
    "step": pa.int64(),
    "layer": pa.string(),
    "depth": pa.int64(),
}
CURVES = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")

KINDS: dict[Kind, Columns] = {
    "statistics": Columns(
        pa.schema([(name, pa.float64() if name in STATISTICS else KEY_TYPES[name]) for name in COLUMNS]),
        (("trial", "ascending"), ("step", "ascending"), ("depth", "ascending")),
    ),
    "curves": Columns(
        pa.schema([("trial", pa.int64()), ("step", pa.int64()), *((name, pa.float64()) for name in CURVES)]),
        (("trial", "ascending"), ("step", "ascending")),
    ),
}


def conform(table: pa.Table, kind: Kind) -> pa.Table:
    """The table in the kind's schema and order. Columns it lacks are null: they do not apply.

    Raises:
        ValueError: it has a column that the kind does not know, or lacks one of those that say what a row is about.
    """
    schema, order = KINDS[kind]
    keys = [name for name in schema.names if name in KEY_TYPES]
    unknown = sorted(set(table.column_names) - set(schema.names))
    missing = sorted(set(keys) - set(table.column_names))
    if unknown or missing:
        raise ValueError(f"a table of {kind} with unknown columns {unknown} and without {missing}")
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema).sort_by(list(order))
