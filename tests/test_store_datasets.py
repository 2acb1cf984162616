"""Data sets in the store: kept once, by what they say; deletion never takes what a comparison still needs."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from store_samples import accept, at_once, finish

from workers.store import comparisons, dataset_files, datasets
from workers.store.database import Database
from workers.store.datasets import About, InUse, UnknownDataset

X = np.arange(60, dtype=np.float64).reshape(20, 3)
Y = np.arange(20, dtype=np.int64) % 2
ABOUT = About("cross_entropy", [3], 2, 20, {"no": 10, "yes": 10}, ["a", "b", "ü"], ["target"], ["a note"])


def add(db: Database, root: Path, x: NDArray[Any] = X, name: str = "mine", about: About = ABOUT) -> tuple[str, bool]:
    record, created = datasets.add(db, root, name, about, x, Y)
    return record.id, created


def files(root: Path) -> list[Path]:
    return sorted(root.glob("dataset-*/*"))


def test_what_is_added_is_found_and_its_file_says_all(db: Database, tmp_path: Path) -> None:
    """The record by id, and in the file the numbers and the record again."""
    name, created = add(db, tmp_path)
    record = datasets.find(db, name)
    assert created and record is not None and (record.name, record.about) == ("mine", ABOUT)
    with dataset_files.reading(tmp_path, name) as path, np.load(path, allow_pickle=False) as found:
        assert np.array_equal(found["x"], X) and np.array_equal(found["y"], Y)
    with dataset_files.reading(tmp_path, name) as path, zipfile.ZipFile(path) as archive:
        told = json.loads(archive.read("about.json"))
    assert (
        told["id"] == name and About(**told["about"]) == ABOUT and told["created_at"] == record.created_at.isoformat()
    )
    assert datasets.find(db, "0" * 64) is None and datasets.find(db, "\x00") is None


def test_the_same_is_kept_once(db: Database, tmp_path: Path) -> None:
    """Another name or note is no other data set; another number, type, class name or column is. So it is from many threads at once."""
    name, _ = add(db, tmp_path)
    assert add(db, tmp_path, name="other") == (name, False)
    assert add(db, tmp_path, about=About(**{**vars(ABOUT), "notes": []})) == (name, False)
    assert len(files(tmp_path)) == 1
    changed = X.copy()
    changed[7, 1] += 1e-9
    others = {
        add(db, tmp_path, x=changed)[0],
        add(db, tmp_path, x=X.astype(np.float32))[0],
        add(db, tmp_path, about=About(**{**vars(ABOUT), "classes": {"No": 10, "yes": 10}}))[0],
        add(db, tmp_path, about=About(**{**vars(ABOUT), "columns": ["a", "b", "u"]}))[0],
    }
    assert len(others | {name}) == 5
    told = at_once(8, lambda _: add(db, tmp_path, x=X + 1))
    assert len({found for found, _ in told}) == 1 and sum(created for _, created in told) == 1
    assert len(files(tmp_path)) == 6


def test_pages_are_newest_first(db: Database, tmp_path: Path) -> None:
    """And hold each data set once."""
    names = [add(db, tmp_path, x=X + shift)[0] for shift in range(5)]
    cursor, seen = None, []
    while True:
        records, cursor = datasets.page(db, limit=2, cursor=cursor)
        seen += [record.id for record in records]
        if cursor is None:
            break
    assert seen == names[::-1]


def test_a_data_set_stays_while_a_comparison_needs_it(db: Database, tmp_path: Path) -> None:
    """Until it has ended; after that nothing can be begun on it, and the comparison stays."""
    name, _ = add(db, tmp_path)
    accept(db, "c", dataset_id=name)
    with pytest.raises(InUse, match="c"):
        datasets.remove(db, tmp_path, name)
    finish(db, "c")
    assert datasets.remove(db, tmp_path, name) and not datasets.remove(db, tmp_path, name)
    assert datasets.find(db, name) is None and files(tmp_path) == []
    with pytest.raises(UnknownDataset):
        accept(db, "d", dataset_id=name)
    assert comparisons.find(db, "d") is None and comparisons.find(db, "c") is not None
    assert add(db, tmp_path) == (name, True)


def test_deletion_and_submission_do_not_pass_each_other(db: Database, tmp_path: Path) -> None:
    """Of both at once, either the comparison is accepted and the data stay, or the data go and it is refused."""
    for turn in range(10):
        name, _ = add(db, tmp_path, x=X + turn)

        def act(index: int, name: str = name, turn: int = turn) -> str:
            try:
                if index:
                    datasets.remove(db, tmp_path, name)
                else:
                    accept(db, f"c{turn}", dataset_id=name)
            except (InUse, UnknownDataset) as refused:
                return type(refused).__name__
            return "done"

        told = at_once(2, act)
        assert told in (["done", "InUse"], ["UnknownDataset", "done"])
        assert (datasets.find(db, name) is not None) == (told[0] == "done")
        if told[0] == "done":
            with dataset_files.reading(tmp_path, name) as path:
                assert path.stat().st_size > 0


def test_a_deletion_that_failed_half_way_is_taken_up(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody finds the data set any more; the same uploaded meanwhile is another file, and stays."""

    def away(*_: object) -> None:
        raise OSError("the disk does not answer")

    name, _ = add(db, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("workers.store.files.Directory.drop", away)
        with pytest.raises(OSError, match="does not answer"):
            datasets.remove(db, tmp_path, name)
    assert datasets.find(db, name) is None and datasets.page(db, limit=9, cursor=None) == ([], None)
    (old,) = files(tmp_path)
    assert add(db, tmp_path) == (name, True)
    assert len(files(tmp_path)) == 1 and not old.exists()
    with dataset_files.reading(tmp_path, name) as path:
        assert path.exists()


def test_a_file_that_is_gone_is_said(db: Database, tmp_path: Path) -> None:
    name, _ = add(db, tmp_path)
    files(tmp_path)[0].unlink()
    with pytest.raises(FileNotFoundError, match="upload it again"), dataset_files.reading(tmp_path, name):
        pass
