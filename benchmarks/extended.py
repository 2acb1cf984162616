"""The extended range: what it costs, and how deep optimizers go with it and without.

    python -m benchmarks.extended [repetitions]

Cost: the same steps in either range, in turns in one process, statistics at every step; the median of the ratios of their times.
Depth: sigmoid networks on digits, and the same centred, 4·(σ(z) − ½), which is 2·tanh(z/2). Each number is the best median, over
learning rates, of the test accuracy of three seeds, in the standard and in the extended range. Chance is 0.10.
"""

import statistics
import sys
import time
from typing import Any

from workers.analysis.protocol import first_round
from workers.contract.comparison import ComparisonSpec
from workers.contract.plan import Shard
from workers.engine.execution import choose
from workers.engine.machine import cores
from workers.engine.shard import Training

DEPTHS = (10, 20, 30, 65, 100)
STEPS = 600
RATES = {"signsgd": [1e-4, 1e-3], "signum": [1e-4, 1e-3], "rprop": [1e-3], "adam": [1e-4, 1e-3], "sgd": [0.1, 1.0]}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"kind": "sgd"},
    "adam, eps 1e-8": {"kind": "adam"},
    "adam, eps 1e-30": {"kind": "adam", "eps": 1e-30},
    "signsgd": {"kind": "signsgd"},
    "signum": {"kind": "signum"},
    "rprop, full batch": {"kind": "rprop", "batch_size": "full"},
}
CENTRED = {"kind": "scaled", "of": "centred_sigmoid", "a": 4}
NETWORKS: dict[str, Any] = {"sigmoid": "sigmoid", "centred sigmoid, 4·(σ(z) − ½)": CENTRED}


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print("cost: time of a step in the extended range over that in the standard range")
    for depth, width, activation in ((20, 64, "tanh"), (50, 128, "tanh"), (100, 64, "sigmoid")):
        for portable in (False, True):
            print(f"  {cost(depth, width, activation, portable, repetitions)}")
    for name, activation in NETWORKS.items():
        print(f"\n{name}, width 32, {STEPS} steps: accuracy in the standard / extended range")
        print("  depth  " + "  ".join(f"{label:>18s}" for label in OPTIMIZERS))
        for depth in DEPTHS:
            scores = [accuracies(depth, activation, extent) for extent in ("standard", "extended")]
            row = (f"{scores[0][label]:9.2f} / {scores[1][label]:.2f}  " for label in OPTIMIZERS)
            print(f"  {depth:5d}  " + "  ".join(f"{cell:>18s}" for cell in row))


def shards(depth: int, width: int, activation: Any, extent: str, **more: Any) -> list[Shard]:
    body = {
        "problem": "digits",
        "network": {"kind": "mlp", "depth": depth, "width": width, "activation": activation, "init": "xavier_normal"},
        "gradient_range": extent,
        "tuning": None,
        **more,
    }
    return first_round(ComparisonSpec.model_validate(body)).shards


def cost(depth: int, width: int, activation: str, portable: bool, repetitions: int) -> str:
    rules = ["sgd", "rmsprop", "adam", "rprop", "signsgd", "signum"]
    running = []
    for extent in ("standard", "extended"):
        (shard,) = [
            shard
            for shard in shards(
                depth, width, activation, extent, optimizers=rules, seeds=2, steps=10_000, record={"points": 10_001}
            )
            if shard.batch_size == 128
        ]
        chosen = choose(shard, "cpu", cores())
        if portable:
            chosen = chosen.model_copy(update={"path": "portable", "chunks": [len(shard.trials)]})
        running.append(Training(shard, chosen))
    ratios = []
    for _ in range(repetitions + 1):
        times = []
        for training in running:
            started = time.perf_counter()
            training.advance(training.step + 10)
            times.append(time.perf_counter() - started)
            training.tables()
        ratios.append(times[1] / times[0])
    path = "portable" if portable else running[0].path
    return f"depth {depth:3d}, width {width:3d}, {activation:8s}{path:9s}{statistics.median(ratios[1:]):5.2f}"


def accuracies(depth: int, activation: Any, extent: str) -> dict[str, float]:
    optimizers = [{**spec, "name": label, "lr": RATES[spec["kind"]]} for label, spec in OPTIMIZERS.items()]
    found: dict[str, dict[float, list[float]]] = {label: {} for label in OPTIMIZERS}
    more = {"optimizers": optimizers, "seeds": 3, "steps": STEPS, "record": {"points": 2}}
    for shard in shards(depth, 32, activation, extent, **more):
        training = Training(shard, choose(shard, "cpu", cores()))
        training.advance(shard.steps)
        for trial, ending in zip(shard.trials, training.endings(), strict=True):
            rate = float(trial.hyperparameters["lr"])  # type: ignore[arg-type] # one number of the grid
            found[trial.optimizer].setdefault(rate, []).append(ending.test_accuracy or 0.0)
    return {label: max(statistics.median(scores) for scores in rates.values()) for label, rates in found.items()}


if __name__ == "__main__":
    main()
