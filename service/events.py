"""What happens to a comparison, as server-sent events. Events are rows with increasing ids, so any stream can be resumed."""

import json
import time
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from service.errors import invalid_parameter, not_found
from service.resources import Here, Resources
from workers.contract.results import ENDED
from workers.store import comparisons, events

router = APIRouter(prefix="/v1/comparisons", tags=["results"])

POLL_SECONDS = 0.2


@router.get(
    "/{comparison_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "The events"},
        204: {"description": "The comparison has ended and there is nothing more to tell"},
        404: {},
        422: {},
    },
)
async def follow(
    comparison_id: str,
    here: Here,
    last_event_id: Annotated[str | None, Header(examples=["17"], description="Resume after this event.")] = None,
) -> Response:
    """Server-sent events: `status`, `progress`, `ranking` and, for trials that diverge, `trial`.

    Every event has an id; a client that comes back with `Last-Event-ID` misses none. Silence is filled with comments. The
    stream ends after the status in which the comparison ends, or when the server stops: come back then.
    """
    after = _event_id(last_event_id)
    record = await run_sync(comparisons.find, here.database, comparison_id)
    if record is None:
        raise not_found(comparison_id)
    if record.status in ENDED and not await run_sync(events.after, here.database, comparison_id, after):
        return Response(status_code=204)  # tells a browser's EventSource to stop coming back
    return StreamingResponse(
        _stream(here, comparison_id, after),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _event_id(text: str | None) -> int:
    if text is None or not text.strip():
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise invalid_parameter("Last-Event-ID", f"{text[:40]!r} is no id of an event: send the last one received")
    return int(text)


async def _stream(here: Resources, comparison_id: str, after: int) -> AsyncIterator[bytes]:
    spoke = time.monotonic()
    ended = False
    while not here.stopping.is_set():
        found = await run_sync(events.after, here.database, comparison_id, after)
        for event in found:
            yield format_sse_event(id=str(event.id), event=event.kind, data_str=json.dumps(event.data, allow_nan=False))
            after, spoke = event.id, time.monotonic()
        if found:
            continue
        if ended:
            return
        record = await run_sync(comparisons.find, here.database, comparison_id)
        ended = record is None or record.status in ENDED
        if ended:
            continue  # once more: what was committed with the ended status may have come in between
        if time.monotonic() - spoke >= here.settings.heartbeat_seconds:
            yield format_sse_event(comment="still here")
            spoke = time.monotonic()
        await anyio.sleep(min(POLL_SECONDS, here.settings.heartbeat_seconds))
