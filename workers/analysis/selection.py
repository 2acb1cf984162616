"""Settings of hyper-parameters: which ones an optimizer is given, and which of them was best."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from math import inf, isnan, log10, prod
from typing import cast

from workers.analysis.ties import groups
from workers.contract.comparison import Tuning
from workers.contract.optimizers import OptimizerSpec
from workers.contract.plan import Role, Scalar
from workers.contract.results import Outcome

Setting = dict[str, Scalar]
"""A value for each hyper-parameter of a rule, none of them a grid."""

REPORTED: tuple[Outcome, ...] = ("completed", "diverged")
"""Outcomes that say something about the optimizer; a cancelled or pending trial says nothing."""


@dataclass(frozen=True)
class TrialScore:
    """A trial and how it ended."""

    trial: int
    variant: str
    optimizer: str
    kind: str
    hyperparameters: Setting
    seed: int
    role: Role
    outcome: Outcome
    test_loss: float | None
    test_accuracy: float | None
    validation_loss: float | None
    """The last of its curve; None if there is none yet."""
    problem: str = ""
    """Its name in the comparison."""


@dataclass(frozen=True)
class Choice:
    """The best setting of an arm."""

    setting: Setting
    loss: float
    """Mean final validation loss, infinite if a trial diverged."""


def grids(optimizer: OptimizerSpec, tuning: Tuning | None) -> dict[str, list[float]]:
    """The values of each hyper-parameter that has several to try.

    A list the user wrote is taken as it is, doubles left out. An optimizer without any gets, if there is tuning and the rule has
    a learning rate, a logarithmic grid: lr·10^(decades·(i/(points−1) − ½)), i = 0 … points−1, around the lr it states.
    """
    values = optimizer.hyperparameters()
    written: dict[str, list[float]] = {}
    for name, value in values.items():
        # betas are a list in themselves; where the default is a number a list is a grid
        if isinstance(value, list) and not isinstance(optimizer.default(name), list):
            written[name] = list(dict.fromkeys(value))
    lr = values.get("lr")
    if written or tuning is None or not isinstance(lr, float):
        return written
    last = tuning.points - 1
    exponents = [tuning.decades * (i / last - 0.5) for i in range(tuning.points)]
    return {"lr": [short(lr * 10**exponent) if exponent else lr for exponent in exponents]}


def settings(optimizer: OptimizerSpec, tuning: Tuning | None) -> list[Setting]:
    """Every combination of the grids, the last hyper-parameter changing fastest."""
    return combined(optimizer, grids(optimizer, tuning))


def combined(optimizer: OptimizerSpec, grid: Mapping[str, list[float]]) -> list[Setting]:
    """The product of the lists, everything else at its default."""
    fixed = defaults(optimizer)
    return [fixed | dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def settings_count(optimizer: OptimizerSpec, tuning: Tuning | None) -> int:
    """How many `settings` there are, without making them: a product of lists outgrows memory fast."""
    return prod(len(values) for values in grids(optimizer, tuning).values())


def defaults(optimizer: OptimizerSpec) -> Setting:
    """The untuned setting: what is written, and the rule's own default where a grid is written."""
    setting: Setting = {}
    for name, value in optimizer.hyperparameters().items():
        default = optimizer.default(name)
        grid = isinstance(value, list) and not isinstance(default, list)
        setting[name] = cast(Scalar, default if grid else value)
    return setting


def choose(optimizer: OptimizerSpec, tuning: Tuning | None, trials: Iterable[TrialScore]) -> Choice | None:
    """The setting with the lowest mean of the final validation loss over its trials; a diverged one counts as infinite.

    Ties (see `ties`), such as settings that all have a diverged trial, go to the one with fewer of them, then to the one nearest the
    default, then to the first.

    Args:
        trials: of one arm; those that have not ended are left aside.

    Returns:
        None if no trial has ended.
    """
    losses: dict[tuple[object, ...], list[float]] = {}
    found: dict[tuple[object, ...], Setting] = {}
    for trial in sorted(trials, key=lambda trial: trial.trial):
        if trial.outcome in REPORTED:
            key = identity(trial.hyperparameters)
            found.setdefault(key, trial.hyperparameters)
            losses.setdefault(key, []).append(final_loss(trial))
    if not found:
        return None
    centre, searched = defaults(optimizer), list(grids(optimizer, tuning))

    places = dict(zip(found, groups([mean(losses[key]) for key in found]), strict=True))

    def merit(key: tuple[object, ...]) -> tuple[int, int, float]:
        return places[key], losses[key].count(inf), _distance(found[key], centre, searched)

    best = min(found, key=merit)  # the first of equals
    return Choice(found[best], mean(losses[best]))


def final_loss(trial: TrialScore) -> float:
    """Final validation loss; infinite where the trial diverged or left no number."""
    loss = trial.validation_loss
    return inf if trial.outcome != "completed" or loss is None or isnan(loss) else loss


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def identity(setting: Mapping[str, Scalar]) -> tuple[object, ...]:
    """Equal for equal settings, whatever the order of their names; fit for a dictionary."""
    return tuple((name, tuple(v) if isinstance(v := setting[name], list) else v) for name in sorted(setting))


def _distance(setting: Setting, centre: Setting, names: list[str]) -> float:
    """Decades from the default, summed over what was searched; plain difference where a zero has no decades."""
    total = 0.0
    for name in names:
        value, default = setting[name], centre[name]
        assert isinstance(value, int | float) and isinstance(default, int | float)
        total += abs(log10(value / default)) if value > 0 and default > 0 else abs(value - default)
    return total


def short(value: float) -> float:
    """Without the noise of the last digits: 0.01, not 0.010000000000000002."""
    return float(f"{value:.12g}")
