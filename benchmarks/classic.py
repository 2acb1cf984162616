"""The classic facts through the API: which optimizer trains a stack of sigmoids on digits, at which depth.

    python -m benchmarks.classic [folder for report.html and error-signal.svg]

One comparison on the embedded stack, as a user would send it: depths and a cure are its variants. A cell is the interquartile mean of
the test accuracy over fresh seeds, its 95 % interval, and the diagnosis from step 0 to the end; bold where the interval lies above
TRAINED. The learning rates compete on other seeds, by validation loss. Chance is 10 %.
"""

import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.through_api import answered, serving
from service.report import words
from workers.contract.results import Arm, Result

DEPTHS = (4, 6, 10, 20)
CENTRED = "20, centred"
"""The cure that leaves the shape of the non-linearity alone: 4·(σ(z) − ½), which is 2·tanh(z/2)."""
TRAINED = 0.5
DRAWN = "depth 10"
"""The depth at which optimizers differ most: the heat-map's."""


def network(depth: int, activation: Any = "sigmoid") -> dict[str, Any]:
    return {"kind": "mlp", "depth": depth, "width": 48, "activation": activation, "init": "xavier_normal"}


SPEC: dict[str, Any] = {
    "name": "sigmoid stacks on digits: who trains at which depth",
    "problem": "digits",
    "network": network(DEPTHS[0]),
    "variants": {
        **{f"depth {depth}": {"network": network(depth)} for depth in DEPTHS[1:]},
        CENTRED: {"network": network(DEPTHS[-1], {"kind": "scaled", "of": "centred_sigmoid", "a": 4})},
    },
    "optimizers": [
        {"kind": "sgd", "lr": [0.1, 1, 10]},
        {"kind": "adam", "lr": [0.001, 0.003, 0.01]},
        {"kind": "rmsprop", "lr": [0.001, 0.003, 0.01]},
        {"kind": "smorms3", "lr": [0.001, 0.003, 0.01]},
        {"kind": "signum", "lr": [0.0003, 0.001, 0.003]},
        {"kind": "rprop", "lr": 0.001, "step_max": 0.01, "batch_size": "full"},
        "vsgd_fd",
    ],
    "tuning": {"points": 3, "decades": 1, "seeds": 2},
    "seeds": 5,
    "steps": 600,
    "batch_size": 128,
    "record": {"points": 24},
}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    began = time.monotonic()
    with serving() as client:
        answer = answered(client, SPEC)
        took = time.monotonic() - began
        if folder is not None:
            report = answer["links"]["report"]
            folder.mkdir(parents=True, exist_ok=True)
            client.download(report, folder / "report.html")
            client.download(f"{report}/plots/error-signal.svg", folder / "error-signal.svg", variant=DRAWN)
    busy = resource.getrusage(resource.RUSAGE_CHILDREN)
    print("\n".join(table(Result.model_validate(answer["result"]))))
    print(
        f"\n{answer['progress']['trials']} trials in {took:.0f} s, of processors {busy.ru_utime + busy.ru_stime:.0f} s"
    )


def table(result: Result) -> Iterator[str]:
    """In Markdown: a row for each optimizer, a column for each network."""
    variants = {"base": f"depth {DEPTHS[0]}"} | {name: name for name in SPEC["variants"]}
    found = {(arm.optimizer, arm.variant): arm for arm in result.arms}
    yield "| test accuracy [95 %] | " + " | ".join(variants.values()) + " |"
    yield "|---" * (1 + len(variants)) + "|"
    for name in dict.fromkeys(arm.optimizer for arm in result.arms):
        yield f"| {name} | " + " | ".join(cell(found[name, variant]) for variant in variants) + " |"


def cell(arm: Arm) -> str:
    diverged = f", {arm.trials.diverged} diverged" if arm.trials.diverged else ""
    return f"{accuracy(arm)} {words.course(arm.diagnosis)}{diverged}"


def accuracy(arm: Arm) -> str:
    """With its interval; bold where all of that lies above TRAINED."""
    reached = arm.test_accuracy
    if reached is None or reached.iqm is None or reached.low is None or reached.high is None:
        return "none"
    told = f"{reached.iqm:.0%} [{100 * reached.low:.0f}, {100 * reached.high:.0f}]".replace("%", " %")
    return f"**{told}**" if reached.low > TRAINED else told


if __name__ == "__main__":
    main()
