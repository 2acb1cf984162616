"""The folder of a comparison, in a directory or on an object store. A file there is whole or absent.

In a directory a file appears by renaming one that was synced. An object store has no rename that would be atomic, and needs
none: an object is there once all of it was sent, not before. What is under a URL like `s3://bucket/prefix` is reached through
pyarrow, which takes credentials, region and endpoint
from the URL or from the environment (AWS_*).
"""

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Protocol

import pyarrow as pa
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

Root = str | PathLike[str]
"""A directory, or a URL."""
UNFINISHED = ".unfinished"


class Folder(Protocol):
    """Names are relative to it, parts of them separated by slashes."""

    @property
    def files(self) -> FileSystem:
        """What pyarrow reads it with."""

    def at(self, name: str) -> str:
        """The name as `files` knows it."""

    def writing(self, name: str) -> AbstractContextManager[Path]:
        """A path to write to; what was written there is in the folder at the end of the block, or not at all."""

    def reading(self, name: str) -> AbstractContextManager[Path]:
        """A path to read a file from, within the block.

        Raises:
            FileNotFoundError
        """

    def names(self, below: str) -> list[str]:
        """The files right below one of its folders; none if there is no such folder."""

    def drop(self, name: str) -> None:
        """Removes a file, if it is there."""

    def clear(self, below: str = "") -> None:
        """Removes one of its folders, or all of it, if it is there."""


class Directory:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.files = LocalFileSystem()

    def at(self, name: str) -> str:
        return str(self._path / name)

    def writing(self, name: str) -> AbstractContextManager[Path]:
        return whole(self._path / name)

    def reading(self, name: str) -> AbstractContextManager[Path]:
        return nullcontext(self._path / name)

    def names(self, below: str) -> list[str]:
        here = self._path / below
        return [path.name for path in here.iterdir()] if here.is_dir() else []

    def drop(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)

    def clear(self, below: str = "") -> None:
        with suppress(FileNotFoundError):
            shutil.rmtree(self._path / below)


class Objects:
    """Those of an object store whose names begin with `path`."""

    def __init__(self, files: FileSystem, path: str) -> None:
        self.files, self._path = files, path

    def at(self, name: str) -> str:
        return f"{self._path}/{name}"

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="plumbline-") as folder:
            made = Path(folder, "made")
            yield made
            with made.open("rb") as source, self.files.open_output_stream(self.at(name)) as object_:
                shutil.copyfileobj(source, object_, 2**20)

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="plumbline-") as folder:
            copy = Path(folder, "copy")
            with self.files.open_input_stream(self.at(name)) as object_, copy.open("wb") as target:
                shutil.copyfileobj(object_, target, 2**20)
            yield copy

    def names(self, below: str) -> list[str]:
        found = self.files.get_file_info(FileSelector(self.at(below), allow_not_found=True))
        return [info.base_name for info in found if info.type == FileType.File]

    def drop(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self.files.delete_file(self.at(name))

    def clear(self, below: str = "") -> None:
        with suppress(FileNotFoundError):
            self.files.delete_dir(self.at(below).rstrip("/"))


def folder(root: Root, comparison_id: str) -> Folder:
    """The folder of a comparison.

    Raises:
        ValueError: the id is no plain name, or the root a URL that leads nowhere.
    """
    name = plain(comparison_id)
    if not is_url(root):
        return Directory(Path(root) / name)
    files, path = _opened(str(root))
    return Directory(Path(path) / name) if isinstance(files, LocalFileSystem) else Objects(files, f"{path}/{name}")


def is_url(root: Root) -> bool:
    return "://" in str(root)


@lru_cache
def _opened(url: str) -> tuple[FileSystem, str]:
    files, path = FileSystem.from_uri(url)
    if not path.strip("/"):
        raise ValueError("it names no bucket")
    return files, path.rstrip("/")


def complaint(root: Root) -> str | None:
    """What is wrong with a URL, in one line; None if files can be written, found and removed there. A directory is made when needed.

    Whoever forks later asks in a process of its own: the threads of an object store's client do not survive that.
    """
    if not is_url(root):
        return None
    name = f"probe-{secrets.token_hex(4)}"
    try:
        probe = folder(root, name)
        with probe.writing("probe.txt") as path:
            path.write_text("Plumbline looks whether it can write here.\n", encoding="utf-8")
        found = probe.names("")
        probe.clear()
    except (OSError, ValueError, pa.ArrowException) as error:
        told = " ".join(str(error).split())
    else:
        told = "" if found == ["probe.txt"] else "what is written is not found there"
    return without_secrets(f"PLUMBLINE_ARTIFACTS is {str(root)!r}: {told}") if told else None


def without_secrets(text: str) -> str:
    """URLs in it keep their places and lose the credentials before the @."""
    return re.sub(r"://[^/@\s]*@", "://***@", text)


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
