"""The statistics of a comparison: four formats of the same table, filters, and curves per trial."""

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet
import pytest
from api_server import Service, claim_next, finish, serving, submit, train

from workers.contract.statistics import COLUMNS, KEYS, recorded
from workers.store import artifacts, jobs
from workers.store.parts import Kind

KINDS: tuple[Kind, ...] = ("statistics", "curves")


class Finished(NamedTuple):
    service: Service
    path: str
    rows: list[dict[str, Any]]
    """What was written, in the order of the table."""


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["trial"], row["step"], row["depth"]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    with serving(tmp_path_factory.mktemp("service")) as service:
        made = submit(
            service,
            variants={"a,b": {"init": "orthogonal"}},
            optimizers=["sgd", {"kind": "rmsprop", "lr": [0.001, 0.01]}, "vsgd_fd"],
            record={"statistics": "full"},
        )
        rows = finish(service, made["id"])
        yield Finished(service, f"/v1/comparisons/{made['id']}/statistics", in_order(rows))


def read(finished: Finished, **params: Any) -> list[dict[str, Any]]:
    """Rows as the JSON format tells them."""
    answer = finished.service.client.get(finished.path, params=params)
    assert answer.status_code == 200, answer.text
    table = answer.json()
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    return bool(left == right)


def assert_rows(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        wrong = [name for name in theirs if not same(ours[name], theirs[name])]
        assert not wrong, (wrong, ours, theirs)


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }


def test_json_has_every_row_in_order(finished: Finished) -> None:
    """Columns as the contract lists them, rows by trial, step and depth, NaN and infinity as null."""
    answer = finished.service.client.get(finished.path)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["columns"] == list(COLUMNS)
    assert_rows(read(finished), [as_json(row) for row in finished.rows])


def test_arrow_and_parquet_keep_nan_and_infinity(finished: Finished) -> None:
    """Both binary formats give back exactly what was written, null and NaN apart."""
    client = finished.service.client
    arrow = client.get(finished.path, params={"format": "arrow"})
    parquet = client.get(finished.path, params={"format": "parquet"})
    from_arrow = pa.ipc.open_stream(arrow.content).read_all()
    from_parquet = pa.parquet.read_table(io.BytesIO(parquet.content))
    assert tuple(from_arrow.column_names) == tuple(from_parquet.column_names) == COLUMNS
    assert_rows(from_arrow.to_pylist(), finished.rows)
    assert_rows(from_parquet.to_pylist(), finished.rows)
    assert "attachment" in parquet.headers["content-disposition"]
    assert "content-length" not in parquet.headers, "it is streamed"


