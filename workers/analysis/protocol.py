"""The rounds of a comparison: which trials run together, when, and in which frozen order.

With tuning: settings compete on tuning seeds; where the best lies at the edge of its grid, and widening was asked for, a further
round tries what lies beyond on the same seeds; then the best of each arm runs on fresh seeds, next to the untuned defaults on them.
Without: all that is written runs on all seeds, in one round.
"""

from collections.abc import Iterator
from itertools import count, pairwise, product
from typing import NamedTuple

from workers.analysis.predicted import gradient_range
from workers.analysis.selection import Setting, TrialScore, choose, defaults, settings, settings_count
from workers.analysis.widening import most_settings, widened
from workers.contract.comparison import ComparisonSpec
from workers.contract.optimizers import OptimizerSpec
from workers.contract.plan import Role, Shard, Trial
from workers.theory.resolution import networks

__all__ = ["PlannedRound", "TrialScore", "first_round", "next_round", "together", "totals", "trials_by_round", "tuned"]

TUNING_SEEDS_FROM = 10_000
"""Beyond the most seeds that can be reported, so that tuning never sees one of those."""


class PlannedRound(NamedTuple):
    number: int
    """From 0."""
    role: Role
    shards: list[Shard]


class _Runs(NamedTuple):
    """One setting on several seeds."""

    setting: Setting
    seeds: range
    role: Role


_Plan = dict[tuple[str, str, str], list[_Runs]]
"""What runs, by names of the problem, the variant and the optimizer."""


def tuned(spec: ComparisonSpec, optimizer: OptimizerSpec) -> bool:
    """Whether the optimizer's setting is searched for in a round of its own."""
    return spec.tuning is not None and settings_count(optimizer, spec.tuning) > 1


def first_round(spec: ComparisonSpec) -> PlannedRound:
    """The tuning round; the final one where there is nothing to search."""
    if not any(tuned(spec, optimizer) for optimizer in spec.optimizers):
        return PlannedRound(0, "final", _shards(spec, _final(spec, []), 0))
    seeds = _tuning_seeds(spec)
    plan: _Plan = {
        (problem, variant, optimizer.label): [
            _Runs(setting, seeds, "tuning") for setting in settings(optimizer, spec.tuning)
        ]
        for problem in spec.alone
        for variant in spec.networks()
        for optimizer in spec.optimizers
        if tuned(spec, optimizer)
    }
    return PlannedRound(0, "tuning", _shards(spec, plan, 0))


def next_round(spec: ComparisonSpec, done: int, trials: list[TrialScore]) -> PlannedRound | None:
    """What runs after a round has ended; None if that was the last.

    Args:
        done: number of the round that has ended.
        trials: all trials so far.
    """
    if any(trial.role != "tuning" for trial in trials):
        return None
    following = 1 + max(trial.trial for trial in trials)
    wider = _widening(spec, trials) if spec.tuning and done < spec.tuning.widen else {}
    if any(wider.values()):
        return PlannedRound(done + 1, "tuning", _shards(spec, wider, following))
    return PlannedRound(done + 1, "final", _shards(spec, _final(spec, trials), following))


def totals(spec: ComparisonSpec) -> tuple[int, int]:
    """(trials, steps) over all rounds, before any has run.

    The most there can be: where the search finds that the default is best, the defaults need not run beside it, and where it finds
    the best inside its grid, nothing is widened.
    """
    arms = (1 + len(spec.variants)) * len(spec.alone)
    counts = [(arms * sum(trials_by_round(spec, optimizer)), spec.steps_of(optimizer)) for optimizer in spec.optimizers]
    return sum(trials for trials, _ in counts), sum(trials * steps for trials, steps in counts)


def together(spec: ComparisonSpec) -> dict[str, int]:
    """By the optimizer's label: how many of its trials train at the same time on one variant, at most, in any round."""
    return {optimizer.label: max(trials_by_round(spec, optimizer)) for optimizer in spec.optimizers}


