"""Who trains: the workers that are up, as they say themselves."""

from datetime import UTC, datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from service.resources import Here
from workers.contract.results import View
from workers.store import fleet
from workers.store.fleet import Present

router = APIRouter(prefix="/v1/workers", tags=["workers"])


class Worker(View):
    """A worker that is up."""

    name: str = Field(examples=["gpu-3-4711-9f2c"])
    """Its own, as long as it is up."""
    host: str = Field(examples=["gpu-3"])
    """The machine or container it runs in."""
    pid: int = Field(examples=[4711])
    """Its process there."""
    device: Literal["cpu", "cuda"] = Field(examples=["cuda"])
    """What it trains on. One on `cuda` has a card of its own and takes every comparison; one on `cpu` takes those that need none."""
    device_name: str = Field(examples=["NVIDIA H100 80GB HBM3"])
    """Model of the card or of the processor."""
    cores: int = Field(examples=[16])
    """Threads that it trains with where it trains on its CPU."""
    memory_bytes: int = Field(examples=[85_899_345_920])
    """Of the card; on `cpu` of the machine, or what the worker's container may have of it."""
    torch: str = Field(examples=["2.13.0"])
    """Version."""
    matmul_flops_per_second: float = Field(examples=[4.2e13])
    """Its speed: operations in a second of batched float32 matrix products, measured when it started, all cores at once."""
    started_at: datetime = Field(examples=["2026-01-02T03:04:05Z"])
    """When it started."""
    seen_at: datetime = Field(examples=["2026-01-02T03:14:05Z"])
    """When it was last heard of. One that is silent for longer than three leases is not listed."""
    comparison: str | None = Field(default=None, examples=["019b7d3a5c284f1a9c3e"])
    """The comparison that it works on; null if it is idle."""


class Workers(View):
    """All workers that are up."""

    items: list[Worker] = Field(examples=[[]])
    """Those that started first first."""
    next: None = Field(default=None, examples=[None])
    """Always null: they are all on one page."""


@router.get("")
def list_workers(here: Here) -> Workers:
    """The workers that are up: what each trains on, how fast that is, and what it does now."""
    present = fleet.present(here.database, now=datetime.now(UTC), lease_seconds=here.settings.lease_seconds)
    return Workers(items=[_view(one) for one in present])


def _view(one: Present) -> Worker:
    return Worker(**vars(one.worker), comparison=one.comparison_id)
