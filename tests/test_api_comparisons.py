"""Submitting, reading, listing, cancelling and deleting comparisons, over real HTTP, with no broker at all."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from api_server import SPEC, Service, claim_next, finish, serving, submit

from workers.store import jobs


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path) as found:
        yield found


def test_a_comparison_is_accepted_while_the_broker_is_down(service: Service) -> None:
    """202 with Location and Retry-After, the whole spec with its defaults, and a record that is due."""
    answer = service.client.post("/v1/comparisons", json=SPEC)
    body = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/comparisons/{body['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    assert (body["status"], body["progress"]["steps_done"], body["result"]) == ("queued", 0, None)
    assert body["progress"]["trials"] == 6
    assert body["progress"]["steps_total"] == 60
    assert body["spec"]["optimizers"][0]["kind"] == "sgd"
    assert body["spec"]["baseline"] == "sgd"
    assert service.client.get(answer.headers["location"]).json() == body
    assert jobs.due(service.database, now=datetime.now(UTC) + timedelta(minutes=1), limit=10)


def test_what_is_sent_back_can_be_submitted_again(service: Service) -> None:
    """The spec in an answer is itself a valid request, and means the same."""
    first = submit(service, variants={"orthogonal": {"init": "orthogonal"}}, labels={"team": "a"})
    second = service.client.post("/v1/comparisons", json=first["spec"])
    assert second.status_code == 202
    assert second.json()["spec"] == first["spec"]


def test_the_same_key_and_body_are_one_comparison(service: Service) -> None:
    """A request that is sent again under its key, laid out differently, answers with the first comparison."""
    headers = {"Idempotency-Key": "k-1", "Content-Type": "application/json"}
    first = service.client.post("/v1/comparisons", content=json.dumps(SPEC), headers=headers)
    again = service.client.post("/v1/comparisons", content=json.dumps(SPEC, indent=2, sort_keys=True), headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"] == again.headers["location"].rpartition("/")[2]
    assert len(service.client.get("/v1/comparisons").json()["items"]) == 1


def test_the_same_key_with_another_body_is_refused(service: Service) -> None:
    """422 as a problem document, and nothing is queued."""
    headers = {"Idempotency-Key": "k-1"}
    assert service.client.post("/v1/comparisons", json=SPEC, headers=headers).status_code == 202
    other = service.client.post("/v1/comparisons", json=SPEC | {"steps": 11}, headers=headers)
    assert (other.status_code, other.headers["content-type"]) == (422, "application/problem+json")
    assert other.json()["type"].endswith("key_reused")
    assert len(service.client.get("/v1/comparisons").json()["items"]) == 1


def test_equal_keys_at_the_same_moment_are_one_comparison(service: Service) -> None:
    """Ten equal requests in flight at once make one comparison, and all are told of it."""
    answers: list[Any] = []

    def send() -> None:
        answers.append(service.client.post("/v1/comparisons", json=SPEC, headers={"Idempotency-Key": "race"}))

    threads = [threading.Thread(target=send) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_unchanged_comparisons_answer_304(service: Service) -> None:
    """The ETag holds while nothing visible changes, and another takes its place when something does."""
    path = f"/v1/comparisons/{submit(service)['id']}"
    first = service.client.get(path)
    tag = first.headers["etag"]
    assert int(first.headers["retry-after"]) >= 1
    same = service.client.get(path, headers={"If-None-Match": f'"other", {tag}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    claim_next(service)
    changed = service.client.get(path, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["status"]) == (200, "running")
    assert changed.headers["etag"] != tag


def test_pages_stay_put_while_comparisons_come_in(service: Service) -> None:
    """Walking the pages meets every comparison once, newest first, whatever is submitted meanwhile."""
    ids = [submit(service, name=f"n{index}")["id"] for index in range(7)]
    walked: list[str] = []
    cursor: str | None = None
    while True:
        page = service.client.get("/v1/comparisons", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        walked += [item["id"] for item in page.json()["items"]]
        cursor = page.json()["next"]
        if cursor is None:
            break
        submit(service, name="meanwhile")
    assert walked == ids[::-1]


def test_lists_are_filtered(service: Service) -> None:
    """By state, by name and by label; lists carry neither specs nor results."""
    first = submit(service, name="one", labels={"team": "a", "run": "1:2"})["id"]
    second = submit(service, name="two", labels={"team": "b"})["id"]
    service.client.post(f"/v1/comparisons/{second}/cancel")

    def found(**params: str) -> list[str]:
        items = service.client.get("/v1/comparisons", params=params).json()["items"]
        assert all("spec" not in item and "result" not in item for item in items)
        return [item["id"] for item in items]

    assert found(status="queued") == [first]
    assert found(status="cancelled") == [second]
    assert found(name="two") == [second]
    assert found(label="team:a") == found(label="run:1:2") == [first]
    assert found(label="team:c") == []
    assert found() == [second, first]


def test_cancelling_takes_effect_at_once_and_twice(service: Service) -> None:
    """A queued or running comparison is cancelled in the answer itself; doing it again changes nothing."""
    path = f"/v1/comparisons/{submit(service)['id']}"
    claim_next(service)
    for _ in range(2):
        answer = service.client.post(f"{path}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    read = service.client.get(path)
    assert read.json()["finished_at"]
    assert "retry-after" not in read.headers


def test_what_has_ended_cannot_be_cancelled(service: Service) -> None:
    """409, and it stays as it is."""
    made = submit(service)
    finish(service, made["id"])
    answer = service.client.post(f"/v1/comparisons/{made['id']}/cancel")
    assert answer.status_code == 409
    assert service.client.get(f"/v1/comparisons/{made['id']}").json()["status"] == "succeeded"


def test_deleting_forgets_rows_and_files(service: Service) -> None:
    """409 while it runs; afterwards 204, then 404, and its folder is gone; its key may be used anew."""
    made = submit(service)
    path = f"/v1/comparisons/{made['id']}"
    assert service.client.delete(path).status_code == 409
    finish(service, made["id"])
    assert (Path(service.settings.artifacts) / made["id"]).exists()
    assert service.client.delete(path).status_code == 204
    assert service.client.get(path).status_code == 404
    assert service.client.delete(path).status_code == 404
    assert not (Path(service.settings.artifacts) / made["id"]).exists()


def test_a_result_is_shown_as_the_contract_says(service: Service) -> None:
    """Once a round is closed with a result, the comparison shows it, with links to its parts that work."""
    made = submit(service)
    finish(service, made["id"])
    body = service.client.get(f"/v1/comparisons/{made['id']}").json()
    assert body["status"] == "succeeded"
    assert body["result"]["baseline"] == "sgd"
    assert body["progress"]["steps_done"] == body["progress"]["steps_total"]
    for name, link in body["links"].items():
        if name != "cancel":
            assert service.client.get(link).status_code == 200, name


def test_the_default_batch_fits_a_small_problem(service: Service) -> None:
    """Who says nothing of batches gets one that fits; who asks for too large a one is refused elsewhere."""
    body = {name: value for name, value in SPEC.items() if name != "batch_size"}
    answer = service.client.post("/v1/comparisons", json=body)
    assert answer.status_code == 202
    assert answer.json()["spec"]["batch_size"] == 106
    assert service.client.post("/v1/comparisons", json={**body, "batch_size": 128}).status_code == 422
