"""Decisions, on a real database and real files: rounds follow each other, answers are written once and whole."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from math import isnan, nan
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from analysis_samples import LAYERS, comparison
from sqlalchemy import select, update
from store_samples import (
    EXECUTION,
    accept,
    claim_next,
    due_ids,
    found,
    half_slice,
    lose_workers,
    make_due,
    opened,
    states,
)
from store_samples import whole_slice as finished

from service.loop import Loop
from workers import decide as deciding
from workers.analysis.protocol import first_round, totals
from workers.analysis.result import build_result
from workers.contract.comparison import ComparisonSpec
from workers.contract.plan import Trial
from workers.contract.results import Result
from workers.decide import decide
from workers.settings import Settings
from workers.store import artifacts, comparisons, jobs, merging, tables
from workers.store.comparisons import NewRound
from workers.store.database import Database
from workers.store.jobs import Claim, Part, TrialOutcome

TARGET = {"metric": "validation_loss", "value": 1.0}
"""Met at the last step."""
TUNED = comparison("sgd", "vsgd_fd", tuning={"points": 3, "decades": 2, "seeds": 2}, seeds=3, steps=10, target=TARGET)
PLAIN = comparison("sgd", "adam", {"kind": "vsgd_fd", "batch_size": 16}, tuning=None, seeds=2, steps=10)
SECONDS = {"sgd": 0.25, "adam": 0.5, "vsgd_fd": 1.0}
"""What a step takes."""
DIVERGENCE = {"step": 7, "layer": "output", "last_finite_loss": 1e9}
FILES = ["comparison.json", "curves.parquet", "result.json", "statistics.parquet", "trials.json"]


def loss(trial: Trial) -> float:
    """The smaller the rate the better, other things equal; adam's second seed diverges."""
    if trial.optimizer == "adam" and trial.seed == 1:
        return nan
    return float(trial.hyperparameters.get("lr", 0.2)) + 0.001 * (trial.seed % 10)  # type: ignore[arg-type]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(artifacts=tmp_path / "artifacts", lease_seconds=60)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = opened(tmp_path)
    yield database
    database.close()


def begin(db: Database, spec: ComparisonSpec) -> None:
    planned, (trials, steps) = first_round(spec), totals(spec)
    first = NewRound(planned.number, planned.role, planned.shards)
    accept(db, spec=spec.model_dump(mode="json"), round_=first, trials_total=trials, steps_total=steps)


def recorded(settings: Settings, claim: Claim, steps: list[int]) -> list[Part]:
    """A checkpoint, and the parts that a slice over these steps leaves."""
    assert claim.shard is not None
    checkpoint = artifacts.checkpoint_name(claim.job_id, claim.attempt, steps[-1])
    with artifacts.folder(settings.artifacts, "c").writing(checkpoint) as path:
        path.touch()
    rows: dict[Any, list[dict[str, Any]]] = {"curves": [], "statistics": []}
    for trial in claim.shard.trials:
        about = {"variant": trial.variant, "optimizer": trial.optimizer, "lr": trial.hyperparameters.get("lr")}
        for step in steps:
            here = {"trial": trial.trial, "step": step}
            value = loss(trial) if step == 10 else 10 - loss(trial)  # until the last step the worst is ahead
            rows["curves"].append(here | {"train_loss": value, "validation_loss": value})
            rows["statistics"] += [
                here | about | {"seed": trial.seed, "layer": layer, "depth": depth, "error_signal_norm": 10.0**depth}
                for depth, layer in enumerate(LAYERS)
            ]
    name = f"{claim.job_id}-{claim.attempt}-{steps[0]}"
    return [
        Part(
            kind,
            artifacts.write_part(settings.artifacts, "c", kind, name, pa.Table.from_pylist(table)),
            steps[0],
            steps[-1],
            len(table),
        )
        for kind, table in rows.items()
    ]


def train(db: Database, settings: Settings) -> None:
    """All shards of the round, in two slices each; then its decision is due."""
    while "queued" in states(db, "shard"):
        claim = claim_next(db)
        assert claim.shard is not None
        if not claim.steps_done:
            jobs.freeze_execution(db, claim, EXECUTION)
            jobs.commit_slice(db, claim, half_slice(parts=recorded(settings, claim, [0, 5])))
            continue
        ended = [
            TrialOutcome(trial.trial, "diverged", DIVERGENCE, nan, nan)
            if isnan(loss(trial))
            else TrialOutcome(trial.trial, "completed", None, loss(trial), 0.9)
            for trial in claim.shard.trials
        ]
        seconds = {trial.optimizer: SECONDS[trial.optimizer] for trial in claim.shard.trials}
        done = finished(claim, parts=recorded(settings, claim, [10]), trials=ended, step_seconds=seconds)
        jobs.commit_slice(db, claim, done)


