"""Comparisons on equal evaluations: each rule makes as many steps as the same number of gradients pays for."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from analysis_samples import comparison, curves, run, statistics, trials_of
from api_server import Service, claim_next, serving, submit
from rich.console import Console

from service import terminal
from service.report import plots, words
from service.report.charts import Panels
from service.report.material import gather
from workers.analysis.protocol import first_round, next_round, totals
from workers.analysis.result import build_result
from workers.analysis.signals import early_step
from workers.contract.checks import Limits, check
from workers.contract.comparison import ComparisonSpec
from workers.contract.optimizers import OPTIMIZERS, Optimizer
from workers.contract.plan import Trial
from workers.store.comparisons import TrialRecord

SAM = {"kind": "adam", "name": "sam", "sam": "sam"}
STEPS = {"sgd": 96, "sam": 48, "vsgd_fd": 48, "mezo": 144, "snes": 9, "openai_es": 9, "random_search": 8}
"""Of a budget of 96 gradients, by hand: one a step, two, two, two losses, 32, 32 and 33 losses."""
RULES = ["sgd", SAM, "vsgd_fd", "mezo", "snes", "openai_es", "random_search"]


def equal(*optimizers: Any, **fields: Any) -> ComparisonSpec:
    return comparison(*optimizers, **{"equal": "evaluations", "steps": 96, "tuning": None, "seeds": 2, **fields})


@pytest.mark.parametrize("rule", OPTIMIZERS, ids=lambda rule: rule.model_fields["kind"].default)
@pytest.mark.parametrize("around", [{}, {"sam": "sam"}], ids=["alone", "with sam"])
def test_no_rule_gets_more_than_the_budget_or_a_step_less(rule: type[Optimizer], around: dict[str, Any]) -> None:
    """In exact fractions, at budgets of all sizes: its steps cost at most that, and one more would cost more."""
    for budget in (1, 2, 10, 11, 333, 1000, 999_999, 10_000_000):
        spec = equal({"kind": rule.model_fields["kind"].default, **around}, steps=budget)
        steps = spec.steps_of(spec.optimizers[0])
        assert spent(spec.optimizers[0], steps) <= budget < spent(spec.optimizers[0], steps + 1)


def spent(optimizer: Optimizer, steps: int) -> Fraction:
    found = optimizer.spent(steps)
    return Fraction(found.gradients) + Fraction(found.functions) / 3


def test_steps_by_hand_and_what_shares_a_program() -> None:
    """Rules with different numbers of steps are in different shards, those with the same in one; the total adds up."""
    spec = equal(*RULES)
    shards = first_round(spec).shards
    assert {trial.optimizer: shard.steps for shard in shards for trial in shard.trials} == STEPS
    assert all(shard.recorded == spec.record.steps(shard.steps) for shard in shards)
    together = [list(dict.fromkeys(trial.optimizer for trial in shard.trials)) for shard in shards]
    assert together == [["sgd"], ["sam", "vsgd_fd"], ["mezo"], ["snes", "openai_es"], ["random_search"]]
    assert totals(spec) == (14, 2 * sum(STEPS.values()))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_an_arm_is_what_it_is_on_equal_steps_of_its_own_number(rule: Any) -> None:
    """Both rounds' shards are the same to the last field: so is whatever is trained, a schedule over all steps included."""
    named = {"kind": rule} if isinstance(rule, str) else rule
    own = named if rule in ("vsgd_fd", "snes", "random_search") else named | {"schedule": "cosine"}
    tuning = {"points": 3, "decades": 2, "seeds": 1}
    one = equal(own, tuning=tuning)
    other = comparison(own, tuning=tuning, seeds=2, steps=STEPS[one.optimizers[0].label])
    first = first_round(one)
    assert first == first_round(other)
    if first.role == "tuning":
        scores = run(one, loss)[: len(trials_of(first))]
        assert next_round(one, 0, scores) == next_round(other, 0, scores)


def loss(trial: Trial) -> float:
    return 0.5 + 0.01 * trial.trial


def test_the_answer_counts_each_arm_in_its_own_steps() -> None:
    """Evaluations in all and to the target, and the early moment of the diagnosis, which is another step in every arm."""
    spec = equal(*RULES, target={"metric": "validation_loss", "value": 1.0})
    steps_of = {t.trial: spec.record.steps(STEPS[t.optimizer]) for t in trials_of(first_round(spec))}
    points = [(trial, step, 2.0 if step < steps[-1] else 0.5) for trial, steps in steps_of.items() for step in steps]
    norms = [(trial, step, [0.1, 0.5, 1.0, 1.0]) for trial, step, _ in points]
    found = build_result(spec, run(spec, loss), curves(points), statistics(norms))
    assert {arm.optimizer: arm.steps for arm in found.arms} == STEPS
    for arm in found.arms:
        assert arm.evaluations is not None and arm.evaluations.cost == pytest.approx(
            arm.evaluations.gradients + arm.evaluations.functions / 3
        )
        assert 96 - 11 < arm.evaluations.cost <= 96 + 1e-9
        assert arm.steps_to_target is not None and arm.steps_to_target.iqm == arm.steps
        assert arm.evaluations_to_target is not None
        assert arm.evaluations_to_target.iqm == pytest.approx(arm.evaluations.cost)
        assert arm.diagnosis is not None and arm.diagnosis.early is not None
        assert arm.diagnosis.step == arm.steps
        assert arm.diagnosis.early.step == early_step(spec.record.steps(STEPS[arm.optimizer]))
    assert len({arm.diagnosis.early.step for arm in found.arms if arm.diagnosis and arm.diagnosis.early}) > 2


