"""The real application over real HTTP, on a database and a broker address of its own."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pyarrow as pa
import uvicorn

from service.app import create_app
from workers.contract.statistics import COLUMNS, STATISTICS
from workers.settings import Settings
from workers.store import artifacts, fleet, jobs
from workers.store.database import Database, open_database
from workers.store.parts import Kind

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
def serving(folder: Path, broker_url: str = NO_BROKER, *, worker: bool = True, **settings: Any) -> Iterator[Service]:
    """A service in a thread of this process, reachable through `client`; with a worker, whose part the test plays."""
    chosen = Settings(
        database_url=f"sqlite:///{folder / 'plumbline.db'}",
        **{"artifacts": folder / "artifacts", **settings},
        broker_url=broker_url,
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
            service = Service(client, chosen, database)
            if worker:
                appear(service)
            yield service
    finally:
        server.should_exit = True
        thread.join()
        database.close()


def appear(service: Service, name: str = "a test", **changes: Any) -> None:
    """A worker is up, and stays so for an hour without saying it again."""
    now = datetime.now(UTC)
    known: dict[str, Any] = {
        "name": name,
        "host": "h",
        "pid": 1,
        "device": "cpu",
        "device_name": "a processor",
        "cores": 2,
        "memory_bytes": 2**40,
        "torch": "2.13.0",
        "matmul_flops_per_second": 1e11,
        "started_at": now,
        "seen_at": now + timedelta(hours=1),
    }
    fleet.appear(service.database, fleet.Worker(**known | changes))


def submit(service: Service, **changes: Any) -> dict[str, Any]:
    """A comparison that was accepted."""
    answer = service.client.post("/v1/comparisons", json=SPEC | changes)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def claim_next(service: Service) -> jobs.Claim:
    """The next due job, taken as a worker would take it."""
    soon = datetime.now(UTC) + timedelta(minutes=1)
    for job in jobs.due(service.database, now=soon, limit=100):
        claim = jobs.claim(service.database, job.id, worker="a test", lease_seconds=60)
        if claim is not None:
            return claim
    raise AssertionError("nothing is due")


def train(service: Service, claim: jobs.Claim, steps: list[int], *, finished: bool) -> list[dict[str, Any]]:
    """Commits a slice with statistics at these steps, as a worker would. Returns the rows it wrote."""
    assert claim.shard is not None
    rows = [
        statistics_row(claim.shard.variant, trial.model_dump(), step, layer.path, layer.depth)
        for trial in claim.shard.trials
        for step in steps
        for layer in claim.shard.network
        if layer.depth is not None
    ]
    curves = [
        {
            "trial": trial.trial,
            "step": step,
            "train_loss": 1.0 / (1 + step),
            "validation_loss": float("inf") if step == 5 else 2.0 / (1 + step),
            "train_accuracy": 0.5,
            "validation_accuracy": 0.25,
        }
        for trial in claim.shard.trials
        for step in steps
    ]
    parts = []
    both: list[tuple[Kind, list[dict[str, Any]]]] = [("statistics", rows), ("curves", curves)]
    for kind, found in both:
        path = artifacts.write_part(
            service.settings.artifacts,
            claim.comparison_id,
            kind,
            f"{claim.job_id}-{claim.attempt}-{steps[0]}",
            pa.Table.from_pylist(found),
        )
        parts.append(jobs.Part(kind=kind, path=path, first_step=steps[0], last_step=steps[-1], rows=len(found)))
    outcomes = [
        jobs.TrialOutcome(trial=trial.trial, outcome="completed", divergence=None, test_loss=0.5, test_accuracy=0.75)
        for trial in claim.shard.trials
    ]
    jobs.commit_slice(
        service.database,
        claim,
        jobs.Slice(
            steps_done=steps[-1], finished=finished, checkpoint=None, parts=parts, trials=outcomes if finished else []
        ),
    )
    return rows


def statistics_row(variant: str, trial: dict[str, Any], step: int, layer: str, depth: int) -> dict[str, Any]:
    """A row with a value of every sort: plain, null, NaN and infinite."""
    known = {
        "variant": variant,
        "optimizer": trial["optimizer"],
        "trial": trial["trial"],
        "lr": trial["hyperparameters"].get("lr"),
        "seed": trial["seed"],
        "step": step,
        "layer": layer,
        "depth": depth,
        "gradient_rms": float("nan"),
        "gradient_mean": float("inf"),
        "gradient_std": float("-inf"),
        "update_norm": None,
    }
    plain = dict.fromkeys(STATISTICS, 0.1 * trial["trial"] + step + depth / 7)
    return {name: (plain | known)[name] for name in COLUMNS}


RESULT: dict[str, Any] = {"baseline": "sgd", "target": None, "partial": False, "arms": []}


def finish(service: Service, comparison_id: str) -> list[dict[str, Any]]:
    """Carries a comparison to its end, as a worker would. Returns the rows of statistics it wrote."""
    rows: list[dict[str, Any]] = []
    while True:
        claim = claim_next(service)
        assert claim.comparison_id == comparison_id
        if claim.kind == "shard":
            rows += train(service, claim, [0, 5, 10], finished=True)
        else:
            if not jobs.close_round(service.database, claim, result=RESULT, next_round=None, status="succeeded"):
                jobs.store_partial_result(service.database, claim, RESULT)
            return rows
