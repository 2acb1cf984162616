"""Several problems in one request: each arm is tuned, reported and ranked on each, then over all; performance profiles."""

import json
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from analysis_samples import comparison, curves, run, trials_of

from service.client import Client
from service.embedded import Stack
from service.errors import Problem
from service.previews import preview
from service.report import words
from service.validation import read_comparison
from workers.analysis.over_problems import RATIOS, Run, overall, profiles
from workers.analysis.protocol import first_round, next_round, totals
from workers.analysis.result import build_result
from workers.contract.checks import Limits
from workers.contract.comparison import ComparisonSpec
from workers.contract.plan import Trial
from workers.contract.results import Result

BODY: dict[str, Any] = {
    "problems": ["wine", "breast_cancer"],
    "network": {"kind": "mlp", "depth": 2, "width": 6, "activation": "tanh"},
    "optimizers": ["sgd", "adam"],
    "tuning": {"points": 2, "decades": 1, "seeds": 1},
    "seeds": 3,
    "steps": 30,
    "record": {"points": 4},
}


def spec_of(*problems: Any, **fields: Any) -> ComparisonSpec:
    given = {**BODY, "problems": list(problems), **fields}
    return ComparisonSpec.model_validate(given)


def rate(trial: Trial) -> float:
    return float(trial.hyperparameters["lr"])  # type: ignore[arg-type]


def test_each_problem_has_its_own_trials_in_one_frozen_order() -> None:
    """Shards of one problem each, trials numbered through, as many in each problem as alone; totals count them all."""
    spec, alone = spec_of("wine", "breast_cancer"), spec_of("wine")
    planned = first_round(spec)
    trials = trials_of(planned)
    assert [trial.trial for trial in trials] == list(range(8))
    assert [(shard.problem.kind, {t.problem for t in shard.trials}) for shard in planned.shards] == [
        ("wine", {"wine"}),
        ("breast_cancer", {"breast_cancer"}),
    ]
    assert totals(spec)[0] == 2 * totals(alone)[0]
    first = next(iter(spec.alone.values()))
    assert (first.problem.kind, first.problems, first.steps) == ("wine", [], 30)


def test_the_same_kind_twice_is_numbered() -> None:
    """Spirals of two noises."""
    spec = spec_of("spirals", {"kind": "spirals", "noise": 0.3}, "wine")
    assert list(spec.alone) == ["spirals", "spirals 2", "wine"]
    assert ComparisonSpec.model_validate(spec.model_dump(mode="json")) == spec


def test_each_problem_chooses_its_own_setting_and_is_widened_by_itself() -> None:
    """Small rates are best on one, large ones on the other; the wider round is of the one that needs it, and the final one of both."""
    spec = spec_of(
        "wine", "breast_cancer", tuning={"points": 3, "decades": 2, "seeds": 1, "widen": 1}, optimizers=["sgd"]
    )
    best = {"wine": 0.1, "breast_cancer": 10.0}
    trials = run(spec, lambda trial: abs(np.log10(rate(trial) / best[trial.problem])))
    wider = [(t.problem, t.hyperparameters["lr"]) for t in trials[6:] if t.role == "tuning"]
    assert wider == [("breast_cancer", 10.0)]
    final = {(t.problem, t.hyperparameters["lr"]) for t in trials if t.role == "final"}
    assert final == {("wine", 0.1), ("breast_cancer", 10.0)}
    assert next_round(spec, 2, trials) is None


def result() -> Result:
    """Sgd is better on wine, adam on the other two; sgd sets the target of each, which adam meets in half the steps where it is better."""
    spec = spec_of("wine", "breast_cancer", "digits", tuning=None, steps=100)

    def losses(trial: Trial) -> float:
        better = (trial.optimizer == "sgd") == (trial.problem == "wine")
        return (0.2 if better else 0.6) + 0.01 * trial.seed + (1.0 if trial.problem == "digits" else 0.0)

    trials = run(spec, losses)
    rows = []
    for trial in trials:
        met = 100 if trial.optimizer == "sgd" else inf if trial.problem == "wine" else 50
        rows += [(trial.trial, step, 0.0 if step >= met else 9.0) for step in (0, 50, 100)]
    return build_result(spec, trials, curves(rows), None, {("digits", "base", "sgd"): 0.5})


