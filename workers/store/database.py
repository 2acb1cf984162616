"""Opens the record: SQLite on one host, PostgreSQL by URL. The schema is brought up to date when it is opened."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 10.0
"""How long a writer waits for another on SQLite. On PostgreSQL it waits as long as it takes; but one that does nothing for so
long in the middle of a transaction, stopped or cut off, loses its session, and with it the locks that others wait for."""
REACH = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""How soon a PostgreSQL server that has vanished from the network is given up, in seconds, unless the URL says otherwise."""
MIGRATION_LOCK = 0x706C756D62
"""PostgreSQL's advisory lock that one process holds while it migrates."""


class StoreError(Exception):
    """The record cannot be opened; the message is one line that says what to do."""


class Database:
    """`with db.write() as connection:` is one transaction, committed at the end of the block or rolled back."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writing = engine.execution_options(writes=True)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes. On SQLite there is one at a time, from its first statement on."""
        with self._writing.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with self.engine.begin() as connection:
            yield connection

    def close(self) -> None:
        self.engine.dispose()


def open_database(url: str) -> Database:
    """The database at a SQLAlchemy URL, its schema up to date.

    Raises:
        StoreError: the URL is none, nothing can be opened there, or its schema is newer than this Plumbline.
    """
    engine = _engine(url)
    shown = engine.url.render_as_string(hide_password=True)
    database = Database(engine)
    try:
        _migrate(database, shown)
    except (DatabaseError, OSError) as error:
        database.close()
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise StoreError(f"cannot open the database {shown} ({reason}): check that it is there and writable") from error
    except StoreError:
        database.close()
        raise
    return database


def _engine(url: str) -> Engine:
    to_json = partial(json.dumps, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    pool: dict[str, Any] = {"pool_size": 10, "max_overflow": 50, "pool_pre_ping": True}
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "postgresql":
            reach = {name: value for name, value in REACH.items() if name not in parsed.query}
            # Every statement sees what was committed before it: who has waited for a lock goes on from what the other left.
            level = "READ COMMITTED"
            engine = create_engine(parsed, json_serializer=to_json, isolation_level=level, connect_args=reach, **pool)
            event.listen(engine, "connect", _prepare_postgresql)
            return engine
        if parsed.get_backend_name() != "sqlite":
            raise ArgumentError(f"{parsed.get_backend_name()} is not supported")
        if parsed.database in (None, "", ":memory:"):
            raise StoreError("a database in memory cannot be shared by several processes: name a file, sqlite:///PATH")
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        waits = {"timeout": BUSY_SECONDS}
        engine = create_engine(parsed, json_serializer=to_json, connect_args=waits, **pool)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise StoreError(
            f"no database can be opened from this URL ({error}): write sqlite:///PATH or postgresql+psycopg://HOST/NAME"
        ) from error
    except OSError as error:
        raise StoreError(f"cannot make the directory of the database {url} ({error.strerror}): name another") from error
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare_postgresql(connection: DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET idle_in_transaction_session_timeout = {BUSY_SECONDS * 1000:.0f}")
    cursor.close()
    connection.commit()


def _prepare_sqlite(connection: DBAPIConnection, _: object) -> None:
    connection.isolation_level = None  # BEGIN is ours, the driver's comes too late
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    patience = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError:  # a new file, and others are about to do the same: SQLite does not wait here
            if time.monotonic() > patience:
                raise
            time.sleep(0.01)
    cursor.close()


def _begin(connection: Connection) -> None:
    # A transaction that starts by reading and then writes could fail at once, without waiting, on a busy database.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(database: Database, shown: str) -> None:
    """To the newest schema. Of several processes that open the database one migrates, the others wait for it."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    known = {revision.revision for revision in script.walk_revisions()}
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None and current not in known:
            raise StoreError(
                f"the database {shown} was written by a newer Plumbline (its schema is {current}, the newest known here "
                f"is {script.get_current_head()}): upgrade Plumbline, or name another database"
            )
        if current != script.get_current_head():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
