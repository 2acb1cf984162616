"""A shard in training: its chunks, each a batched program, advanced together. What the trainer process drives."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch

from workers.contract.plan import Execution, Shard, Trial
from workers.engine import graph, native, train
from workers.engine.divergence import NEVER
from workers.engine.problems import Files, load, none_kept
from workers.engine.program import DTYPES, Program, Shared, build, checkpoint, restore
from workers.engine.recording import Recording

Advance = Callable[[Program, Recording, int, int], None]

ADVANCE: dict[str, Advance] = {"portable": train.advance, "native": native.advance}
"""Both give the same numbers up to rounding; see execution.py for which is chosen."""


class Ending(NamedTuple):
    """How a trial ended. Scores are None where it diverged, accuracy is NaN on regressions."""

    trial: int
    divergence: dict[str, Any] | None
    test_loss: float | None
    test_accuracy: float | None


def advance_of(path: str, program: Program) -> Advance:
    """How a program is advanced: on a GPU each step as a graph, where it can be one."""
    if program.theta.is_cuda and graph.capturable(program):
        return partial(train.advance, taken=graph.captured(program))
    return ADVANCE[path]


class Training:
    """Holds the programs of all chunks at the same step. Chunks are independent: how many run at a time changes no number."""

    def __init__(self, shard: Shard, execution: Execution, files: Files = none_kept) -> None:
        if sum(execution.chunks) != len(shard.trials):
            raise ValueError(f"chunks of {execution.chunks} trials do not make up the shard's {len(shard.trials)}")
        self.shard = shard
        self.device = torch.device(execution.device)
        self.path = execution.path
        data = load(shard.problem, DTYPES[shard.precision], self.device, files)
        if not 0 < shard.batch_size <= len(data.training.x):  # compiled code would read beyond the rows
            raise ValueError(f"a batch of {shard.batch_size}, and {len(data.training.x)} training samples")
        bounds = [0, *accumulate(execution.chunks)]
        shared = Shared.of(data)
        self.pool = ThreadPoolExecutor(execution.threads)
        self.programs = [
            build(shard, shard.trials[first:end], data, shared, self.pool.map) for first, end in pairwise(bounds)
        ]
        shared.rows.clear()  # from here on they are trained
        self.advances = [advance_of(self.path, program) for program in self.programs]
        self.recordings = [Recording(program) for program in self.programs]
        self.step = 0

    def advance(self, until: int) -> None:
        """Trains every chunk to `until` updates, and waits for the device."""

        def one(advance: Advance, program: Program, recording: Recording) -> None:
            advance(program, recording, self.step, until)

        list(self.pool.map(one, self.advances, self.programs, self.recordings))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.step = until

    @property
    def all_diverged(self) -> bool:
        return all(bool((program.watch.state["step"] != NEVER).all()) for program in self.programs)

    @property
    def recorded_bytes(self) -> int:
        return sum(recording.bytes for recording in self.recordings)

    def tables(self) -> tuple[pa.Table | None, pa.Table | None]:
        """Statistics and curves since the last call."""
        statistics = [table for recording in self.recordings if (table := recording.statistics_table()) is not None]
        curves = [table for recording in self.recordings if (table := recording.curves_table()) is not None]
        return _joined(statistics), _joined(curves)

    def save(self, path: Path) -> None:
        torch.save({"step": self.step, "chunks": [checkpoint(program) for program in self.programs]}, path)

    def resume(self, path: Path) -> None:
        """Goes on where `save` was called; the same execution and shard give the same numbers as if it had never stopped."""
        saved = torch.load(path, map_location=self.device, weights_only=True)
        self.step = saved["step"]
        for program, state in zip(self.programs, saved["chunks"], strict=True):
            restore(program, state, self.step)

    def endings(self) -> list[Ending]:
        """Once all steps are done, or all trials have diverged."""
        return [
            ending
            for program, recording in zip(self.programs, self.recordings, strict=True)
            for ending in _endings(program, recording)
        ]


def _joined(tables: list[pa.Table]) -> pa.Table | None:
    return pa.concat_tables(tables).unify_dictionaries() if tables else None


def _endings(program: Program, recording: Recording) -> list[Ending]:
    state = {name: tensor.tolist() for name, tensor in program.watch.state.items()}
    tests = [values.tolist() for values in recording.tests] if recording.tests else None
    return [_ending(program, trial, row, state, tests) for row, trial in enumerate(program.trials)]


def _ending(
    program: Program, trial: Trial, row: int, state: dict[str, list[Any]], tests: list[list[float]] | None
) -> Ending:
    step, layer, last_loss = state["step"][row], state["layer"][row], state["loss"][row]
    if step == NEVER and tests is not None:
        loss, accuracy = tests[0][row], tests[1][row]
        if abs(loss) < float("inf"):
            return Ending(trial.trial, None, loss, accuracy)
        # the batches were finite, the test split was not: the output has outgrown its format
        step, layer = program.shard.steps, len(program.measured) - 1
    divergence = {
        "step": step,
        "layer": program.measured[layer].path,
        "last_finite_loss": last_loss if last_loss == last_loss else None,
    }
    return Ending(trial.trial, divergence, None, None)