def test_arms_are_ranked_on_each_problem_and_over_all() -> None:
    """By hand: sgd is 1, 2, 2, and adam 2, 1, 1; every seed agrees, so that the intervals have no width."""
    found = result()
    assert [(arm.problem, arm.optimizer, arm.rank) for arm in found.arms] == [
        ("wine", "sgd", 1),
        ("wine", "adam", 2),
        ("breast_cancer", "adam", 1),
        ("breast_cancer", "sgd", 2),
        ("digits", "adam", 1),
        ("digits", "sgd", 2),
    ]
    assert [(one.optimizer, one.rank) for one in found.overall] == [("adam", 1), ("sgd", 2)]
    adam, sgd = found.overall
    assert (adam.mean_rank, sgd.mean_rank) == pytest.approx((4 / 3, 5 / 3))
    assert adam.probability_of_improvement == pytest.approx(2 / 3) and sgd.probability_of_improvement is None
    assert all(one.low == one.high == one.mean_rank for one in found.overall)
    assert found.target is None and {name: told and told["value"] for name, told in found.targets.items()} == {
        "wine": pytest.approx(0.21),
        "breast_cancer": pytest.approx(0.61),
        "digits": pytest.approx(1.61),
    }
    seconds = {(arm.problem, arm.optimizer): arm.seconds_to_target for arm in found.arms}
    told = seconds.pop(("digits", "sgd"))
    assert told is not None and told.iqm == 50.0 and set(seconds.values()) == {None}


def test_the_profile_is_that_of_dolan_and_more() -> None:
    """Of three problems adam is twice as fast on two and misses the target on the third; sgd gets there always."""
    profile = {one.optimizer: dict(zip(one.ratios, one.shares, strict=True)) for one in result().profiles}
    assert profile["adam"][1.0] == profile["adam"][1024.0] == pytest.approx(2 / 3)
    assert profile["sgd"][1.0] == pytest.approx(1 / 3)
    assert profile["sgd"][1.681793] == pytest.approx(1 / 3) and profile["sgd"][2.0] == 1.0


def test_profiles_and_ranks_of_random_runs_are_those_written_out() -> None:
    """Run by run and problem by problem, with misses, divergences and ties; the estimate lies within its interval."""
    draw = np.random.default_rng(0)
    arms = [("base", name) for name in ("a", "b", "c")]
    problems = []
    for seeds in (5, 3, 8):
        runs = {
            arm: {
                seed: Run(float(draw.choice([0.1, 0.2, 0.5, inf])) + 0.0, float(draw.choice([10.0, 30.0, 35.0, inf])))
                for seed in range(seeds)
            }
            for arm in arms
        }
        problems.append(runs)
    for one in profiles(problems):
        arm = (one.variant, one.optimizer)
        for ratio, share, low, high in zip(one.ratios, one.shares, one.low, one.high, strict=True):
            wanted = []
            for runs in problems:
                met = [
                    runs[arm][s].cost < inf and runs[arm][s].cost <= ratio * min(runs[a][s].cost for a in arms)
                    for s in runs[arm]
                ]
                wanted.append(sum(met) / len(met))
            assert share == pytest.approx(sum(wanted) / 3), (arm, ratio)
            assert 0 <= low <= share <= high <= 1
    ranked = overall(problems, "a")
    assert sum(one.mean_rank for one in ranked) == pytest.approx(6.0)
    assert all(one.low <= one.mean_rank <= one.high for one in ranked)
    assert [one.rank for one in ranked] == sorted(one.rank for one in ranked)
    assert RATIOS[0] == 1.0 and RATIOS[4] == 2.0 and RATIOS[-1] == 1024.0


def test_over_all_there_is_nothing_until_every_arm_is_reported_everywhere() -> None:
    """Half of the problems would not be a comparison over them."""
    spec = spec_of("wine", "breast_cancer", tuning=None)
    trials = [trial for trial in run(spec, lambda _: 0.5) if trial.problem == "wine"]
    found = build_result(spec, trials, None, None)
    assert (found.partial, found.overall, found.profiles) == (True, [], [])
    assert {arm.problem: arm.rank for arm in found.arms} == {"wine": 1, "breast_cancer": None}


def test_the_answer_names_problems() -> None:
    """Over all first, then the winner of each."""
    found = result()
    names = {(arm.problem, arm.variant, arm.optimizer): f"{arm.problem} · {arm.optimizer}" for arm in found.arms}
    told = words.answer(found, names)
    assert told.startswith(
        "Over 3 problems adam does best of 2 arms: a mean rank of 1.3, 95 % interval 1.3 to 1.3. On wine: wine · sgd does"
    )


def refused(body: Any) -> dict[str, str]:
    """Pointers of what is wrong, and the words."""
    with pytest.raises(Problem) as caught:
        read_comparison({**BODY, **body}, Limits())
    return {str(violation.pointer): violation.message for violation in caught.value.errors}