def written(settings: Settings, name: str) -> Any:
    return json.loads((Path(settings.artifacts) / "c" / name).read_text())


def result(db: Database) -> Result:
    return Result.model_validate(found(db).result)


def statistics(db: Database, settings: Settings) -> list[dict[str, Any]]:
    parts = jobs.parts(db, "c", "statistics")
    return [row for batch in artifacts.read_statistics(settings.artifacts, "c", parts) for row in batch.to_pylist()]


def test_a_tuning_round_is_followed_by_the_final_one(db: Database, settings: Settings) -> None:
    """The best rate of the search on fresh seeds, the default beside it; the answer so far is told, its parts are kept."""
    begin(db, TUNED)
    train(db, settings)
    decide(db, claim_next(db), settings)
    record = found(db)
    assert (record.status, record.round) == ("running", "final")
    planned = [trial for trial in comparisons.trials(db, "c") if trial.outcome == "pending"]
    assert [(t.trial, t.optimizer, t.hyperparameters.get("lr"), t.seed, t.role) for t in planned] == [
        *((6 + seed, "sgd", 0.01, seed, "final") for seed in range(3)),
        *((9 + seed, "sgd", 0.1, seed, "defaults") for seed in range(3)),
        *((12 + seed, "vsgd_fd", None, seed, "final") for seed in range(3)),
    ]
    assert result(db).partial and result(db).arms[0].hyperparameters["lr"] == 0.01
    kept = {path.name for path in (Path(settings.artifacts) / "c").iterdir()}
    assert kept == {"parts", "checkpoints"}


def test_widening_rounds_come_before_the_final_one_whoever_is_killed(db: Database, settings: Settings) -> None:
    """Each decision is begun by a worker that is lost, made by the next, and repeated by the first: one round follows, no trial twice."""
    tuning = {"points": 3, "decades": 2, "seeds": 2, "widen": 2}
    spec = comparison("sgd", "vsgd_fd", tuning=tuning, seeds=3, steps=10)
    begin(db, spec)
    assert found(db).trials_total == (3 + 1 + 1) * 2 + 6 + 3
    rounds = []
    while found(db).status not in ("succeeded", "failed"):
        record = found(db)
        rounds.append((record.round, [t.trial for t in comparisons.trials(db, "c") if t.outcome == "pending"]))
        train(db, settings)
        lost = claim_next(db)
        assert lose_workers(db) == 1
        decide(db, lost, settings)
        decide(db, claim_next(db), settings)
        decide(db, lost, settings)
    assert rounds == [
        ("tuning", [0, 1, 2, 3, 4, 5]),
        ("tuning", [6, 7]),
        ("tuning", [8, 9]),
        ("final", list(range(10, 19))),
    ]
    sgd = next(arm for arm in result(db).arms if arm.optimizer == "sgd")
    assert (sgd.widened, sgd.hyperparameters["lr"]) == ({"lr": [0.001, 0.0001]}, 0.0001)
    assert states(db, "decision") == ["succeeded"] * 4
    assert found(db).steps_done == found(db).steps_total == 19 * 10


def test_once_the_final_round_is_known_progress_counts_only_what_runs(db: Database, settings: Settings) -> None:
    """No momentum is as good as any, so that neither widening nor a row of defaults is needed: both are no longer waited for."""
    rule = {"kind": "sgd", "momentum": [0, 0.5, 0.9]}
    begin(db, comparison("vsgd_fd", rule, tuning={"seeds": 1, "widen": 1}, seeds=2, steps=10))
    assert (found(db).trials_total, found(db).steps_total) == (3 + 1 + 2 * 2 + 2, 100)
    for _ in range(2):
        train(db, settings)
        decide(db, claim_next(db), settings)
        assert (found(db).trials_total, found(db).steps_total) == (3 + 2 + 2, 70)
    assert found(db).steps_done == 70


