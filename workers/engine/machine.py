"""What this machine trains on: its model, its memory, how many threads it has, how fast it multiplies."""

import os
import platform
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

MEASURE_SECONDS = 0.02
"""Of products, after those that load libraries and wake up the clock …"""
MEASUREMENTS = 3
"""… and so often: the fastest counts, since what others take of the machine in such a moment is no property of it."""
SHAPES = {"cpu": (16, 128, 64), "cuda": (256, 512, 256)}
"""(trials, batch, width) of the product that is timed: a layer of a usual chunk on the CPU, enough to fill a card."""
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def cores() -> int:
    """Threads to train with: PLUMBLINE_THREADS, or the cores this process may run on."""
    own = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return int(os.environ.get("PLUMBLINE_THREADS", "0")) or own or 1


def device_name(device: str) -> str:
    """The model of the card or of the processor."""
    if device == "cuda":
        return torch.cuda.get_device_name(0)
    known = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", known.read_text(), re.MULTILINE) if known.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def memory_bytes(device: str) -> int:
    """Of the card; or of the machine, or what this process's container may have of it."""
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory)
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    said = (path.read_text().strip() for path in CGROUP_LIMITS if path.exists())
    return min([whole, *(int(text) for text in said if text.isdigit())])


def matmul_flops_per_second(device: str) -> float:
    """Operations in a second of batched float32 products, all threads at once on the CPU. Takes some hundredths of a second."""
    threads = cores() if device == "cpu" else 1
    trials, batch, width = SHAPES[device]
    x, weight = (torch.ones(trials, rows, width, device=device) for rows in (batch, width))

    def multiply(seconds: float) -> float:
        """Operations in a second of one thread."""
        products, begun = 0, time.perf_counter()
        while (spent := time.perf_counter() - begun) < seconds or not products:
            torch.bmm(x, weight)
            products += 1
            if device == "cuda":
                torch.cuda.synchronize()
        return products * 2 * trials * batch * width * width / spent

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(multiply, [0.0] * threads))
        return max(sum(pool.map(multiply, [MEASURE_SECONDS] * threads)) for _ in range(MEASUREMENTS))