def trials_by_round(spec: ComparisonSpec, optimizer: OptimizerSpec) -> list[int]:
    """Trials of one arm in each round, at most."""
    candidates = settings_count(optimizer, spec.tuning)
    if spec.tuning is None:
        return [candidates * spec.seeds]
    if candidates > 1:
        sizes = [0, *(most_settings(optimizer, spec.tuning, rounds) for rounds in range(spec.tuning.widen + 1))]
        return [*((wide - narrow) * spec.tuning.seeds for narrow, wide in pairwise(sizes)), 2 * spec.seeds]
    return [spec.seeds * (1 if settings(optimizer, spec.tuning) == [defaults(optimizer)] else 2)]


def _tuning_seeds(spec: ComparisonSpec) -> range:
    assert spec.tuning is not None
    first = spec.seed + TUNING_SEEDS_FROM
    return range(first, first + spec.tuning.seeds)


def _by_arm(trials: list[TrialScore]) -> dict[tuple[str, str, str], list[TrialScore]]:
    found: dict[tuple[str, str, str], list[TrialScore]] = {}
    for trial in trials:
        found.setdefault((trial.problem, trial.variant, trial.optimizer), []).append(trial)
    return found


def _widening(spec: ComparisonSpec, trials: list[TrialScore]) -> _Plan:
    """What lies beyond the grids of the arms whose best setting is at an edge."""
    assert spec.tuning is not None
    seeds, optimizers = _tuning_seeds(spec), {optimizer.label: optimizer for optimizer in spec.optimizers}
    return {
        arm: [_Runs(setting, seeds, "tuning") for setting in widened(optimizers[arm[-1]], spec.tuning, own)]
        for arm, own in _by_arm(trials).items()
    }


def _final(spec: ComparisonSpec, trials: list[TrialScore]) -> _Plan:
    """Role final: the chosen setting, or all that is written without tuning. Role defaults: what tuning is held against."""
    seeds = range(spec.seed, spec.seed + spec.seeds)
    tuning = _by_arm(trials)
    plan: _Plan = {}
    for problem, variant, optimizer in product(spec.alone, spec.networks(), spec.optimizers):
        arm = problem, variant, optimizer.label
        reported = settings(optimizer, spec.tuning)
        if tuned(spec, optimizer):
            choice = choose(optimizer, spec.tuning, tuning[arm])
            assert choice is not None, "a tuning round is closed once its trials have ended"
            reported = [choice.setting]
        plan[arm] = [_Runs(setting, seeds, "final") for setting in reported]
        if spec.tuning is not None and defaults(optimizer) not in reported:
            plan[arm].append(_Runs(defaults(optimizer), seeds, "defaults"))
    return plan


def _shards(spec: ComparisonSpec, plan: _Plan, first_trial: int) -> list[Shard]:
    """Trials that can share a batched program, numbered in the order in which they stand."""
    numbers = count(first_trial)
    return [
        shard
        for problem, own in spec.alone.items()
        for shard in _shards_of(own, problem, plan, numbers)
        if shard.trials
    ]


def _shards_of(spec: ComparisonSpec, problem: str, plan: _Plan, numbers: Iterator[int]) -> Iterator[Shard]:
    """Of one problem; some may have no trials."""
    for variant, network in networks(spec).items():
        for (batch_size, pattern, steps), members in spec.alike().items():
            trials = [
                Trial(
                    trial=next(numbers),
                    problem=problem,
                    variant=variant,
                    optimizer=optimizer.label,
                    kind=optimizer.kind,
                    hyperparameters=runs.setting,
                    seed=seed,
                    role=runs.role,
                )
                for optimizer in members
                for runs in plan.get((problem, variant, optimizer.label), [])
                for seed in runs.seeds
            ]
            yield Shard(
                problem=spec.problem,
                variant=variant,
                network=network,
                trials=trials,
                batch_size=batch_size,
                pattern=pattern,
                precision=spec.precision,
                gradient_range=gradient_range(spec, network, batch_size),
                steps=steps,
                recorded=spec.record.steps(steps),
                backpropagation=spec.record.backpropagation,
                statistics=spec.record.names,
                intervals=spec.record.intervals,
                device=spec.device,
                regularizers=spec.networks()[variant].regularizers,
                wrappers={
                    optimizer.label: around
                    for optimizer in members
                    if (around := optimizer.wrapper_kinds()) and any(t.optimizer == optimizer.label for t in trials)
                },
            )
