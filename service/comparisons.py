"""The comparison itself: submit, read, list, cancel, delete."""

import hashlib
import json
import secrets
import time
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from service import views
from service.bodies import parse, read_body
from service.datasets import facts
from service.errors import Problem, invalid, invalid_parameter, not_found
from service.resources import Here, Resources
from service.validation import over_memory_on_any, read_comparison, unknown_dataset
from workers.analysis.protocol import first_round, totals
from workers.contract.checks import over_trials
from workers.contract.problems import Dataset
from workers.contract.results import ENDED, Comparison, Status, Waiting
from workers.store import artifacts, comparisons, fleet
from workers.store.comparisons import ComparisonRecord, IdempotencyConflict, NewRound
from workers.store.datasets import UnknownDataset

router = APIRouter(prefix="/v1/comparisons", tags=["comparisons"])

RETRY_AFTER = {"Retry-After": "1"}
"""Seconds until it is worth looking again."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        examples=["5f0c6d1e-2b7a-4a34"],
        description="The same key with the same body answers with the same comparison, however often it is sent.",
    ),
]


@router.post(
    "",
    status_code=202,
    response_description="Accepted: it waits for a worker",
    responses={400: {}, 413: {}, 415: {}, 422: {}, 503: {}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ComparisonSpec"}}},
        }
    },
)
async def submit(
    request: Request, response: Response, here: Here, idempotency_key: IdempotencyKey = None
) -> Comparison:
    """Accepts a comparison. It is recorded before this answers, whether or not a worker or the broker is up."""
    body = await read_body(request, here.settings.max_body_bytes)
    record = await run_in_threadpool(_accept, here, body, idempotency_key)
    waits = await run_in_threadpool(_waiting, here, [record])
    response.headers["Location"] = views.address(record.id)
    response.headers.update(RETRY_AFTER if record.status not in ENDED else {})
    return views.comparison(record, waits.get(record.id))


def _accept(here: Resources, body: bytes, idempotency_key: str | None) -> ComparisonRecord:
    parsed = parse(body)
    limits = here.settings.limits
    spec = read_comparison(parsed, limits, partial(facts, here.database))
    trials_total, steps_total = totals(spec)
    if wrong := over_trials(trials_total, limits) or over_memory_on_any(spec, limits):
        raise invalid(wrong)
    planned = first_round(spec)
    try:
        record, created = comparisons.accept(
            here.database,
            comparison_id=_new_id(),
            spec=spec.model_dump(mode="json"),
            labels=spec.labels,
            round_=NewRound(planned.number, planned.role, planned.shards),
            steps_total=steps_total,
            trials_total=trials_total,
            idempotency_key=idempotency_key,
            body_hash=_hash(parsed),
            dataset_id=next((one.problem.id for one in spec.alone.values() if isinstance(one.problem, Dataset)), None),
        )
    except UnknownDataset as gone:
        raise invalid([unknown_dataset(str(gone))]) from None
    except IdempotencyConflict:
        message = f"{idempotency_key!r} came with another body before: take a new key for a new comparison"
        wrong_key = invalid_parameter("Idempotency-Key", message, "key_reused")
        raise Problem(422, "key_reused", wrong_key.detail, wrong_key.errors) from None
    if created:
        here.wake()
    return record


def _new_id() -> str:
    """Ids sort by time of creation: milliseconds, then chance."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(4)}"


def _hash(parsed: object) -> str:
    """Of what a body says, not of how it is laid out."""
    return hashlib.sha256(json.dumps(parsed, sort_keys=True).encode()).hexdigest()


