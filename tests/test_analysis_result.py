"""The answer to a comparison, from trials whose losses are made up."""

import json
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import pytest
from analysis_samples import comparison, curves, ended, run, statistics, trials_of

from workers.analysis.protocol import TrialScore, first_round
from workers.analysis.result import build_result
from workers.contract.comparison import ComparisonSpec
from workers.contract.plan import Trial
from workers.contract.results import Arm, Result


def result(spec: ComparisonSpec, trials: list[TrialScore], **tables: Any) -> Result:
    """Built, and through JSON and back, as a client would see it."""
    built = build_result(spec, trials, tables.get("curves"), tables.get("statistics"))
    assert Result.model_validate_json(json.dumps(built.model_dump(mode="json"), allow_nan=False)) == built
    return built


def arm(found: Result, optimizer: str, variant: str = "base") -> Arm:
    return next(arm for arm in found.arms if (arm.optimizer, arm.variant) == (optimizer, variant))


def rate(trial: Trial) -> float:
    lr = trial.hyperparameters["lr"]
    assert isinstance(lr, float)
    return lr


def test_a_tuned_comparison_by_hand() -> None:
    """Sgd likes small rates, adam its default; each is reported on five fresh seeds, sgd beside its default."""

    def losses(trial: Trial) -> float:
        base = rate(trial) if trial.optimizer == "sgd" else 0.5 + abs(rate(trial) - 0.001)
        return base + 0.01 * trial.seed % 1000

    spec = comparison("sgd", "adam", tuning={"points": 3, "decades": 2, "seeds": 2}, seeds=5)
    trials = run(spec, losses)
    found = result(spec, trials)
    assert (found.baseline, found.partial) == ("sgd", False)
    assert [(a.rank, a.optimizer) for a in found.arms] == [(1, "sgd"), (2, "adam")]
    sgd, adam = found.arms
    assert sgd.hyperparameters["lr"] == 0.01
    assert sgd.trials.model_dump() == {"completed": 5, "diverged": 0}
    assert sgd.test_loss.iqm == pytest.approx(0.01 + 0.02)  # the middle three of 0 … 0.04
    assert sgd.untuned is not None and sgd.untuned.hyperparameters["lr"] == 0.1
    assert sgd.untuned.test_loss.iqm == pytest.approx(0.1 + 0.02)
    assert (sgd.searched, sgd.at_edge) == ({"lr": [0.01, 0.1, 1.0]}, ["lr"])
    assert (adam.hyperparameters["lr"], adam.at_edge) == (0.001, [])
    assert adam.untuned is not None and adam.untuned.test_loss == adam.test_loss
    assert sgd.versus_baseline is None
    assert adam.versus_baseline is not None
    versus = adam.versus_baseline
    assert (versus.probability_of_improvement, versus.low) == (0.0, 0.0)
    theta, quantile = versus.high, 2.306004  # Student's with 8 degrees of freedom
    assert theta == pytest.approx(
        quantile**2 * (1 - theta) / 25 * (1 + 4 * ((1 - theta) / (2 - theta) + theta / (1 + theta))), rel=1e-5
    )
    assert versus.difference is not None and versus.difference.iqm == pytest.approx(0.49)


def test_the_order_of_trials_does_not_matter() -> None:
    """Nor does that of the tables' rows."""
    spec = comparison("sgd", "adam", "vsgd_fd", variants={"relu": {"activation": "relu"}}, seeds=4)
    trials = run(spec, lambda trial: None if trial.trial % 7 == 0 else trial.trial * 37 % 101 / 101)
    rows = [(trial.trial, step, 1 / (1 + step)) for trial in trials for step in (0, 10, 1000)]
    norms = [(trial.trial, step, [0.1, 0.5, 1.0, 1.0]) for trial in trials for step in (0, 1000)]
    straight = result(spec, trials, curves=curves(rows), statistics=statistics(norms))
    for seed in range(3):
        generator = np.random.default_rng(seed)
        mixed, points = ([some[place] for place in generator.permutation(len(some))] for some in (trials, rows))
        signal = [norms[place] for place in generator.permutation(len(norms))]
        assert result(spec, mixed, curves=curves(points), statistics=statistics(signal)) == straight


