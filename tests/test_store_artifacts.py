"""Result files: what is written is read back, in order, filtered, whole or not at all."""

import json
import math
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_samples import at_once

from workers.contract.statistics import COLUMNS, STATISTICS
from workers.store import artifacts, merging
from workers.store.files import Root
from workers.store.parts import Part

Row = dict[str, Any]
LAYERS = ["hidden.0.linear", "hidden.1.linear", "output"]


def row(trial: int, step: int, depth: int) -> Row:
    """A row with a value of every sort: plain, null, NaN and infinite."""
    keys = {
        "variant": f"v{trial % 2}",
        "optimizer": ["sgd", "adam"][trial % 2],
        "trial": trial,
        "lr": None if trial == 1 else 0.1,
        "seed": trial // 2,
        "step": step,
        "layer": LAYERS[depth],
        "depth": depth,
    }
    plain = {name: trial + step / 7 + depth / 3 + index * 1e-300 for index, name in enumerate(STATISTICS)}
    odd = {"gradient_rms": math.nan, "gradient_mean": math.inf, "gradient_std": -math.inf, "update_norm": None}
    return keys | plain | odd


def table(rows: list[Row]) -> pa.Table:
    """As a trainer gives it: in any order, with dictionaries for words."""
    shuffled = random.Random(0).sample(rows, len(rows))  # noqa: S311 - it has to repeat
    made = pa.Table.from_pylist(shuffled)
    for name in ("variant", "optimizer", "layer"):
        made = made.set_column(made.schema.get_field_index(name), name, made.column(name).dictionary_encode())
    return made


def write(root: Root, trials: Sequence[int], steps: Sequence[int], name: str = "") -> tuple[Part, list[Row]]:
    """A part of some trials at some steps, as one slice of their shard leaves it."""
    rows = [row(trial, step, depth) for trial in trials for step in steps for depth in range(3)]
    name = name or f"{trials[0]}-1-{steps[0]}"
    path = artifacts.write_part(root, "c", "statistics", name, table(rows))
    return Part("statistics", path, steps[0], steps[-1], len(rows)), rows


def write_all(root: Root) -> tuple[list[Part], list[Row]]:
    """Two shards whose trials interleave, three slices each, and their rows in the order of the table."""
    written = [write(root, trials, steps) for trials in ([0, 2, 4], [1, 3]) for steps in ([0, 1, 2], [5, 8], [10])]
    rows = [found for _, rows in written for found in rows]
    return [part for part, _ in written], sorted(
        rows, key=lambda found: (found["trial"], found["step"], found["depth"])
    )


def read(root: Root, parts: Sequence[Part], **filters: Any) -> list[Row]:
    return [found for batch in artifacts.read_statistics(root, "c", parts, **filters) for found in batch.to_pylist()]


def as_text(rows: list[Row]) -> list[str]:
    """Rows that can be compared: NaN is NaN, null is null."""
    return [repr(found) for found in rows]


