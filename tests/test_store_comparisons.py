"""Comparisons in the record: accepted once, found, listed, told of, forgotten."""

import base64
from datetime import UTC

import pytest
from sqlalchemy import func, select
from store_samples import RESULT, SPEC, accept, accept_either, at_once, claim_next, finish, found, half_slice

from workers.store import comparisons, events, jobs, tables
from workers.store.comparisons import IdempotencyConflict, NewRound, StillRunning
from workers.store.database import Database


def walked(db: Database, limit: int = 2, **filters: str) -> list[str]:
    """Ids on all pages, one after the other."""
    ids: list[str] = []
    cursor: str | None = None
    while True:
        records, cursor = comparisons.page(db, limit=limit, cursor=cursor, **filters)  # type: ignore[arg-type]
        ids += [record.id for record in records]
        if cursor is None:
            return ids


def test_what_is_accepted_is_found(db: Database) -> None:
    """The record is whole, its times are aware, and its trials wait in their order."""
    record, created = accept_either(db, shards=3, labels={"team": "a"})
    assert created
    assert found(db) == record
    assert (record.status, record.steps_done, record.steps_total, record.trials_total) == ("queued", 0, 30, 3)
    assert (record.spec, record.labels, record.round) == (SPEC.model_dump(mode="json"), {"team": "a"}, "final")
    assert (record.created_at.tzinfo, record.started_at, record.finished_at) == (UTC, None, None)
    assert [(trial.trial, trial.outcome) for trial in comparisons.trials(db, "c")] == [(i, "pending") for i in range(3)]
    assert comparisons.find(db, "nobody") is None
    assert comparisons.trials(db, "nobody") == []


def test_a_null_character_is_in_no_record(db: Database) -> None:
    """Whoever looks for one, as an address or a filter allows, finds nothing, and that is no failure."""
    odd = "c\x00"
    accept(db, labels={"a": "b"})
    assert comparisons.find(db, odd) is None
    assert comparisons.cancel(db, odd) is None
    assert not comparisons.delete(db, odd)
    assert walked(db, name=odd) == []
    for label in ((odd, "b"), ("a", odd)):
        assert comparisons.page(db, limit=9, cursor=None, label=label) == ([], None)


def test_a_round_without_shards_is_refused(db: Database) -> None:
    """It would never end; nothing of it is recorded."""
    with pytest.raises(ValueError, match="no shards"):
        accept(db, round_=NewRound(0, "final", []))
    assert comparisons.find(db, "c") is None


def test_a_key_names_one_comparison(db: Database) -> None:
    """The same key and body give the first comparison, another body is refused, no key is always new."""
    first, _ = accept_either(db, "a", idempotency_key="k", body_hash="1")
    assert accept_either(db, "b", idempotency_key="k", body_hash="1") == (first, False)
    with pytest.raises(IdempotencyConflict):
        accept(db, "b", idempotency_key="k", body_hash="2")
    accept(db, "b")
    accept(db, "c")
    assert walked(db) == ["c", "b", "a"]


def test_a_key_used_at_the_same_moment_names_one_comparison(db: Database) -> None:
    """Eight equal requests at once: one is new, all get it."""
    answers = at_once(8, lambda index: accept_either(db, f"c{index}", idempotency_key="k"))
    assert sum(created for _, created in answers) == 1
    assert len({record.id for record, _ in answers}) == 1


def test_pages_stay_put(db: Database) -> None:
    """Newest first, each once, whatever is accepted meanwhile."""
    for index in range(5):
        accept(db, f"c{index}")
    first, cursor = comparisons.page(db, limit=2, cursor=None)
    accept(db, "meanwhile")
    second, cursor = comparisons.page(db, limit=2, cursor=cursor)
    third, cursor = comparisons.page(db, limit=2, cursor=cursor)
    assert [record.id for record in first + second + third] == ["c4", "c3", "c2", "c1", "c0"]
    assert cursor is None


def test_pages_of_one_moment(db: Database) -> None:
    """Comparisons with the same time of creation are still each listed once."""
    for index in range(5):
        accept(db, f"c{index}")
    with db.write() as session:
        one = session.scalars(select(func.min(tables.comparison.c.created_at))).one()
        session.execute(tables.comparison.update().values(created_at=one))
    assert walked(db) == [f"c{index}" for index in reversed(range(5))]


