"""A small client of the REST API: what `plumbline compare` uses, and a pattern for others."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self
from uuid import uuid4

import httpx

RECONNECT_SECONDS = 0.5
SILENCE_SECONDS = 60.0
"""Without even a comment, after which a stream counts as dead; the service fills silences well before."""


class Refused(Exception):  # noqa: N818 - what the service did
    """The service refused a request; `problem` is its document, the message says all of it in lines."""

    def __init__(self, problem: dict[str, Any]) -> None:
        wrong = problem.get("errors") or []
        lines = [f"{item.get('pointer') or item.get('parameter') or 'the body'}: {item['message']}" for item in wrong]
        super().__init__("\n".join(lines or [str(problem.get("detail") or problem.get("title"))]))
        self.problem = problem


class Event(NamedTuple):
    id: str
    kind: str
    data: dict[str, Any]


class Client:
    """Speaks to one service. Requests that are refused raise `Refused`, a service that is gone httpx.TransportError."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(30.0, read=SILENCE_SECONDS))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def submit(self, body: bytes, *, key: str | None = None) -> dict[str, Any]:
        """Submits a comparison as it is written, once: a key makes it safe to send again."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": key or uuid4().hex}
        return self._json(self._http.post("/v1/comparisons", content=body, headers=headers))

    def preview(self, body: bytes) -> dict[str, Any]:
        """What the comparison would be, and what its gradient will do; nothing is submitted."""
        headers = {"Content-Type": "application/json"}
        return self._json(self._http.post("/v1/previews", content=body, headers=headers))

    def upload(self, data: Path, *, target: list[str] | None = None, loss: str | None = None) -> dict[str, Any]:
        """Keeps a data set, as its file comes: npz, CSV or Parquet. The same data are kept once."""
        told = {"target": target, "loss": loss, "name": data.name}
        with data.open("rb") as file:
            answer = self._http.post(
                "/v1/datasets",
                content=file,
                params={name: value for name, value in told.items() if value},
                headers={"Content-Type": "application/octet-stream"},
            )
        return self._json(answer)

    def comparison(self, comparison_id: str) -> dict[str, Any]:
        return self._json(self._http.get(f"/v1/comparisons/{comparison_id}"))

    def trials(self, comparison_id: str) -> dict[str, Any]:
        return self._json(self._http.get(f"/v1/comparisons/{comparison_id}/trials"))

    def cancel(self, comparison_id: str) -> dict[str, Any]:
        return self._json(self._http.post(f"/v1/comparisons/{comparison_id}/cancel"))

    def catalogue(self) -> dict[str, Any]:
        return self._json(self._http.get("/v1/catalogue"))

    def events(self, comparison_id: str, *, after: str = "") -> Iterator[Event]:
        """Events until the comparison has ended; a stream that breaks is resumed where it broke."""
        while True:
            headers = {"Last-Event-ID": after} if after else {}
            try:
                with self._http.stream("GET", f"/v1/comparisons/{comparison_id}/events", headers=headers) as answer:
                    if answer.is_error:
                        answer.read()
                        raise _refusal(answer)
                    if answer.status_code == httpx.codes.NO_CONTENT:
                        return
                    for event in parse_events(answer.iter_lines()):
                        after = event.id or after
                        yield event
            except httpx.TransportError:
                time.sleep(RECONNECT_SECONDS)

    def download(self, path: str, target: Path, **query: str) -> None:
        """Writes an answer to a file, as it comes."""
        with self._http.stream("GET", path, params=query) as answer:
            if answer.is_error:
                answer.read()
                raise _refusal(answer)
            with target.open("wb") as file:
                for chunk in answer.iter_bytes():
                    file.write(chunk)

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.is_error:
            raise _refusal(answer)
        document: dict[str, Any] = answer.json()
        return document


def parse_events(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events from the lines of a stream. Comments are passed over, and so is an event cut off at the end."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value
        elif "data" in fields:
            yield Event(fields.get("id", ""), fields.get("event", "message"), json.loads(fields["data"]))
            fields = {}
        else:
            fields = {}


def _refusal(answer: httpx.Response) -> Refused:
    try:
        problem = answer.json()
    except ValueError:
        problem = {"title": f"the service answered {answer.status_code}", "detail": answer.text[:500]}
    return Refused(problem if isinstance(problem, dict) else {"title": f"the service answered {answer.status_code}"})