@pytest.fixture(params=["parts", "merged", "both", "small"])
def stored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same rows in parts, in one file, half in each, and read a few at a time."""
    parts, rows = write_all(tmp_path)
    if request.param == "small":
        monkeypatch.setattr(merging, "ROWS", 4)
    if request.param == "merged":
        artifacts.compact(tmp_path, "c", parts)
    if request.param == "both":
        later = [write(tmp_path, [2, 5], [20], name="later")]
        kept = (tmp_path / "c" / later[0][0].path).read_bytes()
        artifacts.compact(tmp_path, "c", parts)
        (tmp_path / "c" / "parts").mkdir()
        (tmp_path / "c" / later[0][0].path).write_bytes(kept)
        parts, rows = [*parts, later[0][0]], rows + later[0][1]
        rows.sort(key=lambda found: (found["trial"], found["step"], found["depth"]))
    return tmp_path, parts, rows


def test_rows_come_back_in_order(stored: Any) -> None:
    """By trial, step and depth, with NaN, infinity and null as they were; the batches are of the schema they claim."""
    root, parts, rows = stored
    assert as_text(read(root, parts)) == as_text(rows)
    for batch in artifacts.read_statistics(root, "c", parts):
        assert batch.schema == artifacts.statistics_schema()
        assert tuple(batch.schema.names) == COLUMNS


@pytest.mark.parametrize(
    "chosen",
    [
        {"variants": ["v1"]},
        {"optimizers": ["sgd", "nobody"]},
        {"layers": ["output", "hidden.0.linear"]},
        {"seeds": [1]},
        {"steps": [0, 10, 11]},
        {"steps": []},
        {"variants": ["v0"], "optimizers": ["sgd"], "layers": ["output"], "seeds": [1, 2], "steps": [8]},
    ],
)
def test_filters_keep_what_passes_all(stored: Any, chosen: dict[str, list[Any]]) -> None:
    """Whether or not the columns filtered by are among those asked for."""
    root, parts, rows = stored
    kept = [found for found in rows if all(found[name.removesuffix("s")] in chosen[name] for name in chosen)]
    assert as_text(read(root, parts, **chosen)) == as_text(kept)
    names = ["gradient_norm", "step"]
    narrow = [{name: found[name] for name in names} for found in kept]
    assert read(root, parts, columns=names, **chosen) == narrow
    for batch in artifacts.read_statistics(root, "c", parts, columns=names, **chosen):
        assert batch.schema == artifacts.statistics_schema(names)


def test_nothing_is_read_where_there_is_nothing(tmp_path: Path) -> None:
    """Before the first slice, and of a comparison without a folder."""
    assert read(tmp_path, []) == []
    assert artifacts.read_curves(tmp_path, "c", []).num_rows == 0
    artifacts.compact(tmp_path, "c", [])
    artifacts.remove(tmp_path, "c")


def test_curves_come_back_in_order(tmp_path: Path) -> None:
    """Accuracies that a regression has not are null; the same before and after merging."""
    parts = []
    for trial in (1, 0):
        rows = [{"trial": trial, "step": step, "train_loss": math.inf, "validation_loss": 0.5} for step in (10, 0)]
        path = artifacts.write_part(tmp_path, "c", "curves", f"{trial}-1-0", pa.Table.from_pylist(rows))
        parts.append(Part("curves", path, 0, 10, 2))
    before = artifacts.read_curves(tmp_path, "c", parts)
    assert before.select(["trial", "step"]).to_pylist() == [
        {"trial": trial, "step": step} for trial in (0, 1) for step in (0, 10)
    ]
    assert before.column("train_accuracy").null_count == 4
    assert before.column("train_loss").to_pylist() == [math.inf] * 4
    artifacts.compact(tmp_path, "c", parts)
    assert artifacts.read_curves(tmp_path, "c", parts).equals(before)


@pytest.mark.parametrize(
    "spoil",
    [lambda made: made.append_column("extra", [[1.0] * made.num_rows]), lambda made: made.drop_columns(["step"])],
)
def test_tables_of_another_shape_are_refused(tmp_path: Path, spoil: Callable[[pa.Table], pa.Table]) -> None:
    """An unknown column, or a missing one that says what a row is about; no file is left."""
    with pytest.raises(ValueError, match="unknown columns"):
        artifacts.write_part(tmp_path, "c", "statistics", "n", spoil(table([row(0, 0, 0)])))
    assert list(tmp_path.rglob("*")) == []


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk: neither a part nor a beginning of one, and the file that was there stays."""
    artifacts.write_json(tmp_path, "c", "result.json", {"good": 1})

    def full(found: pa.Table, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, [0], [0])
    with pytest.raises(ValueError, match="JSON"):
        artifacts.write_json(tmp_path, "c", "result.json", {"bad": math.nan})
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["result.json"]
    assert json.loads((tmp_path / "c" / "result.json").read_text()) == {"good": 1}


