"""Grids whose best value lies at their edge: what further rounds try, when they stop, and what the result says of it."""

from collections.abc import Callable
from math import log10
from typing import Any

import pytest
from analysis_samples import comparison, run

from service.report import words
from workers.analysis.protocol import first_round, next_round, totals
from workers.analysis.result import build_result
from workers.contract.comparison import ComparisonSpec
from workers.contract.plan import Trial
from workers.contract.results import Arm


def valley(best: float) -> Callable[[Trial], float]:
    """A loss that falls towards one learning rate from either side."""
    return lambda trial: abs(log10(float(trial.hyperparameters["lr"]) / best))  # type: ignore[arg-type]


def told(spec: ComparisonSpec, losses: Callable[[Trial], float | None]) -> Arm:
    return build_result(spec, run(spec, losses), None, None).arms[0]


def sgd(widen: int, **fields: Any) -> ComparisonSpec:
    return comparison({"kind": "sgd", **fields}, tuning={"points": 5, "decades": 2, "seeds": 2, "widen": widen})


def test_a_round_goes_on_beyond_the_edge_in_the_grids_own_steps() -> None:
    """0.01 … 1 around sgd's 0.1, the best at 10: one round reaches it, on the tuning seeds, and the final round follows."""
    spec = sgd(1)
    trials = run(spec, valley(10.0))
    tried = [(t.hyperparameters["lr"], t.seed) for t in trials if t.role == "tuning"][10:]
    assert tried == [(lr, seed) for lr in (3.16227766017, 10.0) for seed in (10_000, 10_001)]
    assert [t.trial for t in trials] == list(range(len(trials)))
    assert {t.hyperparameters["lr"] for t in trials if t.role == "final"} == {10.0}
    found = told(spec, valley(10.0))
    assert found.widened == {"lr": [3.16227766017, 10.0]}
    assert found.searched == {"lr": [0.01, 0.0316227766017, 0.1, 0.316227766017, 1.0, 3.16227766017, 10.0]}
    assert (found.at_edge, len(found.by_budget)) == (["lr"], 7)


def test_rounds_go_on_until_the_best_is_inside() -> None:
    """Down to 1e-4 and one decade past it; three rounds were allowed, the third is not needed."""
    spec = sgd(3)
    found = told(spec, valley(3e-4))
    assert sorted(found.widened["lr"]) == pytest.approx([1e-4, 10**-3.5, 1e-3, 10**-2.5])
    assert found.hyperparameters["lr"] == pytest.approx(10**-3.5) and not found.at_edge
    assert "did best at an edge of what was searched, until that was widened" in words.answer(
        build_result(spec, run(spec, valley(3e-4)), None, None), {("wine", "base", "sgd"): "sgd"}
    )


def test_an_edge_that_is_not_to_be_widened_is_reported() -> None:
    """By default nothing is added."""
    spec = sgd(0)
    found = told(spec, valley(10.0))
    assert (found.at_edge, found.widened, found.hyperparameters["lr"]) == (["lr"], {}, 1.0)


def test_what_diverges_beyond_the_edge_leaves_the_edge_the_best_and_inside() -> None:
    """That it was the edge of stability is what widening has shown."""
    found = told(sgd(5), lambda trial: None if trial.hyperparameters["lr"] > 1.0 else valley(10.0)(trial))  # type: ignore[operator]
    assert (found.hyperparameters["lr"], found.at_edge, len(found.widened["lr"])) == (1.0, [], 2)


def test_nothing_is_widened_where_nothing_trains() -> None:
    """There is no best."""
    found = told(sgd(5), lambda _: None)
    assert (found.widened, found.at_edge) == ({}, [])


@pytest.mark.parametrize(
    ("lr", "best", "added"), [([1e11, 1e12], 1e20, []), ([1e11, 3e11], 1e20, [9e11]), ([5e-324, 1.0], 1e-320, [])]
)
def test_a_grid_does_not_leave_what_may_be_written(lr: list[float], best: float, added: list[float]) -> None:
    """A learning rate is above 0 and at most 1e12; the edge is still told."""
    found = told(sgd(3, lr=lr), valley(best))
    assert (found.widened.get("lr", []), found.at_edge) == (added, ["lr"])


def test_every_grid_is_widened_and_stays_a_product() -> None:
    """Decay by a hundred beyond its list, momentum not beyond 1, a list of whole numbers not at all."""
    rule = {
        "kind": "sgd",
        "momentum": [0.5, 0.9],
        "added_decay": {"kind": "coupled", "weight_decay": [1e-4, 1e-3]},
        "schedule": {"kind": "linear_warmup", "warmup_steps": [10, 20]},
    }
    spec = comparison(rule, tuning={"seeds": 1, "widen": 1}, seeds=1)

    def losses(trial: Trial) -> float:
        given = trial.hyperparameters
        wanted = ("momentum", "added_decay.weight_decay", "schedule.warmup_steps")
        return -sum((float(given[name]) for name in wanted), 0.0)  # type: ignore[arg-type]

    trials = run(spec, losses)
    found = told(spec, losses)
    assert found.widened == {"added_decay.weight_decay": [0.01]}
    assert set(found.at_edge) == {"momentum", "added_decay.weight_decay", "schedule.warmup_steps"}
    assert len([t for t in trials if t.role == "tuning"]) == 2 * 3 * 2


def test_only_arms_at_an_edge_are_widened() -> None:
    """Of two optimizers and two variants one arm is."""
    spec = comparison(
        "sgd", "adam", variants={"relu": {"activation": "relu"}}, tuning={"points": 3, "seeds": 1, "widen": 2}, seeds=1
    )

    def losses(trial: Trial) -> float:
        at = {("relu", "sgd"): 10.0, ("base", "sgd"): 0.1}.get((trial.variant, trial.optimizer), 0.001)
        return valley(at)(trial)

    arms = {(a.variant, a.optimizer): a.widened for a in build_result(spec, run(spec, losses), None, None).arms}
    assert {arm for arm, added in arms.items() if added} == {("relu", "sgd")}


@pytest.mark.parametrize("widen", [0, 1, 4])
def test_totals_count_all_that_may_be_widened(widen: int) -> None:
    """A best that recedes with every round makes all of them run, and no more than was counted; numbered from round to round."""
    rule = {"kind": "sgd", "lr": [0.1, 1.0], "added_decay": {"kind": "coupled", "weight_decay": [1e-5, 1e-4, 1e-3]}}
    spec = comparison(rule, tuning={"seeds": 2, "widen": widen}, seeds=3)

    def losses(trial: Trial) -> float:
        return -valley(1.0)(trial) - float(trial.hyperparameters["added_decay.weight_decay"])  # type: ignore[arg-type]

    trials = run(spec, losses)
    assert len(trials) == totals(spec)[0] == (2 + widen) * (3 + widen) * 2 + 6
    for number in range(widen + 1):
        planned = next_round(spec, number, trials[: (2 + number) * (3 + number) * 2])
        assert planned is not None
        assert (planned.number, planned.role) == (number + 1, "tuning" if number < widen else "final")
    assert first_round(spec).number == 0
