"""The trials of a comparison, each with its curves."""

from typing import Any

import pyarrow as pa
from fastapi import APIRouter
from pydantic import Field

from service.errors import not_found
from service.resources import Here
from service.tables import finite
from workers.contract.results import Divergence, TrialReport, View
from workers.store import artifacts, comparisons, jobs
from workers.store.comparisons import TrialRecord

router = APIRouter(prefix="/v1/comparisons", tags=["results"])

Curves = dict[str, list[Any]]

ACCURACIES = ("train_accuracy", "validation_accuracy")


class Trials(View):
    """All trials planned so far, in the comparison's frozen order."""

    trials: list[TrialReport] = Field(examples=[[]])
    """Those of a later round are not planned before the round before it has ended."""


@router.get("/{comparison_id}/trials", responses={404: {}})
def trials(comparison_id: str, here: Here) -> Trials:
    """Every trial with its setting, seed, role, outcome and curves; partial while it runs. null in a curve stands for NaN or infinity."""
    if comparisons.find(here.database, comparison_id) is None:
        raise not_found(comparison_id)
    parts = jobs.parts(here.database, comparison_id, "curves")
    curves = by_trial(artifacts.read_curves(here.settings.artifacts, comparison_id, parts))
    records = comparisons.trials(here.database, comparison_id)
    return Trials(trials=[_report(record, curves.get(record.trial, {})) for record in records])


def by_trial(table: pa.Table) -> dict[int, Curves]:
    """Each trial's curves by name, steps increasing. Accuracies are left out where there are none: on regressions."""
    found: dict[int, Curves] = {}
    if table.num_rows == 0:
        return found
    table = table.sort_by([("trial", "ascending"), ("step", "ascending")])
    lengths = table.column("trial").combine_chunks().value_counts()
    names = [name for name in table.column_names if name != "trial" and not _is_missing(table, name)]
    columns = {name: finite(table.column(name).combine_chunks()).to_pylist() for name in names}
    start = 0
    for trial, length in zip(lengths.field("values").to_pylist(), lengths.field("counts").to_pylist(), strict=True):
        found[trial] = {name: values[start : start + length] for name, values in columns.items()}
        start += length
    return found


def _is_missing(table: pa.Table, name: str) -> bool:
    return name in ACCURACIES and table.column(name).null_count == table.num_rows


def _report(record: TrialRecord, curves: Curves) -> TrialReport:
    return TrialReport(
        trial=record.trial,
        problem=record.problem,
        variant=record.variant,
        optimizer=record.optimizer,
        hyperparameters=record.hyperparameters,
        seed=record.seed,
        role=record.role,
        outcome=record.outcome,
        divergence=Divergence.model_validate(record.divergence) if record.divergence else None,
        test_loss=record.test_loss,
        test_accuracy=record.test_accuracy,
        curves=curves,
    )
