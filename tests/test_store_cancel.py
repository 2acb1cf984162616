"""Cancelling, in every state that a comparison and its jobs can be in."""

from store_samples import (
    RESULT,
    accept,
    at_once,
    claim_next,
    due_ids,
    finish,
    found,
    half_slice,
    lose_workers,
    make_due,
    shard,
    states,
    whole_slice,
)

from workers.store import comparisons, events, jobs
from workers.store.comparisons import NewRound
from workers.store.database import Database
from workers.store.jobs import Part

PARTIAL = RESULT | {"partial": True}


def cancel(db: Database) -> None:
    record = comparisons.cancel(db, "c")
    assert record is not None
    assert record.status == "cancelled"
    assert record.finished_at is not None
    assert record == found(db)


def assert_partial_result_follows(db: Database) -> None:
    """There is one decision, it stores a result, and then there is nothing to do."""
    claim = claim_next(db)
    assert claim.kind == "decision"
    jobs.store_partial_result(db, claim, PARTIAL)
    assert (found(db).status, found(db).result) == ("cancelled", PARTIAL)
    assert due_ids(db, in_seconds=60) == []
    assert states(db, "decision") == ["succeeded"]
    statuses = [event.data["status"] for event in events.after(db, "c", 0) if event.kind == "status"]
    assert statuses.count("cancelled") == 1


def test_queued(db: Database) -> None:
    """Nothing begins; trials are cancelled."""
    accept(db, shards=2)
    cancel(db)
    assert states(db, "shard") == ["cancelled"] * 2
    assert {trial.outcome for trial in comparisons.trials(db, "c")} == {"cancelled"}
    assert_partial_result_follows(db)


def test_running_in_mid_slice(db: Database) -> None:
    """The worker is told, what it has is kept, and only then is the partial result asked for."""
    accept(db, shards=2)
    claim = claim_next(db)
    cancel(db)
    assert due_ids(db) == []
    assert jobs.renew(db, claim, live_steps=5, lease_seconds=60) == "cancel"
    part = Part("statistics", "p", 0, 5, 1)
    jobs.commit_slice(db, claim, half_slice(parts=[part]))
    assert jobs.parts(db, "c", "statistics") == [part]
    assert states(db, "shard") == ["cancelled"] * 2
    assert found(db).steps_done == 5
    assert_partial_result_follows(db)


def test_running_and_finishing_meanwhile(db: Database) -> None:
    """A shard that was just done counts as done."""
    accept(db, shards=2)
    claim = claim_next(db)
    cancel(db)
    jobs.commit_slice(db, claim, whole_slice(claim))
    assert [trial.outcome for trial in comparisons.trials(db, "c")] == ["completed", "cancelled"]
    assert_partial_result_follows(db)


def test_between_slices(db: Database) -> None:
    """A shard that is due again is not taken again; its parts stay."""
    accept(db)
    jobs.commit_slice(db, claim_next(db), half_slice(parts=[Part("curves", "p", 0, 5, 1)]))
    cancel(db)
    assert states(db, "shard") == ["cancelled"]
    assert len(jobs.parts(db, "c", "curves")) == 1
    assert_partial_result_follows(db)


def test_several_running(db: Database) -> None:
    """The last of them to stop brings up the decision, once, though they stop at the same moment."""
    accept(db, shards=8)
    claims = [claim_next(db) for _ in range(8)]
    cancel(db)
    at_once(8, lambda index: jobs.commit_slice(db, claims[index], half_slice()))
    assert_partial_result_follows(db)


def test_running_at_a_worker_that_dies(db: Database) -> None:
    """The reaper stops waiting for it; the shard is not trained again."""
    accept(db)
    claim_next(db)
    cancel(db)
    assert lose_workers(db) == 1
    assert states(db, "shard") == ["cancelled"]
    assert_partial_result_follows(db)


def test_running_at_a_trainer_that_dies(db: Database) -> None:
    """The failed attempt is the last one."""
    accept(db)
    claim = claim_next(db)
    cancel(db)
    jobs.fail_attempt(db, claim, code="trainer_died", message="it died", progressed=False)
    assert states(db, "shard") == ["cancelled"]
    assert found(db).error is None
    assert_partial_result_follows(db)


