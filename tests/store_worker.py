"""A worker without a trainer: takes jobs in their turn and commits a slice of each until all comparisons have ended.

    python store_worker.py URL NAME [HOLD_SECONDS]

It tells what it does in lines: `holding JOB ATTEMPT`, then `did JOB ATTEMPT` (a slice that finishes the job), `began JOB ATTEMPT`
(one that does not) or `lost JOB ATTEMPT`.
"""

import sys
import time
from datetime import UTC, datetime

from sqlalchemy import func, select
from store_samples import RESULT, half_slice, whole_slice

from workers.store import jobs, tables
from workers.store.database import Database, open_database
from workers.store.jobs import Claim, LostClaim

LEASE_SECONDS = 1.0


def main(url: str, name: str, hold_seconds: float) -> None:
    db = open_database(url)
    while unfinished(db):
        for job in jobs.due(db, now=datetime.now(UTC), limit=20):
            claim = jobs.claim_in_turn(db, job.id, worker=name, lease_seconds=LEASE_SECONDS)
            if claim is not None:
                work(db, claim, hold_seconds)
        time.sleep(0.005)


def unfinished(db: Database) -> int:
    comparison = tables.comparison.c
    with db.read() as session:
        waiting = select(func.count()).where(comparison.status.in_(("queued", "running")))
        return session.scalar(waiting) or 0


def tell(what: str, claim: Claim) -> None:
    sys.stdout.write(f"{what} {claim.job_id} {claim.attempt}\n")
    sys.stdout.flush()


def work(db: Database, claim: Claim, hold_seconds: float) -> None:
    tell("holding", claim)
    time.sleep(hold_seconds)
    half = claim.kind == "shard" and claim.steps_done == 0
    try:
        if claim.kind == "shard":
            jobs.renew(db, claim, live_steps=claim.steps_done + 1, lease_seconds=LEASE_SECONDS)
            jobs.commit_slice(db, claim, half_slice() if half else whole_slice(claim))
        else:
            jobs.close_round(db, claim, result=RESULT, next_round=None, status="succeeded")
    except LostClaim:
        tell("lost", claim)
    else:
        tell("began" if half else "did", claim)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else 0.01)
