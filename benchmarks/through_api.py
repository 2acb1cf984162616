"""A comparison on the embedded stack, as a user would send it."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.client import Client
from service.embedded import Stack


@contextmanager
def serving() -> Iterator[Client]:
    """A client of a stack of its own, over a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as data, Stack(Path(data)) as stack, Client(stack.url) as client:
        yield client


def answered(client: Client, spec: dict[str, Any]) -> dict[str, Any]:
    """The comparison once it has succeeded."""
    answer = client.submit(json.dumps(spec).encode())
    for _ in client.events(answer["id"]):
        pass
    answer = client.comparison(answer["id"])
    assert answer["status"] == "succeeded", answer["error"]
    return answer
