"""What a step takes at which a group of statistics is measured, beside one at which nothing is: measured, and written into the contract.

    python -m benchmarks.statistics_costs            print the table
    python -m benchmarks.statistics_costs --write    renew workers/contract/statistics_costs.py

Whole training steps: digits, 6 hidden tanh layers of 64, batches of 128, eight trials under Adam as one program in torch, float32, one
thread. Each group takes turns with training that records nothing, and the median of the ratios of their processor times is what is written;
so other work on the machine hardly counts. Below the table: all groups but curvature, and all, at every
tenth step, at their default intervals.
"""

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

import torch

from benchmarks.rule_costs import ratio
from workers.analysis.protocol import first_round
from workers.contract.comparison import ComparisonSpec
from workers.contract.plan import Execution
from workers.contract.statistics import DEFAULT_INTERVALS, GROUPS, OCCASIONAL, Occasional, recorded
from workers.engine.shard import Training

TRIALS, STEPS_AT_ONCE = 8, 40
EACH: dict[Occasional, int] = dict.fromkeys(OCCASIONAL, 1)
TABLE = Path(__file__).parents[1] / "workers" / "contract" / "statistics_costs.py"
START, END = "    # measured\n", "    # end\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="renew the table in the contract")
    parser.add_argument("--turns", type=int, default=11, help="of each group with training alone (%(default)s)")
    arguments = parser.parse_args()
    turns = arguments.turns
    torch.set_num_threads(1)
    lines = []
    for group in GROUPS:
        lines.append(f'    "{group}": {cost([group], 1, turns):.2g},\n')
        print(lines[-1], end="", flush=True)
    most = set(GROUPS) - {"curvature"}
    for what, groups in {"all but curvature": most, "all": set(GROUPS)}.items():
        print(f"{what}, recorded at every tenth step: {cost(groups, 10, turns, DEFAULT_INTERVALS):.2f}")
    print(f"all but curvature, all measured at every tenth step: {cost(most, 10, turns):.2f}")
    if arguments.write:
        before, rest = TABLE.read_text().split(START)
        TABLE.write_text(before + START + "".join(lines) + END + rest.split(END)[1])


class Stepping:
    """The same trials, a few steps at a time, with statistics at every so many steps."""

    def __init__(self, names: tuple[str, ...], every: int, steps: int, intervals: dict[Occasional, int]) -> None:
        asked = {
            "problem": "digits",
            "network": {"kind": "mlp", "depth": 6, "width": 64, "activation": "tanh", "init": "xavier_normal"},
            "optimizers": ["adam"],
            "baseline": "adam",
            "seeds": TRIALS,
            "steps": steps,
            "tuning": None,
        }
        (planned,) = first_round(ComparisonSpec.model_validate(asked)).shards
        at = sorted({*range(0, steps, every), steps})
        changes = {"statistics": names, "recorded": at, "intervals": intervals}
        execution = Execution(device="cpu", threads=1, chunks=[TRIALS])
        self.running = Training(planned.model_copy(update=changes), execution)
        for recording in self.running.recordings:
            recording.evaluated = frozenset()
        self.done = 0
        self.seconds()

    def seconds(self) -> float:
        """Of the next steps."""
        self.done += STEPS_AT_ONCE
        started = time.process_time()
        self.running.advance(self.done)
        found = time.process_time() - started
        self.running.tables()
        return found


def cost(groups: Iterable[str], every: int, turns: int, intervals: dict[Occasional, int] = EACH) -> float:
    """Time with statistics over the time without, before and after it."""
    steps = STEPS_AT_ONCE * (turns + 3)
    measuring = Stepping(recorded(groups), every, steps, intervals)
    plain = Stepping(("gradient_norm",), steps, steps, EACH)
    return ratio(measuring, plain, turns)


if __name__ == "__main__":
    main()
