"""A real PostgreSQL of the tests' own: a cluster in a temporary folder, reached by a unix socket in it, gone with the tests."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
from sqlalchemy import URL

from workers.store.database import open_database

PLACES = "/usr/lib/postgresql"
"""Where Debian keeps the server of each version, off the PATH."""
OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "deadlock_timeout": "100ms",
    "timezone": "Pacific/Auckland",  # nobody may rely on the server's
    "default_transaction_isolation": "serializable",  # or on this
}
START_SECONDS = 60.0
TEMPLATE = "migrated"


class Missing(Exception):  # noqa: N818 - said of the server
    """There is no PostgreSQL on this machine; the message says what to install."""


class Cluster:
    """A running server. Each test has a database of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = count()

    def url(self, name: str) -> str:
        """The address of a database."""
        made = URL.create("postgresql+psycopg", "plumbline", database=name, query={"host": str(self.folder)})
        return made.render_as_string(hide_password=False)

    @contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[str]:
        """The address of a new database, empty or with its tables; it is dropped at the end, whoever is connected."""
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE if migrated else 'template0'}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        with psycopg.connect(host=str(self.folder), user="plumbline", dbname="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def started() -> Iterator[Cluster]:
    """A server that runs until the end of the block, or of this process however it ends.

    Raises:
        Missing: there is none to start.
    """
    binaries = _binaries()
    other = _other_user() if os.geteuid() == 0 else None
    becoming = (
        ["setpriv", f"--reuid={other}", f"--regid={other}", "--clear-groups", "--pdeathsig=KILL"] if other else []
    )
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        if other:
            shutil.chown(folder, other)
        data = folder / "data"
        init = [
            str(binaries / "initdb"),
            "--pgdata",
            str(data),
            "--username",
            "plumbline",
            "--auth",
            "trust",
            "--no-sync",
        ]
        subprocess.run([*init, "--encoding", "UTF8"], check=True, capture_output=True, user=other, cwd="/")
        options = [word for name, value in OPTIONS.items() for word in ("-c", f"{name}={value}")]
        server = [str(binaries / "postgres"), "-D", str(data), "-k", str(folder), *options]
        guardian = [sys.executable, "-m", "service.guardian", "--remove", str(folder)]
        log = folder / "log"
        with log.open("wb") as output:
            running = subprocess.Popen(
                [*guardian, *becoming, *server], stdin=subprocess.PIPE, stdout=output, stderr=output
            )
        assert running.stdin is not None
        try:
            cluster = Cluster(folder)
            _wait(cluster, running, log)
            cluster.execute(f"CREATE DATABASE {TEMPLATE}")
            open_database(cluster.url(TEMPLATE)).close()
            yield cluster
        finally:
            running.stdin.close()  # which is what ends a guardian and what it guards
            running.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binaries() -> Path:
    """The newest server's programs."""
    places = sorted(Path(PLACES).glob("*/bin"), key=lambda place: float(place.parent.name), reverse=True)
    found = shutil.which("initdb", path=os.pathsep.join([*map(str, places), os.environ.get("PATH", "")]))
    if found is None:
        raise Missing(f"there is no PostgreSQL server in {PLACES} or on the PATH: apt-get install postgresql")
    return Path(found).resolve().parent


def _other_user() -> str:
    """The server refuses to run as root."""
    known = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _wait(cluster: Cluster, running: "subprocess.Popen[bytes]", log: Path) -> None:
    patience = time.monotonic() + START_SECONDS
    while True:
        try:
            cluster.execute("SELECT 1")
            return
        except psycopg.OperationalError:
            told = log.read_text(errors="replace")
            assert running.poll() is None and time.monotonic() < patience, f"PostgreSQL does not start: {told}"
            time.sleep(0.05)