def test_without_tuning_the_best_written_setting_represents_the_arm() -> None:
    """Chosen by validation loss, though another one tests better; the default is there because it was written."""
    spec = comparison({"kind": "sgd", "lr": [0.1, 0.5, 2.0]}, tuning=None, seeds=3)
    trials = [
        replace(ended(trial, rate(trial)), validation_loss=abs(rate(trial) - 0.5))
        for trial in trials_of(first_round(spec))
    ]
    found = arm(result(spec, trials), "sgd")
    assert (found.hyperparameters["lr"], found.test_loss.iqm, found.at_edge) == (0.5, 0.5, [])
    assert found.untuned is not None and found.untuned.test_loss.iqm == 0.1


def test_divergence_is_counted_never_dropped() -> None:
    """One of five moves no middle; four of five make the loss infinite, and rank the arm last; accuracy counts as zero."""
    spec = comparison("sgd", "adam", {"kind": "sgd", "name": "wild"}, tuning=None, seeds=5)
    gone = {"sgd": [0], "adam": [0, 1, 2, 3], "wild": [0, 1, 2, 3, 4]}
    trials = run(spec, lambda trial: None if trial.seed in gone[trial.optimizer] else 0.5)
    found = result(spec, trials)
    assert [(a.rank, a.optimizer) for a in found.arms] == [(1, "sgd"), (2, "adam"), (2, "wild")]
    sgd, adam, wild = found.arms
    assert [a.trials.diverged for a in found.arms] == [1, 4, 5]
    assert (sgd.test_loss.iqm, adam.test_loss.iqm, wild.test_loss.iqm) == (0.5, None, None)
    assert sgd.test_accuracy is not None and sgd.test_accuracy.iqm == pytest.approx(0.9)
    assert sgd.test_accuracy.low is not None and sgd.test_accuracy.low < 0.9
    assert wild.test_accuracy is not None and wild.test_accuracy.iqm == 0
    assert wild.versus_baseline is not None
    assert wild.versus_baseline.probability_of_improvement == pytest.approx(0.5 / 5)  # ties with sgd's diverged run
    assert (wild.steps_to_target, wild.at_edge) == (None, [])


def test_a_search_in_which_all_diverged_is_still_reported() -> None:
    """At the default, in no corner of its grid."""
    spec = comparison("sgd", seeds=2)
    found = arm(result(spec, run(spec, lambda _: None)), "sgd")
    assert (found.hyperparameters["lr"], found.rank, found.trials.diverged, found.at_edge) == (0.1, 1, 2, [])


def test_zero_is_no_edge() -> None:
    """There is no momentum below none."""
    spec = comparison({"kind": "sgd", "momentum": [0, 0.5, 0.9]}, tuning=None, seeds=1)
    low = result(spec, run(spec, lambda trial: float(trial.hyperparameters["momentum"])))  # type: ignore[arg-type]
    high = result(spec, run(spec, lambda trial: -float(trial.hyperparameters["momentum"])))  # type: ignore[arg-type]
    assert (low.arms[0].at_edge, high.arms[0].at_edge) == ([], ["momentum"])


def test_each_variant_is_held_against_the_baseline_on_the_same_variant() -> None:
    """Adam wins on one network and loses on the other, though its losses are the same on both."""
    spec = comparison("sgd", "adam", variants={"relu": {"activation": "relu"}}, tuning=None, seeds=3)
    sgd = {"base": 1.0, "relu": 0.1}
    found = result(spec, run(spec, lambda trial: sgd[trial.variant] if trial.optimizer == "sgd" else 0.5))
    chances = [arm(found, "adam", variant).versus_baseline for variant in ("base", "relu")]
    assert [chance.probability_of_improvement for chance in chances if chance] == [1.0, 0.0]
    assert [(a.rank, a.variant, a.optimizer) for a in found.arms] == [
        (1, "relu", "sgd"),
        (2, "base", "adam"),
        (2, "relu", "adam"),
        (4, "base", "sgd"),
    ]


