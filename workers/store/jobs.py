"""Units of work, as dispatcher, worker and service see them.

A job is queued, running, succeeded, failed or cancelled. A worker claims it, trains a slice and commits it, after which the
job is due again or has succeeded; or fails, after which it is tried again; or falls silent, and is reaped.
"""

from workers.store.claims import Claim, LostClaim, claim, claim_in_turn, freeze_execution, renew
from workers.store.decisions import close_round, store_partial_result
from workers.store.failures import Reaped, fail_attempt, reap
from workers.store.parts import Part
from workers.store.slices import Slice, TrialOutcome, commit_slice, parts
from workers.store.turns import DueJob, due, mark_published

__all__ = [
    "Claim",
    "DueJob",
    "LostClaim",
    "Part",
    "Reaped",
    "Slice",
    "TrialOutcome",
    "claim",
    "claim_in_turn",
    "close_round",
    "commit_slice",
    "due",
    "fail_attempt",
    "freeze_execution",
    "mark_published",
    "parts",
    "reap",
    "renew",
    "store_partial_result",
]
