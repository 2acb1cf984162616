"""The forecast of every example beside what its training measures at step 0: real data, every variant, layer by layer.

    python -m benchmarks.forecast [seeds]

Unlike `benchmarks.theory`, which draws wide networks and normal inputs, these are the networks and the data of `examples/`: widths from
ten upwards, pixels that are always dark, targets with a pattern. Measured is the mean of log₁₀ over the seeds, by the engine.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from workers.analysis.predicted import predict
from workers.analysis.protocol import first_round
from workers.contract.comparison import ComparisonSpec
from workers.contract.plan import Execution, Shard
from workers.engine.shard import Training
from workers.theory.tabulated import Numbers

EXAMPLES = Path(__file__).parents[1] / "examples"


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    torch.set_num_threads(1)
    print(
        f"log₁₀ of the gradient norm at step 0, {seeds} seeds; off is predicted less measured, root mean square over layers"
    )
    print(f"  {'example, variant':64}{'layers':>7}{'off':>7}{'worst':>7}")
    pairs = []
    for path in sorted(EXAMPLES.glob("**/*.json")):
        for shard in shards(path, seeds):
            name = f"{path.stem}, {shard.variant}"
            said = predict(shard.network, shard.problem, shard.batch_size, shard.precision)
            if said.reason is not None:
                print(f"  {name:64} {said.reason}")
                continue
            found = measured(shard)
            both = [
                (layer.gradient_log10, found[layer.layer]) for layer in said.layers if layer.gradient_log10 is not None
            ]
            pair = np.array([one for one in both if np.isfinite(one[1])]).reshape(-1, 2)
            off = pair[:, 0] - pair[:, 1]
            pairs.append(pair)
            print(f"  {name:64}{len(off):7}{np.sqrt((off**2).mean()):7.2f}{np.abs(off).max():7.2f}")
    every: Numbers = np.concatenate(pairs)
    correlation = float(np.asarray(np.corrcoef(every.T))[0, 1])
    off = every[:, 0] - every[:, 1]
    print(f"Correlation over all {len(every)} layers: {correlation:.4f}; off by {np.sqrt((off**2).mean()):.3f} decades")


def shards(path: Path, seeds: int) -> list[Shard]:
    """One of every variant, of a single step."""
    given = json.loads(path.read_text())
    single = {
        "optimizers": ["sgd"],
        "tuning": None,
        "seeds": seeds,
        "steps": 1,
        "baseline": "sgd",
        "record": {"points": 2},
    }
    return first_round(ComparisonSpec.model_validate({**given, **single})).shards


@torch.no_grad()
def measured(shard: Shard) -> dict[str, float]:
    """Mean log₁₀ of the gradient's norm over the trials, by layer."""
    training = Training(shard, Execution(device="cpu", threads=1, chunks=[len(shard.trials)], path="portable"))
    training.advance(shard.steps)
    table, _ = training.tables()
    assert table is not None
    logs: dict[str, list[float]] = {}
    for row in table.to_pylist():
        if row["step"] == 0:
            norm = row["gradient_norm"]
            logs.setdefault(row["layer"], []).append(np.log10(norm) if norm else -np.inf)
    return {layer: float(np.mean(found)) for layer, found in logs.items()}


if __name__ == "__main__":
    main()
