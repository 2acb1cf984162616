"""Files of data sets, for tests to send."""

import io
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CSV, PARQUET, NPZ = "text/csv", "application/vnd.apache.parquet", "application/octet-stream"


def drawn(rows: int, *shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(rows, *shape))


def labels(rows: int, classes: int = 3) -> Any:
    return np.arange(rows) % classes


def npz(x: Any, y: Any, **more: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=x, y=y, **more)
    return buffer.getvalue()


def table(rows: int = 60, seed: int = 0, **columns: Any) -> dict[str, list[Any]]:
    """Two features and three classes, and whatever else is wanted."""
    x = drawn(rows, 2, seed=seed)
    classes = [("red", "green", "blue")[index] for index in labels(rows)]
    plain: dict[str, list[Any]] = {"width": x[:, 0].tolist(), "höhe": x[:, 1].tolist(), "target": classes}
    return {**plain, **columns}


def csv(columns: dict[str, list[Any]], delimiter: str = ",") -> bytes:
    lines = [list(columns), *zip(*columns.values(), strict=True)]
    told = (delimiter.join("" if value is None else str(value) for value in line) for line in lines)
    return ("\n".join(told) + "\n").encode()


def parquet(columns: dict[str, Any] | pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), buffer, **options)
    return buffer.getvalue()


def send(client: httpx.Client, body: bytes, media_type: str = NPZ, **query: Any) -> httpx.Response:
    return client.post("/v1/datasets", content=body, headers={"Content-Type": media_type}, params=query)
