"""Where the best value lies at the edge of its grid: what a further round tries beyond it.

A grid goes on in its own steps, each value the ratio of the last two times the one before, by half as many values as it began
with, on the side where the best lies. A grid of several hyper-parameters stays a product of lists.
"""

from collections.abc import Iterable, Sequence
from itertools import takewhile
from math import inf, prod

from workers.analysis.selection import Choice, Setting, TrialScore, choose, combined, grids, identity, short
from workers.contract.comparison import Tuning
from workers.contract.optimizers import OptimizerSpec


def at_edge(choice: Choice | None, name: str, values: Sequence[float]) -> bool:
    """Whether a wider grid may do better. Zero is not an edge, nothing lies beyond; nor is anything where nothing trained."""
    if choice is None or choice.loss == inf or len(values) < 2:
        return False
    return choice.setting[name] in (min(values), max(values)) and choice.setting[name] != 0


def searched(optimizer: OptimizerSpec, tuning: Tuning | None, trials: Iterable[TrialScore]) -> dict[str, list[float]]:
    """The grids of the request, each followed by what widening has added to it.

    Args:
        trials: those that choose the setting of one arm.
    """
    found = grids(optimizer, tuning)
    for trial in sorted(trials, key=lambda trial: trial.trial):
        for name, values in found.items():
            value = trial.hyperparameters[name]
            assert isinstance(value, int | float), "a grid is one of numbers"
            if value not in values:
                values.append(value)
    return found


def widened(optimizer: OptimizerSpec, tuning: Tuning, trials: Sequence[TrialScore]) -> list[Setting]:
    """The settings of a further tuning round of one arm; none where its best is at no edge, or nothing may stand beyond.

    Args:
        trials: all its tuning trials so far.
    """
    choice = choose(optimizer, tuning, trials)
    asked, ran = grids(optimizer, tuning), searched(optimizer, tuning, trials)
    wider = {
        name: [*values, *_beyond(optimizer, name, values, choice, _added(asked[name]))]
        if choice and at_edge(choice, name, values)
        else values
        for name, values in ran.items()
    }
    known = {identity(trial.hyperparameters) for trial in trials}
    return [setting for setting in combined(optimizer, wider) if identity(setting) not in known]


def most_settings(optimizer: OptimizerSpec, tuning: Tuning, rounds: int) -> int:
    """How many there are at most once so many widening rounds have run."""
    return prod(len(values) + rounds * _added(values) for values in grids(optimizer, tuning).values())


def _beyond(optimizer: OptimizerSpec, name: str, values: Sequence[float], choice: Choice, count: int) -> list[float]:
    """The next values on the side of the best one, as far as the request could have had them."""
    ordered = sorted(values)
    edge, inner = ordered[-1:-3:-1] if choice.setting[name] == ordered[-1] else ordered[:2]
    if min(edge, inner) <= 0:
        return []  # no ratio
    found = [edge]
    for _ in range(count):
        found.append(short(found[-1] * (edge / inner)))
    return list(takewhile(lambda value: value > 0 and value not in values and optimizer.admits(name, value), found[1:]))


def _added(values: Sequence[float]) -> int:
    """By a round, at most. Whole numbers, such as steps of a schedule, stay as they are written: other fields bound them."""
    numbers = len(values) > 1 and all(isinstance(value, float) for value in values)
    return max(1, len(values) // 2) if numbers else 0
