"""Opening the record: its schema, its refusals, and what the tables give back."""

import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import postgresql
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert, inspect, make_url, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateIndex, CreateTable
from store_samples import accept, at_once, claim_next, found, opened

from workers.store import comparisons, database, jobs, tables
from workers.store.database import Database, StoreError, open_database

BROKEN = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9998", {before!r}


def upgrade() -> None:
    op.create_table("half_done", sa.Column("id", sa.Integer(), primary_key=True))
    op.execute("UPDATE comparison SET name = 'half done'")
    op.execute({then!r})
"""
"""A migration that fails after it has begun."""


def test_the_migrations_make_the_tables(db: Database) -> None:
    """What the migrations build is what the code works with."""
    with db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


def test_the_tables_can_be_made_on_postgresql() -> None:
    """The schema compiles for PostgreSQL, with its zoned times: said also where there is no server to try."""
    dialect = make_url("postgresql+psycopg://").get_dialect()()
    statements = [str(CreateTable(table).compile(dialect=dialect)) for table in tables.metadata.sorted_tables]
    statements += [str(CreateIndex(index).compile(dialect=dialect)) for index in tables.job.indexes]
    whole = "\n".join(statements)
    assert "TIMESTAMP WITH TIME ZONE" in whole
    assert "BIGSERIAL" in whole
    assert "WHERE kind = 'decision'" in whole


def test_opening_again_finds_what_was_there(database_url: str) -> None:
    """Records outlive the process."""
    first = open_database(database_url)
    accept(first, "kept")
    first.close()
    again = open_database(database_url)
    assert found(again, "kept").status == "queued"
    again.close()


def test_sqlite_writes_ahead_and_waits(tmp_path: Path) -> None:
    """SQLite only, for PostgreSQL has no such settings: WAL, foreign keys and patience are on in every connection."""
    again = opened(tmp_path)
    with again.read() as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert session.scalar(text("PRAGMA foreign_keys")) == 1
        assert session.scalar(text("PRAGMA busy_timeout")) == 10_000
    again.close()


def test_many_processes_may_open_a_new_database_at_once(empty_url: str) -> None:
    """One of eight makes the schema, the others, let go at the same moment, wait for it."""
    code = (
        "import sys; from workers.store.database import open_database as o; input('ready\\n'); o(sys.argv[1]).close()"
    )
    command = [sys.executable, "-c", code, empty_url]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(8)]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [(process.communicate()[1], process.returncode) for process in started] == [("", 0)] * 8
    assert versions(empty_url) == [newest()]


def test_threads_may_open_a_new_database_at_once(empty_url: str) -> None:
    """The same within one process."""
    for opened_one in at_once(8, lambda _: open_database(empty_url)):
        opened_one.close()
    assert versions(empty_url) == [newest()]


def test_a_newer_schema_is_refused_in_words(db: Database, database_url: str) -> None:
    """An older Plumbline leaves a newer one's record alone and says what to do."""
    with db.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        session.execute(text("ALTER TABLE worker RENAME TO renamed_later"))
    with pytest.raises(StoreError, match=r"newer Plumbline .*9999.*upgrade Plumbline") as told:
        open_database(database_url)
    assert "\n" not in str(told.value)
    with db.read() as session:
        assert session.scalars(text("SELECT version_num FROM alembic_version")).all() == ["9999"]
        assert "worker" not in inspect(session).get_table_names()


@pytest.mark.parametrize("at_first", [True, False])
def test_a_migration_that_fails_leaves_nothing(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_first: bool
) -> None:
    """Neither of itself nor of those before it in the same go, in a new record as in one with data; the next try succeeds."""
    if not at_first:
        old = open_database(empty_url)
        accept(old, "kept")
        old.close()
    before = schema(empty_url)
    with monkeypatch.context() as patched:
        copied = tmp_path / "migrations"
        shutil.copytree(database.MIGRATIONS, copied)
        broken = BROKEN.format(before=newest(), then="SELECT nothing FROM nowhere")
        (copied / "versions" / "r9998_broken.py").write_text(broken)
        patched.setattr(database, "MIGRATIONS", copied)
        with pytest.raises(StoreError, match="cannot open the database"):
            open_database(empty_url)
    assert schema(empty_url) == before
    again = open_database(empty_url)
    if not at_first:
        assert found(again, "kept").name == ""
    again.close()
    assert versions(empty_url) == [newest()]


def newest() -> str:
    """The revision that this Plumbline brings a schema to: that of its newest file."""
    return max((database.MIGRATIONS / "versions").glob("r*.py")).name[1:5]


