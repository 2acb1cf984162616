"""Tells the workers what is due: a few jobs at a time, in the order that the database thinks fair.

Only a few messages are under way at once, so that a queue never fixes an order: what is accepted later, or is more urgent,
is not behind a thousand older messages.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from workers.store import jobs
from workers.store.database import Database


def publish_due(db: Database, send: Callable[[str, str], None], *, limit: int = 8) -> int:
    """Sends what is due and not under way. Returns how many messages went out.

    Args:
        db: the record of what is due.
        send: takes a job's id and its queue; raises when the broker does not answer.
        limit: messages at once.

    Raises:
        What `send` raises. Jobs sent before that are marked; the others stay due.
    """
    sent = []
    try:
        for job in jobs.due(db, now=datetime.now(UTC), limit=limit):
            send(job.id, job.queue)
            sent.append(job.id)
    finally:
        if sent:
            jobs.mark_published(db, sent, datetime.now(UTC))
    return len(sent)