def test_a_regression_has_no_accuracy() -> None:
    """Null, not zero."""
    spec = comparison("sgd", problem="diabetes", tuning=None, seeds=2)
    trials = [replace(trial, test_accuracy=None) for trial in run(spec, lambda _: 0.5)]
    assert result(spec, trials).arms[0].test_accuracy is None


def test_steps_to_the_baselines_own_loss() -> None:
    """The default target is the interquartile mean of sgd's final validation loss, 0.5; adam meets it at step 20, twice at 40."""
    spec = comparison("sgd", "adam", tuning=None, seeds=3, steps=100)
    trials = run(spec, lambda trial: 0.5 if trial.optimizer == "sgd" else 0.1)
    first = {3: 20, 4: 40, 5: 40}
    rows = [
        (t.trial, step, 0.5 if step >= first.get(t.trial, 100) else 0.9) for t in trials for step in (0, 20, 40, 100)
    ]
    found = result(spec, trials, curves=curves(rows))
    assert found.target == {"metric": "validation_loss", "value": 0.5}
    steps = arm(found, "adam").steps_to_target
    assert steps is not None and steps.iqm == pytest.approx(100 / 3)
    assert arm(found, "adam").evaluations_to_target == steps
    assert steps.iqm == pytest.approx(100 / 3)
    own = arm(found, "sgd").steps_to_target
    assert own is not None and own.iqm == 100


def test_evaluations_are_those_of_the_setting() -> None:
    """Of Sophia's periods 5 and 20 the second wins: 100 steps took 105 gradients, the 41 to the target 44."""
    spec = comparison("sgd", {"kind": "sophia", "update_period": [5, 20]}, tuning=None, seeds=3, steps=100)
    trials = run(spec, lambda trial: 0.4 if trial.hyperparameters.get("update_period") == 20 else 0.5)
    rows = [(t.trial, step, 0.5 if step >= 41 else 0.9) for t in trials for step in (0, 41, 100)]
    sophia = arm(result(spec, trials, curves=curves(rows)), "sophia")
    assert sophia.evaluations is not None and sophia.evaluations_to_target is not None
    assert sophia.hyperparameters["update_period"] == 20
    assert sophia.evaluations.model_dump() == {"functions": 0, "gradients": 105, "cost": 105.0}
    assert sophia.evaluations_to_target.iqm == 44


def test_seconds_to_the_target_are_steps_times_what_a_step_takes() -> None:
    """Adam is there in half of the steps, each of which takes four times as long; what was not timed has no seconds."""
    spec = comparison("sgd", "adam", "lion", tuning=None, seeds=3, steps=100)
    trials = run(spec, lambda _: 0.5)
    first = {"sgd": 40, "adam": 20, "lion": 20}
    rows = [(t.trial, step, 0.5 if step >= first[t.optimizer] else 0.9) for t in trials for step in (0, 20, 40, 100)]
    timed = {("wine", "base", "sgd"): 0.25, ("wine", "base", "adam"): 1.0}
    found = build_result(spec, trials, curves(rows), None, timed)
    seconds = {a.optimizer: a.seconds_to_target.iqm if a.seconds_to_target else None for a in found.arms}
    assert seconds == {"sgd": 10.0, "adam": 20.0, "lion": None}
    assert arm(found, "adam").step_seconds == 1.0 and arm(found, "lion").step_seconds is None


def test_a_target_of_ones_own_and_trials_that_miss_it() -> None:
    """An accuracy is reached from below; one miss in five is trimmed away, two of three are too many."""
    target = {"metric": "validation_accuracy", "value": 0.8}
    spec = comparison("sgd", tuning=None, seeds=5, steps=100, target=target)
    trials = run(spec, lambda _: 0.5)

    def after(misses: int) -> Arm:
        rows = [(t.trial, step, 0.2 if step and t.trial >= misses else 0.9) for t in trials for step in (0, 30, 100)]
        return result(spec, trials, curves=curves(rows)).arms[0]

    one = after(1).steps_to_target
    assert one is not None and (one.iqm, one.high) == (30, None)
    assert after(2).steps_to_target is None


