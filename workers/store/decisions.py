"""The end of a decision: the next round, or the end of the comparison, in the transaction that stores the result."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection

from workers.contract.results import ENDED
from workers.store import claims, events, progress, rounds
from workers.store.claims import Claim
from workers.store.database import Database
from workers.store.rounds import NewRound


def close_round(
    db: Database,
    claim: Claim,
    *,
    result: dict[str, Any],
    next_round: NewRound | None,
    status: Literal["succeeded", "failed"] | None,
    error: dict[str, Any] | None = None,
    finished_at: datetime | None = None,
) -> bool:
    """Stores the result so far and either begins the next round or ends the comparison with a status.

    Of a comparison that has ended meanwhile nothing is stored and the decision stays claimed: it is `store_partial_result`'s,
    once what the caller has to write outside the record is written.

    Args:
        claim: on the round's decision.
        result: finite numbers and nulls only.
        error: {"code", "message"} of one that failed.
        finished_at: now, unless the caller has already told another time.

    Returns:
        False if the comparison had ended meanwhile.

    Raises:
        LostClaim: nothing was stored.
        ValueError: neither a next round nor a status is given, or both are.
    """
    if (next_round is None) == (status is None):
        raise ValueError("a round is closed by either a next round or a status")
    with db.write() as session:
        owner = claims.write(session, claim, state="running")  # it is ours, and not yet done
        if owner.status in ENDED:
            return False
        claims.write(session, claim, state="succeeded", lease_until=None)
        _store(session, owner.id, result)
        if next_round is not None:
            rounds.insert_round(session, owner.id, next_round)
            # what was counted before is the most there could be; after the final round there is nothing more
            known = rounds.planned(session, owner.id) if next_round.role == "final" else {}
            rounds.change(session, owner.id, round_number=next_round.number, round=next_round.role, **known)
        elif status is not None:
            progress.record(session, owner, always=True)
            rounds.end(session, owner.id, status, error=error, finished_at=finished_at)
    return True


def store_partial_result(db: Database, claim: Claim, result: dict[str, Any]) -> None:
    """Ends the decision of a comparison that was stopped: what is known of it by now.

    Raises:
        LostClaim: nothing was stored.
        ValueError: the comparison has not ended, so this decision has to close its round.
    """
    with db.write() as session:
        owner = claims.write(session, claim, state="succeeded", lease_until=None)
        if owner.status not in ENDED:
            raise ValueError(f"comparison {owner.id} is {owner.status}: its round has to be closed")
        _store(session, owner.id, result)


def _store(session: Connection, comparison_id: str, result: dict[str, Any]) -> None:
    rounds.change(session, comparison_id, result=result)
    arms = [
        {name: arm.get(name) for name in ("problem", "variant", "optimizer", "rank", "test_loss", "test_accuracy")}
        for arm in result["arms"]
    ]
    events.append(session, comparison_id, "ranking", {"arms": arms})
