"""The one loop beside the endpoints: publishes what is due, requeues what was lost, forgets the workers that are gone.

Every API process runs it in a thread; a lease in the database lets one of them act. What it does is idempotent, so a
lease that changes hands in mid-turn does no harm.
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from kombu.exceptions import KombuError
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from workers.store import documents, fleet, jobs, leases
from workers.store.database import Database
from workers.store.dispatch import publish_due
from workers.store.files import Root

log = logging.getLogger(__name__)

TURN_SECONDS = 1.0
LEASE_SECONDS = 10.0
STOP_SECONDS = 10.0
LEASE = "dispatcher"


class Loop:
    """A thread that takes a turn each second, and at once when it is woken."""

    def __init__(
        self, database: Database, send: Callable[[str, str], None], *, artifacts: Root, lease_seconds: float
    ) -> None:
        """`lease_seconds` is that of the workers."""
        self._database, self._send, self._lease_seconds = database, send, lease_seconds
        self._artifacts = artifacts
        self._untold: set[str] = set()
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._woken = threading.Event()
        self._stopping = False
        self._holds_until = 0.0
        self._complaint = ""
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the turn it is in, and leaves the lease to another."""
        self._stopping = True
        self._woken.set()
        self._thread.join(timeout=STOP_SECONDS)

    def wake(self) -> None:
        """Something is due now."""
        self._woken.set()

    def _run(self) -> None:
        while not self._stopping:
            woken = self._woken.wait(TURN_SECONDS)
            self._woken.clear()
            if self._stopping:
                break
            try:
                self._turn(woken)
            except Exception as error:  # the thread outlives any failure: the next turn tries again
                self._complain(error)
            else:
                self._recovered()
        with suppress(SQLAlchemyError):  # the lease runs out by itself
            leases.release(self._database, LEASE, self._owner)

    def _turn(self, woken: bool) -> None:
        # A woken turn under a fresh lease goes straight to publishing: someone waits for the first step.
        if not (woken and time.monotonic() < self._holds_until):
            if not leases.acquire(self._database, LEASE, self._owner, LEASE_SECONDS):
                return
            self._holds_until = time.monotonic() + LEASE_SECONDS / 2
            now = datetime.now(UTC)
            self._untold |= {lost.comparison_id for lost in jobs.reap(self._database, now) if lost.untold}
            fleet.forget_silent(self._database, now=now, lease_seconds=self._lease_seconds)
        publish_due(self._database, self._send)
        for comparison_id in list(self._untold):  # last, and again each turn while the artifacts' place is away
            documents.tell(self._database, self._artifacts, comparison_id)
            self._untold.discard(comparison_id)

    def _complain(self, error: Exception) -> None:
        """Says once that something is down, not once a second."""
        complaint = f"{type(error).__name__}: {error}"
        if complaint != self._complaint:
            log.warning(
                "nothing can be dispatched, trying again each second: %s", complaint, exc_info=not _is_outage(error)
            )
        self._complaint = complaint

    def _recovered(self) -> None:
        if self._complaint:
            log.warning("dispatching again")
        self._complaint = ""


def _is_outage(error: Exception) -> bool:
    """Broker or database down: expected, its traceback says nothing."""
    return isinstance(error, OSError | KombuError | OperationalError)
