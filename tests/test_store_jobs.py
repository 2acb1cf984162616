"""Jobs: claimed by one, fenced, leased, retried, and closed exactly once."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, StatementError
from store_samples import (
    EXECUTION,
    RESULT,
    SPEC,
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

from workers.store import comparisons, events, jobs, leases, progress, tables
from workers.store.comparisons import NewRound
from workers.store.database import Database
from workers.store.jobs import Claim, LostClaim, Part, TrialOutcome
from workers.store.turns import CPU, CUDA


def again(db: Database, claim: Claim) -> Claim | None:
    return jobs.claim(db, claim.job_id, worker="again", lease_seconds=60)


def fail(db: Database, claim: Claim, code: str = "trainer_died") -> None:
    jobs.fail_attempt(db, claim, code=code, message="it died", progressed=False)


def later(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


# claims


def test_a_job_is_claimed_once(db: Database) -> None:
    """Eight threads that go for the same jobs: each job has one owner, and the comparison starts once."""
    accept(db, shards=12)
    wanted = due_ids(db)

    def take(index: int) -> list[Claim | None]:
        turned = wanted[index:] + wanted[:index]
        return [jobs.claim(db, job_id, worker=f"w{index}", lease_seconds=60) for job_id in turned]

    claims = [claim for taken in at_once(8, take) for claim in taken if claim is not None]
    assert sorted(claim.job_id for claim in claims) == sorted(wanted)
    assert {claim.attempt for claim in claims} == {1}
    statuses = [event.data for event in events.after(db, "c", 0) if event.kind == "status"]
    assert statuses == [{"status": "queued"}, {"status": "running"}]


def test_claims_in_turn_never_meet(db: Database) -> None:
    """The same where every thread asks for whatever is next, told of one and the same job."""
    accept(db, shards=12)
    told = due_ids(db)[0]

    def take(index: int) -> list[str]:
        taken = []
        while (claim := jobs.claim_in_turn(db, told, worker=f"w{index}", lease_seconds=60)) is not None:
            taken.append(claim.job_id)
        return taken

    taken = [job_id for part in at_once(8, take) for job_id in part]
    assert len(taken) == len(set(taken)) == 12


def test_a_claim_carries_the_work(db: Database) -> None:
    """Shard, spec, and after a slice its checkpoint and steps; after the last round's shard a decision without a shard."""
    accept(db, spec=SPEC.model_dump(mode="json") | {"priority": 3})
    claim = claim_next(db)
    assert (claim.kind, claim.attempt, claim.steps_done, claim.checkpoint, claim.execution) == (
        "shard",
        1,
        0,
        None,
        None,
    )
    assert (claim.shard, claim.priority, claim.comparison_id, claim.round) == (shard(0), 3, "c", 0)
    jobs.freeze_execution(db, claim, EXECUTION)
    jobs.commit_slice(db, claim, half_slice())
    claim = claim_next(db)
    assert (claim.attempt, claim.steps_done, claim.checkpoint, claim.execution) == (2, 5, "checkpoints/x", EXECUTION)
    jobs.commit_slice(db, claim, whole_slice(claim))
    claim = claim_next(db)
    assert (claim.kind, claim.shard, claim.spec["priority"]) == ("decision", None, 3)
    assert jobs.claim(db, "nobody", worker="w", lease_seconds=1) is None
    assert jobs.claim_in_turn(db, "nobody", worker="w", lease_seconds=1) is None


def test_the_first_execution_stays(db: Database) -> None:
    """Whoever freezes later gets what was frozen, and a shard stays with its kind of device."""
    accept(db)
    claim = claim_next(db)
    cuda = EXECUTION.model_copy(update={"device": "cuda"})
    assert jobs.freeze_execution(db, claim, cuda) == cuda
    assert jobs.freeze_execution(db, claim, EXECUTION) == cuda
    jobs.commit_slice(db, claim, half_slice())
    assert [job.queue for job in jobs.due(db, now=later(0), limit=9)] == [CUDA]


# fencing


