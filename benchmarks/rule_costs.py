"""What a step of each optimizer takes beside a step of SGD: measured, and written into the contract.

    python -m benchmarks.rule_costs            print the table
    python -m benchmarks.rule_costs --write    renew workers/contract/rule_costs.py

Whole training steps, pass forward, gradients and update, without statistics: digits, 6 hidden tanh layers of 64, batches of 128, eight
trials as one program in torch, float32, one thread, every rule at its defaults; layers of 4, so 410 parameters, for rules that may not
train that many. Each rule takes turns with SGD in one process, and the median of the ratios of their times is what is written; so other
work on the machine counts for both alike. Memory is handed out as in the trainer. Compiled code, where there is some, makes the update
itself cheaper than this.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Protocol

import torch

from benchmarks.invariance import kind_of
from workers.analysis.protocol import first_round
from workers.contract.comparison import ComparisonSpec
from workers.contract.optimizers import OPTIMIZERS
from workers.contract.plan import Execution
from workers.engine.shard import Training
from workers.trainer_process import ENVIRONMENT

TRIALS, STEPS_AT_ONCE = 8, 20
WIDTH, NARROW = 64, 4
LONG = 1_000_000
TABLE = Path(__file__).parents[1] / "workers" / "contract" / "rule_costs.py"
START, END = "    # measured\n", "    # end\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="renew the table in the contract")
    parser.add_argument("--turns", type=int, default=11, help="of each rule with SGD (%(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sgd = {width: Stepping("sgd", width) for width in (WIDTH, NARROW)}
    lines = []
    for spec in OPTIMIZERS:
        width = WIDTH if spec.most_parameters is None else NARROW
        lines.append(
            f'    "{kind_of(spec)}": {ratio(Stepping(kind_of(spec), width), sgd[width], arguments.turns):.2g},\n'
        )
        print(lines[-1], end="", flush=True)
    if arguments.write:
        before, rest = TABLE.read_text().split(START)
        TABLE.write_text(before + START + "".join(lines) + END + rest.split(END)[1])


class Stepping:
    """Trials of one optimizer, a few steps at a time."""

    def __init__(self, kind: str, width: int = WIDTH) -> None:
        asked = {
            "problem": "digits",
            "network": {"kind": "mlp", "depth": 6, "width": width, "activation": "tanh", "init": "xavier_normal"},
            "optimizers": [{"kind": kind, "batch_size": 128}],
            "baseline": kind,
            "seeds": TRIALS,
            "steps": LONG,
            "record": {"points": 2},
            "tuning": None,
        }
        (shard,) = first_round(ComparisonSpec.model_validate(asked)).shards
        self.running = Training(shard, Execution(device="cpu", threads=1, chunks=[TRIALS]))
        self.done = 0
        self.seconds()

    def seconds(self) -> float:
        """Of the next steps."""
        self.done += STEPS_AT_ONCE
        started = time.perf_counter()
        self.running.advance(self.done)
        return time.perf_counter() - started


class Timed(Protocol):
    def seconds(self) -> float:
        """Of its next steps."""


def ratio(one: Timed, other: Timed, turns: int) -> float:
    """Time of the one over the other's, before and after it: the median over so many turns."""
    found = []
    before = other.seconds()
    for _ in range(turns):
        own, after = one.seconds(), other.seconds()
        found.append(2 * own / (before + after))
        before = after
    return statistics.median(found)


if __name__ == "__main__":
    if not ENVIRONMENT.items() <= os.environ.items():
        os.environ.update(ENVIRONMENT)  # has to be there when the process starts
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.rule_costs", *sys.argv[1:]])  # noqa: S606 - itself
    main()
