"""Grids, defaults, and the choice of the best setting."""

from math import inf, nan
from typing import Any

import pytest
from analysis_samples import comparison

from workers.analysis.selection import Choice, TrialScore, choose, defaults, grids, identity, settings
from workers.contract.comparison import Tuning
from workers.contract.optimizers import OPTIMIZERS, OptimizerSpec

TUNING = Tuning(points=5, decades=2, seeds=2)


def optimizer(spec: Any) -> OptimizerSpec:
    return comparison(spec).optimizers[0]


def chosen(spec: OptimizerSpec, losses: dict[float, list[float | None]], tuning: Tuning | None = TUNING) -> Choice:
    """The choice among learning rates, each with a loss per seed; None for a diverged trial."""
    trials = [
        TrialScore(
            trial=10 * place + seed,
            variant="base",
            optimizer=spec.label,
            kind=spec.kind,
            hyperparameters=defaults(spec) | {"lr": lr},
            seed=seed,
            role="tuning",
            outcome="diverged" if loss is None else "completed",
            test_loss=0.0,
            test_accuracy=None,
            validation_loss=0.0 if loss is None else loss,
        )
        for place, (lr, values) in enumerate(losses.items())
        for seed, loss in enumerate(values)
    ]
    forwards, backwards = choose(spec, tuning, trials), choose(spec, tuning, reversed(trials))
    assert forwards is not None and forwards == backwards
    return forwards


def test_the_lowest_mean_over_seeds_wins() -> None:
    """2 and 4 are better than 1 and 6, though the best single trial is among the latter."""
    choice = chosen(optimizer("sgd"), {0.01: [1.0, 6.0], 1.0: [2.0, 4.0]})
    assert (choice.setting["lr"], choice.loss) == (1.0, 3.0)


def test_a_diverged_trial_counts_as_infinite_whatever_its_last_losses_were() -> None:
    """The curve of a diverged trial ends with the losses before its end, which say nothing."""
    assert chosen(optimizer("sgd"), {0.1: [None, 0.1], 1.0: [9.0, 9.0]}).setting["lr"] == 1.0
    assert chosen(optimizer("sgd"), {0.1: [nan, 0.1], 1.0: [9.0, 9.0]}).setting["lr"] == 1.0


def test_ties_go_to_fewer_divergences_then_to_the_nearest_then_to_the_first() -> None:
    """Around sgd's default of 0.1."""
    sgd = optimizer("sgd")
    assert chosen(sgd, {0.01: [1.0], 0.316: [1.0], 1.0: [1.0]}).setting["lr"] == 0.316
    assert chosen(sgd, {0.01: [1.0], 1.0: [1.0]}).setting["lr"] == 0.01
    assert chosen(sgd, {0.1: [None, None], 1.0: [None, 5.0]}).setting["lr"] == 1.0
    assert chosen(sgd, {1.0: [None], 0.316: [None]}) == Choice(defaults(sgd) | {"lr": 0.316}, inf)


def test_losses_that_differ_by_rounding_tie() -> None:
    """Two names of one optimizer, whose trials stand at different places of a batch, get the same setting."""
    sgd = optimizer("sgd")
    for first, second in ((0.5, 0.5000000001), (0.5000000001, 0.5)):
        assert chosen(sgd, {0.01: [first], 0.316: [second]}).setting["lr"] == 0.316
    assert chosen(sgd, {0.01: [0.5], 0.316: [0.50001]}).setting["lr"] == 0.01


def test_nothing_is_chosen_before_a_trial_has_ended() -> None:
    """Neither from no trials nor from cancelled ones."""
    sgd = optimizer("sgd")
    stopped = TrialScore(0, "base", "sgd", "sgd", defaults(sgd), 0, "tuning", "cancelled", None, None, 0.1)
    assert choose(sgd, TUNING, []) is None
    assert choose(sgd, TUNING, [stopped]) is None


def test_the_grid_is_logarithmic_around_what_is_written() -> None:
    """Two decades in five points, the middle one exactly as written; an even number of points straddles it."""
    assert grids(optimizer("sgd"), TUNING) == {"lr": [0.01, 0.0316227766017, 0.1, 0.316227766017, 1.0]}
    assert grids(optimizer({"kind": "sgd", "lr": 1 / 3}), TUNING)["lr"][2] == 1 / 3
    assert grids(optimizer("adam"), Tuning(points=2, decades=4)) == {"lr": [1e-5, 0.1]}


def test_a_written_list_is_the_grid_and_keeps_the_rate_as_it_is() -> None:
    """Doubles run once."""
    rule = optimizer({"kind": "sgd", "lr": 0.5, "momentum": [0, 0.9, 0]})
    assert grids(rule, TUNING) == {"momentum": [0.0, 0.9]}
    assert [setting["lr"] for setting in settings(rule, TUNING)] == [0.5, 0.5]
    assert (defaults(rule)["lr"], defaults(rule)["momentum"]) == (0.5, 0.0)


@pytest.mark.parametrize("kind", [rule.model_fields["kind"].default for rule in OPTIMIZERS])
def test_every_rule_with_a_rate_is_searched_and_every_other_is_not(kind: str) -> None:
    """Betas, a list by nature, are no grid, and every setting is complete and free of grids."""
    rule = optimizer(kind)
    assert list(grids(rule, TUNING)) == (["lr"] if "lr" in rule.hyperparameters() else [])
    assert grids(rule, None) == {}
    for setting in settings(rule, TUNING):
        assert setting.keys() == rule.hyperparameters().keys()
    assert settings(rule, None) == [defaults(rule)] == [rule.hyperparameters()]


def test_identity_ignores_the_order_of_names() -> None:
    """Records come back from a database in an order of its own."""
    assert identity({"lr": 0.1, "betas": [0.9, 0.999]}) == identity({"betas": [0.9, 0.999], "lr": 0.1})
    assert identity({"lr": 0.1}) != identity({"lr": 0.2})
