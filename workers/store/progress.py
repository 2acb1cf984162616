"""How far a comparison is and how fast it goes, written about once a second however many workers tell of it."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, cast, func, select

from workers.contract.results import ENDED
from workers.store import events, rounds, tables

EVERY_SECONDS = 1.0
PAUSE_SECONDS = 10.0
"""A longer silence is a pause, which says nothing about speed."""
SMOOTHING = 0.4
"""Weight of the newest second in the rate."""


def record(session: Connection, comparison: Row[Any], *, always: bool = False) -> None:
    """Counts the steps and tells of them; of the first at once, since somebody waits to see that it trains.

    Args:
        comparison: its row, locked.
        always: also if the last time was just now.
    """
    now = datetime.now(UTC)
    elapsed = (now - comparison.sampled_at).total_seconds() if comparison.sampled_at else None
    just_told = elapsed is not None and 0 <= elapsed < EVERY_SECONDS
    if just_told and not always and comparison.steps_done:
        return
    job = tables.job.c
    query = select(func.sum(cast(job.trials_count, BigInteger) * job.live_steps)).where(
        job.comparison_id == comparison.id
    )
    done = int(session.scalar(query) or 0)
    if just_told and not always and not done:
        return
    rate = comparison.rate
    sample: dict[str, Any] = {"sampled_at": now, "sampled_steps": done}
    if just_told:
        sample = {}  # too short to tell a speed from: the sample under way goes on
    elif elapsed is not None and 0 < elapsed <= PAUSE_SECONDS and done > comparison.sampled_steps:
        newest = (done - comparison.sampled_steps) / elapsed
        rate = newest if rate is None else SMOOTHING * newest + (1 - SMOOTHING) * rate
    rounds.change(session, comparison.id, steps_done=done, rate=rate, **sample)
    if comparison.status in ENDED:
        return  # its last event is the status it ended with
    data = {
        "steps_done": done,
        "steps_total": comparison.steps_total,
        "trials": comparison.trials_total,
        "round": comparison.round,
        "eta_seconds": eta_seconds(comparison.status, comparison.steps_total - done, rate),
    }
    events.append(session, comparison.id, "progress", data)


def eta_seconds(status: str, steps_left: int, rate: float | None) -> float | None:
    """None unless it runs at a known speed."""
    return round(max(0, steps_left) / rate, 1) if status == "running" and rate else None
