"""`python store_worker.py URL JOURNAL STOP KIND`: a worker that trains nothing, until the file STOP is there.

It notes in its journal what it did, a line for each: an event, a job and an attempt. Slices carry their attempt into the record:
in the path of a part, in a trial's loss, in the result. A "worker" just works; a "victim" has a job in the middle of a slice and
waits to be killed; a "zombie" stops there, and when it wakes up tries every write there is.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from store_samples import EXECUTION, RESULT, STEPS, half_slice, whole_slice

from workers.store import jobs, turns
from workers.store.database import Database, open_database
from workers.store.jobs import Claim, LostClaim, Part, Slice, TrialOutcome

LEASE_SECONDS = 3.0
BEFORE_IT_HAPPENS = 3
"""Slices that a victim or a zombie commits as others do."""


def main(url: str, journal: str, stop: str, kind: str) -> None:
    db = open_database(url)
    chance = random.Random(journal)  # noqa: S311 - which job it takes is no secret
    slices = 0
    with Path(journal).open("a", buffering=1) as lines:

        def tell(event: str, claim: Claim) -> None:
            lines.write(f"{event} {claim.job_id} {claim.attempt}\n")

        while not Path(stop).exists():
            claim = take(db, chance)
            if claim is None:
                time.sleep(0.01)
                continue
            tell("claimed", claim)
            try:
                if claim.kind == "decision":
                    result = RESULT | {"attempt": claim.attempt}
                    if not jobs.close_round(db, claim, result=result, next_round=None, status="succeeded"):
                        jobs.store_partial_result(db, claim, result)
                    continue
                slices += 1
                made = train(db, claim, chance)
                if slices > BEFORE_IT_HAPPENS and kind == "victim":
                    tell("waits", claim)
                    signal.pause()
                if slices > BEFORE_IT_HAPPENS and kind == "zombie":
                    os.kill(os.getpid(), signal.SIGSTOP)
                    tell("fenced" if all(refused(write) for write in writes(db, claim, made)) else "written", claim)
                    kind = "worker"
                    continue
                jobs.commit_slice(db, claim, made)
                tell("committed", claim)
            except LostClaim:
                tell("lost", claim)
    db.close()


def take(db: Database, chance: random.Random) -> Claim | None:
    """One of the next jobs, as a message of it would have it: the job itself or the one whose turn it is."""
    with db.read() as session:
        due = turns.in_order(session, turns.CPU, datetime.now(UTC), limit=8)
    if not due:
        return None
    ask = chance.choice([jobs.claim, jobs.claim_in_turn])
    return ask(db, chance.choice(due), worker=f"w{os.getpid()}", lease_seconds=LEASE_SECONDS)


def train(db: Database, claim: Claim, chance: random.Random) -> Slice:
    """Half of what there is to do, or all of it."""
    for live_steps in range(claim.steps_done, claim.steps_done + 3):
        jobs.renew(db, claim, live_steps=live_steps, lease_seconds=LEASE_SECONDS)
        time.sleep(chance.uniform(0, 0.005))
    whole = claim.steps_done > 0 or chance.random() < 0.5
    last = STEPS if whole else 5
    part = Part("curves", f"{claim.job_id}-{claim.attempt}", claim.steps_done, last, 1)
    if not whole:
        return half_slice(parts=[part])
    assert claim.shard is not None
    trials = [TrialOutcome(trial.trial, "completed", None, float(claim.attempt), 0.5) for trial in claim.shard.trials]
    return whole_slice(claim, parts=[part], trials=trials)


def writes(db: Database, claim: Claim, made: Slice) -> list[Callable[[], object]]:
    return [
        lambda: jobs.renew(db, claim, live_steps=9, lease_seconds=LEASE_SECONDS),
        lambda: jobs.freeze_execution(db, claim, EXECUTION),
        lambda: jobs.commit_slice(db, claim, made),
        lambda: jobs.fail_attempt(db, claim, code="zombie", message="it woke up", progressed=False),
    ]


def refused(write: Callable[[], object]) -> bool:
    try:
        write()
    except LostClaim:
        return True
    return False


if __name__ == "__main__":
    main(*sys.argv[1:])
