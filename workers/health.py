"""`python -m workers.health` says whether a worker of this host lives: the health check of its container.

Asked are both ends of it: Celery's process has to answer a ping through the broker, as it does while it trains, and the pool
child has to have kept the worker's row fresh, which it does once its trainer has started.
"""

import re
import socket
import sys
from datetime import UTC, datetime

from kombu.exceptions import KombuError
from sqlalchemy.exc import SQLAlchemyError

from workers.app import create_app
from workers.settings import Settings, SettingsError, read_settings
from workers.store import fleet
from workers.store.database import StoreError, open_database

PING_SECONDS = 5.0


def complaint(settings: Settings, host: str) -> str | None:
    """What is wrong with the workers of a host; None if one of them takes messages and is ready to train."""
    try:
        if not _answers(settings, host):
            return f"no worker of {host} answers through the broker"
    except (KombuError, OSError) as error:
        return f"the broker does not answer: {error}"
    try:
        if not _is_recorded(settings, host):
            return f"the record knows no worker of {host} that is up: it has no trainer yet, or has lost the database"
    except (StoreError, SQLAlchemyError) as error:
        return f"the database does not answer: {str(error).splitlines()[0]}"
    return None


def _answers(settings: Settings, host: str) -> bool:
    pattern = rf"plumbline-\d+@{re.escape(host)}$"
    app = create_app(settings)
    app.conf.broker_connection_retry = False
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_max=0, timeout=PING_SECONDS)
        asked = {"connection": connection, "timeout": PING_SECONDS, "limit": 1}
        return bool(app.control.ping(pattern=pattern, matcher="pcre", **asked))


def _is_recorded(settings: Settings, host: str) -> bool:
    database = open_database(settings.database_url)
    try:
        up = fleet.present(database, now=datetime.now(UTC), lease_seconds=settings.lease_seconds)
    finally:
        database.close()
    return any(present.worker.host == host for present in up)


def main() -> None:
    try:
        wrong = complaint(read_settings(), socket.gethostname())
    except SettingsError as error:
        wrong = str(error)
    if wrong:
        sys.exit(f"plumbline worker: {wrong}")


if __name__ == "__main__":
    main()
