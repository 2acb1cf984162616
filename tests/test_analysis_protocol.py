"""Which trials run, in which round and order."""

from collections import Counter
from typing import Any

import pytest
from analysis_samples import comparison, ended, run, trials_of

from workers.analysis.protocol import first_round, next_round, totals
from workers.contract.comparison import ComparisonSpec

DESIGNED: dict[str, Any] = {
    "problem": {"kind": "digits"},
    "network": {"kind": "mlp", "depth": 6, "width": 64, "activation": "sigmoid", "init": "xavier_normal"},
    "variants": {"orthogonal": {"init": {"kind": "orthogonal", "gain": 2}}, "tanh": {"activation": "tanh"}},
    "optimizers": [
        "sgd",
        {"kind": "rmsprop", "lr": [0.001, 0.01]},
        {"kind": "rprop", "batch_size": "full"},
        "smorms3",
        "vsgd_fd",
    ],
    "baseline": "sgd",
    "tuning": {"points": 5, "decades": 2, "seeds": 2},
    "seeds": 5,
    "steps": 1000,
    "batch_size": 128,
}


def test_the_tuning_round_of_the_documented_example_is_as_counted_by_hand() -> None:
    """Per variant: 5 rates of sgd, 2 of rmsprop, 5 of smorms3 at batch 128; 5 of rprop, full batch; two seeds; no vsgd_fd."""
    spec = ComparisonSpec.model_validate(DESIGNED)
    planned = first_round(spec)
    assert (planned.number, planned.role) == (0, "tuning")
    shards = [(shard.variant, shard.batch_size, shard.pattern, len(shard.trials)) for shard in planned.shards]
    each = [(128, "one_gradient", 24), (1078, "one_gradient", 10)]
    assert shards == [(variant, *rest) for variant in ("base", "orthogonal", "tanh") for rest in each]
    sgd = planned.shards[0].trials[:10]
    assert [trial.hyperparameters["lr"] for trial in sgd[::2]] == [0.01, 0.0316227766017, 0.1, 0.316227766017, 1.0]
    assert [trial.seed for trial in sgd[:2]] == [10_000, 10_001]


def test_the_final_round_of_the_documented_example_is_as_counted_by_hand() -> None:
    """Five seeds for each of five arms a variant, and for the defaults where another setting won."""
    spec = ComparisonSpec.model_validate(DESIGNED)
    tuning = [ended(trial, float(trial.hyperparameters["lr"])) for trial in trials_of(first_round(spec))]  # type: ignore[arg-type]
    planned = next_round(spec, 0, tuning)
    assert planned is not None and (planned.number, planned.role) == (1, "final")
    shards = [(shard.batch_size, shard.pattern, len(shard.trials)) for shard in planned.shards[:3]]
    assert shards == [(128, "one_gradient", 30), (1078, "one_gradient", 10), (128, "two_gradients", 5)]
    base = [trial for shard in planned.shards[:3] for trial in shard.trials]
    assert Counter((trial.optimizer, trial.role, trial.hyperparameters.get("lr")) for trial in base) == {
        ("sgd", "final", 0.01): 5,
        ("sgd", "defaults", 0.1): 5,
        ("rmsprop", "final", 0.001): 5,
        ("rmsprop", "defaults", 0.01): 5,
        ("smorms3", "final", 0.0001): 5,
        ("smorms3", "defaults", 0.001): 5,
        ("rprop", "final", 0.001): 5,
        ("rprop", "defaults", 0.01): 5,
        ("vsgd_fd", "final", None): 5,
    }
    assert {trial.seed for trial in base} == {0, 1, 2, 3, 4}
    final = [ended(trial, 0.1) for trial in trials_of(planned)]
    assert next_round(spec, 1, tuning + final) is None
    assert totals(spec) == (3 * (34 + 25 + 20), 3 * 79 * 1000)


def test_trials_are_numbered_without_gaps_in_the_order_in_which_they_stand() -> None:
    """Over both rounds, tuning first, and each optimizer's trials are neighbours in their shard."""
    spec = ComparisonSpec.model_validate(DESIGNED)
    done = run(spec, lambda trial: 1.0 + trial.trial)
    assert [trial.trial for trial in done] == list(range(len(done)))
    for shard in first_round(spec).shards:
        names = [trial.optimizer for trial in shard.trials]
        assert sorted(names, key=names.index) == names


