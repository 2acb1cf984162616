"""Every example is a request as it stands, and every variant of it trains."""

import json
from pathlib import Path

import pytest
from engine_samples import train

from service.validation import read_comparison
from workers.analysis.protocol import first_round
from workers.contract.checks import Limits

EXAMPLES = Path(__file__).parents[1] / "examples"
PATHS = sorted(EXAMPLES.rglob("*.json"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_it_trains(path: Path) -> None:
    """Accepted by the door, and three steps of each variant and optimizer, one seed, end with finite losses."""
    asked = json.loads(path.read_text())
    read_comparison(asked, Limits())
    short = asked | {"steps": 3, "equal": "steps", "seeds": 1, "record": {"points": 2}}
    for shard in first_round(read_comparison(short, Limits())).shards:
        for ending in train(shard).endings:
            assert ending.divergence is None and ending.test_loss is not None