def test_a_process_killed_in_mid_write_leaves_no_part(tmp_path: Path) -> None:
    """What it had begun is never taken for a part, and goes with the merging."""
    code = f"""
import os, signal
from pathlib import Path
from workers.store import files
with files.whole(Path({str(tmp_path / "c" / "parts" / "statistics-0-1-0.parquet")!r})) as unfinished:
    unfinished.write_bytes(b"half of it")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert list(tmp_path.rglob("*.parquet")) == []
    parts, rows = write_all(tmp_path)
    assert as_text(read(tmp_path, parts)) == as_text(rows)
    artifacts.compact(tmp_path, "c", parts)
    assert sorted(path.name for path in (tmp_path / "c").rglob("*")) == ["statistics.parquet"]


def test_parts_of_zombies_do_not_count(tmp_path: Path) -> None:
    """Two attempts at one slice leave two files; only the one that was committed is read, and kept by the merging."""
    committed, rows = write(tmp_path, [0], [0, 1], name="job-2-0")
    write(tmp_path, [0], [0, 1, 2], name="job-1-0")
    assert as_text(read(tmp_path, [committed])) == as_text(rows)
    artifacts.compact(tmp_path, "c", [committed])
    assert as_text(read(tmp_path, [committed])) == as_text(rows)


def test_merging_twice_is_merging_once(tmp_path: Path) -> None:
    """Again after a crash, or eight at the same moment: each row once."""
    parts, rows = write_all(tmp_path)
    at_once(8, lambda _: artifacts.compact(tmp_path, "c", parts))
    artifacts.compact(tmp_path, "c", parts)
    assert as_text(read(tmp_path, parts)) == as_text(rows)
    assert as_text(read(tmp_path, [])) == as_text(rows)
    assert not (tmp_path / "c" / "parts").exists()


@pytest.mark.parametrize("rows_at_a_time", [1, 4, 10])
def test_reading_goes_on_while_parts_are_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_at_a_time: int
) -> None:
    """A reader that has begun on the parts ends on the merged file and misses nothing."""
    monkeypatch.setattr(merging, "ROWS", rows_at_a_time)
    parts, rows = write_all(tmp_path)
    reading = artifacts.read_statistics(tmp_path, "c", parts)
    found = next(reading).to_pylist()
    artifacts.compact(tmp_path, "c", parts)
    for batch in reading:
        found += batch.to_pylist()
    assert as_text(found) == as_text(rows)


def test_the_merged_file_is_an_ordinary_one(tmp_path: Path) -> None:
    """Any reader of Parquet finds all columns, sorted, 64 bits wide."""
    parts, rows = write_all(tmp_path)
    artifacts.compact(tmp_path, "c", parts)
    plain = pq.read_table(tmp_path / "c" / "statistics.parquet")
    assert plain.schema.equals(artifacts.statistics_schema())
    assert as_text(plain.to_pylist()) == as_text(rows)


def test_checkpoints_that_are_superseded_go(tmp_path: Path) -> None:
    """The one just committed, those of later attempts and those of other jobs stay; of a finished job none does."""
    paths = [
        tmp_path / "c" / artifacts.checkpoint_name(*which)
        for which in [("a", 1, 5), ("a", 2, 5), ("a", 2, 8), ("a", 10, 9), ("ab", 1, 5)]
    ]
    assert len(set(paths)) == 5
    paths[0].parent.mkdir(parents=True)
    for path in paths:
        path.touch()
    artifacts.drop_checkpoints(tmp_path, "c", "a", keep=str(paths[2].relative_to(tmp_path / "c")))
    assert [path.exists() for path in paths] == [False, False, True, True, True]
    artifacts.drop_checkpoints(tmp_path, "c", "a", keep=None)
    assert [path.exists() for path in paths] == [False, False, False, False, True]


def test_removing_takes_one_comparison(tmp_path: Path) -> None:
    """All of its files and no others'."""
    artifacts.write_json(tmp_path, "c", "result.json", {})
    artifacts.write_json(tmp_path, "d", "result.json", {})
    artifacts.remove(tmp_path, "c")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("name", ["..", "a/b", "", ".", "/etc", "a\x00"])
def test_names_stay_within_the_directory(tmp_path: Path, name: str) -> None:
    """An id or a name that would lead elsewhere is refused."""
    with pytest.raises(ValueError, match="plain name"):
        artifacts.remove(tmp_path, name)
    with pytest.raises(ValueError, match="plain name"):
        artifacts.write_json(tmp_path, "c", name, {})
