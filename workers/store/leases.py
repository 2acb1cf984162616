"""Named leases: of several processes that could do a thing, one does it."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, insert, or_, update
from sqlalchemy.exc import IntegrityError

from workers.store import tables
from workers.store.database import Database

lease = tables.lease


def acquire(db: Database, name: str, owner: str, seconds: float) -> bool:
    """Takes or renews the lease. False while it is another's."""
    now = datetime.now(UTC)
    until = now + timedelta(seconds=seconds)
    free = (lease.c.name == name, or_(lease.c.owner == owner, lease.c.until < now))
    with db.write() as session:
        if session.execute(update(lease).where(*free).values(owner=owner, until=until)).rowcount:
            return True
    try:
        with db.write() as session:
            session.execute(insert(lease).values(name=name, owner=owner, until=until))
    except IntegrityError:
        return False
    return True


def release(db: Database, name: str, owner: str) -> None:
    """Gives the lease back, if it is ours: the next owner need not wait it out."""
    with db.write() as session:
        session.execute(delete(lease).where(lease.c.name == name, lease.c.owner == owner))
