"""What the folder of an ended comparison says of it: its record, its trials and its result, as JSON."""

import dataclasses
from typing import Any

from workers.contract.results import ENDED
from workers.store import comparisons
from workers.store.artifacts import write_json
from workers.store.comparisons import ComparisonRecord, TrialRecord
from workers.store.database import Database
from workers.store.files import Root


def write(root: Root, record: ComparisonRecord, trials: list[TrialRecord], result: dict[str, Any] | None) -> None:
    """Everything in the record that a rebuilt one would need; `result` is left out where there is none."""
    about = {
        "id": record.id,
        "status": record.status,
        "error": record.error,
        "created_at": record.created_at.isoformat(),
        "started_at": record.started_at.isoformat() if record.started_at else None,
        "finished_at": record.finished_at.isoformat() if record.finished_at else None,
        "spec": record.spec,
    }
    write_json(root, record.id, "comparison.json", about)
    write_json(root, record.id, "trials.json", [dataclasses.asdict(trial) for trial in trials])
    if result is not None:
        write_json(root, record.id, "result.json", result)


def tell(db: Database, root: Root, comparison_id: str) -> None:
    """What is known of a comparison that a decision has failed for good. Its parts stay as they are: they may be the reason.

    Raises:
        OSError: the place of results does not answer.
    """
    record = comparisons.find(db, comparison_id)
    if record is not None and record.status in ENDED:
        write(root, record, comparisons.trials(db, comparison_id), record.result)
