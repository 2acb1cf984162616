"""The files of data sets, `root/dataset-ID/PLACE.npz`: arrays x and y and, as JSON, what they are. Who trains needs no more than this."""

import json
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.store.files import Folder, Root, folder

ABOUT = "about.json"


def place_of(root: Root, dataset_id: str) -> Folder:
    return folder(root, f"dataset-{dataset_id}")


def write(path: Path, about: dict[str, Any], x: NDArray[Any], y: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.savez(file, x=x, y=y)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(ABOUT, json.dumps(about, allow_nan=False, ensure_ascii=False, indent=1))


@contextmanager
def reading(root: Root, dataset_id: str) -> Iterator[Path]:
    """A path to read the data set's file from, within the block.

    Raises:
        FileNotFoundError: it is not there.
    """
    here = place_of(root, dataset_id)
    for name in sorted(here.names("")):  # of several, all say the same, and one may just be going
        if name.endswith(".npz") and not name.startswith("."):
            with ExitStack() as stack:
                try:
                    path = stack.enter_context(here.reading(name))
                    path.stat()
                except FileNotFoundError:
                    continue
                yield path
                return
    raise FileNotFoundError(f"the data set {dataset_id} is not among the artifacts: upload it again")
