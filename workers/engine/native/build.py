"""Compiles step.cpp on the machine that is to run it, once, and loads it. Without a compiler there is no fast path."""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

from workers.engine.machine import device_name

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
# No -ffast-math: NaN and infinity have to survive. Loops that may be reordered say so themselves (omp simd).
FLAGS = [
    "-std=c++17",
    "-O3",
    "-march=native",
    "-fopenmp-simd",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-shared",
    "-fPIC",
]
VECTOR_LIBRARY = ["-mprefer-vector-width=512", "-DVECTOR_LIBRARY", "-lmvec"]
"""glibc's vector functions; elsewhere functions such as exp are called one element at a time."""
COMPILE_SECONDS = 120


class Library(NamedTuple):
    train: Mapping[torch.dtype, Callable[[int], None]]
    gemm: dict[torch.dtype, int]
    """Addresses of torch's own matrix product (BLAS calling convention)."""


@lru_cache(maxsize=1)
def library() -> Library | None:
    """The compiled step, from the cache or new; None, and one line in the log, where there is none to be had."""
    try:
        blas = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        gemm = {torch.float32: _address(blas.sgemm_), torch.float64: _address(blas.dgemm_)}
        compiled = ctypes.CDLL(str(_compiled()))
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        log.warning("training without the compiled step, at a third of the speed or less: %s", _reason(error))
        return None
    train = {torch.float32: compiled.train_float32, torch.float64: compiled.train_float64}
    for function in train.values():
        function.argtypes, function.restype = [ctypes.c_void_p], None
    return Library(train, gemm)


def _compiled() -> Path:
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise FileNotFoundError("no C++ compiler (g++) was found")
    sources = sorted([*FOLDER.glob("*.h"), FOLDER / "step.cpp"])
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603 - the compiler
    known = [
        version,
        platform.machine(),
        device_name("cpu"),
        *FLAGS,
        *VECTOR_LIBRARY,
        *(path.read_text() for path in sources),
    ]
    name = f"step-{hashlib.sha256(chr(0).join(known).encode()).hexdigest()[:16]}.so"
    for folder in _folders():
        if (folder / name).exists():
            return folder / name
    return _compile(compiler, next(folder for folder in _folders() if _writable(folder)) / name)


def _compile(compiler: str, target: Path) -> Path:
    """Beside its place, then moved there: several workers may start at once."""
    own = target.with_suffix(f".{os.getpid()}.so")
    command = [compiler, str(FOLDER / "step.cpp"), "-o", str(own)]
    for flags in [FLAGS + VECTOR_LIBRARY, FLAGS]:
        done = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)  # noqa: S603 - the compiler
        if done.returncode == 0:
            own.rename(target)
            return target
    raise OSError(f"{compiler} failed: {done.stderr.strip()[:500]}")


def _folders() -> list[Path]:
    """Where compiled code is kept, in the order of preference."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [cache / "plumbline", Path(tempfile.gettempdir()) / f"plumbline-{os.getuid()}"]


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid()


def _address(function: "ctypes._FuncPointer") -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    raise SystemExit(library() is None)
