"""One's own data as a problem: asked for by id, trained on end to end, and refused in words where it cannot be."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from api_server import SPEC, Service, serving, submit
from dataset_samples import CSV, csv, drawn, labels, npz, send, table
from sklearn.datasets import load_wine

from service.own_data import parted, trained_on
from workers.contract.comparison import ComparisonSpec
from workers.contract.problems import Dataset, DatasetFacts, split_sizes
from workers.engine.problems import Data, load


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as found:
        yield found


def uploaded(service: Service, body: bytes, **query: Any) -> str:
    answer = send(service.client, body, **query)
    assert answer.status_code in (200, 201), answer.text
    found: str = answer.json()["id"]
    return found


def test_a_data_set_is_a_problem_by_its_id(service: Service) -> None:
    """Its shape, classes and size are filled in, previews and comparisons take it, and what is answered can be sent again."""
    name = uploaded(service, npz(drawn(100, 5), labels(100, 4)))
    problem = {"kind": "dataset", "id": name}
    found = submit(service, problem=problem)
    facts = {"loss": "cross_entropy", "shape": [5], "outputs": 4, "samples": 100}
    assert found["spec"]["problem"] == problem | {"about": facts}
    preview = service.client.post("/v1/previews", json=SPEC | {"problem": problem}).json()
    assert preview["layers"][0]["in_shape"] == [5] and preview["layers"][-1]["out_shape"] == [4]
    assert service.client.post("/v1/comparisons", json=found["spec"]).status_code == 202
    default = {key: value for key, value in SPEC.items() if key != "batch_size"} | {"problem": problem}
    assert service.client.post("/v1/previews", json=default).json()["spec"]["batch_size"] == 60


def test_a_data_set_stays_while_it_is_trained_on(service: Service) -> None:
    """409 until the comparison has ended; then it goes, and the comparison's record says that it is gone no more than before."""
    name = uploaded(service, npz(drawn(60, 3, seed=5), labels(60)))
    comparison = submit(service, problem={"kind": "dataset", "id": name})
    refused = service.client.delete(f"/v1/datasets/{name}")
    assert refused.status_code == 409 and comparison["id"] in refused.json()["detail"]
    service.client.post(f"/v1/comparisons/{comparison['id']}/cancel")
    assert service.client.delete(f"/v1/datasets/{name}").status_code == 204
    assert service.client.get(f"/v1/comparisons/{comparison['id']}").json()["spec"] == comparison["spec"]
    again = service.client.post("/v1/comparisons", json=comparison["spec"])
    assert again.status_code == 422 and again.json()["errors"][0]["pointer"] == "/problem/id"


ABOUT = {"loss": "cross_entropy", "shape": [3], "outputs": 3, "samples": 40}

