"""Schedules, clipping and decay are tuned like learning rates: their lists run as grid points, and validation chooses."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from analysis_samples import comparison, trials_of

from workers.analysis.protocol import PlannedRound, TrialScore, first_round, next_round
from workers.analysis.result import build_result
from workers.contract.results import Arm
from workers.engine.execution import choose
from workers.engine.shard import Training

CASES: dict[str, tuple[dict[str, Any], float]] = {
    "clip.max_norm": ({"clip": {"kind": "norm", "max_norm": [1e-9, 10.0]}}, 10.0),
    "clip.clip_value": ({"clip": {"kind": "value", "clip_value": [1.0, 1e-9]}}, 1.0),
    "added_decay.weight_decay": ({"added_decay": {"kind": "decoupled", "weight_decay": [5.0, 1e-4]}}, 1e-4),
    "schedule.warmup_steps": ({"schedule": {"kind": "linear_warmup", "warmup_steps": [5, 1_000_000]}}, 5),
    "schedule.final_factor": ({"schedule": {"kind": "linear", "final_factor": [0.5, 0.0]}}, 0.5),
    "schedule.gamma": ({"schedule": {"kind": "step", "step_size": 2, "gamma": [0.1, 0.9]}}, 0.9),
    "lookahead.alpha": ({"lookahead": {"kind": "lookahead", "k": 2, "alpha": [0.8, 1e-6]}}, 0.8),
}
"""One value that keeps the network from training, or slows it, and one that does not: what is to win."""


def trained(asked: dict[str, Any]) -> tuple[Arm, list[TrialScore]]:
    """The whole protocol on the real engine."""
    spec = comparison(
        asked,
        network={"kind": "mlp", "depth": 1, "width": 8, "activation": "tanh"},
        tuning={"seeds": 2},
        seeds=2,
        steps=60,
        batch_size=32,
        record={"points": 3},
    )
    done: list[TrialScore] = []
    curves: list[pa.Table] = []
    planned: PlannedRound | None = first_round(spec)
    while planned is not None:
        for shard in planned.shards:
            training = Training(shard, choose(shard, "cpu", 1))
            training.advance(shard.steps)
            told = training.tables()[1]
            assert told is not None
            curves.append(told)
            last = told.filter(pc.equal(told["step"], shard.steps))
            validation = dict(zip(last["trial"].to_pylist(), last["validation_loss"].to_pylist(), strict=True))
            endings = {ending.trial: ending for ending in training.endings()}
            done += [
                TrialScore(
                    **trial.model_dump(),
                    outcome="diverged" if endings[trial.trial].divergence else "completed",
                    test_loss=endings[trial.trial].test_loss,
                    test_accuracy=endings[trial.trial].test_accuracy,
                    validation_loss=validation.get(trial.trial),
                )
                for trial in trials_of(planned)
                if trial.trial in endings
            ]
        planned = next_round(spec, planned.number, done)
    return build_result(spec, done, pa.concat_tables(curves).unify_dictionaries(), None).arms[0], done


@pytest.mark.parametrize("name", CASES)
def test_a_list_round_a_rule_is_a_grid_and_the_best_on_validation_is_reported(name: str) -> None:
    """Each value runs on the tuning seeds, has other losses, and the one that lets the network train is what is reported on fresh seeds."""
    asked, wanted = CASES[name]
    arm, trials = trained({"kind": "sgd", "lr": 0.1, **asked})
    field, inner = name.split(".")
    assert arm.searched == {name: asked[field][inner]}
    tried = [trial for trial in trials if trial.role == "tuning"]
    assert len(tried) == 4 and {trial.hyperparameters[name] for trial in tried} == set(asked[field][inner])
    losses = {trial.hyperparameters[name]: trial.validation_loss for trial in tried if trial.seed == tried[0].seed}
    assert len(set(losses.values())) == 2
    assert arm.hyperparameters[name] == wanted
    assert {trial.hyperparameters[name] for trial in trials if trial.role == "final"} == {wanted}
    assert arm.trials.completed == 2 and arm.rank == 1


def test_grids_of_rule_and_wrappers_are_one_product() -> None:
    """Two learning rates, two norms and two decays: eight settings, and the one that trains best is chosen among all of them."""
    asked = {
        "kind": "sgd",
        "lr": [0.1, 1e-6],
        "clip": {"kind": "norm", "max_norm": [1e-9, 10.0]},
        "added_decay": {"kind": "coupled", "weight_decay": [1e-4, 10.0]},
    }
    arm, trials = trained(asked)
    assert len({str(sorted(trial.hyperparameters.items())) for trial in trials if trial.role == "tuning"}) == 8
    chosen = {name: arm.hyperparameters[name] for name in ("lr", "clip.max_norm", "added_decay.weight_decay")}
    assert chosen == {"lr": 0.1, "clip.max_norm": 10.0, "added_decay.weight_decay": 1e-4}
