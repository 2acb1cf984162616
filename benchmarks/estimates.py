"""What a preview says that a comparison will take, beside what it takes: every example, on this machine.

    python -m benchmarks.estimates [steps]

Time is from the first slice's start to the end, on the embedded stack; the estimate is from the speed that its worker measured when it
started, so that a machine that is busy with other things tells nothing. With `steps` the
examples are shortened to so many. Memory is the most
that torch's tensors take at a time while the largest group trains a few steps as this machine would train it; the estimate is that of the
preview less what it adds for the heap. Ratios are estimated / actual.
"""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.tensors import peak_bytes
from benchmarks.through_api import answered, serving
from workers.analysis.protocol import first_round
from workers.contract.comparison import ComparisonSpec
from workers.contract.memory import HEAP
from workers.engine import machine
from workers.engine.execution import choose

EXAMPLES = Path(__file__).parents[1] / "examples"


def main() -> None:
    steps = {"steps": int(sys.argv[1])} if len(sys.argv) > 1 else {}
    print(
        f"{'example':24}{'trials':>8}{'seconds: estimated':>20}{'actual':>9}{'ratio':>7}{'MiB: estimated':>18}{'actual':>9}{'ratio':>7}"
    )
    with serving() as client:
        answered(client, json.loads((EXAMPLES / "expression-digits.json").read_text()))  # the trainer has started
        for path in sorted(EXAMPLES.glob("**/*.json")):
            spec = json.loads(path.read_text()) | steps
            estimate = client.preview(json.dumps(spec).encode())["estimate"]
            answer = answered(client, spec)
            said, took = (
                [estimate["seconds"], estimate["memory_bytes"] / HEAP / 2**20],
                [lasted(answer), taken(spec) / 2**20],
            )
            figures = (
                f"{one:{width}.1f}{two:9.1f}{one / two:7.2f}"
                for one, two, width in zip(said, took, (20, 18), strict=True)
            )
            print(f"{path.stem:24}{estimate['trials']:8}{''.join(figures)}", flush=True)


def lasted(answer: dict[str, Any]) -> float:
    began, ended = (datetime.fromisoformat(answer[name]) for name in ("started_at", "finished_at"))
    return (ended - began).total_seconds()


def taken(spec: dict[str, Any]) -> int:
    """Bytes, of the group that takes most; of the first round, where tuning has as many trials as what follows."""
    shards = first_round(ComparisonSpec.model_validate(spec)).shards
    return max(peak_bytes(shard, choose(shard, "cpu", machine.cores()), 3) for shard in shards)


if __name__ == "__main__":
    main()
