"""Data sets over HTTP: what goes in is what is kept, and the answer says what it was taken for."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from api_server import Service, serving
from dataset_samples import CSV, NPZ, PARQUET, csv, drawn, labels, npz, parquet, send, table
from sklearn import datasets as sklearn_datasets

from workers.store import dataset_files


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as found:
        yield found


def kept(service: Service, body: bytes, media_type: str = NPZ, **query: Any) -> dict[str, Any]:
    answer = send(service.client, body, media_type, **query)
    assert answer.status_code in (200, 201), answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["location"] == found["links"]["self"] == f"/v1/datasets/{found['id']}"
    return found


def arrays(service: Service, dataset: dict[str, Any]) -> tuple[Any, Any]:
    with (
        dataset_files.reading(service.settings.artifacts, dataset["id"]) as path,
        np.load(path, allow_pickle=False) as file,
    ):
        return file["x"], file["y"]


def test_a_table_is_the_same_in_every_format(service: Service) -> None:
    """CSV, with any delimiter, a byte order mark or none, and Parquet, in row groups or with a dictionary, are one data set."""
    columns = table()
    found = kept(service, csv(columns), CSV, name="colours")
    about = {name: found[name] for name in ("loss", "shape", "outputs", "samples", "training_samples", "columns")}
    assert about == {
        "loss": "cross_entropy",
        "shape": [2],
        "outputs": 3,
        "samples": 60,
        "training_samples": 36,
        "columns": ["width", "höhe"],
    }
    assert found["classes"] == [{"name": name, "samples": 20} for name in ("blue", "green", "red")]
    assert (found["targets"], found["notes"], found["name"]) == (["target"], [], "colours")
    assert datetime.fromisoformat(found["created_at"]).tzinfo is not None
    coded = pa.table({**columns, "target": pa.array(columns["target"]).dictionary_encode()})
    for body, media_type in [
        (csv(columns, ";"), CSV),
        (b"\xef\xbb\xbf" + csv(columns, "\t"), CSV),
        (parquet(columns), PARQUET),
        (parquet(coded, row_group_size=7, compression="zstd"), PARQUET),
        (csv(columns, "|"), NPZ),
    ]:
        again = send(service.client, body, media_type, name="another name")
        assert (again.status_code, again.json()) == (200, found)
    x, y = arrays(service, found)
    assert np.array_equal(x, np.stack([columns["width"], columns["höhe"]], 1))
    assert [found["classes"][index]["name"] for index in y] == columns["target"]


def test_arrays_keep_their_shape_and_take_no_more_room_than_they_need(service: Service) -> None:
    """Features, sequences and images; bytes stay bytes, whole numbers in between become exact floats."""
    for shape in [(4,), (5, 2), (1, 4, 4)]:
        x = drawn(30, *shape).astype(np.float32)
        found = kept(service, npz(x, labels(30)))
        assert found["shape"] == list(shape) and found["columns"] is None and found["targets"] is None
        assert np.array_equal(arrays(service, found)[0], x)
    for given, stored in [
        ("u1", "u1"),
        ("?", "u1"),
        ("i2", "f4"),
        (">f4", "f4"),
        ("i8", "f8"),
        (">f8", "f8"),
        ("f2", "f4"),
    ]:
        x = (drawn(30, 3, seed=1) * 10 + 100).astype(given)
        x[0] = 0
        found = kept(service, npz(x, labels(30)))
        again, _ = arrays(service, found)
        assert again.dtype == np.dtype(stored) and np.array_equal(again, x)
    fortran = kept(service, npz(np.asfortranarray(drawn(30, 3)), labels(30)))
    assert np.array_equal(arrays(service, fortran)[0], drawn(30, 3))


# name: (targets, query, loss, outputs or names of the classes)
MEANINGS: dict[str, tuple[Any, dict[str, str], str, Any]] = {
    "text": (np.array(["no", "yes"] * 20), {}, "cross_entropy", ["no", "yes"]),
    "bytes": (np.array([b"a", b"b"] * 20), {}, "cross_entropy", ["a", "b"]),
    "booleans": (labels(40, 2) == 1, {}, "cross_entropy", ["false", "true"]),
    "few whole numbers": (labels(40) + 5, {}, "cross_entropy", ["5", "6", "7"]),
    "few whole floats": (labels(40) * 1.0 - 1, {}, "cross_entropy", ["-1", "0", "1"]),
    "a column of them": (labels(40)[:, None], {}, "cross_entropy", ["0", "1", "2"]),
    "whole numbers, said to be quantities": (labels(40), {"loss": "mean_squared_error"}, "mean_squared_error", 1),
    "many whole numbers": (np.arange(40), {}, "mean_squared_error", 1),
    "many whole numbers, said to be classes": (labels(40, 20), {"loss": "cross_entropy"}, "cross_entropy", 20),
    "fractions": (drawn(40), {}, "mean_squared_error", 1),
    "several quantities": (drawn(40, 4), {}, "mean_squared_error", 4),
}


@pytest.mark.parametrize("name", MEANINGS)
def test_targets_are_classes_or_quantities(service: Service, name: str) -> None:
    """By what they are, or by what is said; a guess over numbers is told in a note."""
    y, query, loss, wanted = MEANINGS[name]
    found = kept(service, npz(drawn(40, 2, seed=len(name)), y), **query)
    assert found["loss"] == loss
    names = found["classes"] and [entry["name"] for entry in found["classes"]]
    assert (names if isinstance(wanted, list) else found["outputs"]) == wanted
    guessed = loss == "cross_entropy" and not query and y.dtype.kind in "if"
    assert bool([note for note in found["notes"] if "taken for classes" in note]) == guessed
    stored = arrays(service, found)[1]
    assert stored.dtype == (np.int64 if loss == "cross_entropy" else np.float64)
    assert loss == "cross_entropy" or np.array_equal(stored.reshape(y.shape), y)


def test_real_tables_are_taken_for_what_they_are(service: Service) -> None:
    """scikit-learn's: wine is of three classes, and the progression of diabetes, in whole numbers, is a quantity."""
    for load, loss, outputs in [
        (sklearn_datasets.load_wine, "cross_entropy", 3),
        (sklearn_datasets.load_diabetes, "mean_squared_error", 1),
    ]:
        bunch = load(as_frame=False)
        names = [name.replace("/", " per ") for name in bunch.feature_names]
        columns = {name: bunch.data[:, index].tolist() for index, name in enumerate(names)}
        found = kept(service, csv(columns | {"y": bunch.target.tolist()}), CSV, target="y")
        assert (found["loss"], found["outputs"], found["samples"]) == (loss, outputs, len(bunch.data))
        assert np.array_equal(arrays(service, found)[0], bunch.data)


