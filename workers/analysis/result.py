"""The answer to a comparison, from whatever of its trials there is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from math import inf, isnan
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from workers.analysis.advice import advice, network_remedies
from workers.analysis.budget import by_budget
from workers.analysis.diagnosis import Followed, diagnose
from workers.analysis.generality import contained
from workers.analysis.over_problems import Run, Runs, overall, profiles
from workers.analysis.predicted import beside, predict
from workers.analysis.protocol import tuned
from workers.analysis.ranking import ranks
from workers.analysis.selection import (
    REPORTED,
    Choice,
    Setting,
    TrialScore,
    choose,
    defaults,
    final_loss,
    grids,
    identity,
)
from workers.analysis.signals import Course, courses, early_steps
from workers.analysis.uncertainty import improvement, interval, iqm
from workers.analysis.widening import at_edge, searched
from workers.contract.comparison import BASE, ComparisonSpec, Target
from workers.contract.invariance import measured
from workers.contract.optimizers import OptimizerSpec
from workers.contract.previews import Prediction
from workers.contract.results import (
    Advice,
    Arm,
    Diagnosis,
    Evaluated,
    Improvement,
    Interval,
    Result,
    Scores,
    SelfCheck,
    TrialCounts,
)
from workers.theory.resolution import networks


@dataclass(frozen=True)
class _Arm:
    """One variant under one optimizer, and the trials that count for it, each by seed."""

    problem: str
    variant: str
    optimizer: OptimizerSpec
    choice: Choice | None
    setting: Setting
    """The chosen one; before there is one, the first that runs."""
    trials: list[TrialScore]
    deciding: list[TrialScore]
    """Those that choose the setting."""
    reported: list[TrialScore]
    """Of the chosen setting, on the seeds to report, ended."""
    untuned: list[TrialScore]
    """Of the default setting, on the same seeds, ended; none where nothing was searched."""

    @property
    def name(self) -> tuple[str, str]:
        """Of variant and optimizer."""
        return self.variant, self.optimizer.label


def build_result(
    spec: ComparisonSpec,
    trials: list[TrialScore],
    curves: pa.Table | None,
    statistics: pa.Table | None,
    step_seconds: Mapping[tuple[str, str, str], float] = MappingProxyType({}),
) -> Result:
    """Ranks the arms and says what the signal does in each.

    Args:
        trials: all that are planned so far, in any order, ended or not.
        curves: columns as in a trial's report; for `steps_to_target`.
        step_seconds: by names of problem, variant and optimizer, what a step takes, of those that were timed; for `seconds_to_target`.
        statistics: `signals.COLUMNS`, at step 0, the early and the last step at least; for the diagnosis.
    """
    on_each = [
        _on_one(own, problem, [t for t in trials if t.problem == problem], curves, statistics, step_seconds)
        for problem, own in spec.alone.items()
    ]
    assert spec.baseline is not None, "the spec names one where the user did not"
    targets = {
        problem: one.target.model_dump() if one.target else None
        for problem, one in zip(spec.alone, on_each, strict=True)
    }
    only = next(iter(targets.values())) if len(targets) == 1 or spec.target else None
    return Result(
        baseline=spec.baseline,
        target=only,
        targets=targets,
        overall=overall([one.runs for one in on_each], spec.baseline) if len(on_each) > 1 else [],
        profiles=profiles([one.runs for one in on_each]) if len(on_each) > 1 else [],
        self_checks=[check for one in on_each for check in one.self_checks],
        partial=any(trial.outcome not in REPORTED for trial in trials) or any(one.partial for one in on_each),
        arms=[view for one in on_each for view in one.views],
    )


class _OnOne(NamedTuple):
    """What there is to say of one problem."""

    target: Target | None
    views: list[Arm]
    """By rank."""
    runs: Runs
    self_checks: list[SelfCheck]
    partial: bool


def _on_one(
    spec: ComparisonSpec,
    problem: str,
    trials: list[TrialScore],
    curves: pa.Table | None,
    statistics: pa.Table | None,
    step_seconds: Mapping[tuple[str, str, str], float],
) -> _OnOne:
    arms = _arms(spec, problem, trials)
    target = spec.target or _own_target(spec, arms)
    reached = _reached(target, curves)
    early = early_steps(spec)
    followed = courses(statistics, {trial.trial: early[trial.optimizer] for trial in trials})
    theory = _Theory(_expected(spec), _remedies(spec))
    views = [
        _view(spec, arm, arms, _Clock(reached, step_seconds.get((problem, *arm.name))), followed, theory)
        for arm in arms
    ]
    losses = [float(iqm(_test_losses(arm.reported))) if arm.reported else None for arm in arms]
    ranked = [view.model_copy(update={"rank": rank}) for view, rank in zip(views, ranks(losses), strict=True)]
    return _OnOne(
        target,
        sorted(ranked, key=lambda view: inf if view.rank is None else view.rank),
        {arm.name: _runs(arm, reached) for arm in arms},
        _self_checks(spec, arms),
        any(len(arm.reported) < spec.seeds for arm in arms),
    )


def _runs(arm: _Arm, reached: dict[int, int]) -> dict[int, Run]:
    """By seed."""
    losses = _test_losses(arm.reported)
    return {
        trial.seed: Run(loss, _cost(arm.optimizer, arm.setting, reached.get(trial.trial)))
        for trial, loss in zip(arm.reported, losses, strict=True)
    }


def _arms(spec: ComparisonSpec, problem: str, trials: list[TrialScore]) -> list[_Arm]:
    """In the order of the request, variants first."""
    by_arm: dict[tuple[str, str], list[TrialScore]] = {}
    for trial in sorted(trials, key=lambda trial: trial.trial):
        by_arm.setdefault((trial.variant, trial.optimizer), []).append(trial)
    return [
        _arm(spec, problem, variant, optimizer, by_arm.get((variant, optimizer.label), []))
        for variant in spec.networks()
        for optimizer in spec.optimizers
    ]


def _arm(spec: ComparisonSpec, problem: str, variant: str, optimizer: OptimizerSpec, trials: list[TrialScore]) -> _Arm:
    role = "tuning" if tuned(spec, optimizer) else "final"
    deciding = [trial for trial in trials if trial.role == role]
    choice = choose(optimizer, spec.tuning, deciding)
    first = trials[0].hyperparameters if trials else defaults(optimizer)
    setting = choice.setting if choice else first
    return _Arm(
        problem,
        variant,
        optimizer,
        choice,
        setting,
        trials,
        deciding,
        reported=_ended(trials, setting),
        untuned=_ended(trials, defaults(optimizer)) if grids(optimizer, spec.tuning) else [],
    )


def _ended(trials: list[TrialScore], setting: Setting) -> list[TrialScore]:
    """Those of a setting that are on the seeds to report and have ended, by seed.

    The role does not matter beyond that: where the default is the best setting, its trials are final and untuned at once.
    """
    wanted = identity(setting)
    found = (t for t in trials if t.role != "tuning" and t.outcome in REPORTED)
    return sorted((t for t in found if identity(t.hyperparameters) == wanted), key=lambda trial: trial.seed)


def _view(
    spec: ComparisonSpec,
    arm: _Arm,
    arms: list[_Arm],
    clock: "_Clock",
    followed: dict[int, Course],
    theory: "_Theory",
) -> Arm:
    ran, asked = searched(arm.optimizer, spec.tuning, arm.deciding), grids(arm.optimizer, spec.tuning)
    invariance = measured(arm.optimizer)
    return Arm(
        **dict(_scores(spec, arm.optimizer, arm.setting, arm.reported, clock)),
        problem=arm.problem,
        variant=arm.variant,
        optimizer=arm.optimizer.label,
        steps=spec.steps_of(arm.optimizer),
        invariant_down_to=invariance.down_to,
        invariant_up_to=invariance.up_to,
        versus_baseline=_versus(spec, arm, arms),
        untuned=_scores(spec, arm.optimizer, defaults(arm.optimizer), arm.untuned, clock) if arm.untuned else None,
        step_seconds=clock.step_seconds,
        searched=ran,
        widened={name: added for name, values in ran.items() if (added := values[len(asked[name]) :])},
        at_edge=[name for name, values in ran.items() if at_edge(arm.choice, name, values)],
        by_budget=by_budget(arm.deciding),
        diagnosis=_diagnosis(spec, arm, followed, theory),
    )


class _Clock(NamedTuple):
    """When trials met the target, and how long a step of an arm takes."""

    reached: dict[int, int]
    """Steps by trial, of those that did."""
    step_seconds: float | None
    """None where it was not measured."""


class _Theory(NamedTuple):
    """What it says of an arm, worked out once for each variant and batch size."""

    expected: Callable[[_Arm], Prediction]
    remedies: Callable[[_Arm], list[Advice]]


def _diagnosis(spec: ComparisonSpec, arm: _Arm, followed: dict[int, Course], theory: _Theory) -> Diagnosis | None:
    """What was measured, beside step 0 what was to be expected, and what would help."""
    found = diagnose(Followed(followed[trial.trial], trial.outcome == "diverged") for trial in _telling(arm, followed))
    if found is None:
        return None
    update: dict[str, object] = {
        "advice": advice(spec, arm.optimizer, arm.setting, found, lambda: theory.remedies(arm))
    }
    if found.at_step_0 is not None:
        update["predicted_at_step_0"] = beside(theory.expected(arm), found.at_step_0)
    return found.model_copy(update=update)


def _expected(spec: ComparisonSpec) -> Callable[[_Arm], Prediction]:
    """Arm -> what the theory says of it."""
    expanded = networks(spec)

    @cache
    def of(variant: str, batch_size: int) -> Prediction:
        return predict(expanded[variant], spec.problem, batch_size, spec.precision)

    return lambda arm: of(arm.variant, spec.batch_of(arm.optimizer))


def _remedies(spec: ComparisonSpec) -> Callable[[_Arm], list[Advice]]:
    """Arm -> changes to its network that the theory has tried."""

    @cache
    def of(variant: str, batch_size: int) -> list[Advice]:
        return network_remedies(spec, variant, batch_size)

    return lambda arm: of(arm.variant, spec.batch_of(arm.optimizer))


def _scores(
    spec: ComparisonSpec, optimizer: OptimizerSpec, setting: Setting, trials: list[TrialScore], clock: _Clock
) -> Scores:
    diverged = sum(trial.outcome == "diverged" for trial in trials)
    reached = [clock.reached.get(trial.trial) for trial in trials]
    steps = [inf if step is None else float(step) for step in reached]
    whole = optimizer.spent(spec.steps_of(optimizer), setting)
    return Scores(
        hyperparameters=setting,
        trials=TrialCounts(completed=len(trials) - diverged, diverged=diverged),
        test_loss=interval(_test_losses(trials), (0.0, inf)),
        test_accuracy=_accuracy(spec, trials),
        steps_to_target=_to_target(steps),
        evaluations_to_target=_to_target([_cost(optimizer, setting, step) for step in reached]),
        seconds_to_target=_to_target([clock.step_seconds * step for step in steps]) if clock.step_seconds else None,
        evaluations=Evaluated(functions=round(whole.functions), gradients=round(whole.gradients), cost=whole.cost),
    )


def _cost(optimizer: OptimizerSpec, setting: Setting, step: int | None) -> float:
    """Of a training until this step, in gradients; infinite where there is none."""
    return inf if step is None else optimizer.spent(step, setting).cost


def _to_target(counts: list[float]) -> Interval | None:
    """None where too few meet it for a mean."""
    found = interval(counts, (0.0, inf))
    return found if found.iqm is not None else None


def _accuracy(spec: ComparisonSpec, trials: list[TrialScore]) -> Interval | None:
    if spec.problem.loss != "cross_entropy":
        return None
    accuracies = [(trial.test_accuracy or 0.0) if trial.outcome == "completed" else 0.0 for trial in trials]
    return interval(accuracies, (0.0, 1.0))


def _test_losses(trials: list[TrialScore]) -> list[float]:
    """Infinite where a trial diverged."""
    completed = [trial.test_loss if trial.outcome == "completed" else None for trial in trials]
    return [inf if loss is None or isnan(loss) else loss for loss in completed]


def _versus(spec: ComparisonSpec, arm: _Arm, arms: list[_Arm]) -> Improvement | None:
    """Against the baseline on the same variant, over the seeds that both have ended."""
    if arm.optimizer.label == spec.baseline:
        return None
    baseline = next(a for a in arms if a.variant == arm.variant and a.optimizer.label == spec.baseline)
    return _paired(arm, baseline)


def _paired(arm: _Arm, other: _Arm) -> Improvement | None:
    """None without seeds that both have ended."""
    shared = {trial.seed for trial in arm.reported} & {trial.seed for trial in other.reported}
    if not shared:
        return None
    own, others = ([trial for trial in side.reported if trial.seed in shared] for side in (arm, other))
    return improvement(_test_losses(own), _test_losses(others))


def _self_checks(spec: ComparisonSpec, arms: list[_Arm]) -> list[SelfCheck]:
    """Pairs on the same variant and batch size of which one contains the other as it was chosen."""
    found = []
    for general, special in permutations(arms, 2):
        if general.variant != special.variant or spec.batch_of(general.optimizer) != spec.batch_of(special.optimizer):
            continue
        grid = searched(general.optimizer, spec.tuning, general.deciding)
        tried = grids(special.optimizer, spec.tuning)
        inside = contained(general.optimizer, grid, special.optimizer, special.setting, tried)
        versus = _paired(general, special) if inside else None
        if inside and versus:
            assert versus.difference is not None
            low = versus.difference.low
            found.append(
                SelfCheck(
                    problem=general.problem,
                    variant=general.variant,
                    general=general.optimizer.label,
                    special=special.optimizer.label,
                    at=inside.words,
                    unsearched=inside.unsearched,
                    verdict="violated" if versus.high < 0.5 or (low is not None and low > 0) else "holds",
                    difference=versus.difference,
                )
            )
    return found


def _telling(arm: _Arm, followed: dict[int, Course]) -> list[TrialScore]:
    """Trials of the setting whose signal was recorded, to the end or not; those of the tuning round if there are no others."""
    wanted = identity(arm.setting)
    alike = [t for t in arm.trials if t.trial in followed and identity(t.hyperparameters) == wanted]
    return [trial for trial in alike if trial.role != "tuning"] or alike


def _own_target(spec: ComparisonSpec, arms: list[_Arm]) -> Target | None:
    """The baseline's final validation loss on the network as given; None while it has none, or if that is infinite."""
    baseline = next(arm for arm in arms if arm.variant == BASE and arm.optimizer.label == spec.baseline)
    if not baseline.reported:
        return None
    value = float(iqm([final_loss(trial) for trial in baseline.reported]))
    # not validated: the bounds are for what users write, a loss may be larger
    return Target.model_construct(metric="validation_loss", value=value) if value < inf else None


def _reached(target: Target | None, curves: pa.Table | None) -> dict[int, int]:
    """The first recorded step that meets the target, of each trial that meets it."""
    if target is None or curves is None:
        return {}
    values = curves[target.metric].to_numpy()
    met = values >= target.value if target.metric.endswith("accuracy") else values <= target.value
    trial, step = curves["trial"].to_numpy()[met], curves["step"].to_numpy()[met]
    order = np.lexsort((step, trial))
    trials, first = np.unique(trial[order], return_index=True)
    return dict(zip(trials.tolist(), step[order][first].tolist(), strict=True))
