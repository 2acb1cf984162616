"""The engine against JAX + optax on the same trials, side by side: same data, batches, initial weights and statistics.

    python -m benchmarks.peers PYTHON [repetitions]

PYTHON is one that has JAX and optax (`make bench-peers` makes it). JAX runs in two single-threaded processes, each with half of
the trials: one process with two threads is slower. The engine takes its compiled path, one process of two threads. They take
turns; printed are medians over the repetitions of the ratio within each.

That both sides do the same is shown: every statistic of the first two steps, of every layer and trial. What JAX compiles it
keeps beside PYTHON, so that only the first run takes minutes for it.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.sides import NOTHING, SECONDS, Side, engine, in_turns, ratio
from benchmarks.workloads import WORKLOADS, Workload, shard
from workers.contract.statistics import recorded
from workers.trainer_process import ENVIRONMENT

PROCESSES = 2
SINGLE_THREADED = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "NPROC": "1", "JAX_PLATFORMS": "cpu"}
BARE, FULL = "no statistics", "statistics at every step"


class Jax:
    """Processes of jax_side.py, each with its part of the trials."""

    def __init__(
        self,
        python: str,
        given: Path,
        workload: Workload,
        measured: bool,
        parts: int = PROCESSES,
        environment: Mapping[str, str] = SINGLE_THREADED,
    ) -> None:
        self.workload = workload
        self.command = [python, str(Path(__file__).with_name("jax_side.py")), str(given)]
        self.parts, self.environment = parts, environment
        self.arguments = [str(parts), str(int(measured))]
        self.cache = Path(python).parents[1] / "compiled"
        self.processes: list[subprocess.Popen[str]] = []
        self.first_call_seconds = 0.0
        self.start(0)

    def start(self, part: int) -> None:
        self.processes.append(
            subprocess.Popen(
                [*self.command, str(part), *self.arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **self.environment, "JAX_COMPILATION_CACHE_DIR": str(self.cache)},
            )
        )

    def ready(self) -> None:
        """The others start once the first has compiled: they need the same where all have as many trials."""
        (self.first_call_seconds,) = self._answers()
        for part in range(1, self.parts):
            self.start(part)
            self._answer(self.processes[part])
        self.steps = 1
        self.rate()
        self.steps = max(1, round(SECONDS * self.rate() / self.workload.trials))

    def _answers(self) -> list[float]:
        return [self._answer(process) for process in self.processes]

    def _answer(self, process: "subprocess.Popen[str]") -> float:
        assert process.stdout is not None
        return float(process.stdout.readline())

    def rate(self) -> float:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(f"{self.steps}\n")
            process.stdin.flush()
        return sum(self._answers())

    def close(self) -> None:
        for process in self.processes:
            process.communicate()


def prepare(workload: Workload, path: Path) -> NDArray[np.float64]:
    """Writes what jax_side.py starts from. Returns the engine's statistics of the first two steps, [T, 2, S, L]."""
    from workers.engine.execution import choose
    from workers.engine.shard import Training

    plan = shard(workload, 100, [*range(101)])
    training = Training(plan, choose(plan, "cpu", 1))
    programs, split = training.programs, training.programs[0].data.training
    epochs = [program.batches.rows(0, program.batches.steps_per_epoch) for program in programs]
    rates = [float(str(trial.hyperparameters["lr"])) for trial in plan.trials]
    np.savez(
        path,
        x=split.x.numpy(),
        y=split.y.numpy(),
        theta=np.concatenate([program.theta.numpy() for program in programs]),
        rows=np.concatenate(
            [epoch.unflatten(1, (-1, workload.batch)).numpy() for epoch in epochs if epoch is not None]
        ),
        lr=np.array(rates, np.float32),
        kinds=np.array([trial.kind for trial in plan.trials]),
        sizes=np.array([place.row.tensors[0][::-1] for place in programs[0].measured]),
    )
    training.advance(2)
    table, _ = training.tables()
    assert table is not None
    columns = [table[name].to_numpy().astype(float) for name in recorded("default")]
    # rows of the table are sorted by trial, step and layer
    return np.stack(columns).reshape(len(columns), workload.trials, 2, len(programs[0].measured)).transpose(1, 2, 0, 3)


def disagreement(ours: NDArray[np.float64], path: Path, workload: Workload) -> dict[str, float]:
    """By statistic, the largest difference over trials, layers and two steps, in units of the largest value.

    Without Rprop: optax's moves by what the step before worked out.
    """
    theirs = np.empty_like(ours)
    for part in range(PROCESSES):
        theirs[part::PROCESSES] = np.load(f"{path}.{part}.npy")[:, :2]
    kinds = np.array([trial.kind for trial in shard(workload, 10, [0, 10]).trials])
    mine, yours = (values[kinds != "rprop"] for values in (ours, theirs))
    largest = np.nanmax(np.abs(mine), axis=(0, 1, 3), initial=np.finfo(np.float32).tiny)
    apart = np.nanmax(np.abs(mine - yours), axis=(0, 1, 3), initial=0) / largest
    return dict(zip(recorded("default"), apart.tolist(), strict=True))


def main() -> None:
    python, repetitions = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    os.environ["OMP_NUM_THREADS"] = "1"
    versions = "import jax, optax; print(f'JAX {jax.__version__}, optax {optax.__version__}')"
    print(subprocess.run([python, "-c", versions], capture_output=True, text=True, check=True).stdout.strip())
    for name, workload in WORKLOADS.items():
        if workload.kind != "dense":
            continue
        with tempfile.TemporaryDirectory() as folder:
            given = Path(folder) / "workload.npz"
            ours = prepare(workload, given)
            peers = {label: Jax(python, given, workload, label == FULL) for label in (BARE, FULL)}
            measured = {BARE: NOTHING, FULL: "default"}
            engines = {label: Side(engine, workload, [names], ENVIRONMENT) for label, names in measured.items()}
            jax_sides = {f"JAX, {label}": side for label, side in peers.items()}
            rates = in_turns(
                {**jax_sides, **{f"engine, {label}": side for label, side in engines.items()}}, repetitions
            )
            apart = disagreement(ours, given, workload)
        print(f"\n{name}, {workload}: trial-steps per second, {repetitions} repetitions")
        for label in (BARE, FULL):
            mine, theirs = rates[f"engine, {label}"], rates[f"JAX, {label}"]
            print(
                f"  {label:26s} JAX{statistics.median(theirs):10.0f}   engine{statistics.median(mine):10.0f}"
                f"   {ratio(mine, theirs):5.2f} x JAX   (first call of JAX {peers[label].first_call_seconds:.0f} s)"
            )
        worst = max(apart, key=lambda statistic: apart[statistic])
        print(
            f"  both sides' statistics of the first two steps: {apart[worst]:.0e} apart at most ({worst})", flush=True
        )


if __name__ == "__main__":
    main()
