"""Whether the process lives, and whether the service can do its work."""

from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter
from kombu.exceptions import KombuError
from pydantic import Field
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from service import queue
from service.errors import Problem, Wrong
from service.resources import Here, Resources
from workers.contract.results import View

router = APIRouter(tags=["health"])


class Health(View):
    """The process lives."""

    status: Literal["ok"] = Field(default="ok", examples=["ok"])
    """Always `ok`: a process that does not live does not answer."""


class Readiness(View):
    """The service can do its work."""

    status: Literal["ready"] = Field(default="ready", examples=["ready"])
    """Always `ready`; 503 says what is down."""
    workers: int = Field(examples=[1])
    """Workers that answer. With none, comparisons are accepted and wait."""


@router.get("/healthz")
async def healthz() -> Health:
    """Whether the process lives: asks nothing of anyone else."""
    return Health()


@router.get("/readyz", responses={503: {}})
def readyz(here: Here) -> Readiness:
    """Whether database and broker answer, and how many workers do."""
    checks: dict[str, Callable[[Resources], object]] = {"database": _database, "broker": _broker}
    down = []
    for name, check in checks.items():
        try:
            check(here)
        except (KombuError, SQLAlchemyError, OSError) as error:
            message = f"does not answer: {str(error).splitlines()[0][:200]}"
            down.append(Wrong(parameter=name, message=message, code="unavailable"))
    if down:
        words = " and ".join(f"the {wrong.parameter} {wrong.message}" for wrong in down)
        raise Problem(503, "unavailable", words, down, headers={"Retry-After": "2"})
    return Readiness(workers=queue.workers_seen(here.broker))


def _database(here: Resources) -> None:
    with here.database.engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def _broker(here: Resources) -> None:
    queue.reach(here.broker)
