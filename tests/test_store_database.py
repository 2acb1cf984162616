"""Opening the record: its schema, its refusals, and what the tables give back."""

import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert, make_url, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateIndex, CreateTable
from store_samples import accept, at_once, found, opened

from workers.store import tables
from workers.store.database import StoreError, open_database


def test_the_migrations_make_the_tables(tmp_path: Path) -> None:
    """What the migrations build is what the code works with."""
    database = opened(tmp_path)
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    database.close()


def test_the_tables_can_be_made_on_postgresql() -> None:
    """The schema compiles for PostgreSQL, with its JSON and zoned times."""
    dialect = make_url("postgresql+psycopg://").get_dialect()()
    statements = [str(CreateTable(table).compile(dialect=dialect)) for table in tables.metadata.sorted_tables]
    statements += [str(CreateIndex(index).compile(dialect=dialect)) for index in tables.job.indexes]
    whole = "\n".join(statements)
    assert "TIMESTAMP WITH TIME ZONE" in whole
    assert "BIGSERIAL" in whole
    assert "WHERE kind = 'decision'" in whole


def test_opening_again_finds_what_was_there(tmp_path: Path) -> None:
    """Records outlive the process; WAL and foreign keys are on in every connection."""
    first = opened(tmp_path)
    accept(first, "kept")
    first.close()
    again = opened(tmp_path)
    assert found(again, "kept").status == "queued"
    with again.read() as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert session.scalar(text("PRAGMA foreign_keys")) == 1
        assert session.scalar(text("PRAGMA busy_timeout")) == 10_000
    again.close()


def test_many_processes_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    """One of them makes the schema, the others wait for it."""
    code = (
        f"from workers.store.database import open_database; open_database('sqlite:///{tmp_path}/plumbline.db').close()"
    )
    started = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [(process.communicate()[1], process.returncode) for process in started] == [("", 0)] * 4


def test_threads_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    """The same within one process."""
    for database in at_once(8, lambda _: opened(tmp_path)):
        database.close()


def test_a_newer_schema_is_refused_in_words(tmp_path: Path) -> None:
    """An older Plumbline leaves a newer one's record alone and says what to do."""
    opened(tmp_path).close()
    with sqlite3.connect(tmp_path / "plumbline.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreError, match=r"newer Plumbline .*9999.*upgrade Plumbline"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "write sqlite:///PATH"),
        ("nosuchthing://host/name", "write sqlite:///PATH"),
        ("sqlite://", "in memory"),
        ("sqlite:///{folder}/text", "not a database"),
        ("sqlite:///{folder}", "check that it is there"),
        ("sqlite:///{folder}/text/below.db", "cannot make the directory"),
    ],
)
def test_what_cannot_be_opened_is_told_in_one_line(tmp_path: Path, url: str, words: str) -> None:
    """A URL that is none, a file that is no database, a place where nothing can be made."""
    (tmp_path / "text").write_text("this is not a database, " * 100)
    with pytest.raises(StoreError, match=words) as told:
        open_database(url.format(folder=tmp_path))
    assert "\n" not in str(told.value)


def test_a_password_is_not_told(tmp_path: Path) -> None:
    """Messages name the database without the secret in its URL."""
    with pytest.raises(StoreError) as told:
        open_database("postgresql+psycopg://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(told.value)


def test_times_come_back_aware_and_in_utc(tmp_path: Path) -> None:
    """Whatever zone a time is given in; one without a zone is refused."""
    database = opened(tmp_path)
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=-7)))
    with database.write() as session:
        session.execute(insert(tables.lease).values(name="n", owner="o", until=moment))
    with database.read() as session:
        kept = session.scalars(select(tables.lease.c.until)).one()
        assert (kept, kept.tzinfo) == (moment, UTC)
    with pytest.raises(Exception, match="no time zone"), database.write() as session:
        session.execute(insert(tables.lease).values(name="m", owner="o", until=datetime(2026, 1, 2)))
    database.close()


def test_a_block_that_fails_writes_nothing(tmp_path: Path) -> None:
    """A transaction is whole or absent."""
    database = opened(tmp_path)
    row = {"name": "n", "owner": "o", "until": datetime.now(UTC)}

    def write_twice() -> None:
        with database.write() as session:
            session.execute(insert(tables.lease).values(row))
            session.execute(insert(tables.lease).values(row))

    with pytest.raises(IntegrityError):
        write_twice()
    with database.read() as session:
        assert session.execute(select(tables.lease)).all() == []
    database.close()


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    """Threads that read and then write never fail for a busy database, and lose no update."""
    database = opened(tmp_path)
    with database.write() as session:
        session.execute(insert(tables.lease).values(name="0", owner="0", until=datetime.now(UTC)))

    def count_up(_: int) -> None:
        for _turn in range(10):
            with database.write() as session:
                seen = session.scalars(select(tables.lease.c.owner)).one()
                session.execute(tables.lease.update().values(owner=str(int(seen) + 1)))

    at_once(8, count_up)
    with database.read() as session:
        assert session.scalars(select(tables.lease.c.owner)).one() == "80"
    database.close()