def test_several_columns_may_be_predicted(service: Service) -> None:
    found = kept(
        service, csv(table(a=drawn(60).tolist(), b=list(range(60)), target=[1.5] * 60)), CSV, target=["b", "a"]
    )
    assert (found["targets"], found["outputs"], found["columns"]) == (["b", "a"], 2, ["width", "höhe", "target"])
    assert "target" in found["notes"][0]
    assert arrays(service, found)[1][:, 0].tolist() == list(range(60))


def test_what_is_worth_knowing_is_noted(service: Service) -> None:
    """A column that never varies, and a class in so few rows that a split may lack it."""
    classes = ["a"] * 29 + ["b"] * 29 + ["rare"] * 2
    found = kept(service, parquet(table(still=[0.1] * 60, target=classes)), PARQUET)
    assert len(found["notes"]) == 2
    assert "only centred: still" in found["notes"][0] and "'rare' (2)" in found["notes"][1]


def test_a_list_a_look_and_an_end(tmp_path: Path) -> None:
    """Pages newest first; 404 after 204; nothing is left among the artifacts."""
    with serving(tmp_path) as service:
        made = [kept(service, npz(drawn(20, 2, seed=seed), labels(20, 2))) for seed in range(3)]
        first = service.client.get("/v1/datasets", params={"limit": 2}).json()
        second = service.client.get("/v1/datasets", params={"limit": 2, "cursor": first["next"]}).json()
        assert first["items"] + second["items"] == made[::-1] and second["next"] is None
        here = made[1]["links"]["self"]
        assert service.client.get(here).json() == made[1]
        assert service.client.delete(here).status_code == 204
        assert service.client.get(here).status_code == service.client.delete(here).status_code == 404
        assert len(list(Path(service.settings.artifacts).glob("dataset-*/*"))) == 2


def test_places_that_are_away_are_said(tmp_path: Path) -> None:
    """503 where the artifacts cannot be written, and nothing is recorded; the same goes through when they are back."""
    with serving(tmp_path) as service:
        place = Path(service.settings.artifacts)
        place.write_text("a file where a directory was")
        body = npz(drawn(20, 2), labels(20, 2))
        refused = send(service.client, body)
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:plumbline:problem:unavailable")
        assert service.client.get("/v1/datasets").json() == {"items": [], "next": None}
        place.unlink()
        found = kept(service, body)
        assert service.client.get("/v1/datasets").json()["items"] == [found]