def test_the_final_decision_writes_all_that_is_known(db: Database, settings: Settings) -> None:
    """Both rounds' rows in one file a kind, documents that agree with the record; parts and checkpoints are gone."""
    begin(db, TUNED)
    for _ in range(2):
        train(db, settings)
        before = statistics(db, settings)
        decide(db, claim_next(db), settings)
    record, trials = found(db), comparisons.trials(db, "c")
    assert record.status == "succeeded" and states(db, "decision") == ["succeeded"] * 2
    assert sorted(path.name for path in (Path(settings.artifacts) / "c").iterdir()) == FILES
    assert len(before) == len(trials) * len(LAYERS) * 3 == pq.read_metadata(merged(settings, "statistics")).num_rows
    assert statistics(db, settings) == before
    assert pq.read_table(merged(settings, "curves"))["trial"].to_pylist() == [t.trial for t in trials for _ in range(3)]
    assert written(settings, "result.json") == record.result and not result(db).partial
    assert [(t["trial"], t["outcome"], t["test_loss"]) for t in written(settings, "trials.json")] == [
        (t.trial, "completed", t.test_loss) for t in trials
    ]
    about = written(settings, "comparison.json")
    assert (about["id"], about["status"], about["error"]) == ("c", "succeeded", None)
    assert ComparisonSpec.model_validate(about["spec"]) == TUNED
    assert due_ids(db, in_seconds=60) == []
    seconds = {arm.optimizer: (arm.step_seconds, arm.seconds_to_target) for arm in result(db).arms}
    assert {name: told[0] for name, told in seconds.items()} == {"sgd": 0.25, "vsgd_fd": 1.0}
    sgd = seconds["sgd"][1]
    assert sgd is not None and sgd.iqm == 10 * 0.25


def merged(settings: Settings, kind: str) -> Path:
    return Path(settings.artifacts) / "c" / f"{kind}.parquet"


def test_divergence_reaches_the_answer_and_the_files(db: Database, settings: Settings) -> None:
    """A diverged trial has no numbers, is counted, and its losses stay NaN in the columns."""
    begin(db, PLAIN)
    train(db, settings)
    decide(db, claim_next(db), settings)
    adam = next(arm for arm in result(db).arms if arm.optimizer == "adam")
    assert (adam.trials.completed, adam.trials.diverged) == (1, 1)
    told = next(t for t in written(settings, "trials.json") if t["outcome"] == "diverged")
    assert (told["seed"], told["test_loss"], told["divergence"]["step"]) == (1, None, 7)
    curves = pq.read_table(merged(settings, "curves")).to_pylist()
    assert {row["trial"] for row in curves if isnan(row["validation_loss"])} == {told["trial"]}


