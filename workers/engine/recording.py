"""What a program has to tell, kept on its device until somebody asks for tables. T trials, L layers with parameters, S statistics."""

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.engine.divergence import NEVER
from workers.engine.program import Program

CURVES = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")


class Recording:
    """Filled by the training loop without waiting for the device; emptied by `statistics_table` and `curves_table`."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.steps = frozenset(program.shard.recorded)
        self.evaluated = frozenset(program.shard.evaluated)
        self.tests: tuple[Tensor, Tensor] | None = None
        """Loss and accuracy on the test split, once training has ended."""
        self.names = program.shard.statistics
        self._statistics: list[tuple[list[int], Tensor]] = []
        self._curves: list[tuple[int, Tensor]] = []

    def statistics(self, steps: list[int], values: Tensor) -> None:
        """All `names` of some steps, float64 [S, T, K, L], K of them. What was not measured now is NaN."""
        self._statistics.append((steps, values))

    def of_step(self, step: int, columns: dict[str, Tensor]) -> None:
        """Those of one step, float64 [L, T] by statistic, as many as were measured."""
        unknown = torch.full_like(next(iter(columns.values())), torch.nan)
        values = torch.stack([columns.get(name, unknown) for name in self.names])
        self.statistics([step], values.transpose(1, 2)[:, :, None])

    def evaluation(self, step: int, training: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor]) -> None:
        """(loss, accuracy) on each split, float64 [T] each."""
        self._curves.append((step, torch.stack([training[0], validation[0], training[1], validation[1]])))

    def test(self, scores: tuple[Tensor, Tensor]) -> None:
        self.tests = scores

    @property
    def bytes(self) -> int:
        """Held until the next tables."""
        return sum(values.nbytes for _, values in self._statistics)

    def statistics_table(self) -> pa.Table | None:
        """A row for each trial, recorded step and layer; then forgets them. None if there are none.

        Rows end with the step at which a trial diverged: there they keep NaN and infinity. Elsewhere NaN means that a
        statistic does not apply, and becomes null.
        """
        if not self._statistics:
            return None
        steps = np.array([step for steps, _ in self._statistics for step in steps])
        values = torch.cat([values for _, values in self._statistics], 2).cpu().numpy()  # [S, T, K, L]
        self._statistics.clear()
        kept, diverging = self._until_divergence(steps)
        trial, place = np.nonzero(kept)
        layers = len(self.program.measured)
        numbers = np.repeat(~diverging[trial, place], layers)
        columns: dict[str, pa.Array] = {
            **self._keys(np.repeat(trial, layers)),
            "step": pa.array(np.repeat(steps[place], layers)),
            "layer": _words([m.path for m in self.program.measured], np.tile(np.arange(layers), len(trial))),
            "depth": pa.array(np.tile([m.depth for m in self.program.measured], len(trial))),
        }
        for name, own in zip(self.names, values, strict=True):
            column = own[trial, place].reshape(-1)
            columns[name] = pa.array(column, mask=np.isnan(column) & numbers)
        return pa.table(columns)

    def curves_table(self) -> pa.Table | None:
        """A row for each trial and step at which whole splits were evaluated; then forgets them."""
        if not self._curves:
            return None
        steps = np.array([step for step, _ in self._curves])
        values = torch.stack([values for _, values in self._curves]).permute(2, 0, 1).cpu().numpy()  # [T, K, 4]
        self._curves.clear()
        kept, _ = self._until_divergence(steps)
        trial, place = np.nonzero(kept)
        columns = {"trial": self._keys(trial)["trial"], "step": pa.array(steps[place])}
        classes = self.program.loss.correct is not None
        for index, name in enumerate(CURVES):
            column = np.ascontiguousarray(values[trial, place, index])
            columns[name] = pa.array(column, mask=None if classes or name.endswith("loss") else np.isnan(column))
        return pa.table(columns)

    def _until_divergence(self, steps: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """[T, K] each: which steps of a trial count, and which of them is that of its divergence."""
        diverged = self.program.watch.state["step"].cpu().numpy()[:, None]
        return (diverged == NEVER) | (steps <= diverged), diverged == steps

    def _keys(self, rows: NDArray[np.int64]) -> dict[str, pa.Array]:
        trials = self.program.trials
        rates = np.array([trial.hyperparameters.get("lr", np.nan) for trial in trials], dtype=np.float64)[rows]
        return {
            "variant": _words([trial.variant for trial in trials], rows),
            "optimizer": _words([trial.optimizer for trial in trials], rows),
            "trial": pa.array(np.array([trial.trial for trial in trials])[rows]),
            "lr": pa.array(rates, mask=np.isnan(rates)),
            "seed": pa.array(np.array([trial.seed for trial in trials])[rows]),
        }


def _words(words: list[str], rows: NDArray[np.int64]) -> pa.Array:
    """Words repeated often, stored once. Equal words share a code."""
    distinct = list(dict.fromkeys(words))
    codes = np.array([distinct.index(word) for word in words], dtype=np.int32)[rows]
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(distinct, pa.string()))
