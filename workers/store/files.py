"""Files that are whole or absent, in a directory for each comparison."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

Root = str | PathLike[str]
UNFINISHED = ".unfinished"


def folder(root: Root, comparison_id: str) -> Path:
    """The directory of a comparison.

    Raises:
        ValueError: the id is no plain name.
    """
    return Path(root) / plain(comparison_id)


def plain(name: str) -> str:
    """The name, if it stays within its directory."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
        raise ValueError(f"{name!r} is no plain name")
    return name


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write to; what was written there appears at `path` at the end of the block, synced, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}-{secrets.token_hex(4)}{UNFINISHED}")
    try:
        yield unfinished
        _sync(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
