"""Keeps a worker's row in the record fresh, from a thread of the pool child, whether it trains or is idle."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from workers.store import fleet
from workers.store.database import Database
from workers.trainer_process import Message

log = logging.getLogger(__name__)

FIRST_LOOK_SECONDS = 0.1
"""Between looks at a trainer that has not said yet what it is."""


class Identity(NamedTuple):
    """Who a worker is, whatever it trains on."""

    name: str
    host: str
    pid: int
    started_at: datetime


class Presence:
    """A thread that says what the worker is once its trainer has said so, and again three times a lease; no row is left at the end."""

    def __init__(
        self, db: Database, identity: Identity, about: Callable[[], Message | None], *, lease_seconds: float
    ) -> None:
        """`about` gives what the trainer says of itself, None until it has; while one is replaced the last word stands."""
        self._db, self._identity, self._about = db, identity, about
        self._beat_seconds = lease_seconds / 3
        self._known: Message | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Takes the row away. If the database does not answer, silence will tell."""
        self._over.set()
        self._thread.join()
        try:
            fleet.leave(self._db, self._identity.name)
        except SQLAlchemyError as error:
            log.warning("the record still has this worker: %s", error)

    def _run(self) -> None:
        while not self._over.is_set():
            self._known = self._about() or self._known
            if self._known is not None:
                self._say(self._known)
            self._over.wait(self._beat_seconds if self._known is not None else FIRST_LOOK_SECONDS)

    def _say(self, about: Message) -> None:
        here = fleet.Worker(
            **self._identity._asdict(),
            device=about["device"],
            device_name=about["device_name"],
            cores=about["cores"],
            memory_bytes=about["memory_bytes"],
            torch=about["torch"],
            matmul_flops_per_second=about["matmul_flops_per_second"],
            seen_at=datetime.now(UTC),
        )
        try:
            fleet.appear(self._db, here)
        except SQLAlchemyError as error:  # the next time may succeed; if none does, it counts as gone
            log.warning("the record could not be told of this worker: %s", error)