def test_people_are_told_each_arms_steps() -> None:
    """In a column of the ranking and in the report's protocol; where all have the same there is nothing to tell."""
    console = Console(width=100, color_system=None)
    spec, other = equal("sgd", "mezo"), comparison("sgd", "mezo", tuning=None, seeds=2, steps=96)
    shown = []
    for one in (spec, other):
        with console.capture() as capture:
            console.print(terminal.ranking(build_result(one, run(one, loss), None, None)))
        shown.append(capture.get().split())
    assert {"steps", "96", "144"} <= set(shown[0]) and "steps" not in shown[1]
    assert words.training(spec) == "on equal evaluations, those of 96 gradients: sgd 96 steps, mezo 144 steps"
    assert words.training(other) == "96 steps"


@pytest.mark.parametrize("equal_in", ["evaluations", "steps"])
def test_curves_are_drawn_over_what_is_equal(equal_in: str) -> None:
    """From 1, their start, to the same place on the axis: the budget, or the steps."""
    spec = comparison(*RULES, equal=equal_in, tuning=None, seeds=2, steps=96)
    trials = run(spec, loss)
    steps_of = {
        t.trial: spec.record.steps(spec.steps_of(o)) for t in trials for o in spec.optimizers if o.label == t.optimizer
    }
    told = curves([(trial, step, 0.5) for trial, steps in steps_of.items() for step in steps])
    result = build_result(spec, trials, told, None)
    known = [name for name in TrialRecord.__dataclass_fields__ if hasattr(trials[0], name)]
    records = [TrialRecord(**{name: getattr(t, name) for name in known}, job_id="0", divergence=None) for t in trials]
    (drawn,) = (chart for chart in plots.charts(gather(spec, result, records, told, [])) if chart.name == "curves")
    assert isinstance(drawn, Panels)
    for panel in drawn.panels:
        assert panel.x_title == ("gradients + 1" if equal_in == "evaluations" else "step + 1")
        assert len(panel.lines) == len(RULES)
        for line in panel.lines:
            assert line.x[0] == 1 and 97 - (11 if equal_in == "evaluations" else 0) <= line.x[-1] <= 97 + 1e-9


def wrong(*optimizers: Any, **fields: Any) -> list[tuple[str, str]]:
    return [(found.code, found.pointer) for found in check(equal(*optimizers, **fields), Limits())]


def test_limits_are_those_of_each_rules_own_steps() -> None:
    """A budget that pays for no step is refused at the rule, a training too long for the service at the steps, and a warm-up at the rule
    whose steps do not hold it.
    """
    assert wrong("sgd", "snes", steps=10) == [("too_few_evaluations", "/optimizers/1")]
    assert wrong("sgd", "snes", steps=11) == []
    assert wrong("sgd", steps=1_000_000) == wrong("sgd", "snes", steps=1_000_000) == []
    assert wrong("sgd", "mezo", steps=1_000_000) == [("over_limit", "/steps")]
    warm = {"kind": "linear_warmup", "warmup_steps": 100}
    scheduled = [{"kind": kind, "schedule": warm} for kind in ("sgd", "mezo")]
    assert wrong(*scheduled) == [("inconsistent", "/optimizers/0/schedule/warmup_steps")]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as found:
        yield found


def test_the_door_estimates_refuses_and_plans(service: Service) -> None:
    """A preview counts each rule's own steps and takes less time than on equal steps; too small a budget is a 422 at the rule."""
    asked = {"optimizers": ["sgd", "mezo", "snes"], "equal": "evaluations", "steps": 96}
    own, others = (
        service.client.post("/v1/previews", json=SPEC | asked | {"equal": what}).json()["estimate"]
        for what in ("evaluations", "steps")
    )
    assert (own["steps"], others["steps"]) == (2 * (96 + 144 + 9), 2 * 3 * 96)
    assert own["flops"] < others["flops"] / 2
    refused = service.client.post("/v1/comparisons", json=SPEC | asked | {"steps": 10})
    (told,) = refused.json()["errors"]
    assert (refused.status_code, told["pointer"], told["code"]) == (422, "/optimizers/2", "too_few_evaluations")
    assert "set it to 11 or more" in told["message"]
    accepted = submit(service, **asked)
    assert accepted["progress"]["steps_total"] == own["steps"] and accepted["spec"]["equal"] == "evaluations"
    planned = [claim_next(service).shard for _ in range(3)]
    assert [shard.steps for shard in planned if shard] == [96, 144, 9]


SPEC: dict[str, Any] = {
    "problem": "wine",
    "network": {"kind": "mlp", "depth": 3, "width": 8},
    "tuning": None,
    "seeds": 2,
    "batch_size": 32,
    "record": {"points": 5},
}
