"""The record on each database that it can be kept in. Whatever takes `database_url` or `db` runs once on each."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import postgresql
import pytest

from workers.store.database import Database, open_database

LONGEST = (
    *(
        "test_deployment",
        "test_optimizers",
        "test_recovery",
        "test_embedded",
        "test_engine_native",
        "test_contract_memory",
    ),
    *("test_fleet_workers", "test_store_workers", "test_wrappers", "test_engine_extended", "test_example"),
    *("test_object_store", "test_supervisor", "test_known_winners", "test_labelled_cases", "test_own_data"),
)
"""Files of 20 seconds and more, the longest first: so the processes that share the files end together, with short ones."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgresql.Cluster]:
    """A PostgreSQL server. Skips where there is none to start, and fails where there has to be one (CI=true)."""
    with ExitStack() as stack:
        try:
            started = stack.enter_context(postgresql.started())
        except postgresql.Missing as missing:
            if os.environ.get("CI", "").lower() in ("true", "1"):
                raise
            pytest.skip(str(missing))
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where nobody has opened a database yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'plumbline.db'}"
        return
    cluster: postgresql.Cluster = request.getfixturevalue("cluster")
    with cluster.database(migrated=False) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of the test's own, its schema up to date."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'plumbline.db'}"
        open_database(url).close()
        yield url
        return
    cluster: postgresql.Cluster = request.getfixturevalue("cluster")
    with cluster.database() as url:
        yield url


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    database = open_database(database_url)
    yield database
    database.close()
