"""From the store's records to what the API shows."""

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import Field

from workers.contract.results import Comparison, ErrorDetail, Progress, Result, ShardReport, Status, View, Waiting
from workers.store import fleet
from workers.store.comparisons import ComparisonRecord, ShardRecord

MISSING = {
    "cuda": "no worker with a CUDA card is up, and this comparison needs one: start one, or ask for device auto",
    "any": "no worker is up: start one",
}


class Summary(View):
    """A comparison in a list: without its spec and its result."""

    id: str = Field(examples=["019b7d3a5c284f1a9c3e"])
    """Its name in addresses."""
    name: str = Field(examples=["six sigmoid layers on digits"])
    """For people."""
    status: Status = Field(examples=["running"])
    """Where it stands."""
    progress: Progress = Field(examples=[{"steps_done": 5000, "steps_total": 40000, "trials": 40}])
    """How far it is."""
    created_at: datetime = Field(examples=["2026-01-02T03:04:05Z"])
    """When it was accepted."""
    started_at: datetime | None = Field(default=None, examples=["2026-01-02T03:04:06Z"])
    """When a worker first took a part of it."""
    finished_at: datetime | None = Field(default=None, examples=["2026-01-02T03:05:00Z"])
    """When it ended."""
    labels: dict[str, str] = Field(default={}, examples=[{"team": "vision"}])
    """What the request said to find it by."""
    links: dict[str, str] = Field(examples=[{"self": "/v1/comparisons/019b7d3a5c284f1a9c3e"}])
    """Where its parts are."""


class Page(View):
    """A page of a list."""

    items: list[Summary] = Field(examples=[[]])
    """Newest first."""
    next: str | None = Field(default=None, examples=["MDE5OWMwZGU3ZDJhN2MxZQ"])
    """The `cursor` of the next page; null on the last."""


def waiting(found: fleet.Waiting | None) -> Waiting | None:
    """What a comparison waits for, by now."""
    if found is None:
        return None
    seconds = max(0, int((datetime.now(UTC) - found.since).total_seconds()))
    return Waiting(worker=found.worker, since=found.since, seconds=seconds, message=MISSING[found.worker])


def comparison(
    record: ComparisonRecord, waits: Waiting | None = None, shards: Sequence[ShardRecord] = ()
) -> Comparison:
    """The whole comparison."""
    return Comparison(
        id=record.id,
        name=record.name,
        status=record.status,
        progress=_progress(record, waits),
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        labels=record.labels,
        spec=record.spec,
        result=Result.model_validate(record.result) if record.result else None,
        shards=[
            ShardReport(
                round=shard.round,
                problem=shard.problem,
                variant=shard.variant,
                trials=shard.trials,
                step_seconds=shard.step_seconds,
                **shard.execution.model_dump(include={"device", "path", "threads", "chunks", "gradient_range"}),
            )
            for shard in shards
        ],
        links=_links(record.id),
        error=ErrorDetail.model_validate(record.error) if record.error else None,
    )


def summary(record: ComparisonRecord, waits: Waiting | None = None) -> Summary:
    """The comparison in a list."""
    return Summary(
        id=record.id,
        name=record.name,
        status=record.status,
        progress=_progress(record, waits),
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        labels=record.labels,
        links=_links(record.id),
    )


def address(comparison_id: str) -> str:
    return f"/v1/comparisons/{comparison_id}"


def _links(comparison_id: str) -> dict[str, str]:
    here = address(comparison_id)
    parts = {part: f"{here}/{part}" for part in ("statistics", "trials", "report", "events", "cancel")}
    return {"self": here, **parts}


def _progress(record: ComparisonRecord, waits: Waiting | None) -> Progress:
    return Progress(
        steps_done=record.steps_done,
        steps_total=record.steps_total,
        trials=record.trials_total,
        round=record.round,
        eta_seconds=record.eta_seconds,
        waiting=waits,
    )
