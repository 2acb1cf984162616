"""Data sets that users bring: a row that says what one is, and a file, `root/dataset-ID/PLACE.npz`, with its numbers.

The id is a digest of what the data set says, so that the same is kept once. Its file holds arrays x and y and, as JSON, the whole
record: files alone are enough to rebuild the rows. Places are never used twice: what an upload writes while a deletion is under way
is another file than the one that goes.
"""

import hashlib
import json
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, delete, insert, literal, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from workers.contract.results import ENDED
from workers.store import cursors, dataset_files, tables
from workers.store.database import Database
from workers.store.dataset_files import place_of
from workers.store.files import Root

dataset, comparison = tables.dataset, tables.comparison


@dataclass(frozen=True)
class About:
    """What a data set is."""

    loss: Literal["cross_entropy", "mean_squared_error"]
    shape: list[int]
    """Of one sample of x."""
    outputs: int
    samples: int
    classes: dict[str, int] | None
    """Rows of each class, in the order of their numbers; None of a regression."""
    columns: list[str] | None
    """Names of the features of a table."""
    targets: list[str] | None
    """Names of the columns that are predicted."""
    notes: list[str]
    """What is no error and worth knowing."""


@dataclass(frozen=True)
class DatasetRecord:
    id: str
    name: str
    about: About
    size_bytes: int
    """Of its numbers."""
    created_at: datetime


class InUse(Exception):  # noqa: N818 - said of the data set
    """A comparison that has not ended trains on it; its id is the argument."""


class UnknownDataset(Exception):  # noqa: N818 - said of the request
    """There is none of this id any more; the id is the argument."""


def add(
    db: Database, root: Root, name: str, about: About, x: NDArray[Any], y: NDArray[Any]
) -> tuple[DatasetRecord, bool]:
    """Keeps a data set, its file first. Returns its record and whether it is new: what is known already keeps its name.

    Raises:
        OSError: the disk is full or not there; nothing is recorded.
    """
    about = replace(about, notes=list(about.notes))
    record = DatasetRecord(_digest(about, x, y), name, about, x.nbytes + y.nbytes, datetime.now(UTC))
    if (known := find(db, record.id)) is not None:
        return known, False
    here, place = place_of(root, record.id), secrets.token_hex(8)
    with here.writing(f"{place}.npz") as path:
        dataset_files.write(path, _told(record), x, y)
    row = {**vars(record), "about": asdict(about), "place": place, "deleted": False}
    while True:
        try:
            with db.write() as session:
                if (existing := _locked(session, record.id)) is None:
                    session.execute(insert(dataset).values(row))
                elif existing.deleted:  # on its way out, and its file perhaps gone: this one takes its place
                    session.execute(update(dataset).where(dataset.c.id == record.id).values(row))
            break
        except IntegrityError:  # an equal upload came in between
            continue
    if existing is None:
        return record, True
    here.drop(f"{existing.place if existing.deleted else place}.npz")
    return (record, True) if existing.deleted else (_record(existing), False)


def find(db: Database, dataset_id: str) -> DatasetRecord | None:
    if "\x00" in dataset_id:  # which PostgreSQL would not look for
        return None
    with db.read() as session:
        row = session.execute(select(dataset).where(dataset.c.id == dataset_id, ~dataset.c.deleted)).one_or_none()
    return _record(row) if row else None


def page(db: Database, *, limit: int, cursor: str | None) -> tuple[list[DatasetRecord], str | None]:
    """Newest first, and the cursor of the next page, None on the last.

    Raises:
        ValueError: the cursor is none of ours.
    """
    query = select(dataset).where(~dataset.c.deleted).order_by(dataset.c.created_at.desc(), dataset.c.id.desc())
    if cursor is not None:
        moment, last = cursors.decode(cursor)
        place = tuple_(literal(moment, tables.UtcDateTime), literal(last))
        query = query.where(tuple_(dataset.c.created_at, dataset.c.id) < place)
    with db.read() as session:
        rows = session.execute(query.limit(limit + 1)).all()
    shown = [_record(row) for row in rows[:limit]]
    return shown, cursors.encode(shown[-1].created_at, shown[-1].id) if len(rows) > limit else None


def remove(db: Database, root: Root, dataset_id: str) -> bool:
    """Forgets a data set, then removes its file; repeated after a failure in between, it goes on there. False if there is none.

    Raises:
        InUse: a comparison that has not ended trains on it.
        OSError: the place of results does not answer; the data set is no longer known, and its file waits for the next call.
    """
    if "\x00" in dataset_id:
        return False
    with db.write() as session:
        row = _locked(session, dataset_id)
        if row is None:
            return False
        using = select(comparison.c.id).where(comparison.c.dataset_id == dataset_id, comparison.c.status.not_in(ENDED))
        if not row.deleted and (user := session.scalar(using.limit(1))):
            raise InUse(user)
        session.execute(update(dataset).where(dataset.c.id == dataset_id).values(deleted=True))
    place_of(root, dataset_id).drop(f"{row.place}.npz")
    with db.write() as session:
        gone = (dataset.c.id == dataset_id, dataset.c.place == row.place, dataset.c.deleted)
        session.execute(delete(dataset).where(*gone))
    return True


def hold(session: Connection, dataset_id: str) -> None:
    """Within the transaction that accepts a comparison: no deletion comes between.

    Raises:
        UnknownDataset
    """
    row = _locked(session, dataset_id)
    if row is None or row.deleted:
        raise UnknownDataset(dataset_id)


def _told(record: DatasetRecord) -> dict[str, Any]:
    return {**asdict(record), "created_at": record.created_at.isoformat()}


def _digest(about: About, x: NDArray[Any], y: NDArray[Any]) -> str:
    """Of what a data set says, whatever file it came in: names, types, shapes, and little-endian numbers."""
    classes = None if about.classes is None else list(about.classes)
    arrays = [(array.dtype.newbyteorder("<").str, list(array.shape)) for array in (x, y)]
    head = [about.loss, classes, about.columns, about.targets, arrays]
    found = hashlib.sha256(json.dumps(head, ensure_ascii=False).encode())
    for array in (x, y):
        found.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
    return found.hexdigest()


def _locked(session: Connection, dataset_id: str) -> Row[Any] | None:
    """The row, whose writers wait for each other; on SQLite all writers do anyway."""
    return session.execute(select(dataset).where(dataset.c.id == dataset_id).with_for_update()).one_or_none()


def _record(row: Row[Any]) -> DatasetRecord:
    return DatasetRecord(row.id, row.name, About(**row.about), row.size_bytes, row.created_at)
