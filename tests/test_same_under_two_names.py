"""An A/A test through the API on the whole stack: one optimizer under two names, tuned and reported, shows no difference."""

import json
from pathlib import Path

import pytest

from service.client import Client
from service.embedded import Stack


def test_one_optimizer_under_two_names_ties(tmp_path: Path) -> None:
    """The same setting, the same losses, the same rank; each pair of runs of a seed differs by nothing, so that a half is likely."""
    body = {
        "problem": "wine",
        "network": {"kind": "mlp", "depth": 2, "width": 8, "activation": "sigmoid"},
        "optimizers": [{"kind": "adam", "name": "a"}, {"kind": "adam", "name": "b"}],
        "tuning": {"points": 2, "decades": 1, "seeds": 1},
        "seeds": 5,
        "steps": 60,
        "batch_size": 32,
        "record": {"points": 10},
        "target": {"metric": "train_loss", "value": 1.05},
    }
    with Stack(tmp_path) as stack, Client(stack.url) as client:
        made = client.submit(json.dumps(body).encode())["id"]
        for _ in client.events(made):
            pass
        answer = client.comparison(made)
    assert answer["status"] == "succeeded", answer["error"]
    a, b = sorted(answer["result"]["arms"], key=lambda arm: str(arm["optimizer"]))
    assert (a["rank"], b["rank"]) == (1, 1)
    assert a["hyperparameters"] == b["hyperparameters"]
    for told in ("test_loss", "test_accuracy"):
        assert a[told] == pytest.approx(b[told], rel=1e-6)
    for arm in (a, b):
        assert 0 < arm["step_seconds"] < 1 and arm["steps_to_target"]["iqm"] > 0
        assert arm["seconds_to_target"]["iqm"] == pytest.approx(arm["step_seconds"] * arm["steps_to_target"]["iqm"])
    versus = b["versus_baseline"]
    assert versus["probability_of_improvement"] == 0.5
    assert versus["low"] < 0.5 < versus["high"]
    assert versus["difference"] == {"iqm": 0.0, "low": 0.0, "high": 0.0}