def test_the_answer_does_not_depend_on_how_rows_are_read(
    db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that end in the middle of a trial, and of a step, give the diagnosis of one batch."""
    begin(db, PLAIN)
    train(db, settings)
    claim = claim_next(db)
    decide(db, claim, settings)
    whole = result(db)
    assert whole.arms[0].diagnosis is not None and whole.arms[0].diagnosis.at_step_0 is not None
    monkeypatch.setattr(merging, "BATCH_ROWS", 3)
    with db.write() as session:
        session.execute(update(tables.job).where(tables.job.c.id == claim.job_id).values(state="running"))
        session.execute(update(tables.comparison).values(status="running", result=None))
    decide(db, claim, settings)
    assert result(db) == whole


def test_a_decision_is_repeated_after_a_crash(db: Database, settings: Settings) -> None:
    """One worker writes all files and cannot commit; the next one, with parts and checkpoints gone, says the same."""
    begin(db, PLAIN)
    train(db, settings)
    lost = claim_next(db)
    assert lose_workers(db) == 1
    decide(db, lost, settings)
    assert (found(db).status, found(db).result) == ("running", None)
    assert sorted(path.name for path in (Path(settings.artifacts) / "c").iterdir()) == FILES
    before = {name: (Path(settings.artifacts) / "c" / name).read_bytes() for name in FILES}
    decide(db, claim_next(db), settings)
    assert found(db).status == "succeeded"
    assert found(db).result == json.loads(before["result.json"])
    after = {name: (Path(settings.artifacts) / "c" / name).read_bytes() for name in FILES}
    told, retold = (json.loads(files.pop("comparison.json")) for files in (before, after))
    assert retold == {**told, "finished_at": ended_at(db)}
    assert after == before


def test_a_cancelled_comparison_keeps_what_was_trained(db: Database, settings: Settings) -> None:
    """One shard half trained, the others not begun: a partial answer with the diagnosis so far, statistics in their file."""
    begin(db, PLAIN)
    claim = claim_next(db)
    jobs.commit_slice(db, claim, half_slice(parts=recorded(settings, claim, [0, 5])))
    comparisons.cancel(db, "c")
    before = statistics(db, settings)
    decide(db, claim_next(db), settings)
    assert found(db).status == written(settings, "comparison.json")["status"] == "cancelled"
    assert result(db).partial and written(settings, "result.json") == found(db).result
    diagnosis = result(db).arms[0].diagnosis
    assert diagnosis is not None and diagnosis.step == 5
    assert {t["outcome"] for t in written(settings, "trials.json")} == {"cancelled"}
    assert len(before) > 0 and statistics(db, settings) == before
    assert sorted(path.name for path in (Path(settings.artifacts) / "c").iterdir()) == FILES


@pytest.mark.parametrize("spec", [TUNED, PLAIN], ids=["tuning", "final"])
def test_a_comparison_cancelled_before_anything_ran(db: Database, settings: Settings, spec: ComparisonSpec) -> None:
    """There is an answer without a number in it; tables are only there where there are rows."""
    begin(db, spec)
    comparisons.cancel(db, "c")
    decide(db, claim_next(db), settings)
    assert {arm.rank for arm in result(db).arms} == {arm.test_loss.iqm for arm in result(db).arms} == {None}
    assert statistics(db, settings) == []
    documents = [name for name in FILES if name.endswith(".json")]
    assert sorted(path.name for path in (Path(settings.artifacts) / "c").iterdir()) == documents


def test_a_comparison_whose_training_failed(db: Database, settings: Settings) -> None:
    """It stays failed, its files say why, and what was trained until then is answered for."""
    begin(db, PLAIN)
    claim = claim_next(db)
    jobs.commit_slice(db, claim, half_slice(parts=recorded(settings, claim, [0, 5])))
    while found(db).status == "running":
        jobs.fail_attempt(db, claim_next(db), code="trainer_failed", message="out of luck", progressed=False)
        make_due(db)
    decide(db, claim_next(db), settings)
    error = {"code": "trainer_failed", "message": "out of luck"}
    about = written(settings, "comparison.json")
    assert (found(db).status, found(db).error) == (about["status"], about["error"]) == ("failed", error)
    assert written(settings, "result.json") == found(db).result and result(db).partial
    assert len(statistics(db, settings)) > 0 and not (Path(settings.artifacts) / "c" / "parts").exists()


@pytest.mark.parametrize("spec", [TUNED, PLAIN], ids=["tuning", "final"])
def test_cancelled_in_the_middle_of_a_decision(
    db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch, spec: ComparisonSpec
) -> None:
    """No further round; record and files agree that it was cancelled, and nothing is left to be done."""
    begin(db, spec)
    train(db, settings)
    during(monkeypatch, lambda: comparisons.cancel(db, "c"))
    decide(db, claim_next(db), settings)
    assert found(db).status == written(settings, "comparison.json")["status"] == "cancelled"
    assert written(settings, "comparison.json")["finished_at"] == ended_at(db)
    assert written(settings, "result.json") == found(db).result
    assert sorted(path.name for path in (Path(settings.artifacts) / "c").iterdir()) == FILES
    assert due_ids(db, in_seconds=60) == [] and set(states(db, "decision")) == {"succeeded"}


def test_killed_after_a_decision_was_overtaken_by_a_cancel(
    db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its files were written: the decision is still to be made, so that the next attempt writes them."""
    begin(db, PLAIN)
    train(db, settings)
    real = jobs.close_round

    def killed(*given: Any, **named: Any) -> bool:
        comparisons.cancel(db, "c")
        assert not real(*given, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "close_round", killed)
    with pytest.raises(KeyboardInterrupt):
        decide(db, claim_next(db), settings)
    assert (states(db, "decision"), found(db).result) == (["running"], None)
    lose_workers(db)
    decide(db, claim_next(db), settings)
    assert written(settings, "comparison.json")["status"] == found(db).status == "cancelled"
    assert written(settings, "result.json") == found(db).result


def ended_at(db: Database) -> str:
    at = found(db).finished_at
    assert at is not None
    return at.isoformat()


def during(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Lets something happen after a decision has read the record and before it writes."""

    def built(*given: Any) -> Result:
        action()
        return build_result(*given)

    monkeypatch.setattr(deciding, "build_result", built)


def test_a_decision_that_cannot_be_made_fails_the_comparison(db: Database, settings: Settings) -> None:
    """A part that is gone: tried three times, then the comparison has failed, and its error says why."""
    begin(db, PLAIN)
    train(db, settings)
    gone = Path(settings.artifacts) / "c" / jobs.parts(db, "c", "curves")[0].path
    gone.unlink()
    for attempt in range(1, 4):
        assert found(db).status == "running"
        claim = claim_next(db)
        assert (claim.kind, claim.attempt) == ("decision", attempt)
        decide(db, claim, settings)
        make_due(db)
    record = found(db)
    assert (record.status, record.result) == ("failed", None)
    assert record.error is not None and record.error["code"] == "decision_failed"
    assert "FileNotFoundError" in record.error["message"] and gone.name in record.error["message"]
    about = written(settings, "comparison.json")
    assert (about["status"], about["error"], about["finished_at"]) == ("failed", record.error, ended_at(db))
    assert len(written(settings, "trials.json")) == record.trials_total
    assert due_ids(db, in_seconds=60) == []
    assert (
        len(list((Path(settings.artifacts) / "c" / "parts").iterdir()))
        == len(jobs.parts(db, "c", "statistics")) * 2 - 1
    )


def test_a_decision_whose_workers_die_is_told_by_the_loop(db: Database, settings: Settings) -> None:
    """Lost three times, the comparison has failed; its documents are written by whoever reaps, once their place is back."""
    begin(db, PLAIN)
    train(db, settings)
    for _ in range(2):
        assert claim_next(db).kind == "decision"
        assert lose_workers(db) == 1
    claim_next(db, lease_seconds=-1)
    place = Path(settings.artifacts)
    away = place.rename(place.with_name("away"))
    place.write_text("a file where a directory was")
    loop = Loop(db, lambda *_: None, artifacts=settings.artifacts, lease_seconds=60)
    loop.start()
    try:
        wait_until(lambda: found(db).status == "failed")
        place.unlink()
        away.rename(place)
        loop.wake()
        wait_until((place / "c" / "trials.json").exists)
    finally:
        loop.stop()
    about = written(settings, "comparison.json")
    assert about["status"] == "failed" and about["error"] == found(db).error
    assert about["error"]["code"] == "worker_lost" and about["finished_at"] == ended_at(db)
    assert len(written(settings, "trials.json")) == found(db).trials_total


def wait_until(condition: Callable[[], bool]) -> None:
    patience = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.02)


def test_a_decision_that_fails_once_is_made_by_the_next_attempt(db: Database, settings: Settings) -> None:
    """The part is back, as on a volume that was away for a moment."""
    begin(db, PLAIN)
    train(db, settings)
    parts = Path(settings.artifacts) / "c" / "parts"
    away = parts.rename(parts.with_name("away"))
    decide(db, claim_next(db), settings)
    assert found(db).status == "running"
    away.rename(parts)
    make_due(db)
    decide(db, claim_next(db), settings)
    assert (found(db).status, found(db).error) == ("succeeded", None)


def test_a_deleted_comparison_is_not_decided(db: Database, settings: Settings) -> None:
    """The claim is lost, quietly; no files come back."""
    begin(db, PLAIN)
    comparisons.cancel(db, "c")
    claim = claim_next(db)
    comparisons.delete(db, "c")
    decide(db, claim, settings)
    assert comparisons.find(db, "c") is None and not Path(settings.artifacts).exists()


def test_the_lease_is_kept_while_a_decision_takes_long(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is renewed time and again, and when the first one would have run out the reaper finds nothing to take away."""
    settings = Settings(artifacts=tmp_path / "artifacts", lease_seconds=1)
    begin(db, PLAIN)
    train(db, settings)
    claim = claim_next(db, lease_seconds=settings.lease_seconds)
    until = select(tables.job.c.lease_until).where(tables.job.c.id == claim.job_id)

    def wait_for_renewals() -> None:
        seen: set[datetime] = set()
        give_up = time.monotonic() + 60
        while len(seen) < 5 and time.monotonic() < give_up:
            with db.read() as session:
                seen.add(session.scalars(until).one())
            time.sleep(0.02)
        assert len(seen) == 5
        assert jobs.reap(db, min(seen) + timedelta(milliseconds=1)) == []

    during(monkeypatch, wait_for_renewals)
    decide(db, claim, settings)
    assert found(db).status == "succeeded"