def test_a_zombie_writes_nothing(db: Database) -> None:
    """An attempt whose job went to another is refused at every write, and the record is the other's alone."""
    accept(db)
    zombie = claim_next(db)
    assert lose_workers(db) == 1
    writes: list[Callable[[], object]] = [
        lambda: jobs.renew(db, zombie, live_steps=9, lease_seconds=60),
        lambda: jobs.freeze_execution(db, zombie, EXECUTION),
        lambda: jobs.commit_slice(db, zombie, whole_slice(zombie, parts=[Part("curves", "p", 0, 9, 1)])),
        lambda: fail(db, zombie),
    ]

    def assert_refused() -> None:
        for write in writes:
            with pytest.raises(LostClaim):
                write()

    assert_refused()  # while it is queued
    live = claim_next(db)
    assert_refused()  # while another has it
    assert jobs.parts(db, "c", "curves") == []
    assert found(db).steps_done == 0
    jobs.commit_slice(db, live, whole_slice(live))
    assert_refused()  # once it has succeeded


def test_a_zombie_decision_writes_nothing(db: Database) -> None:
    """Two attempts at one decision: the comparison ends once, as the later attempt says."""
    accept(db)
    claim = claim_next(db)
    jobs.commit_slice(db, claim, whole_slice(claim))
    zombie = claim_next(db)
    lose_workers(db)
    live = claim_next(db)
    with pytest.raises(LostClaim):
        jobs.close_round(db, zombie, result=RESULT, next_round=NewRound(1, "final", [shard(9)]), status=None)
    jobs.close_round(db, live, result=RESULT, next_round=None, status="succeeded")
    assert len(comparisons.trials(db, "c")) == 1
    assert found(db).status == "succeeded"


def test_a_deleted_comparison_is_lost_to_its_worker(db: Database) -> None:
    """A worker that still trains what was cancelled and deleted learns it from its next write."""
    accept(db)
    claim = claim_next(db)
    comparisons.cancel(db, "c")
    assert comparisons.delete(db, "c")
    with pytest.raises(LostClaim):
        jobs.renew(db, claim, live_steps=1, lease_seconds=60)
    with pytest.raises(LostClaim):
        jobs.commit_slice(db, claim, whole_slice(claim))


# slices


def test_a_slice_is_recorded(db: Database) -> None:
    """Parts in the order of their steps, outcomes of the trials, divergence as an event; numbers that JSON has not are null."""
    accept(db, shards=2)
    first, second = claim_next(db), claim_next(db)
    late, early = Part("statistics", "b", 6, 10, 4), Part("statistics", "a", 0, 5, 3)
    divergence = {"step": 7, "layer": "output", "last_finite_loss": 1.5}
    ended = [TrialOutcome(1, "diverged", divergence, float("inf"), float("nan"))]
    jobs.commit_slice(
        db, second, whole_slice(second, steps_done=7, parts=[Part("statistics", "z", 0, 7, 9)], trials=ended)
    )
    jobs.commit_slice(db, first, half_slice(parts=[early, Part("curves", "c", 0, 5, 1)]))
    first = claim_next(db)
    jobs.commit_slice(db, first, whole_slice(first, parts=[late]))
    assert [part.path for part in jobs.parts(db, "c", "statistics")] == ["a", "b", "z"]
    assert jobs.parts(db, "c", "statistics")[:2] == [early, late]
    assert [part.path for part in jobs.parts(db, "c", "curves")] == ["c"]
    completed, diverged = comparisons.trials(db, "c")
    assert (completed.outcome, completed.test_loss, completed.test_accuracy) == ("completed", 0.5, 0.75)
    assert (diverged.outcome, diverged.divergence, diverged.test_loss, diverged.test_accuracy) == (
        "diverged",
        divergence,
        None,
        None,
    )
    told = [event.data for event in events.after(db, "c", 0) if event.kind == "trial"]
    assert told == [{"trial": 1, "outcome": "diverged", "divergence": divergence}]
    assert found(db).steps_done == found(db).steps_total


def test_a_slice_that_cannot_be_recorded_is_not(db: Database) -> None:
    """A part under a path that is taken, as by a commit gone wrong, leaves the job as it was, still claimed."""
    accept(db)
    claim = claim_next(db)
    part = Part("curves", "same", 0, 5, 1)
    with pytest.raises(IntegrityError, match=r"(?i)unique"):
        jobs.commit_slice(db, claim, half_slice(parts=[part, part]))
    assert jobs.parts(db, "c", "curves") == []
    jobs.commit_slice(db, claim, half_slice(parts=[part]))


