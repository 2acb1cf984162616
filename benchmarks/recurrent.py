"""The recurrent question through the API: which network keeps two numbers over 50 and 100 steps, under which optimizer.

    python -m benchmarks.recurrent [steps]

The adding problem. A cell is the interquartile mean of the test loss over seeds, its 95 % interval and how many trials diverged; 1 is the
loss of the best constant, bold is an interval below LEARNT. Of two learning rates the one with the smaller validation loss stands here.
The residual network sees all steps at once, side by side; its gradient goes through eight layers instead of through time.

Above the table stands what is so before any training: log₁₀ of the error signal at the first step over that at the last, through time, on
the mean over seeds; for the residual network from its first hidden layer to its last.
"""

import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.through_api import answered, serving
from workers.analysis.protocol import first_round
from workers.contract.comparison import ComparisonSpec
from workers.contract.plan import Shard
from workers.contract.results import Arm, Result
from workers.engine.problems import load
from workers.engine.program import DTYPES, build
from workers.engine.train import differentiate

LENGTHS = (50, 100)
LEARNT = 0.5
UNITS = 32


def recurrent(kind: str) -> dict[str, Any]:
    return {"kind": "layers", "layers": [{"kind": kind, "hidden_size": UNITS}]}


NETWORKS: dict[str, dict[str, Any]] = {
    "tanh RNN": recurrent("rnn"),
    "LSTM": recurrent("lstm"),
    "GRU": recurrent("gru"),
    "residual tanh": {"kind": "mlp", "depth": 8, "width": 64, "activation": "tanh", "shortcut": {"kind": "residual", "scale": "depth"}},
}  # fmt: skip


def spec(length: int, steps: int) -> dict[str, Any]:
    base, *others = NETWORKS
    return {
        "name": f"the adding problem over {length} steps",
        "problem": {"kind": "adding", "length": length, "count": 2000},
        "network": NETWORKS[base],
        "variants": {name: {"network": NETWORKS[name]} for name in others},
        "optimizers": [
            {"kind": "sgd", "lr": [0.1, 0.5]},
            {"kind": "rmsprop", "lr": [0.001, 0.005]},
            {"kind": "signum", "lr": [0.0003, 0.001]},
        ],
        "tuning": None,
        "seeds": 3,
        "steps": steps,
        "batch_size": 32,
        "record": {"points": 6, "statistics": "core"},
    }


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    torch.set_num_threads(1)
    with serving() as client:
        for length in LENGTHS:
            asked = spec(length, steps)
            faded = {shard.variant: fading(shard) for shard in first_round(ComparisonSpec.model_validate(asked)).shards}
            began = time.monotonic()
            answer = answered(client, asked)
            print(
                f"\n{asked['name']}, {steps} updates; {answer['progress']['trials']} trials in {time.monotonic() - began:.0f} s\n"
            )
            print("\n".join(table(Result.model_validate(answer["result"]), faded)))


def table(result: Result, faded: dict[str, float]) -> Iterator[str]:
    """In Markdown: a row for each optimizer, a column for each network."""
    variants = dict(zip(["base", *list(NETWORKS)[1:]], NETWORKS, strict=True))
    found = {(arm.optimizer, arm.variant): arm for arm in result.arms}
    yield "| test loss [95 %] | " + " | ".join(variants.values()) + " |"
    yield "|---" * (1 + len(variants)) + "|"
    yield "| decades of δ at step 0 | " + " | ".join(f"{faded[variant]:.1f}" for variant in variants) + " |"
    for name in dict.fromkeys(arm.optimizer for arm in result.arms):
        yield f"| {name} | " + " | ".join(cell(found[name, variant]) for variant in variants) + " |"


def cell(arm: Arm) -> str:
    reached, diverged = arm.test_loss, f", {arm.trials.diverged} diverged" if arm.trials.diverged else ""
    if reached.iqm is None or reached.low is None or reached.high is None:
        return f"none{diverged}"
    told = f"{reached.iqm:.2g} [{reached.low:.2g}, {reached.high:.2g}]"
    return f"{f'**{told}**' if reached.high < LEARNT else told}{diverged}"


@torch.no_grad()
def fading(shard: Shard) -> float:
    """log₁₀ of ‖δ‖ where the signal starts over that where it ends, before training, mean over trials."""
    running = build(shard, shard.trials, load(shard.problem, DTYPES[shard.precision], torch.device("cpu")))
    differentiate(running, *running.batches.at(0))
    first, *others = [place.error_signal.double() for place in running.measured[:-1]]
    ends = (first[:, :, 0], first[:, :, -1]) if first.dim() == 4 else (first, others[-1])
    start, end = (each.flatten(1).norm(dim=1).log10() for each in ends)
    return float(np.mean((start - end).numpy()))


if __name__ == "__main__":
    main()
