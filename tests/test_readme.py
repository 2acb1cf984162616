"""What the README says is so: its requests are sent, its names are all there are, its links lead somewhere."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from service.embedded import Stack
from workers.contract.activations import ACTIVATIONS
from workers.contract.base import Spec
from workers.contract.optimizers import OPTIMIZERS
from workers.contract.problems import PROBLEMS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
REQUESTS = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
END = "\n---- end of block ----\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the walk-through writes."""
    return tmp_path_factory.mktemp("walk-through")


@pytest.fixture(scope="module")
def answers(folder: Path) -> Iterator[list[str]]:
    """What each block of the walk-through prints, run as it stands, but for the port."""
    if shutil.which("curl") is None and not os.environ.get("CI"):
        pytest.skip("curl is not installed")
    with Stack(folder / "data") as stack:
        script = f"printf '{END}'\n".join(REQUESTS).replace("http://127.0.0.1:8000", stack.url)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        yield done.stdout.split(END)


def bodies(answer: str) -> list[Any]:
    """The JSON documents in what a block prints, one after another."""
    found, decoder, rest = [], json.JSONDecoder(), answer.strip()
    while rest.startswith("{"):
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].strip()
    return found


def test_a_question_is_accepted(answers: list[str], folder: Path) -> None:
    """202 with its address and when to look again."""
    assert answers[0].startswith("HTTP/1.1 202")
    assert "retry-after: 1" in answers[0].lower()
    assert json.loads((folder / "accepted.json").read_text())["status"] in ("queued", "running")


def test_it_can_be_followed_to_its_end(answers: list[str]) -> None:
    """Events with ids, progress among them, success the last."""
    assert "event: progress" in answers[1]
    assert re.search(r"^id: \d+$", answers[1], re.MULTILINE)
    assert json.loads(re.findall(r"^data: (.*)$", answers[1], re.MULTILINE)[-1])["status"] == "succeeded"


def test_the_answer_can_be_read(answers: list[str], folder: Path) -> None:
    """The ranking, the rows that were asked for, the whole table and the trials."""
    (answer,) = bodies(answers[2])
    assert [arm["rank"] for arm in answer["result"]["arms"]] == [1, 2, 3, 4]
    table = answers[2].splitlines()[-2 * 3 * 7 - 1 :]  # two steps of three settings, seven layers
    assert table[0].replace('"', "") == "optimizer,lr,step,layer,error_signal_norm,gradient_norm"
    assert {line.split(",")[2] for line in table[1:]} == {"0", "200"}
    trials = json.loads((folder / "trials.json").read_text())["trials"]
    assert len(trials) == 2 * 3 * 3
    assert pq.read_metadata(folder / "statistics.parquet").num_rows % (len(trials) * 7) == 0


def test_what_cannot_be_is_refused_in_words(answers: list[str], folder: Path) -> None:
    """The misspelled optimizer is pointed at, and the nearest name told."""
    (problem,) = bodies(answers[3])
    assert problem["status"] == 422
    assert problem["errors"][0]["pointer"] == "/optimizers/0"
    assert "rmsprop" in problem["errors"][0]["message"]
    assert json.loads((folder / "catalogue.json").read_text())["optimizers"]


def test_it_can_be_cancelled_and_deleted(answers: list[str]) -> None:
    """Cancelled at once, found by its state, and gone."""
    accepted, cancelled, page, ready = bodies(answers[4])
    assert accepted["id"] == cancelled["id"] == page["items"][0]["id"]
    assert cancelled["status"] == "cancelled"
    assert ready == {"status": "ready", "workers": 1}


@pytest.mark.parametrize(
    ("row", "models"), [("optimizers", OPTIMIZERS), ("activations", ACTIVATIONS), ("problems", PROBLEMS)]
)
def test_everything_registered_is_named(row: str, models: tuple[type[Spec], ...]) -> None:
    """The table lists every kind there is."""
    told = re.search(rf"^\| {row} \| (.*) \|$", README, re.MULTILINE)
    assert told is not None
    names = set(re.findall(r"\w+", told[1]))
    assert {model.model_fields["kind"].default for model in models} <= names


def test_links_lead_somewhere() -> None:
    """Every relative link of the README and of CONTRIBUTING is to a file or folder of the project."""
    for text in (README, (ROOT / "CONTRIBUTING.md").read_text()):
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / target).exists(), target


def test_make_targets_named_in_the_documents_exist() -> None:
    """`make something` in the documents is something the Makefile knows."""
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for text in (README, (ROOT / "CONTRIBUTING.md").read_text()):
        assert set(re.findall(r"(?:`|^    )make ([a-z-]+)", text, re.MULTILINE)) <= known
