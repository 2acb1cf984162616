"""Plain against remedied, through the API: every family of remedies on the same data, a row for each arm of its example.

    python -m benchmarks.remedies [folder for report.html and decades.svg of what holds the signal]

Read from `examples/remedies/` and `examples/hold-signal.json`, as a user would send them. Of the settings of an arm that with the smallest
validation loss stands here: decades per layer of the error signal at step 0 and at the end, the interquartile mean of the test accuracy
with its 95 % interval over seeds, how many trials trained to the end, and the verdict. Chance is 10 %.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.classic import accuracy
from benchmarks.through_api import answered, serving
from service.report import words
from workers.contract.results import Arm, Result

EXAMPLES = Path(__file__).parents[1] / "examples"
HELD = EXAMPLES / "hold-signal.json"


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    began = time.monotonic()
    with serving() as client:
        for path in (*sorted((EXAMPLES / "remedies").glob("*.json")), HELD):
            spec = json.loads(path.read_text())
            answer = answered(client, spec)
            print(f"\n{spec['name']} ({path.relative_to(EXAMPLES.parent)})\n", flush=True)
            print("\n".join(table(Result.model_validate(answer["result"]))), flush=True)
        if folder is not None:  # the last one: what holds the signal
            report = answer["links"]["report"]
            folder.mkdir(parents=True, exist_ok=True)
            client.download(report, folder / "report.html")
            client.download(f"{report}/plots/decades.svg", folder / "decades.svg")
    print(f"\n{time.monotonic() - began:.0f} s")


def table(result: Result) -> Iterator[str]:
    """In Markdown, in the order of the request."""
    yield "| | decades per layer, from → to | test accuracy [95 %] | trained | signal |"
    yield "|---|---|---|---|---|"
    several = len({arm.optimizer for arm in result.arms}) > 1
    variants = {arm.variant for arm in result.arms}
    for arm in sorted(result.arms, key=lambda arm: arm.variant != "base"):
        name = " · ".join([*([arm.variant] if len(variants) > 1 else []), *([arm.optimizer] if several else [])])
        yield f"| {name} | {decades(arm)} | {accuracy(arm)} | {trained(arm)} | {words.course(arm.diagnosis)} |"


def decades(arm: Arm) -> str:
    if arm.diagnosis is None:
        return "none"
    stages = (arm.diagnosis.at_step_0, arm.diagnosis)
    ends = [stage.decades_per_layer if stage else None for stage in stages]
    return " → ".join("none" if end is None else f"{end:+.2f}" for end in ends)


def trained(arm: Arm) -> str:
    """Trials that came to their end, of all of the setting."""
    return f"{arm.trials.completed} of {arm.trials.completed + arm.trials.diverged}"


if __name__ == "__main__":
    main()
