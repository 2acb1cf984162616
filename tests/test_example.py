"""The example answers the mission's own question, through the command that `make run` calls: service, queue, worker and all.

Six sigmoid layers on digits: SGD stays at chance at any learning rate, what does not depend on the gradient's magnitude
trains, and the error signal says why. The theory's rate and a plain torch network stand beside the engine's.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

EXAMPLE = Path(__file__).parents[1] / "examples" / "sigmoid-digits.json"
INDEPENDENT = {"adam", "rmsprop", "signum", "rprop", "smorms3", "vsgd_fd"}
"""Optimizers whose step does not shrink with the gradient, over the range met here."""
MEAN_FIELD = -0.627
"""Decades per layer of a sigmoid network with Var W = 1/fan_in: ½ log₁₀ χ₁ with χ₁ = 0.0557 (Schoenholz et al. 2017)."""
WITHIN = 0.05
"""Finite width: ±0.2 decades over 49 layers of 64 units are expected of a single network, and this is a fit over 6."""


class Outcome(NamedTuple):
    printed: str
    statistics: pa.Table
    trials: list[dict[str, Any]]
    result: dict[str, Any]
    survivors: list[psutil.Process]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("example")
    before = {process.pid for process in psutil.process_iter()}
    command = ["compare", str(EXAMPLE), "--out", str(folder / "results"), "--data", str(folder / "data")]
    done = subprocess.run([sys.executable, "-m", "service", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    started = [process for process in psutil.process_iter() if process.pid not in before]
    out = folder / "results"
    return Outcome(
        done.stdout,
        pq.read_table(out / "statistics.parquet"),
        json.loads((out / "trials.json").read_text())["trials"],
        json.loads((out / "result.json").read_text()),
        [process for process in started if str(folder) in _words(process)],
    )


def _words(process: psutil.Process) -> str:
    """Of its command line; of other tests' processes, which may be ending, none."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def test_sgd_stays_at_chance_at_any_learning_rate(outcome: Outcome) -> None:
    """From 0.01 to 10, no run of SGD is beyond guessing one of ten classes."""
    runs = [trial for trial in outcome.trials if trial["optimizer"] == "sgd"]
    assert {trial["hyperparameters"]["lr"] for trial in runs} == {0.01, 0.1, 1.0, 10.0}
    assert all(max(trial["curves"]["train_accuracy"]) < 0.2 for trial in runs)


def test_what_does_not_depend_on_the_magnitude_trains(outcome: Outcome) -> None:
    """At least three optimizers are beyond 0.9 of training accuracy, the mean over the reported seeds."""
    accuracies: dict[str, list[float]] = {}
    for trial in outcome.trials:
        if trial["role"] == "final":
            accuracies.setdefault(trial["optimizer"], []).append(trial["curves"]["train_accuracy"][-1])
    trained = {name for name, values in accuracies.items() if np.mean(values) > 0.9}
    assert len(trained & INDEPENDENT) >= 3, accuracies
    assert "sgd" not in trained


def test_the_error_signal_falls_as_theory_says(outcome: Outcome) -> None:
    """At step 0 by about 0.63 decades per layer, in the statistics, in the diagnosis, by mean field and in plain torch."""
    table = outcome.statistics
    first = table.filter((pc.field("step") == 0) & (pc.field("layer") != "output"))
    rates = []
    for trial in set(first["trial"].to_pylist()):
        own = first.filter(pc.field("trial") == trial).sort_by("depth")
        log_norm = np.log10(own["error_signal_norm"].to_numpy())
        rates.append(-np.polyfit(own["depth"].to_numpy(), log_norm, 1)[0])
    assert np.mean(rates) == pytest.approx(MEAN_FIELD, abs=WITHIN)
    assert np.mean(rates) == pytest.approx(np.mean([plain_rate(seed) for seed in range(5)]), abs=WITHIN)
    for arm in outcome.result["arms"]:
        assert arm["diagnosis"]["at_step_0"]["verdict"] == "vanishing"
        assert arm["diagnosis"]["at_step_0"]["decades_per_layer"] == pytest.approx(MEAN_FIELD, abs=WITHIN)


def plain_rate(seed: int) -> float:
    """Decades per layer of ∂L/∂z in a network built and differentiated by torch alone."""
    torch.manual_seed(seed)
    data = load_digits()
    x = torch.from_numpy(data.data).float()
    x = (x - x.mean(0)) / x.std(0).clamp_min(1e-6)
    signals = []
    h = x[:128]
    for _ in range(6):
        linear = nn.Linear(64, 64)
        nn.init.xavier_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        z = linear(h)
        z.retain_grad()
        signals.append(z)
        h = torch.sigmoid(z)
    top = nn.Linear(64, 10)
    nn.init.xavier_normal_(top.weight)
    nn.functional.cross_entropy(top(h), torch.from_numpy(data.target)[:128]).backward()
    norms = [float(z.grad.norm()) for z in signals if z.grad is not None]
    return float(-np.polyfit(range(6), np.log10(norms), 1)[0])


def test_the_terminal_shows_ranking_and_picture(outcome: Outcome) -> None:
    """A row for each optimizer and one for each layer."""
    for arm in outcome.result["arms"]:
        assert arm["optimizer"] in outcome.printed
    for layer in (*(f"hidden.{index}.linear" for index in range(6)), "output"):
        assert layer in outcome.printed


def test_nothing_is_left_running(outcome: Outcome) -> None:
    """Server, worker, trainer and API are gone."""
    assert not outcome.survivors


def test_the_prediction_stands_beside_the_measurement(outcome: Outcome) -> None:
    """Made from the request alone: its slope within .05 decades per layer, every error signal within a quarter; gradients are
    larger than for random labels, the more so the larger the batch: samples of a class are alike and pull alike.
    """
    for arm in outcome.result["arms"]:
        said, measured = arm["diagnosis"]["predicted_at_step_0"], arm["diagnosis"]["at_step_0"]
        assert said["verdict"] == measured["verdict"] == "vanishing"
        assert said["decades_per_layer"] == pytest.approx(measured["decades_per_layer"], abs=WITHIN)
        assert [layer["layer"] for layer in said["layers"]] == [layer["layer"] for layer in measured["layers"]]
        for layer in said["layers"]:
            assert 0.75 < layer["error_signal_ratio"] < 1.33 and 0.75 < layer["gradient_ratio"] < 6