def test_csv_says_the_same(finished: Finished) -> None:
    """Numbers are read back exactly; nan and inf are words, and null is an empty field."""
    answer = finished.service.client.get(finished.path, params={"format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    found = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(found) == len(finished.rows)
    for ours, theirs in zip(found, finished.rows, strict=True):
        for name, value in theirs.items():
            if value is None:
                assert ours[name] == ""
            elif isinstance(value, str):
                assert ours[name] == value
            else:
                assert same(float(ours[name]), float(value)), name


@pytest.mark.parametrize(
    "chosen",
    [
        {"variant": ["base"]},
        {"variant": ["a,b"]},
        {"optimizer": ["sgd", "vsgd_fd"]},
        {"layer": ["output"]},
        {"layer": ["hidden.0.linear", "output"]},
        {"seed": [1]},
        {"step": [0, 10]},
        {"step": [3]},
        {"variant": ["base"], "optimizer": ["rmsprop"], "layer": ["output"], "seed": [0], "step": [5]},
    ],
)
def test_filters_select_rows(finished: Finished, chosen: dict[str, list[Any]]) -> None:
    """Each filter keeps just its rows, several together keep what passes all, repeated or comma separated alike."""
    expected = [as_json(row) for row in finished.rows if all(row[name] in values for name, values in chosen.items())]
    assert_rows(read(finished, **chosen), expected)
    if "a,b" not in chosen.get("variant", []):
        joined = {name: ",".join(map(str, values)) for name, values in chosen.items()}
        assert_rows(read(finished, **joined), expected)
    if chosen == {"step": [3]}:
        assert expected == []


@pytest.mark.parametrize("format_", ["json", "csv", "parquet", "arrow"])
def test_columns_are_chosen_and_ordered(finished: Finished, format_: str) -> None:
    """Only what is asked for, in the order asked for, filters on other columns notwithstanding."""
    params = {"columns": "gradient_norm,step,variant", "layer": "output", "format": format_}
    content = finished.service.client.get(finished.path, params=params).content
    match format_:
        case "json":
            found = json.loads(content)["columns"]
        case "csv":
            found = next(csv.reader(io.StringIO(content.decode())))
        case "parquet":
            found = pa.parquet.read_table(io.BytesIO(content)).column_names
        case _:
            found = pa.ipc.open_stream(content).read_all().column_names
    assert found == ["gradient_norm", "step", "variant"]


@pytest.mark.parametrize(
    ("params", "parameter", "word"),
    [
        ({"columns": "gradient_nrom"}, "columns", "did you mean 'gradient_norm'"),
        ({"columns": "step,,layer"}, "columns", "There is: variant"),
        ({"format": "xml"}, "format", "parquet"),
        ({"variant": "bose"}, "variant", "base, a,b"),
        ({"optimizer": "adam"}, "optimizer", "sgd, rmsprop, vsgd_fd"),
        ({"layer": "hidden.7.linear"}, "layer", "hidden.0.linear"),
        ({"seed": "first"}, "seed", "whole numbers"),
        ({"step": "-1"}, "step", "whole numbers"),
        ({"step": "9" * 30}, "step", "whole numbers"),
    ],
)
def test_unknown_names_are_told_with_what_there_is(
    finished: Finished, params: dict[str, str], parameter: str, word: str
) -> None:
    """A 422 that names the parameter and lists what could have been asked for."""
    answer = finished.service.client.get(finished.path, params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["errors"][0]["parameter"] == parameter
    assert word in answer.json()["errors"][0]["message"]


def test_running_comparisons_show_the_parts_so_far(finished: Finished) -> None:
    """Before anything is trained the table is empty in every format; after a slice it holds the slice."""
    service = finished.service
    made = submit(service, record={"statistics": "full"})
    path = f"/v1/comparisons/{made['id']}/statistics"
    assert service.client.get(path).json() == {"columns": list(COLUMNS), "rows": []}
    for format_ in ("csv", "parquet", "arrow"):
        assert service.client.get(path, params={"format": format_}).status_code == 200
    rows = train(service, claim_next(service), [0, 5], finished=False)
    running = Finished(service, path, in_order(rows))
    assert_rows(read(running), [as_json(row) for row in running.rows])
    service.client.post(f"/v1/comparisons/{made['id']}/cancel")
    assert_rows(read(running), [as_json(row) for row in running.rows])
    usual = submit(service)
    answer = service.client.get(f"/v1/comparisons/{usual['id']}/statistics")
    assert answer.json() == {"columns": [*KEYS, *recorded("default")], "rows": []}
    service.client.post(f"/v1/comparisons/{usual['id']}/cancel")


def test_merged_files_tell_the_same(tmp_path: Path) -> None:
    """Once parts are merged into one file, the table and the curves are what they were."""
    with serving(tmp_path) as service:
        made = submit(service)
        path = f"/v1/comparisons/{made['id']}"
        finish(service, made["id"])
        before = [service.client.get(f"{path}/{part}").content for part in ("statistics", "trials")]
        parts = [part for kind in KINDS for part in jobs.parts(service.database, made["id"], kind)]
        artifacts.compact(service.settings.artifacts, made["id"], parts)
        assert not (Path(service.settings.artifacts) / made["id"] / "parts").exists()
        assert [service.client.get(f"{path}/{part}").content for part in ("statistics", "trials")] == before


def test_trials_carry_their_curves(finished: Finished) -> None:
    """Every trial in the frozen order, with its setting, outcome and curves of equal length; infinity is null."""
    found = finished.service.client.get(finished.path.replace("/statistics", "/trials")).json()["trials"]
    assert [trial["trial"] for trial in found] == list(range(len(found)))
    assert {row["trial"] for row in finished.rows} == set(range(len(found)))
    for trial in found:
        assert (trial["outcome"], trial["test_loss"], trial["role"]) == ("completed", 0.5, "final")
        assert trial["curves"]["step"] == [0, 5, 10]
        assert trial["curves"]["validation_loss"] == [2.0, None, 2.0 / 11]
        assert trial["curves"]["train_accuracy"] == [0.5, 0.5, 0.5]
        written = next(row for row in finished.rows if row["trial"] == trial["trial"])
        assert (trial["variant"], trial["optimizer"], trial["seed"]) == tuple(
            written[name] for name in ("variant", "optimizer", "seed")
        )
        assert trial["hyperparameters"].get("lr") == written["lr"]


def test_trials_are_listed_before_they_run(finished: Finished) -> None:
    """A queued comparison shows its planned trials, pending and without curves."""
    made = submit(finished.service)
    found = finished.service.client.get(f"/v1/comparisons/{made['id']}/trials").json()["trials"]
    assert len(found) == made["progress"]["trials"]
    assert {trial["outcome"] for trial in found} == {"pending"}
    assert all(trial["curves"] == {} for trial in found)
    finished.service.client.post(f"/v1/comparisons/{made['id']}/cancel")


def test_every_key_is_a_column(finished: Finished) -> None:
    """What a row is about comes first in the table."""
    assert tuple(read(finished, seed=[0])[0])[: len(KEYS)] == tuple(KEYS)
