"""How a shard runs on this machine: which trials share a batched program, and how many programs run at a time."""

import math

from workers.contract.plan import Execution, Shard

ELEMENTS_IN_CACHE = 100_000
"""Activations of one layer in all trials of a chunk: what the next operation reads is then still in a core's own cache."""


def choose(shard: Shard, device: str, threads: int) -> Execution:
    """On a GPU one program for all; on the CPU chunks that fit the cache, at least one for each thread.

    Chunks are of equal size (give or take one trial) and their number a multiple of the threads, so that all end together.
    """
    trials = len(shard.trials)
    if device == "cuda":
        return Execution(device="cuda", threads=1, chunks=[trials])
    widest = max(layer.out_shape[0] for layer in shard.network)
    size = max(1, ELEMENTS_IN_CACHE // (widest * shard.batch_size))
    rounds = math.ceil(trials / (size * threads))
    count = min(trials, rounds * threads)
    chunks = [trials // count + (index < trials % count) for index in range(count)]
    return Execution(device="cpu", threads=threads, chunks=chunks)
