"""Who is up is told, and what waits for a worker that there is not says so, however it is asked."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from api_server import Service, appear, claim_next, serving, submit
from sqlalchemy import func, select, update

from workers.store import fleet, tables


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """With no worker up."""
    with serving(tmp_path, worker=False) as found:
        yield found


def workers(service: Service) -> list[dict[str, Any]]:
    answer = service.client.get("/v1/workers").json()
    assert answer["next"] is None
    found: list[dict[str, Any]] = answer["items"]
    return found


def read(service: Service, made: dict[str, Any], tag: str = "") -> tuple[int, str, Any]:
    """(status, ETag, progress.waiting) of a comparison."""
    headers = {"If-None-Match": tag} if tag else {}
    answer = service.client.get(f"/v1/comparisons/{made['id']}", headers=headers)
    waiting = answer.json()["progress"]["waiting"] if answer.status_code == 200 else None
    return answer.status_code, answer.headers["etag"], waiting


def wait_longer(service: Service, seconds: float) -> None:
    """As if everything had been due for that much longer."""
    with service.database.write() as session:
        due = session.scalars(select(tables.job.c.due_at)).first()
        assert due is not None
        session.execute(update(tables.job).values(due_at=due - timedelta(seconds=seconds)))


def test_workers_are_listed_with_what_they_are_and_do(service: Service) -> None:
    """Those that are up, oldest first, idle or with their comparison; one that is gone is not among them."""
    assert workers(service) == []
    now = datetime.now(UTC)
    appear(service, "gone", seen_at=now - timedelta(seconds=46))
    appear(service, device_name="card", device="cuda", matmul_flops_per_second=5e14, memory_bytes=80 * 2**30)
    appear(service, "idle", host="other", pid=7, started_at=now - timedelta(days=1))
    made = submit(service)
    assert claim_next(service).comparison_id == made["id"]
    idle, busy = workers(service)
    assert (idle["name"], idle["host"], idle["pid"], idle["comparison"]) == ("idle", "other", 7, None)
    assert (busy["name"], busy["device"], busy["device_name"]) == ("a test", "cuda", "card")
    assert (busy["memory_bytes"], busy["matmul_flops_per_second"]) == (80 * 2**30, 5e14)
    assert busy["comparison"] == made["id"]
    assert service.client.get(f"/v1/comparisons/{busy['comparison']}").status_code == 200


def test_the_service_forgets_workers_that_are_gone(service: Service) -> None:
    """Its loop removes their rows, and no other's."""
    appear(service, "gone", seen_at=datetime.now(UTC) - timedelta(hours=1))
    appear(service, "stays")
    patience = time.monotonic() + 20
    while time.monotonic() < patience:
        with service.database.read() as session:
            if session.scalar(select(func.count()).select_from(tables.worker)) == 1:
                break
        time.sleep(0.05)
    with service.database.read() as session:
        assert session.scalars(select(tables.worker.c.name)).all() == ["stays"]


def test_cuda_without_a_card_says_so(service: Service) -> None:
    """In the answer to the request, in the status and in the list: what is missing, since when, and what to do."""
    appear(service)
    made = submit(service, device="cuda")
    waiting = made["progress"]["waiting"]
    assert waiting["worker"] == "cuda"
    assert "no worker with a CUDA card is up" in waiting["message"]
    wait_longer(service, 600)
    _, _, waiting = read(service, made)
    assert waiting["seconds"] >= 600
    assert datetime.fromisoformat(waiting["since"]) < datetime.fromisoformat(made["created_at"])
    (item,) = service.client.get("/v1/comparisons").json()["items"]
    assert item["progress"]["waiting"]["worker"] == "cuda"
    appear(service, "with a card", device="cuda")
    assert read(service, made)[2] is None
    assert service.client.get("/v1/comparisons").json()["items"][0]["progress"]["waiting"] is None


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_without_any_worker_everything_says_so(service: Service, device: str) -> None:
    """Whatever may run on a CPU waits for any worker at all; once one is up, nothing is wrong."""
    made = submit(service, device=device)
    waiting = made["progress"]["waiting"]
    assert (waiting["worker"], waiting["message"]) == ("any", "no worker is up: start one")
    appear(service)
    assert read(service, made)[2] is None
    claim_next(service)
    fleet.leave(service.database, "a test")
    assert read(service, made)[2] is None  # it is in a worker's hands, until that one's lease is over


def test_what_has_ended_waits_for_nobody(service: Service) -> None:
    """A cancelled comparison tells no more of what it waited for."""
    made = submit(service)
    assert made["progress"]["waiting"]
    cancelled = service.client.post(f"/v1/comparisons/{made['id']}/cancel").json()
    assert cancelled["progress"]["waiting"] is None
    assert read(service, made)[2] is None


def test_the_etag_tells_of_waiting(service: Service) -> None:
    """304 only while nothing would read differently: not when the last worker goes, when it waits longer, when one comes."""
    appear(service)
    made = submit(service)
    _, steady, _ = read(service, made)
    assert read(service, made, steady)[0] == 304
    fleet.leave(service.database, "a test")
    status, waits, waiting = read(service, made, steady)
    assert (status, waiting["worker"]) == (200, "any")
    wait_longer(service, 60)
    status, longer, waiting = read(service, made, waits)
    assert (status, waiting["seconds"] >= 60) == (200, True)
    appear(service)
    assert read(service, made, longer) == (200, steady, None)
    assert read(service, made, steady)[0] == 304