def test_totals_are_what_runs_or_more_where_the_default_wins() -> None:
    """The defaults do not run twice; nothing else is left out."""
    spec = comparison("sgd", "adam", tuning={"points": 3, "seeds": 1}, seeds=2, steps=10)
    assert totals(spec) == (14, 140)
    assert len(run(spec, lambda trial: -float(trial.hyperparameters["lr"]))) == 14  # type: ignore[arg-type]
    assert len(run(spec, lambda _: 1.0)) == 10


def test_without_tuning_what_is_written_runs_on_all_seeds_in_one_round() -> None:
    """A product of lists for one, a single setting for the other, role final, no defaults."""
    spec = comparison({"kind": "sgd", "lr": [0.1, 1], "momentum": [0, 0.5, 0.9]}, "adam", tuning=None, seeds=4)
    planned = first_round(spec)
    assert (planned.number, planned.role, totals(spec)[0]) == (0, "final", 28)
    counts = Counter((trial.optimizer, trial.role, trial.hyperparameters["lr"]) for trial in trials_of(planned))
    assert counts == {("sgd", "final", 0.1): 12, ("sgd", "final", 1.0): 12, ("adam", "final", 0.001): 4}
    assert next_round(spec, 0, run(spec, lambda _: 1.0)) is None


def test_without_anything_to_search_the_final_round_comes_first() -> None:
    """A list of one is no search, but other than the default, which therefore runs beside it."""
    spec = comparison("vsgd_fd", {"kind": "sgd", "lr": [0.5]}, seeds=3)
    planned = first_round(spec)
    roles = Counter((trial.optimizer, trial.role) for trial in trials_of(planned))
    assert planned.role == "final" and totals(spec)[0] == 9
    assert roles == {("vsgd_fd", "final"): 3, ("sgd", "final"): 3, ("sgd", "defaults"): 3}


def test_one_kind_may_stand_twice_and_batch_sizes_part_shards() -> None:
    """Names tell arms apart, a batch size of one's own makes a shard of one's own."""
    own = {"kind": "sgd", "name": "sgd, small batch", "batch_size": 8}
    shards = first_round(comparison("sgd", own, tuning=None, batch_size=16)).shards
    assert [(shard.batch_size, shard.trials[0].optimizer) for shard in shards] == [(16, "sgd"), (8, "sgd, small batch")]


def test_a_huge_product_of_grids_is_counted_without_being_made() -> None:
    """The service refuses it by its count alone."""
    many = [0.001 * (i + 1) for i in range(64)]
    rule = {"kind": "rmsprop", "lr": many, "alpha": [i / 64 for i in range(64)], "eps": many, "weight_decay": many}
    assert totals(comparison(rule, tuning=None, seeds=1000))[0] == 64**4 * 1000


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_shard_carries_what_the_engine_needs(precision: str) -> None:
    """Recorded steps from the spec, its device and precision, and the expanded network with its output layer."""
    spec = comparison("sgd", tuning=None, steps=7, precision=precision, device="cpu", record={"points": 3})
    shard = first_round(spec).shards[0]
    assert (shard.steps, shard.precision, shard.device) == (7, precision, "cpu")
    assert shard.recorded == spec.record.steps(7)
    assert [layer.path for layer in shard.network if layer.parameters][-1] == "output"


@pytest.mark.parametrize(
    ("network", "asked", "expected"),
    [
        ({"activation": "sigmoid", "depth": 6}, "auto", "standard"),
        ({"activation": "sigmoid", "depth": 90}, "auto", "extended"),
        ({"activation": "sigmoid", "depth": 90}, "standard", "standard"),
        ({"activation": "sigmoid", "depth": 6}, "extended", "extended"),
        ({"activation": "sin", "depth": 60, "init": {"kind": "xavier_normal", "gain": 30.0}}, "auto", "extended"),
    ],
)
def test_the_range_is_extended_where_float32_would_not_hold_the_gradient(
    network: dict[str, Any], asked: str, expected: str
) -> None:
    spec = comparison("sgd", network={"kind": "mlp", "width": 32, **network}, gradient_range=asked)
    assert {shard.gradient_range for shard in first_round(spec).shards} == {expected}
