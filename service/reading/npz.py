"""NumPy's npz: a ZIP of arrays x and y. Read without numpy's loader, which would trust what headers say of sizes."""

import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, NoReturn

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from service.errors import Problem, invalid
from service.reading.checks import at, megabytes, shown, wrong
from service.reading.meaning import Table

END, END_64 = b"PK\x05\x06", b"PK\x06\x07"
MOST_DIRECTORY_BYTES = 64 * 1024
"""Of the list of a ZIP's members, which is read whole: two arrays take a hundred."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What numpy writes; others may take gigabytes to unpack."""
HEADERS: dict[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}
BROKEN = (
    zipfile.BadZipFile,
    ValueError,
    EOFError,
    OSError,
    struct.error,
    zlib.error,
    SyntaxError,
    TokenError,
    TypeError,
)
"""What damaged archives and headers raise; RuntimeError and NotImplementedError are for ciphers and unknown versions."""
RANKS = {2: "features [N, F]", 3: "sequences [N, S, F]", 4: "images [N, C, H, W]"}


def read(path: Path, target: list[str] | None, limit: int) -> Table:
    """Arrays x, of rank 2 to 4 with samples first, and y.

    Raises:
        Problem
    """
    if target is not None:
        raise invalid(
            [wrong("", "target names columns of a table, and an npz has arrays x and y: leave it out", "no_table")]
        )
    _check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            if sorted(members) != ["x.npy", "y.npy"] or len(archive.infolist()) != 2:
                names = ", ".join(shown(name.removesuffix(".npy")) for name in list(members)[:20]) or "nothing"
                _refuse(
                    "",
                    f"arrays x and y are needed and nothing else, and it holds {names}: np.savez(file, x=..., y=...)",
                    "wrong_arrays",
                )
            x, y = (_array(archive, members[f"{name}.npy"], name, limit) for name in ("x", "y"))
    except Problem:
        raise
    except (*BROKEN, RuntimeError, MemoryError) as error:
        _refuse("", f"it cannot be read as npz ({_words(error)}): write it with np.savez", "unreadable")
    return _table(x, y)


def _check_directory(path: Path) -> None:
    """Python reads the whole list of members before anyone can look at it: a file of nothing but members fills the memory."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 2**16 - 64))
        tail = file.read()
    place = tail.rfind(END)
    if place < 0 or len(tail) < place + 22:
        _refuse("", "it begins like npz, and its end is missing: was it sent whole?", "unreadable")
    (directory,) = struct.unpack_from("<I", tail, place + 12)
    if directory > MOST_DIRECTORY_BYTES or END_64 in tail[max(0, place - 20) : place]:
        _refuse("", "it lists more members than two arrays make: np.savez(file, x=..., y=...)", "wrong_arrays")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, limit: int) -> NDArray[Any]:
    if member.compress_type not in METHODS or member.flag_bits & 1:
        _refuse(
            at(name),
            f"{name} is packed in a way that numpy does not write: use np.savez or np.savez_compressed",
            "unreadable",
        )
    if member.file_size > limit:
        _refuse(
            at(name),
            f"{name} unpacks to {megabytes(member.file_size)}, the limit here is {megabytes(limit)}: send less, or x as uint8 or float32",
            "over_limit",
        )
    with archive.open(member) as file:
        version = npy.read_magic(file)
        if version not in HEADERS:
            _refuse(
                at(name),
                f"{name} is in version {version} of numpy's format, which only structured arrays need: plain numbers are needed",
                "wrong_type",
            )
        shape, fortran, dtype = HEADERS[version](file)
        if dtype.hasobject:
            _refuse(
                at(name),
                f"{name} holds Python objects, which are never unpickled here: make it an array of numbers with astype",
                "wrong_type",
            )
        if dtype.names is not None or dtype.subdtype is not None or not dtype.itemsize:
            _refuse(
                at(name), f"{name} is a structured array, or one of nothing: plain numbers are needed", "wrong_type"
            )
        data = file.read()
    if len(data) != math.prod(shape) * dtype.itemsize or min(shape, default=0) < 0:
        _refuse(
            at(name),
            f"{name} says it is {_shape(shape)} of {dtype} and has {len(data):,} bytes: write it anew with np.savez",
            "unreadable",
        )
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _table(x: NDArray[Any], y: NDArray[Any]) -> Table:
    if x.dtype.kind not in "biuf":
        _refuse(at("x"), f"x is of type {x.dtype}: numbers are needed, x.astype(np.float32)", "wrong_type")
    if y.dtype.kind not in "biufUS":
        _refuse(at("y"), f"y is of type {y.dtype}: numbers are needed, or text for classes", "wrong_type")
    if x.ndim not in RANKS:
        _refuse(at("x"), f"x is {_shape(x.shape)}, and what can be is {', '.join(RANKS.values())}", "wrong_shape")
    if 0 in x.shape[1:]:
        _refuse(at("x"), f"x is {_shape(x.shape)}: there is nothing in it", "wrong_shape")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim not in (1, 2) or 0 in y.shape[1:]:
        _refuse(at("y"), f"y is {_shape(y.shape)}: classes or one target [N], or several targets [N, O]", "wrong_shape")
    if len(x) != len(y):
        _refuse(at("y"), f"x has {len(x):,} rows and y has {len(y):,}: each row of x needs its own in y", "wrong_shape")
    if y.dtype.kind == "S":
        try:
            y = np.char.decode(y, "utf-8")
        except UnicodeDecodeError:
            _refuse(at("y"), "y holds bytes that are no UTF-8: make it text with astype(str)", "wrong_type")
    words = None
    if y.dtype.kind == "U" and y.ndim == 1:
        values, y = np.unique(y, return_inverse=True)
        words = [str(value) for value in values]
    elif y.dtype.kind == "U":
        _refuse(at("y"), f"y is text, {_shape(y.shape)}: one class a row is needed, [N]", "wrong_shape")
    return Table(x, y, words, columns=None, targets=None)


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(f'{size:,}' for size in shape)}]"


def _refuse(pointer: str, message: str, code: str) -> NoReturn:
    raise invalid([wrong(pointer, message, code)])


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return shown(text) if text else type(error).__name__
