"""A data set of one's own on the command line: `--data my.csv` stands in for the problem of a spec."""

import json
from pathlib import Path
from typing import NamedTuple

from workers.contract.problems import Loss

SUFFIXES = (".csv", ".npz", ".parquet", ".tsv", ".txt")


class Given(NamedTuple):
    """A data set as the command line names it."""

    path: Path
    target: list[str] | None = None
    loss: Loss | None = None


def parted(given: list[Path]) -> tuple[Path | None, Path | None]:
    """The directory of records among what `--data` names, and the data set.

    Raises:
        ValueError: there are two of a kind, or the data set is not there.
    """
    found: dict[bool, Path] = {}
    for path in given:
        is_file = path.is_file() or (path.suffix.lower() in SUFFIXES and not path.is_dir())
        if is_file and not path.is_file():
            raise ValueError(f"there is no file {path}")
        if is_file in found:
            what = "data sets" if is_file else "directories"
            raise ValueError(f"--data names two {what}, {found[is_file]} and {path}: one is needed")
        found[is_file] = path
    return found.get(False), found.get(True)


def trained_on(dataset_id: str, body: bytes) -> bytes:
    """The request with this data set as its only problem. What is no JSON object stays as it is, for the service to say so."""
    try:
        spec = json.loads(body)
    except ValueError:
        return body
    if not isinstance(spec, dict):
        return body
    others = {name: value for name, value in spec.items() if name != "problems"}
    return json.dumps({**others, "problem": {"kind": "dataset", "id": dataset_id}}).encode()