@pytest.mark.parametrize(
    ("body", "pointer", "told"),
    [
        ({"problem": "digits"}, "/problem", "leave `problem` out"),
        ({"problems": ["wine", "wine"]}, "/problems/1", "stands twice"),
        ({"problems": ["wine", "digits"], "batch_size": 500}, "/batch_size", "on wine: a batch of 500"),
        ({"problems": ["wine", {"kind": "wein"}]}, "/problems/1/kind", "there is no problem"),
        ({"problems": ["wein", "digits"]}, "/problems/0", "there is no problem"),
        (
            {"problems": ["digits", "diabetes"], "target": {"metric": "validation_accuracy", "value": 0.9}},
            "/target/metric",
            "on diabetes: this problem is a regression",
        ),
        (
            {
                "problems": [{"kind": "digits", "images": True}, "wine"],
                "network": {
                    "kind": "layers",
                    "layers": [{"kind": "conv2d", "out_channels": 2, "kernel_size": 3}, "flatten"],
                },
            },
            "/network/layers/0",
            "on wine:",
        ),
    ],
)
def test_what_does_not_fit_a_problem_is_told_at_the_door(body: Any, pointer: str, told: str) -> None:
    """With the problem that it does not fit, once, where it was written."""
    found = refused(body)
    assert list(found) == [pointer] and told in found[pointer]


def test_an_unwritten_batch_fits_the_smallest_problem() -> None:
    """Wine's training split has 106 samples; alone, digits would have 128."""
    assert spec_of("digits", "wine").batch_size == spec_of("wine", "digits").batch_size == 106
    assert comparison("sgd", problem="digits").batch_size == 128


def test_a_preview_shows_the_network_on_each_problem() -> None:
    """Its first layer takes what the problem has; the top of the preview is on the first."""
    found = preview(spec_of("wine", "digits", variants={"relu": {"activation": "relu"}}), Limits(), [])
    assert list(found.problems) == ["wine", "digits"] and list(found.problems["digits"]) == ["base", "relu"]
    inputs = {name: views["base"].layers[0].in_shape for name, views in found.problems.items()}
    assert inputs == {"wine": [13], "digits": [64]} and found.layers == found.problems["wine"]["base"].layers
    assert found.estimate.trials == totals(spec_of("wine", "digits", variants={"relu": {"activation": "relu"}}))[0]
    assert preview(spec_of("wine"), Limits(), []).estimate.memory_bytes < found.estimate.memory_bytes


def test_through_the_api_each_problem_has_the_numbers_it_has_alone(tmp_path: Path) -> None:
    """The whole stack: settings, losses and statistics of a problem are those of a comparison on it alone; tables name the problem."""
    with Stack(tmp_path) as stack, Client(stack.url) as client:
        made = [
            client.submit(json.dumps(body).encode())["id"]
            for body in (BODY, {**BODY, "problem": "breast_cancer", "problems": [], "batch_size": 106})
        ]
        for one in made:
            for _ in client.events(one):
                pass
        both, single = (client.comparison(one) for one in made)
        assert both["status"] == single["status"] == "succeeded", (both["error"], single["error"])
        found = Result.model_validate(both["result"])
        trials, alone = (client.trials(one)["trials"] for one in made)
        for name, wanted in (("statistics.parquet", {}), ("one.parquet", {"problem": "breast_cancer"})):
            client.download(f"/v1/comparisons/{made[0]}/statistics", tmp_path / name, format="parquet", **wanted)
        client.download(f"/v1/comparisons/{made[1]}/statistics", tmp_path / "alone.parquet", format="parquet")
        client.download(f"/v1/comparisons/{made[0]}/report", tmp_path / "report.md", format="md")
        client.download(f"/v1/comparisons/{made[0]}/report", tmp_path / "report.html")
        client.download(f"/v1/comparisons/{made[0]}/report/plots/profile.svg", tmp_path / "profile.svg")
    assert {arm.problem for arm in found.arms} == {"wine", "breast_cancer"} and len(found.arms) == 4
    assert [one.rank for one in found.overall] in ([1, 2], [1, 1]) and len(found.profiles) == 2
    assert {shard["problem"] for shard in both["shards"]} == {"wine", "breast_cancer"}
    own = [trial for trial in trials if trial["problem"] == "breast_cancer"]
    assert [_told(trial) for trial in own] == [_told(trial) for trial in alone]
    whole, one, other = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("statistics", "one", "alone"))
    assert whole.column_names[0] == "problem" and set(whole["problem"].to_pylist()) == {"wine", "breast_cancer"}
    assert set(one["problem"].to_pylist()) == {"breast_cancer"} and one.num_rows == other.num_rows < whole.num_rows
    assert one["gradient_norm"].to_pylist() == other["gradient_norm"].to_pylist()
    assert "problem" not in other.column_names
    report = (tmp_path / "report.md").read_text()
    assert "## Over all problems" in report and "| breast_cancer · adam |" in report
    assert (
        "Performance profile" in (tmp_path / "report.html").read_text()
        and (tmp_path / "profile.svg").stat().st_size > 5000
    )


def _told(trial: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in trial.items() if name != "trial"}
