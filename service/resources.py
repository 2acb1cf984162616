"""What the endpoints work with: one of each in a process, made by `create_app`."""

import threading
from collections.abc import Callable
from typing import Annotated, NamedTuple

from fastapi import Depends, Request

from service.queue import Broker
from workers.settings import Settings
from workers.store.database import Database


class Resources(NamedTuple):
    settings: Settings
    database: Database
    broker: Broker
    wake: Callable[[], None]
    """Makes the loop publish what is due at once."""
    stopping: threading.Event
    """Set when the server is asked to stop: event streams end then, for their clients to take them up again elsewhere."""


async def _resources(request: Request) -> Resources:
    found: Resources = request.app.state.resources
    return found


Here = Annotated[Resources, Depends(_resources)]