def test_pages_are_filtered(db: Database) -> None:
    """By status, name and label, whatever signs a label holds."""
    odd = """k"e'y.$[0]%"""
    accept(db, "a", labels={odd: "v%", "team": "x"}, spec=SPEC.model_dump(mode="json") | {"name": "one"})
    accept(db, "b", labels={"team": "v%"})
    comparisons.cancel(db, "b")
    assert walked(db, status="queued") == ["a"]
    assert walked(db, status="cancelled") == ["b"]
    assert walked(db, name="one") == ["a"]
    assert [record.id for record in comparisons.page(db, limit=9, cursor=None, label=(odd, "v%"))[0]] == ["a"]
    assert comparisons.page(db, limit=9, cursor=None, label=("team", "v_"))[0] == []


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "",
        "💩",
        "====",
        *(f"{t}" for t in ("W10", "WzEsMl0")),
        "WyIyMDI2LTAxLTAxIiwgImEiXQ",
        base64.urlsafe_b64encode(rb'["2026-01-01T00:00:00+00:00", "\u0000"]').decode(),
    ],
)
def test_cursors_that_are_none_are_refused(db: Database, text: str) -> None:
    """Not base64, not JSON, not a time and an id, a time without a zone, an id that can be none."""
    with pytest.raises(ValueError):  # noqa: PT011 - which one does not matter
        comparisons.page(db, limit=1, cursor=text)


def test_cursors_say_nothing_to_be_relied_on(db: Database) -> None:
    """They are opaque text that needs no escaping in an address."""
    accept(db, "a")
    accept(db, "b")
    _, cursor = comparisons.page(db, limit=1, cursor=None)
    assert cursor is not None
    assert base64.urlsafe_b64decode(cursor + "==")
    assert cursor.replace("-", "").replace("_", "").isalnum()


def test_versions_change_with_what_is_visible(db: Database) -> None:
    """Starting, progress, the result and the end each change the version; reading and sending messages do not."""
    seen = [accept(db, shards=2).version]
    claim = claim_next(db)
    seen.append(found(db).version)
    jobs.commit_slice(db, claim, half_slice())
    seen.append(found(db).version)
    finish(db)
    seen.append(found(db).version)
    assert seen == sorted(set(seen))
    jobs.due(db, now=found(db).created_at, limit=9)
    assert found(db).version == seen[-1]


def test_events_replay_from_any_place(db: Database) -> None:
    """Increasing ids, nothing missing after any of them, other comparisons' left out; the first and last are statuses."""
    accept(db, "other")
    accept(db, shards=2)
    comparisons.cancel(db, "other")
    claim_next(db)  # the partial result of the other
    finish(db)
    told = events.after(db, "c", 0)
    ids = [event.id for event in told]
    assert ids == sorted(set(ids))
    assert [event.data["status"] for event in told if event.kind == "status"] == ["queued", "running", "succeeded"]
    assert told[-1].kind == "status"
    assert events.latest_id(db, "c") == ids[-1]
    assert events.latest_id(db, "nobody") == 0
    for place in range(len(told)):
        assert events.after(db, "c", ids[place]) == told[place + 1 :]
    assert events.after(db, "c", 0, limit=2) == told[:2]
    progress = [event.data for event in told if event.kind == "progress"]
    assert progress[-1] | {"eta_seconds": 0} == {
        "steps_done": 20,
        "steps_total": 20,
        "trials": 2,
        "round": "final",
        "eta_seconds": 0,
    }
    assert [event.data for event in told if event.kind == "ranking"] == [{"arms": RESULT["arms"]}]


def test_only_what_has_ended_is_deleted(db: Database) -> None:
    """A queued or running comparison is not; an ended one goes from every table, its key is free, its event ids are not reused."""
    accept(db, labels={"a": "b"}, idempotency_key="k")
    with pytest.raises(StillRunning):
        comparisons.delete(db, "c")
    finish(db)
    last = events.latest_id(db, "c")
    assert comparisons.delete(db, "c")
    assert not comparisons.delete(db, "c")
    with db.read() as session:
        for table in tables.metadata.sorted_tables:
            assert session.scalar(select(func.count()).select_from(table)) == 0, table.name
    assert accept_either(db, "again", idempotency_key="k", body_hash="another")[1]
    assert events.after(db, "again", 0)[0].id > last