def schema(url: str) -> dict[str, list[str]]:
    """Tables and their columns, without bringing them up to date."""
    engine = database._engine(url)
    inspected = inspect(engine)
    tables = inspected.get_table_names()
    columns = {table: [column["name"] for column in inspected.get_columns(table)] for table in tables}
    engine.dispose()
    return columns


def versions(url: str) -> list[str]:
    opened_one = open_database(url)
    with opened_one.read() as session:
        found = list(session.scalars(text("SELECT version_num FROM alembic_version")))
    opened_one.close()
    return found


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "write sqlite:///PATH"),
        ("nosuchthing://host/name", "write sqlite:///PATH"),
        ("mysql+pymysql://host/name", "write sqlite:///PATH or postgresql"),
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


def test_a_database_that_is_not_there_is_told_in_one_line(cluster: postgresql.Cluster) -> None:
    """PostgreSQL only, for SQLite makes it: an administrator makes databases, Plumbline makes what is in them."""
    with pytest.raises(StoreError, match=r'cannot open the database .*"nowhere" does not exist') as told:
        open_database(cluster.url("nowhere"))
    assert "\n" not in str(told.value)


def test_a_password_is_not_told() -> None:
    """Messages name the database without the secret in its URL."""
    with pytest.raises(StoreError) as told:
        open_database("postgresql+psycopg://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(told.value)


def test_times_come_back_aware_and_in_utc(db: Database) -> None:
    """Whatever zone a time is given in, and whatever the server's is; one without a zone is refused."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=-7)))
    with db.write() as session:
        session.execute(insert(tables.lease).values(name="n", owner="o", until=moment))
    with db.read() as session:
        kept = session.scalars(select(tables.lease.c.until)).one()
        assert (kept, kept.tzinfo) == (moment, UTC)
    with pytest.raises(Exception, match="no time zone"), db.write() as session:
        session.execute(insert(tables.lease).values(name="m", owner="o", until=datetime(2026, 1, 2)))


def test_a_block_that_fails_writes_nothing(db: Database) -> None:
    """A transaction is whole or absent."""
    row = {"name": "n", "owner": "o", "until": datetime.now(UTC)}

    def write_twice() -> None:
        with db.write() as session:
            session.execute(insert(tables.lease).values(row))
            session.execute(insert(tables.lease).values(row))

    with pytest.raises(IntegrityError):
        write_twice()
    with db.read() as session:
        assert session.execute(select(tables.lease)).all() == []


def test_writers_wait_for_each_other(db: Database) -> None:
    """Threads that lock, read and then write never fail for a busy database, and lose no update."""
    with db.write() as session:
        session.execute(insert(tables.lease).values(name="0", owner="0", until=datetime.now(UTC)))

    def count_up(_: int) -> None:
        for _turn in range(10):
            with db.write() as session:
                seen = session.scalars(select(tables.lease.c.owner).with_for_update()).one()
                session.execute(tables.lease.update().values(owner=str(int(seen) + 1)))

    at_once(8, count_up)
    with db.read() as session:
        assert session.scalars(select(tables.lease.c.owner)).one() == "80"


def test_a_writer_that_is_stopped_does_not_stop_the_others(cluster: postgresql.Cluster) -> None:
    """PostgreSQL only; on SQLite the others fail after their patience, until it goes on.

    It loses its session in mid-transaction, with its locks: what it had written is gone, and it learns that when it wakes up.
    """
    code = """
import os, signal, sys
from workers.store import database, rounds
database.BUSY_SECONDS = 0.3
db = database.open_database(sys.argv[1])
with db.write() as session:
    rounds.lock(session, "c")
    rounds.change(session, "c", name="by the stopped one")
    print("locked", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""
    with cluster.database() as url:
        db = open_database(url)
        accept(db)
        claim = claim_next(db)
        pipe = subprocess.PIPE
        stopped = subprocess.Popen([sys.executable, "-c", code, url], stdout=pipe, stderr=pipe, text=True)
        assert stopped.stdout is not None
        assert stopped.stdout.readline() == "locked\n"
        assert jobs.renew(db, claim, live_steps=1, lease_seconds=60) == "continue"
        cancelled = comparisons.cancel(db, "c")
        assert cancelled is not None
        stopped.send_signal(signal.SIGCONT)
        assert "idle-in-transaction timeout" in stopped.communicate()[1]
        assert stopped.returncode == 1
        assert (found(db).status, found(db).name) == ("cancelled", "")
        db.close()