# name: (problem without its id where that is known, changes of the request, pointer, a word of the message)
REFUSED: dict[str, tuple[Any, dict[str, Any], str, str]] = {
    "no id": ({"kind": "dataset"}, {}, "/problem/id", "missing"),
    "a bare name": ("dataset", {}, "/problem", "'id'"),
    "an unknown id": ({"id": "f" * 64}, {}, "/problem/id", "POST /v1/datasets"),
    "an id that is a path": ({"id": "../../etc/passwd"}, {}, "/problem/id", "no data set"),
    "an empty id": ({"id": ""}, {}, "/problem/id", "no data set"),
    "an id that is a number": ({"id": 5}, {}, "/problem/id", "a text"),
    "a false shape": ({"about": ABOUT | {"shape": [4]}}, {}, "/problem/about/shape", "leave `about` out"),
    "a false size": ({"about": ABOUT | {"samples": 10_000}}, {}, "/problem/about/samples", "it is 40"),
    "a shape of nothing": ({"about": ABOUT | {"shape": []}}, {}, "/problem/about/shape", "at least"),
    "a field there is not": ({"target": "y"}, {}, "/problem/target", "no field"),
    "a batch beyond the split": ({}, {"batch_size": 25}, "/batch_size", "24"),
    "an accuracy of quantities": (
        {"quantities": True},
        {"target": {"metric": "train_accuracy", "value": 1}},
        "/target/metric",
        "regression",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(service: Service, name: str) -> None:
    """With the pointer to it, before anything is recorded; a preview says the same."""
    problem, changes, pointer, word = REFUSED[name]
    if isinstance(problem, dict) and "kind" not in problem:
        quantities = problem.pop("quantities", False)
        y = drawn(40) if quantities else labels(40)
        problem = {"kind": "dataset", "id": uploaded(service, npz(drawn(40, 3, seed=9), y)), **problem}
    for path in ("/v1/comparisons", "/v1/previews"):
        answer = service.client.post(path, json=SPEC | {"batch_size": 8} | changes | {"problem": problem})
        assert answer.status_code == 422, answer.text
        error = answer.json()["errors"][0]
        assert (error["pointer"], word in error["message"]) == (pointer, True), error


def test_a_problem_that_was_not_looked_up_says_so() -> None:
    """Whoever reads a request without the service hears that the data are not known, and makes nothing of them."""
    with pytest.raises(ValueError, match="has not been looked up"):
        ComparisonSpec.model_validate({**SPEC, "problem": {"kind": "dataset", "id": "a"}}).problem.shape  # noqa: B018


def loaded(folder: Path, x: Any, y: Any, dtype: torch.dtype = torch.float64) -> tuple[Data, Any]:
    """The splits, and the order that they are in."""
    path = folder / "data.npz"
    np.savez(path, x=x, y=y)
    facts = DatasetFacts(
        loss="cross_entropy" if y.ndim == 1 else "mean_squared_error",
        shape=x.shape[1:],
        outputs=int(y.max()) + 1 if y.ndim == 1 else y.shape[1],
        samples=len(x),
    )

    def files(_: str) -> AbstractContextManager[Path]:
        return nullcontext(path)

    spec = Dataset(id=str(folder)[-64:], about=facts)
    return load(spec, dtype, torch.device("cpu"), files), spec


@pytest.mark.parametrize("shape", [(4,), (7, 3), (2, 5, 5)])
def test_every_feature_is_standardised_over_its_places(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """A column; a feature of a sequence over all positions; a channel of an image over all pixels: mean 0, deviation 1 in training."""
    x = drawn(50, *shape) * 3 + np.arange(1, 1 + shape[-1])
    data, _ = loaded(tmp_path, x.astype(np.float32), labels(50))
    assert [len(split.x) for split in (data.training, data.validation, data.test)] == list(split_sizes(50))
    channel = 1 if len(shape) == 3 else len(shape)
    over = [axis for axis in range(len(shape) + 1) if axis != channel]
    values = data.training.x
    torch.testing.assert_close(
        values.mean(over), torch.zeros(values.shape[channel], dtype=values.dtype), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(values.std(over, correction=0), torch.ones(values.shape[channel], dtype=values.dtype))
    places = values.flatten(2) if len(shape) > 1 else values
    assert len(shape) == 1 or (places.mean((0, 2 if len(shape) == 3 else 1)).abs() < 1).all()


def test_rounding_is_no_variation(tmp_path: Path) -> None:
    """A column that is constant but for rounding is centred and not blown up; one that varies by a millionth of its size is scaled."""
    x = drawn(60, 4)
    x[:, 1] = 0.1 + (np.arange(60) % 3) * 1e-17 * 4
    x[:, 2] = 1e6 + drawn(60, seed=3)
    x[:, 3] = 1e300 * 0 + 7.3
    data, _ = loaded(tmp_path, x, drawn(60, 1))
    whole = torch.cat([data.training.x, data.validation.x, data.test.x])
    assert whole[:, [1, 3]].abs().max() < 1e-12
    assert data.training.x[:, 2].std(correction=0).item() == pytest.approx(1, rel=1e-6)


def test_bytes_become_what_floats_become(tmp_path: Path) -> None:
    """Kept small, used alike: uint8, float32 and float64 of the same whole numbers give the same splits, in either precision."""
    x = np.random.default_rng(0).integers(0, 255, (40, 1, 3, 3))
    for dtype in (torch.float32, torch.float64):
        found = []
        for kind in (np.uint8, np.float32, np.float64):
            (tmp_path / np.dtype(kind).name).mkdir(exist_ok=True)
            found.append(loaded(tmp_path / np.dtype(kind).name, x.astype(kind), labels(40), dtype)[0])
        assert found[0].test.x.dtype == dtype
        assert all(torch.equal(found[0].test.x, other.test.x) for other in found[1:])


def test_a_file_that_is_gone_is_said() -> None:
    facts = DatasetFacts(loss="cross_entropy", shape=(3,), outputs=2, samples=20)
    with pytest.raises(FileNotFoundError, match="abc"):
        load(Dataset(id="abc", about=facts), torch.float32, torch.device("cpu"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "service", *arguments], capture_output=True, text=True, check=False)


def test_a_table_is_compared_from_the_command_line(tmp_path: Path) -> None:
    """scikit-learn's wines as a CSV, through service, queue and worker: trained, and told apart."""
    bunch = load_wine()
    columns = {
        name.replace("/", " per "): bunch.data[:, index].tolist() for index, name in enumerate(bunch.feature_names)
    }
    (tmp_path / "wines.csv").write_bytes(
        csv({**columns, "cultivar": [bunch.target_names[place] for place in bunch.target]})
    )
    spec = {
        "network": {"kind": "mlp", "depth": 1, "width": 8, "activation": "tanh"},
        "optimizers": [{"kind": "rprop", "batch_size": "full"}],
        "tuning": None,
        "seeds": 2,
        "steps": 60,
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    given = (str(tmp_path / "spec.json"), "--data", str(tmp_path / "wines.csv"), "--target", "cultivar")
    seen = run("preview", *given)
    assert seen.returncode == 0 and "hidden.0.linear" in seen.stdout, seen.stderr
    done = run("compare", *given, "--out", str(tmp_path / "out"), "--data", str(tmp_path / "records"))
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["arms"][0]["test_accuracy"]["low"] > 0.8
    assert (tmp_path / "records").is_dir()


def test_what_the_command_line_refuses(tmp_path: Path) -> None:
    """A data set that is not there or is none, and targets of nothing, before a service is started where that can be."""
    (tmp_path / "spec.json").write_text("{}")
    (tmp_path / "text.csv").write_bytes(csv(table(20)))
    spec = str(tmp_path / "spec.json")
    for arguments, word in [
        (("--data", str(tmp_path / "none.csv")), "there is no file"),
        (("--target", "y"), "name it with --data"),
        (("--data", str(tmp_path / "text.csv"), "--target", "y"), "there is no column 'y'"),
        (("--data", str(tmp_path / "text.csv")), "/network"),
    ]:
        refused = run("preview", spec, *arguments)
        assert refused.returncode == 1 and word in refused.stderr, (refused.stdout, refused.stderr)


def test_files_and_directories_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    (tmp_path / "b").touch()
    (tmp_path / "c.npz").mkdir()
    assert parted([tmp_path / "a.csv", tmp_path / "new"]) == (tmp_path / "new", tmp_path / "a.csv")
    assert parted([tmp_path / "c.npz", tmp_path / "b"]) == (tmp_path / "c.npz", tmp_path / "b")
    assert parted([]) == (None, None)
    with pytest.raises(ValueError, match="two data sets"):
        parted([tmp_path / "a.csv", tmp_path / "b"])


def test_a_data_set_stands_in_for_the_problem() -> None:
    assert json.loads(trained_on("x", b'{"problems": ["digits", "wine"], "steps": 3}')) == {
        "problem": {"kind": "dataset", "id": "x"},
        "steps": 3,
    }
    assert json.loads(trained_on("x", b'{"problem": "digits", "steps": 3}')) == {
        "problem": {"kind": "dataset", "id": "x"},
        "steps": 3,
    }
    assert (trained_on("x", b"[1"), trained_on("x", b"[1]")) == (b"[1", b"[1]")


def test_a_csv_says_what_it_is(service: Service) -> None:
    """The name of the file is the data set's, for people."""
    assert send(service.client, csv(table(30, seed=77)), CSV, name="my.csv").json()["name"] == "my.csv"