@router.get("", responses={422: {}})
def list_comparisons(
    here: Here,
    limit: Annotated[int, Query(ge=1, le=200, examples=[50], description="Comparisons on a page.")] = 50,
    cursor: Annotated[
        str | None,
        Query(max_length=200, examples=["MDE5OWMwZGU3ZDJhN2MxZQ"], description="`next` of the page before."),
    ] = None,
    status: Annotated[Status | None, Query(examples=["running"], description="Only those in this state.")] = None,
    name: Annotated[
        str | None,
        Query(max_length=200, examples=["six sigmoid layers on digits"], description="Only those of this name."),
    ] = None,
    label: Annotated[
        str | None,
        Query(max_length=300, examples=["team:vision"], description="Only those with this label, `key:value`."),
    ] = None,
) -> views.Page:
    """Comparisons, newest first. Pages stay put: what is submitted meanwhile comes before the first page."""
    wanted = None
    if label is not None:
        key, colon, value = label.partition(":")
        if not colon:
            raise invalid_parameter("label", f"{label!r} has no colon: write key:value")
        wanted = (key, value)
    try:
        records, following = comparisons.page(
            here.database, limit=limit, cursor=cursor, status=status, name=name, label=wanted
        )
    except ValueError:
        raise invalid_parameter("cursor", f"{cursor!r} is none of ours: take `next` of a page as it is") from None
    waits = _waiting(here, records)
    return views.Page(items=[views.summary(record, waits.get(record.id)) for record in records], next=following)


@router.get(
    "/{comparison_id}",
    response_model=Comparison,
    responses={304: {"description": "Nothing visible has changed since the ETag"}, 404: {}},
)
def read(
    comparison_id: str,
    response: Response,
    here: Here,
    if_none_match: Annotated[
        str | None, Header(examples=['W/"7"'], description="The ETag of an earlier answer.")
    ] = None,
) -> Comparison | Response:
    """A comparison: its state, its progress and, as soon as there is one, its result (partial while it runs)."""
    record = _found(here, comparison_id)
    waits = _waiting(here, [record]).get(record.id)
    told = f"-{waits.worker}-{waits.since.timestamp()}-{waits.seconds}" if waits else ""
    tag = f'W/"{record.version}{told}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", **({} if record.status in ENDED else RETRY_AFTER)}
    if if_none_match and {tag, "*"} & {part.strip() for part in if_none_match.split(",")}:
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return views.comparison(record, waits, comparisons.shards(here.database, comparison_id))


@router.post("/{comparison_id}/cancel", responses={404: {}, 409: {}})
def cancel(comparison_id: str, here: Here) -> Comparison:
    """Stops a comparison at once; what was trained so far is kept, and its partial result follows. Cancelling twice is no error."""
    record = comparisons.cancel(here.database, comparison_id)
    if record is None:
        raise not_found(comparison_id)
    if record.status != "cancelled":
        raise Problem(409, "wrong_state", f"comparison {comparison_id} has {record.status}: there is nothing to cancel")
    here.wake()
    return views.comparison(record, shards=comparisons.shards(here.database, comparison_id))


@router.delete("/{comparison_id}", status_code=204, responses={404: {}, 409: {}})
def delete(comparison_id: str, here: Here) -> None:
    """Forgets a comparison that has ended, with all its results; these first, so that a failure on the way can be repeated."""
    if _found(here, comparison_id).status not in ENDED:
        detail = f"comparison {comparison_id} has not ended: POST {views.address(comparison_id)}/cancel first"
        raise Problem(409, "wrong_state", detail)
    artifacts.remove(here.settings.artifacts, comparison_id)
    if not comparisons.delete(here.database, comparison_id):
        raise not_found(comparison_id)


def _found(here: Resources, comparison_id: str) -> ComparisonRecord:
    record = comparisons.find(here.database, comparison_id)
    if record is None:
        raise not_found(comparison_id)
    return record


def _waiting(here: Resources, records: list[ComparisonRecord]) -> dict[str, Waiting]:
    """By id, those that have not ended and wait for a worker that there is not."""
    ids = [record.id for record in records if record.status not in ENDED]
    if not ids:
        return {}
    found = fleet.waiting(here.database, ids, now=datetime.now(UTC), lease_seconds=here.settings.lease_seconds)
    return {name: waits for name, one in found.items() if (waits := views.waiting(one))}
