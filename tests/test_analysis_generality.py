"""Methods that contain others: that they do, through the engine; and what the result says where one loses to what it contains."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from analysis_samples import comparison, run
from engine_samples import mlp, shard, train

from service.report import words
from workers.analysis.generality import INCLUSIONS, NEUTRAL, Inclusion
from workers.analysis.result import build_result
from workers.analysis.selection import Setting
from workers.contract.optimizers import OPTIMIZERS
from workers.contract.optimizers.wrappers import FIELDS
from workers.contract.plan import Trial
from workers.contract.results import Result, SelfCheck

KINDS = {rule.model_fields["kind"].default: rule for rule in OPTIMIZERS}
SPECIAL: dict[str, list[dict[str, Any]]] = {
    "sgd": [{"lr": 0.3}, {"lr": 0.1, "momentum": 0.7}],
    "adam": [{"lr": 0.01}, {"lr": 0.02, "betas": [0.5, 0.9], "eps": 0.1, "amsgrad": True}],
    "signsgd": [{"lr": 0.01}],
    "signum": [{"lr": 0.01, "momentum": 0.6}],
}
"""Settings that the general one is to meet."""


def losses(*optimizers: Any) -> list[list[float]]:
    """Training loss of each after each of 30 steps, from the same weights on the same batches, in float64."""
    found = train(shard(mlp("tanh"), *optimizers, steps=30)).curves
    trial, loss = found["trial"].to_numpy(), found["train_loss"].to_numpy()
    return [loss[trial == place].tolist() for place in range(len(optimizers))]


@pytest.mark.parametrize("one", INCLUSIONS, ids=lambda one: f"{one.general} contains {one.special}")
def test_the_general_rule_takes_the_special_ones_steps(one: Inclusion) -> None:
    """At every setting of the special one that the table says it meets, and what it needs for it may be written."""
    met = 0
    for given in SPECIAL[one.special]:
        setting = cast(Setting, KINDS[one.special](**given).hyperparameters())
        if all(setting[name] == value for name, value in one.where.items()):
            special, general = losses({"kind": one.special, **given}, {"kind": one.general, **one.at(setting)})
            assert general == pytest.approx(special, rel=1e-7), given
            assert special[-1] != special[0]
            met += 1
    assert met


@pytest.mark.parametrize(("field", "kind"), NEUTRAL)
def test_what_stands_round_a_rule_can_be_switched_off(field: str, kind: str) -> None:
    """The same numbers as without it; any other value gives others."""
    name, value = NEUTRAL[field, kind]
    other = {"weight_decay": 0.1, "warmup_steps": 10, "alpha": 0.5}[name]
    plain, off, on = losses("sgd", *({"kind": "sgd", field: {"kind": kind, name: set_to}} for set_to in (value, other)))
    assert field in FIELDS and off == pytest.approx(plain, rel=1e-12) and on != pytest.approx(plain, rel=1e-6)


def told(*optimizers: Any, loss: Callable[[Trial], float | None], **more: Any) -> Result:
    spec = comparison(*optimizers, **({"tuning": None, "seeds": 5} | more))
    return build_result(spec, run(spec, loss), None, None)


def by_optimizer(**levels: float) -> Callable[[Trial], float]:
    """Losses with the same noise of each seed."""
    return lambda trial: levels[trial.optimizer] + 0.1 * float(np.random.default_rng(trial.seed).uniform())


def test_a_general_method_that_loses_is_told() -> None:
    """In the result and in words, with what was not searched; one that wins holds, and nobody else is checked."""
    lost = told("sgd", "adam", "lion", loss=by_optimizer(sgd=0.5, adam=0.7, lion=0.1))
    (check,) = lost.self_checks
    assert (check.general, check.special, check.verdict) == ("adam", "sgd", "violated")
    assert check.unsearched == ["eps", "betas"] and check.difference.iqm == pytest.approx(0.2)
    names = {("wine", "base", name): name for name in ("sgd", "adam", "lion")}
    sentence = (
        "adam did worse than sgd, which it contains (β₁ = 0, eps → ∞ with lr/eps fixed): its search was too small"
    )
    assert f"{sentence}, it left out eps and betas." in words.answer(lost, names)
    won = told("sgd", "adam", "lion", loss=by_optimizer(sgd=0.5, adam=0.3, lion=0.1))
    assert [check.verdict for check in won.self_checks] == ["holds"]
    assert "too small" not in words.answer(won, names)


def test_a_difference_that_seeds_explain_is_no_violation() -> None:
    """Worse by less than its noise."""

    def noisy(trial: Trial) -> float:
        noise = np.random.default_rng([trial.seed, len(trial.optimizer)]).normal()
        return 1.0 + 0.02 * (trial.optimizer == "adam") + 0.2 * float(noise)

    assert [check.verdict for check in told("sgd", "adam", loss=noisy).self_checks] == ["holds"]


def test_one_that_diverges_has_lost() -> None:
    """Infinite losses have no difference, and lose every pair."""
    (check,) = told("sgd", "rmsprop", loss=lambda trial: None if trial.optimizer == "rmsprop" else 0.5).self_checks
    assert (check.verdict, check.difference.iqm) == ("violated", None)


@pytest.mark.parametrize(
    ("general", "special", "at"),
    [
        ({"momentum": [0, 0.9]}, {}, "momentum = 0.0"),
        ({"momentum": [0, 0.5, 0.9]}, {"momentum": [0, 0.9]}, "momentum = 0.0"),
        ({"added_decay": {"kind": "coupled", "weight_decay": [0, 1e-3]}}, {}, "added_decay.weight_decay = 0"),
        ({"momentum": [0.5, 0.9]}, {}, None),
        ({"momentum": 0.9}, {}, None),
        ({"added_decay": {"kind": "coupled", "weight_decay": [1e-4, 1e-3]}}, {}, None),
        ({"clip": {"kind": "norm", "max_norm": [0.1, 1.0]}}, {}, None),
        ({"momentum": [0, 0.9]}, {"momentum": [0, 0.9]}, None),
        ({"momentum": [0, 0.9]}, {"momentum": [0, 0.5, 0.9]}, None),
        ({"momentum": [0, 0.9]}, {"batch_size": 8}, None),
    ],
)
def test_a_grid_contains_each_of_its_values(general: Any, special: Any, at: str | None) -> None:
    """And what stands round a rule contains the bare rule if a value that switches it off was tried; a fixed number contains nothing."""
    found = told(
        {"kind": "sgd", "name": "general", **general},
        {"kind": "sgd", "name": "special", **special},
        loss=lambda trial: 0.5 + float(trial.hyperparameters["momentum"]),  # type: ignore[arg-type]
    )
    told_of = [check for check in found.self_checks if check.general == "general"]
    assert [check.at for check in told_of] == ([] if at is None else [at])


def test_a_learning_rate_that_only_the_special_one_searched_is_told() -> None:
    """A list of momenta keeps the learning rate as it is written."""
    given: dict[str, Any] = {
        "tuning": {"points": 3, "seeds": 1},
        "loss": lambda trial: 0.9 if trial.optimizer == "momentum" else 0.5,
    }
    found = told("sgd", {"kind": "sgd", "name": "momentum", "momentum": [0, 0.9]}, **given)
    assert [(check.verdict, check.unsearched) for check in found.self_checks] == [("violated", ["lr"])]
    wide = told("sgd", {"kind": "sgd", "name": "momentum", "momentum": [0, 0.9], "lr": [0.1, 1.0]}, **given)
    assert [check.unsearched for check in wide.self_checks] == [[]]


def test_the_report_tells_what_was_lost_and_counts_the_rest() -> None:
    """One sentence each for those, one for all others."""
    found = told("sgd", "adam", "rmsprop", loss=by_optimizer(sgd=0.5, adam=0.7, rmsprop=0.2))
    names = {("wine", "base", name): name for name in ("sgd", "adam", "rmsprop")}
    lost, rest = words.self_checks(found, names)
    assert (
        lost.startswith("adam did worse than sgd")
        and rest == "In 1 other pair the method that contains the other is not told worse."
    )


def test_each_variant_is_checked_apart() -> None:
    """Adam loses on one network and wins on the other."""
    found = told(
        "sgd",
        "adam",
        variants={"relu": {"activation": "relu"}},
        loss=lambda trial: 0.5 if trial.optimizer == "sgd" else {"base": 0.1, "relu": 0.9}[trial.variant],
    )
    assert {check.variant: check.verdict for check in found.self_checks} == {"base": "holds", "relu": "violated"}
    assert SelfCheck.model_validate_json(found.self_checks[0].model_dump_json()) == found.self_checks[0]
