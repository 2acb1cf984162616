"""What happened to a comparison, as rows with increasing ids.

Whoever appends holds the lock on the comparison's row (`rounds.lock`): ids of one comparison are committed in their order, so
a reader that has seen one has seen all before it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select

from workers.store import tables
from workers.store.database import Database


@dataclass(frozen=True)
class Event:
    id: int
    kind: str
    data: dict[str, Any]
    created_at: datetime


def append(session: Connection, comparison_id: str, kind: str, data: dict[str, Any]) -> None:
    """Adds an event within the transaction that makes it true."""
    row = {"comparison_id": comparison_id, "kind": kind, "data": data, "created_at": datetime.now(UTC)}
    session.execute(insert(tables.event).values(row))


def after(db: Database, comparison_id: str, last_id: int, limit: int = 500) -> list[Event]:
    """The next events after one, oldest first."""
    event = tables.event.c
    query = (
        select(event.id, event.kind, event.data, event.created_at)
        .where(event.comparison_id == comparison_id, event.id > last_id)
        .order_by(event.id)
        .limit(limit)
    )
    with db.read() as session:
        return [Event(*row) for row in session.execute(query)]


def latest_id(db: Database, comparison_id: str) -> int:
    """Of the newest event; 0 if there is none."""
    query = select(func.max(tables.event.c.id)).where(tables.event.c.comparison_id == comparison_id)
    with db.read() as session:
        return session.scalar(query) or 0