def test_a_baseline_that_diverged_sets_no_target() -> None:
    """Everything would be better than infinity."""
    spec = comparison("sgd", "adam", tuning=None, seeds=3)
    trials = run(spec, lambda trial: None if trial.optimizer == "sgd" else 0.5)
    found = result(spec, trials, curves=curves([(t.trial, 0, 0.5) for t in trials]))
    assert found.target is None and arm(found, "adam").steps_to_target is None


def test_a_baseline_with_a_huge_loss_does_set_one() -> None:
    """Beyond what a user may write."""
    spec = comparison("sgd", tuning=None, seeds=1)
    assert result(spec, run(spec, lambda _: 1e30)).target == {"metric": "validation_loss", "value": 1e30}


def test_before_anything_ran_there_are_arms_without_ranks() -> None:
    """Null everywhere, and valid."""
    spec = comparison("sgd", "vsgd_fd")
    found = result(spec, [])
    assert found.partial and [a.rank for a in found.arms] == [None, None]
    assert found.arms[0].test_loss.iqm is None and found.arms[0].diagnosis is None and found.target is None


def test_after_tuning_the_choice_is_known_and_diagnosed_but_not_ranked() -> None:
    """The diagnosis is that of the chosen setting's tuning trials."""
    spec = comparison("sgd", tuning={"points": 3, "decades": 2, "seeds": 1})
    trials = [ended(trial, rate(trial)) for trial in trials_of(first_round(spec))]
    decays = {0: 1e-4, 1: 1.0, 2: 1.0}
    norms = [(t.trial, step, [decays[t.trial], 1.0, 1.0]) for t in trials for step in (0, 1000)]
    found = result(spec, trials, statistics=statistics(norms))
    only = found.arms[0]
    assert (found.partial, only.rank, only.hyperparameters["lr"], only.trials.completed) == (True, None, 0.01, 0)
    assert only.diagnosis is not None and only.diagnosis.decades == pytest.approx(-4)


def test_a_cancelled_comparison_keeps_what_has_ended() -> None:
    """Trials that were stopped count neither as completed nor as diverged; their recorded signal is told."""
    spec = comparison("sgd", "adam", tuning=None, seeds=3)
    done = run(spec, lambda _: 0.5)
    stopped = [
        replace(t, outcome="cancelled", test_loss=None, test_accuracy=None) if t.optimizer == "adam" else t
        for t in done
    ]
    norms = [(t.trial, step, [1e-3, 1.0, 1.0]) for t in done for step in (0, 60)]
    found = result(spec, stopped, statistics=statistics(norms))
    sgd, adam = found.arms
    assert (found.partial, sgd.rank, adam.rank, adam.versus_baseline) == (True, 1, None, None)
    assert adam.trials.model_dump() == {"completed": 0, "diverged": 0}
    assert adam.diagnosis is not None and (adam.diagnosis.step, adam.diagnosis.verdict) == (60, "vanishing")


def test_seeds_are_paired_over_those_that_both_have_ended() -> None:
    """Half of sgd's trials are missing: adam is held against the other half, on their seeds."""
    spec = comparison("sgd", "adam", tuning=None, seeds=4)
    trials = run(spec, lambda trial: 0.1 if trial.optimizer == "adam" and trial.seed < 2 else 0.5)
    half = [replace(t, outcome="pending") if t.optimizer == "sgd" and t.seed >= 2 else t for t in trials]
    chance = arm(result(spec, half), "adam").versus_baseline
    assert chance is not None and chance.probability_of_improvement == 1.0
    whole = arm(result(spec, trials), "adam").versus_baseline
    assert whole is not None and whole.probability_of_improvement == 0.75


def test_a_trial_without_a_finite_test_loss_counts_as_infinite() -> None:
    """Whatever its record says, a number is never invented."""
    spec = comparison("sgd", tuning=None, seeds=1)
    for loss in (None, inf, float("nan")):
        trials = [replace(trial, test_loss=loss) for trial in run(spec, lambda _: 0.5)]
        assert result(spec, trials).arms[0].test_loss.iqm is None
