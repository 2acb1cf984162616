"""Server-sent events: what happens is told as it happens, and a stream that was cut misses nothing."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import Service, claim_next, finish, serving, submit, train


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path, heartbeat_seconds=0.1) as found:
        yield found


Event = dict[str, str]


def events(lines: Iterator[str]) -> Iterator[Event]:
    """The events of a stream; comments come as {"comment": ...}."""
    event: Event = {}
    for line in lines:
        if line == "" and event:
            yield event
            event = {}
        elif line.startswith(":"):
            event["comment"] = line[1:].strip()
        elif line:
            field, _, value = line.partition(": ")
            event[field] = value


def follow(service: Service, comparison_id: str, last: str | None = None) -> list[Event]:
    """All events up to the end of the stream, comments left out."""
    headers = {} if last is None else {"Last-Event-ID": last}
    with service.client.stream("GET", f"/v1/comparisons/{comparison_id}/events", headers=headers) as answer:
        if answer.status_code == 204:
            return []
        assert answer.status_code == 200
        return [event for event in events(answer.iter_lines()) if "comment" not in event]


def test_a_stream_tells_everything_and_ends(service: Service) -> None:
    """From queued to succeeded with increasing ids, in the headers that proxies need."""
    made = submit(service)
    finish(service, made["id"])
    with service.client.stream("GET", f"/v1/comparisons/{made['id']}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["cache-control"] == "no-store"
        found = [event for event in events(answer.iter_lines()) if "comment" not in event]
    ids = [int(event["id"]) for event in found]
    assert ids == sorted(set(ids))
    statuses = [event["data"] for event in found if event["event"] == "status"]
    assert [word in data for word, data in zip(("queued", "running", "succeeded"), statuses, strict=True)] == [True] * 3
    assert {"progress", "ranking"} <= {event["event"] for event in found}


def test_a_stream_that_is_cut_anywhere_is_resumed_without_loss(service: Service) -> None:
    """Whatever event was the last one seen, Last-Event-ID brings exactly those after it."""
    made = submit(service)
    finish(service, made["id"])
    whole = follow(service, made["id"])
    for seen in range(len(whole)):
        assert follow(service, made["id"], whole[seen]["id"]) == whole[seen + 1 :]


def test_an_ended_stream_does_not_make_browsers_come_back(service: Service) -> None:
    """After the last event of an ended comparison the answer is 204, at which an EventSource stops."""
    made = submit(service)
    service.client.post(f"/v1/comparisons/{made['id']}/cancel")
    last = follow(service, made["id"])[-1]
    answer = service.client.get(f"/v1/comparisons/{made['id']}/events", headers={"Last-Event-ID": last["id"]})
    assert (answer.status_code, answer.content) == (204, b"")


def test_events_arrive_while_it_runs(service: Service) -> None:
    """A follower hears of the start, hears comments in the silence, and the stream ends with the comparison."""
    made = submit(service)
    heard: list[Event] = []

    def listen() -> None:
        url = f"{service.client.base_url}/v1/comparisons/{made['id']}/events"
        with httpx.stream("GET", url, timeout=30) as answer:
            heard.extend(events(answer.iter_lines()))

    listener = threading.Thread(target=listen)
    listener.start()
    time.sleep(0.5)
    claim = claim_next(service)
    train(service, claim, [0, 5], finished=False)
    time.sleep(0.5)
    service.client.post(f"/v1/comparisons/{made['id']}/cancel")
    listener.join(timeout=10)
    assert not listener.is_alive()
    assert any("comment" in event for event in heard)
    statuses = [event["data"] for event in heard if event.get("event") == "status"]
    assert [word in data for word, data in zip(("queued", "running", "cancelled"), statuses, strict=True)] == [True] * 3


def test_deleting_ends_a_stream(service: Service) -> None:
    """A comparison that is forgotten in mid-stream does not leave its followers hanging."""
    made = submit(service)
    with service.client.stream("GET", f"/v1/comparisons/{made['id']}/events") as answer:
        lines = answer.iter_lines()
        next(lines)
        service.client.post(f"/v1/comparisons/{made['id']}/cancel")
        assert service.client.delete(f"/v1/comparisons/{made['id']}").status_code == 204
        list(lines)


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 40, "٣"])
def test_ids_that_are_none_are_refused(service: Service, last: str) -> None:
    """A Last-Event-ID that no stream has sent is a 422."""
    made = submit(service)
    headers: Any = {"Last-Event-ID": last.encode()}
    answer = service.client.get(f"/v1/comparisons/{made['id']}/events", headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "Last-Event-ID"
