"""How a shard runs on this machine: which trials share a batched program, and how many programs run at a time."""

from itertools import groupby

from workers.contract import cost
from workers.contract.plan import Execution, Shard
from workers.engine import native

CHUNKS_PER_THREAD = 4
"""On the compiled path, which keeps one trial at a time in the cache: rules differ in cost, small chunks end together.

Trials that torch updates between the steps have chunks of their own, fewer of them: Python is called for each chunk at each step. Where
groups of statistics are measured by torch, chunks are as large as torch's."""


def choose(shard: Shard, device: str, threads: int) -> Execution:
    """On a GPU one program for all; on the CPU chunks that about fit the cache, on as many threads as make a step shortest.

    Chunks are of equal size (give or take one trial) and their number a multiple of the threads, so that all end together.
    """
    trials, asked = len(shard.trials), shard.gradient_range
    if device == "cuda":
        return Execution(device="cuda", threads=1, chunks=[trials], gradient_range=asked)
    sizes = trials, shard.network, shard.batch_size, threads
    if native.supports(shard):
        most = cost.programs_of(*sizes).number if shard.occasional else threads * CHUNKS_PER_THREAD
        runs = groupby(shard.trials, key=lambda trial: native.kernel_of(shard, trial) is not None)
        chunks = [size for compiled, run in runs for size in _even(len(list(run)), most if compiled else threads)]
        return Execution(device="cpu", threads=threads, chunks=chunks, path="native", gradient_range=asked)
    programs = cost.in_torch(*sizes)
    return Execution(
        device="cpu", threads=programs.threads, chunks=_even(trials, programs.number), gradient_range=asked
    )


def _even(trials: int, parts: int) -> list[int]:
    count = min(trials, parts)
    return [trials // count + (index < trials % count) for index in range(count)]
