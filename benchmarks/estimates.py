"""How long a preview says that a comparison will take, beside how long it takes: every example, on this machine.

    python -m benchmarks.estimates [steps]

From the first slice's start to the end, on the embedded stack; the estimate is from the speed that its worker measured when it started, so
that a machine that is busy with other things tells nothing. With `steps` the examples are shortened to so many. Ratios are estimated /
actual. `benchmarks.step_estimates` holds memory and the parts of the time against single shards.
"""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.through_api import answered, serving

EXAMPLES = Path(__file__).parents[1] / "examples"


def main() -> None:
    steps = {"steps": int(sys.argv[1])} if len(sys.argv) > 1 else {}
    print(f"{'example':24}{'trials':>8}{'seconds: estimated':>20}{'actual':>9}{'ratio':>7}")
    with serving() as client:
        answered(client, json.loads((EXAMPLES / "expression-digits.json").read_text()))  # the trainer has started
        for path in sorted(EXAMPLES.glob("**/*.json")):
            spec = json.loads(path.read_text()) | steps
            estimate = client.preview(json.dumps(spec).encode())["estimate"]
            said, took = estimate["seconds"], lasted(answered(client, spec))
            print(f"{path.stem:24}{estimate['trials']:8}{said:20.1f}{took:9.1f}{said / took:7.2f}", flush=True)


def lasted(answer: dict[str, Any]) -> float:
    began, ended = (datetime.fromisoformat(answer[name]) for name in ("started_at", "finished_at"))
    return (ended - began).total_seconds()


if __name__ == "__main__":
    main()
