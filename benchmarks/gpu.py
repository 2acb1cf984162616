"""Trial-steps per second on one CUDA card: the engine, each step a captured graph, against a plain torch loop and JAX on the same card.

    python -m benchmarks.gpu [PYTHON]

Workloads of a thousand trials. The plain loop is nn.Sequential and torch.optim, one trial after another, no statistics; it is timed on
some of the trials. PYTHON is one that has JAX for CUDA and optax; without it there is no such row. Sides take turns, and printed are
medians over the repetitions of the ratio within each; the share of the peak is that of the step's matrix products against large float32
ones. Status 1, and nothing measured, without a card.

Nobody has run this yet: no card was at hand when it was written, and there are no figures of it.
"""

import statistics
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers import Jax, prepare
from benchmarks.sides import NOTHING, Measures, Side, engine, in_turns, plain, product, ratio
from benchmarks.workloads import WORKLOADS, Workload

REPETITIONS = 5
TRIALS = 1000
PLAIN, BARE, FULL = "plain torch, one trial after another", "engine, no statistics", "engine, statistics at every step"
JAX = {BARE: "JAX, no statistics", FULL: "JAX, statistics at every step"}


def main() -> int:
    import torch

    if not torch.cuda.is_available():
        print("no CUDA device here: nothing was measured", file=sys.stderr)
        return 1
    print(f"{torch.cuda.get_device_name()}, torch {version('torch')}, CUDA {torch.version.cuda}")
    for name in ("W1", "W4"):
        compare(name, WORKLOADS[name]._replace(trials=TRIALS), sys.argv[1] if len(sys.argv) > 1 else None)
    return 0


def compare(name: str, workload: Workload, python: str | None) -> None:
    sides: dict[str, Measures] = {
        PLAIN: Side(plain, workload, [0], device="cuda"),
        BARE: Side(engine, workload, [NOTHING], device="cuda"),
        FULL: Side(engine, workload, ["default"], device="cuda"),
        "product": Side(product, workload, [0], device="cuda"),
    }
    with tempfile.TemporaryDirectory() as folder:
        if python:
            given = Path(folder) / "workload.npz"
            prepare(workload, given)
            sides |= {JAX[label]: Jax(python, given, workload, label == FULL, 1, {}) for label in (BARE, FULL)}
        rates = in_turns(sides, REPETITIONS)
    peak = rates.pop("product")
    print(f"\n{name}, {workload}: trial-steps per second, {REPETITIONS} repetitions")
    for label, own in rates.items():
        print(
            f"  {label:40s}{statistics.median(own):12.0f}   {ratio(own, rates[PLAIN]):7.2f} x plain"
            f"   {100 * workload.flops * ratio(own, peak):3.0f} % of the peak"
        )
    print(f"  {'with statistics / without':40s}{ratio(rates[FULL], rates[BARE]):12.2f}")
    for label, theirs in JAX.items():
        if theirs in rates:
            print(f"  {label + ' / JAX':40s}{ratio(rates[label], rates[theirs]):12.2f}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
