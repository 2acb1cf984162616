"""The files of a comparison, in a folder of its own, `root/comparison_id/`, in a directory or on an object store.

    parts/KIND-NAME.parquet              rows of one slice, sorted; they count once a commit has named them
    checkpoints/JOB-ATTEMPT-STEP.pt
    statistics.parquet, curves.parquet   all rows, sorted, once the comparison has ended
    result.json and the like

Every file appears whole or not at all. Parts and checkpoints carry job and attempt in their names, so that two workers that
both think a job theirs never overwrite each other's.
"""

import json
import re
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workers.store.columns import conform
from workers.store.files import Root, folder, plain
from workers.store.merging import compact, read_curves, read_statistics, statistics_schema
from workers.store.parts import Kind

__all__ = [
    "checkpoint_name",
    "compact",
    "drop_checkpoints",
    "folder",
    "read_curves",
    "read_statistics",
    "remove",
    "statistics_schema",
    "write_json",
    "write_part",
]


CHECKPOINTS = "checkpoints"


def write_part(root: Root, comparison_id: str, kind: Kind, name: str, table: pa.Table) -> str:
    """Writes the rows of a slice, sorted. Returns the path, relative to the comparison's folder.

    Args:
        name: unique to job and attempt.
        table: columns as in `columns.KINDS`; those it lacks are null.

    Raises:
        ValueError: a column is unknown, or one that says what a row is about is missing.
        OSError: the disk is full or not there; nothing is left behind.
    """
    path = f"parts/{kind}-{plain(name)}.parquet"
    rows = conform(table, kind)
    with folder(root, comparison_id).writing(path) as unfinished:
        pq.write_table(rows, unfinished, compression="zstd")
    return path


def write_json(root: Root, comparison_id: str, name: str, data: Any) -> None:
    """Writes a document under a file name; finite numbers only."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, indent=1)
    with folder(root, comparison_id).writing(plain(name)) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def checkpoint_name(job_id: str, attempt: int, step: int) -> str:
    """Under which this attempt leaves its checkpoint at this step, relative to the comparison's folder."""
    return f"{CHECKPOINTS}/{plain(job_id)}-{attempt}-{step}.pt"


def drop_checkpoints(root: Root, comparison_id: str, job_id: str, *, keep: str | None) -> None:
    """Removes a job's checkpoints but for the one just committed.

    Those of later attempts stay, too: another worker may have the job by now.

    Args:
        keep: relative to the comparison's folder; None on a job that has succeeded and needs none.
    """
    here = folder(root, comparison_id)
    newest = _attempt(keep) if keep else None
    for name in here.names(CHECKPOINTS):
        path = f"{CHECKPOINTS}/{name}"
        older = path != keep and newest is not None and (_attempt(path) or 0) <= newest
        if name.startswith(f"{plain(job_id)}-") and (keep is None or older):
            here.drop(path)


def remove(root: Root, comparison_id: str) -> None:
    """Deletes all of a comparison's files. What a worker writes at the same moment may stay behind, and harms nobody.

    Raises:
        OSError: the object store does not answer or forbids it.
    """
    folder(root, comparison_id).clear()


def _attempt(checkpoint: str) -> int | None:
    found = re.search(r"-(\d+)-\d+\.\w+$", checkpoint)
    return int(found.group(1)) if found else None