def test_progress_is_told_about_once_a_second(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first renewal is told at once, then one a second however often workers renew, with a speed and the time left."""
    accept(db, shards=2)
    claims = [claim_next(db), claim_next(db)]
    for steps in range(1, 5):
        for claim in claims:
            jobs.renew(db, claim, live_steps=steps, lease_seconds=60)
    assert (found(db).steps_done, found(db).rate) == (1, None)
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.05)
    time.sleep(0.06)
    jobs.renew(db, claims[0], live_steps=5, lease_seconds=60)
    record = found(db)
    assert (record.steps_done, record.steps_total) == (9, 20)
    assert record.rate is not None
    assert record.eta_seconds == pytest.approx(11 / record.rate, abs=0.1)
    first, second = [event.data for event in events.after(db, "c", 0) if event.kind == "progress"]
    assert (first["steps_done"], first["eta_seconds"]) == (1, None)
    assert (second["steps_done"], second["eta_seconds"]) == (9, record.eta_seconds)


def test_the_first_step_is_told_at_once(db: Database) -> None:
    """However short ago a renewal told that there is none yet; the second one waits."""
    accept(db)
    claim = claim_next(db)
    for steps in (0, 1, 2):
        jobs.renew(db, claim, live_steps=steps, lease_seconds=60)
    told = [event.data["steps_done"] for event in events.after(db, "c", 0) if event.kind == "progress"]
    assert told == [0, 1]


def test_steps_are_counted_beyond_32_bits(db: Database) -> None:
    """Many trials times many steps: the sum of a large shard has room in the record."""
    accept(db, round_=NewRound(0, "final", [shard(*range(400))]), trials_total=400, steps_total=400 * 10_000_000)
    jobs.renew(db, claim_next(db), live_steps=10_000_000, lease_seconds=60)
    assert found(db).steps_done == 4_000_000_000


# rounds


def test_the_last_shard_brings_up_one_decision(db: Database) -> None:
    """Eight shards that finish at the same moment leave exactly one decision, ten times over."""
    for turn in range(10):
        name = f"c{turn}"
        accept(db, name, shards=8)
        claims = [claim_next(db) for _ in range(8)]

        def commit(index: int, claims: list[Claim] = claims) -> None:
            jobs.commit_slice(db, claims[index], whole_slice(claims[index]))

        at_once(8, commit)
        assert len(states(db, "decision")) == turn + 1
        claim = claim_next(db)
        assert (claim.kind, claim.comparison_id) == ("decision", name)
        jobs.close_round(db, claim, result=RESULT, next_round=None, status="succeeded")


def test_no_decision_before_the_last_shard(db: Database) -> None:
    """As long as one shard of the round has a slice to go there is none."""
    accept(db, shards=2)
    first, second = claim_next(db), claim_next(db)
    jobs.commit_slice(db, first, whole_slice(first))
    jobs.commit_slice(db, second, half_slice())
    assert states(db, "decision") == []


def test_a_round_leads_to_the_next(db: Database) -> None:
    """Closing one stores its result and brings up the next round's shards and trials; closing the last ends the comparison."""
    accept(db, round_=NewRound(0, "tuning", [shard(0)]), steps_total=20, trials_total=2)
    claim = claim_next(db)
    jobs.commit_slice(db, claim, whole_slice(claim))
    partial = RESULT | {"partial": True}
    jobs.close_round(db, claim_next(db), result=partial, next_round=NewRound(1, "final", [shard(1)]), status=None)
    record = found(db)
    assert (record.status, record.round, record.result, record.steps_done) == ("running", "final", partial, 10)
    assert [trial.outcome for trial in comparisons.trials(db, "c")] == ["completed", "pending"]
    finish(db)
    record = found(db)
    assert (record.status, record.round, record.result, record.steps_done) == ("succeeded", None, RESULT, 20)
    assert record.finished_at is not None
    assert due_ids(db) == []


def test_a_round_is_closed_in_one_way(db: Database) -> None:
    """By the next round or by a status; a comparison that goes on has no partial result of one that was stopped."""
    accept(db)
    claim = claim_next(db)
    jobs.commit_slice(db, claim, whole_slice(claim))
    claim = claim_next(db)
    with pytest.raises(ValueError, match="either"):
        jobs.close_round(db, claim, result=RESULT, next_round=None, status=None)
    with pytest.raises(ValueError, match="has to be closed"):
        jobs.store_partial_result(db, claim, RESULT)
    with pytest.raises((StatementError, ValueError), match="Out of range"):  # NaN never gets into the record
        jobs.close_round(
            db, claim, result=RESULT | {"arms": [], "x": float("nan")}, next_round=None, status="succeeded"
        )
    assert found(db).result is None
    error = {"code": "no_arm", "message": "nothing to rank"}
    jobs.close_round(db, claim, result=RESULT, next_round=None, status="failed", error=error)
    assert (found(db).status, found(db).error) == ("failed", error)


# failures


def test_a_silent_worker_loses_its_job(db: Database) -> None:
    """While a lease is renewed nothing is reaped; once it runs out the job is due again at once, from its checkpoint."""
    accept(db)
    claim = claim_next(db, lease_seconds=5)
    jobs.commit_slice(db, claim, half_slice())
    claim = claim_next(db, lease_seconds=5)
    assert jobs.renew(db, claim, live_steps=8, lease_seconds=30) == "continue"
    assert jobs.reap(db, later(20)) == []
    assert jobs.reap(db, later(31)) == [jobs.Reaped("c", untold=False)]
    assert jobs.reap(db, later(31)) == []
    make_due(db)
    taken = again(db, claim)
    assert taken is not None
    assert (taken.attempt, taken.steps_done, taken.checkpoint) == (3, 5, "checkpoints/x")


def test_eight_reapers_reap_once(db: Database) -> None:
    """Each lost job is requeued, and counted as a failure, once."""
    accept(db, shards=4)
    for _ in range(4):
        claim_next(db)
    assert sum(at_once(8, lambda _: len(jobs.reap(db, later(61))))) == 4
    with db.read() as session:
        assert set(session.scalars(select(tables.job.c.failures))) == {1}


def test_a_failed_attempt_backs_off(db: Database) -> None:
    """It is not due at once, and due soon after."""
    accept(db)
    claim = claim_next(db)
    fail(db, claim)
    assert again(db, claim) is None
    assert due_ids(db) == []
    assert due_ids(db, in_seconds=1.1) == [claim.job_id]


def test_three_failures_in_a_row_end_the_comparison(db: Database) -> None:
    """With the last one's reason; other shards are not begun, running ones are told, and the partial result is asked for."""
    accept(db, shards=3)
    bad, other = claim_next(db), claim_next(db)
    for attempt in range(3):
        assert found(db).status == "running"
        fail(db, bad, code=f"code_{attempt}")
        make_due(db)
        if attempt < 2:
            taken = again(db, bad)
            assert taken is not None
            bad = taken
    record = found(db)
    assert (record.status, record.error) == ("failed", {"code": "code_2", "message": "it died"})
    assert record.finished_at is not None
    assert states(db, "shard") == ["failed", "running", "cancelled"]
    assert jobs.renew(db, other, live_steps=1, lease_seconds=60) == "cancel"
    jobs.commit_slice(db, other, half_slice())
    jobs.store_partial_result(db, claim_next(db), RESULT)
    assert (found(db).status, found(db).result) == ("failed", RESULT)


def test_progress_makes_failures_start_anew(db: Database) -> None:
    """Two failures, a committed slice, two more: it goes on; and an attempt that says it progressed does not count."""
    accept(db)
    for commits in (True, False):
        for _ in range(2):
            make_due(db)
            fail(db, claim_next(db))
        make_due(db)
        if commits:
            jobs.commit_slice(db, claim_next(db), half_slice())
    jobs.fail_attempt(db, claim_next(db), code="x", message="y", progressed=True)
    make_due(db)
    fail(db, claim_next(db))
    assert found(db).status == "running"


def test_a_job_that_silences_its_workers_fails(db: Database) -> None:
    """Three lost workers in a row without progress end the comparison in words."""
    accept(db)
    for _ in range(3):
        claim_next(db)
        lose_workers(db)
    error = found(db).error
    assert error is not None
    assert error["code"] == "worker_lost"
    assert "3 attempts" in error["message"]


def test_a_decision_that_always_fails_fails_the_comparison(db: Database) -> None:
    """It is tried three times; no further decision is made of it."""
    accept(db)
    claim = claim_next(db)
    jobs.commit_slice(db, claim, whole_slice(claim))
    for _ in range(3):
        make_due(db)
        fail(db, claim_next(db), code="decision_failed")
    assert found(db).status == "failed"
    assert states(db, "decision") == ["failed"]


# leases of the loop


def test_a_lease_has_one_owner(db: Database) -> None:
    """Of eight one gets it, keeps it, and hands it on when it is released or runs out."""
    assert sum(at_once(8, lambda index: leases.acquire(db, "loop", f"o{index}", 60))) == 1
    with db.read() as session:
        owner = session.scalars(select(tables.lease.c.owner)).one()
    assert leases.acquire(db, "loop", owner, 60)
    assert not leases.acquire(db, "loop", "other", 60)
    leases.release(db, "loop", "other")
    assert not leases.acquire(db, "loop", "other", 60)
    leases.release(db, "loop", owner)
    assert leases.acquire(db, "loop", "other", 0.01)
    time.sleep(0.02)
    assert leases.acquire(db, "loop", owner, 60)


# whose turn


def test_urgent_first_then_least_recently_served(db: Database) -> None:
    """Priority decides, then who waited longest for a turn, then age; a new comparison does not wait behind a large one."""
    urgent = SPEC.model_dump(mode="json") | {"priority": 1}
    accept(db, "large", shards=5)
    served = [claim_next(db).comparison_id, claim_next(db).comparison_id]
    accept(db, "small", shards=2)
    accept(db, "urgent", spec=urgent)
    served += [claim_next(db).comparison_id for _ in range(5)]
    assert served == ["large", "large", "urgent", "small", "large", "small", "large"]


def test_a_message_gives_the_turn_to_whoever_has_it(db: Database) -> None:
    """An old message for one comparison serves the one whose turn it is now, and stays under way for neither."""
    accept(db, "large", shards=3)
    claim_next(db)
    sent = due_ids(db)
    jobs.mark_published(db, sent, datetime.now(UTC))
    accept(db, "small")
    claim = jobs.claim_in_turn(db, sent[0], worker="w", lease_seconds=60)
    assert claim is not None
    assert claim.comparison_id == "small"
    assert due_ids(db) == [sent[0]]


def test_messages_are_few_and_sent_again(db: Database) -> None:
    """As many as the limit are under way in each queue; those that nobody answers in ten seconds are sent again."""
    accept(db, "cpu", shards=6)
    accept(db, "cuda", shards=3, device="cuda")
    now = datetime.now(UTC)
    first = jobs.due(db, now=now, limit=2)
    assert sorted(job.queue for job in first) == [CPU, CPU, CUDA, CUDA]
    jobs.mark_published(db, [job.id for job in first], now)
    assert jobs.due(db, now=now, limit=2) == []
    assert len(jobs.due(db, now=now, limit=3)) == 2
    assert jobs.due(db, now=now + timedelta(seconds=10.1), limit=2) == first
    jobs.claim(db, first[0].id, worker="w", lease_seconds=60)
    assert len(jobs.due(db, now=now, limit=2)) == 1


def test_a_slice_makes_room_only_for_those_that_would_come_first(db: Database) -> None:
    """Others' due jobs on the same kind of device and no less urgent; not its own, not those that back off."""
    accept(db, "mine", shards=2)
    claim = claim_next(db)

    def told() -> str:
        return jobs.renew(db, claim, live_steps=0, lease_seconds=60)

    assert told() == "continue"
    accept(db, "cuda", device="cuda")
    accept(db, "modest", spec=SPEC.model_dump(mode="json") | {"priority": -1})
    assert told() == "continue"
    accept(db, "equal")
    assert told() == "yield"
    other = jobs.claim(db, comparisons.trials(db, "equal")[0].job_id, worker="w", lease_seconds=60)
    assert other is not None
    assert told() == "continue"
    fail(db, other)
    assert told() == "continue"
    make_due(db)
    assert told() == "yield"
