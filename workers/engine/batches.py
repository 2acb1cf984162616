"""Which samples a step sees: a function of (seed, step), so that nothing has to be remembered between steps.

N samples of the training split, B in a batch, T trials. An epoch is N // B steps through a permutation that is the seed's
own; what is left over at its end is dropped, so that every step averages over B samples.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from workers.engine.problems import Split
from workers.engine.seeding import numpy_generator

Drawn = Callable[[int, int], Tensor]
"""(seed, epoch) -> a permutation of the training split, int64 [N]."""
KEPT_BYTES = 64 * 2**20


def permutations(count: int) -> Drawn:
    """Of so many samples. The latest are kept: the seeds of a shard's chunks are the same."""

    @lru_cache(max(1, KEPT_BYTES // (8 * count)))
    def drawn(seed: int, epoch: int) -> Tensor:
        return torch.from_numpy(numpy_generator(seed, "batches", epoch).permutation(count))

    return drawn


class Batches:
    """Keeps the permutations of the epoch at hand. A batch of the whole split is the split itself, in its own order."""

    def __init__(self, split: Split, batch_size: int, seeds: list[int], drawn: Drawn) -> None:
        self.split, self.batch_size, self.seeds, self.drawn = split, batch_size, seeds, drawn
        self.steps_per_epoch = max(1, len(split.x) // batch_size)
        self.epoch = -1
        self.order: Tensor

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs [T, B, F] and targets [T, B] or [T, B, O] of the update that follows `step` updates."""
        trials = len(self.seeds)
        if self.batch_size == len(self.split.x):
            return self.split.x.expand(trials, *self.split.x.shape), self.split.y.expand(trials, *self.split.y.shape)
        rows = self._rows(step)
        x, y = (whole.index_select(0, rows.flatten()) for whole in (self.split.x, self.split.y))
        return x.unflatten(0, rows.shape), y.unflatten(0, rows.shape)

    def rows(self, start: int, end: int) -> Tensor | None:
        """Which samples the steps from `start` to `end` see, [T, K·B]; None where all see the whole split."""
        if self.batch_size == len(self.split.x):
            return None
        per_epoch = self.steps_per_epoch
        bounds = [start, *range(start - start % per_epoch + per_epoch, end, per_epoch), end]
        return torch.cat([self._rows(first, after - first) for first, after in pairwise(bounds)], 1)

    def _rows(self, step: int, count: int = 1) -> Tensor:
        """[T, K·B], of so many steps of one epoch."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self.epoch:
            self.epoch, self.order = epoch, self._permutations(epoch)
        return self.order[:, place * self.batch_size : (place + count) * self.batch_size]

    def _permutations(self, epoch: int) -> Tensor:
        """[T, N]"""
        return torch.stack([self.drawn(seed, epoch) for seed in self.seeds]).to(self.split.x.device)