def test_backing_off(db: Database) -> None:
    """A shard that waits to be tried again is not."""
    accept(db)
    jobs.fail_attempt(db, claim_next(db), code="x", message="y", progressed=False)
    cancel(db)
    assert states(db, "shard") == ["cancelled"]
    assert_partial_result_follows(db)


def test_decision_queued(db: Database) -> None:
    """The round's own decision tells the partial result."""
    accept(db)
    claim = claim_next(db)
    jobs.commit_slice(db, claim, whole_slice(claim))
    cancel(db)
    assert_partial_result_follows(db)


def test_decision_running(db: Database) -> None:
    """A decision that was about to begin the next round only leaves its result, once its files have been written."""
    accept(db, round_=NewRound(0, "tuning", [shard(0)]))
    claim = claim_next(db)
    jobs.commit_slice(db, claim, whole_slice(claim))
    claim = claim_next(db)
    cancel(db)
    following = NewRound(1, "final", [shard(1)])
    assert not jobs.close_round(db, claim, result=RESULT, next_round=following, status=None)
    assert (found(db).result, states(db, "decision")) == (None, ["running"])
    jobs.store_partial_result(db, claim, PARTIAL)
    assert (found(db).status, found(db).result) == ("cancelled", PARTIAL)
    assert len(comparisons.trials(db, "c")) == 1
    assert due_ids(db, in_seconds=60) == []


def test_decision_about_to_succeed(db: Database) -> None:
    """Cancelled stays cancelled."""
    accept(db)
    claim = claim_next(db)
    jobs.commit_slice(db, claim, whole_slice(claim))
    claim = claim_next(db)
    cancel(db)
    assert not jobs.close_round(db, claim, result=RESULT, next_round=None, status="succeeded")
    jobs.store_partial_result(db, claim, RESULT)
    assert (found(db).status, found(db).result) == ("cancelled", RESULT)


def test_in_a_later_round(db: Database) -> None:
    """The result of the rounds before stays until the partial one takes its place."""
    accept(db, round_=NewRound(0, "tuning", [shard(0)]))
    claim = claim_next(db)
    jobs.commit_slice(db, claim, whole_slice(claim))
    jobs.close_round(db, claim_next(db), result=RESULT, next_round=NewRound(1, "final", [shard(1)]), status=None)
    cancel(db)
    assert found(db).result == RESULT
    claim = claim_next(db)
    jobs.store_partial_result(db, claim, PARTIAL)
    assert (claim.round, found(db).result) == (1, PARTIAL)
    assert due_ids(db, in_seconds=60) == []


def test_partial_result_that_cannot_be_told(db: Database) -> None:
    """After three failures it is given up; the comparison stays cancelled."""
    accept(db)
    cancel(db)
    for _ in range(3):
        make_due(db)
        jobs.fail_attempt(db, claim_next(db), code="decision_failed", message="no", progressed=False)
    record = found(db)
    assert (record.status, record.error, record.result) == ("cancelled", None, None)
    assert due_ids(db, in_seconds=60) == []


def test_twice_and_after_the_end(db: Database) -> None:
    """Nothing changes, not even the version; nobody's comparison is nobody's."""
    accept(db)
    cancel(db)
    before = found(db)
    cancel(db)
    assert found(db) == before
    accept(db, "done")
    jobs.store_partial_result(db, claim_next(db), PARTIAL)
    finish(db, "done")
    record = comparisons.cancel(db, "done")
    assert record is not None
    assert record.status == "succeeded"
    assert comparisons.cancel(db, "nobody") is None


def test_eight_at_once_with_workers(db: Database) -> None:
    """Cancellers and workers that race leave one decision and nothing that trains."""
    accept(db, shards=8)
    claims = [claim_next(db) for _ in range(4)]

    def act(index: int) -> None:
        if index < 4:
            comparisons.cancel(db, "c")
        else:
            claim = claims[index - 4]
            jobs.commit_slice(db, claim, whole_slice(claim))

    at_once(8, act)
    assert set(states(db, "shard")) == {"cancelled", "succeeded"}
    assert_partial_result_follows(db)
