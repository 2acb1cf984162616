"""The real application over real HTTP, on a database and a broker address of its own."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import uvicorn
from workers.store.database import Database, open_database

from service.app import create_app
from service.settings import Settings

SPEC: dict[str, Any] = {
    "name": "small",
    "problem": "wine",
    "network": {"kind": "mlp", "depth": 2, "width": 4, "activation": "sigmoid"},
    "optimizers": ["sgd", {"kind": "rmsprop", "lr": [0.001, 0.01]}],
    "tuning": None,
    "seeds": 2,
    "steps": 10,
    "batch_size": 32,
    "record": {"points": 3},
}
NO_BROKER = "redis://127.0.0.1:1/0"
"""Nothing listens on port 1."""


class Service(NamedTuple):
    client: httpx.Client
    settings: Settings
    database: Database


@contextmanager
def serving(folder: Path, broker_url: str = NO_BROKER, **settings: Any) -> Iterator[Service]:
    """A service in a thread of this process, reachable through `client`."""
    chosen = Settings(
        database_url=f"sqlite:///{folder / 'plumbline.db'}",
        artifacts=folder / "artifacts",
        broker_url=broker_url,
        **settings,
    )
    database = open_database(chosen.database_url)
    app = create_app(chosen, database)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        host, port = server.servers[0].sockets[0].getsockname()
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=30) as client:
            yield Service(client, chosen, database)
    finally:
        server.should_exit = True
        thread.join()
        database.close()


def submit(service: Service, **changes: Any) -> dict[str, Any]:
    """A comparison that was accepted."""
    answer = service.client.post("/v1/comparisons", json=SPEC | changes)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found
