"""Compiles C++ on the machine that is to run it, once, and loads it. Without a compiler there is no fast path."""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from workers.contract.activations import ActivationSpec, expression_of
from workers.contract.nonlinearities import Identity, Sigmoid, Tanh
from workers.engine.machine import device_name
from workers.engine.native.formulas import source

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
# No -ffast-math: NaN and infinity have to survive. Loops that may be reordered say so themselves (omp simd).
FLAGS = ["-std=c++17", "-O3", "-march=native", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math"]
FLAGS += ["-fno-thread-jumps"]  # see exp in functions.h
FLAGS += ["-shared", "-fPIC", f"-I{FOLDER}"]
VECTOR_LIBRARY = ["-mprefer-vector-width=512", "-DVECTOR_LIBRARY", "-lmvec"]
"""glibc's vector functions; elsewhere functions such as exp are called one element at a time."""
COMPILE_SECONDS = 120
COMMON: tuple[ActivationSpec, ...] = (Identity(), Tanh(), Sigmoid())
"""Compiled ahead of the first shard; others when a shard first has them."""


PRECISIONS = {torch.float32: ("float", "sgemm_"), torch.float64: ("double", "dgemm_")}
"""In C++, and BLAS's matrix product."""


class Library(NamedTuple):
    """Of one precision."""

    train: Callable[[int], None]
    evaluate: Callable[[int], None]
    gemm: int
    """Address of torch's own matrix product (BLAS calling convention)."""


@cache
def library(dtype: torch.dtype) -> Library | None:
    """The compiled step, from the cache or new; None, and one line in the log, where there is none to be had."""
    try:
        blas = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        gemm = _address(getattr(blas, PRECISIONS[dtype][1]))
        step = ctypes.CDLL(str(_compiled(_step(dtype))))
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        _warn(f"training without the compiled step, at a third of the speed or less: {error}")
        return None
    for function in (step.train_trials, step.evaluate_trials):
        function.argtypes, function.restype = [ctypes.c_void_p], None
    return Library(step.train_trials, step.evaluate_trials, gemm)


@cache
def kernels(spec: ActivationSpec) -> Mapping[torch.dtype, int] | None:
    """Addresses of a non-linearity's passes; None, and one line in the log, if it cannot be compiled."""
    try:
        unit = ctypes.CDLL(str(_compiled(source(expression_of(spec)))))
    except (OSError, subprocess.SubprocessError) as error:
        _warn(f"training {spec.kind} without compiled code: {error}")
        return None
    return {
        dtype: ctypes.addressof(ctypes.c_char.in_dll(unit, name))
        for dtype, name in ((torch.float32, "float32"), (torch.float64, "float64"))
    }


def prepare(dtype: torch.dtype = torch.float32) -> bool:
    """Compiles what most shards need, if it has to be, side by side. False if that cannot be."""
    with ThreadPoolExecutor() as pool:  # what fails there fails again below, and is told
        for text in [_step(dtype), *(source(expression_of(spec)) for spec in COMMON)]:
            pool.submit(_compiled, text)
    return library(dtype) is not None and None not in [kernels(spec) for spec in COMMON]


def _step(dtype: torch.dtype) -> str:
    """What there is to compile of a step in one precision: the other one would take as long again."""
    return f"#define REAL {PRECISIONS[dtype][0]}\n" + (FOLDER / "step.cpp").read_text()


@cache
def _warn(message: str) -> None:
    """Says it once."""
    log.warning(message)


def _compiled(text: str) -> Path:
    """The shared library of a source, whose name tells what it was made of, and on what."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise FileNotFoundError("no C++ compiler (g++) was found")
    headers = (path.read_text() for path in sorted(FOLDER.glob("*.h")))
    known = [_version(compiler), platform.machine(), device_name("cpu"), *FLAGS, *VECTOR_LIBRARY, *headers, text]
    name = hashlib.sha256(chr(0).join(known).encode()).hexdigest()[:20]
    for folder in _folders():
        if (folder / f"{name}.so").exists():
            return folder / f"{name}.so"
    return _compile(compiler, text, next(filter(_writable, _folders())) / f"{name}.so")


@cache
def _version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603 - a compiler


def _compile(compiler: str, text: str, target: Path) -> Path:
    """Beside its place, then moved there: several workers may start at once."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        written, made = Path(folder) / "unit.cpp", Path(folder) / "unit.so"
        written.write_text(text)
        for flags in [FLAGS + VECTOR_LIBRARY, FLAGS]:
            command = [compiler, str(written), "-o", str(made), *flags]
            done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)  # noqa: S603 - a compiler
            if done.returncode == 0:
                return made.rename(target)
    raise OSError(f"{compiler} failed: {done.stderr.strip()[:500]}")


def _folders() -> list[Path]:
    """Where compiled code is kept, in the order of preference."""
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [kept / "plumbline", Path(tempfile.gettempdir()) / f"plumbline-{os.getuid()}"]


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid()


def _address(function: Callable[..., object]) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]  # a function of a library
    assert address is not None
    return address
