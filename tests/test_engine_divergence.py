"""A trial whose numbers stop being finite: found where and when it happens, recorded, and of no concern to the others."""

import math

import pytest
from engine_samples import TEACHER, assert_close, layers, linears, mlp, only, shard, train, training, with_a_diverging

from workers.contract.optimizers import OPTIMIZERS

ONE_GRADIENT = [spec.model_fields["kind"].default for spec in OPTIMIZERS if spec.pattern == "one_gradient"]


def test_a_diverged_trial_is_recorded_and_left_out() -> None:
    """Its rows end at the step of divergence, its ending names step, layer and last finite loss; the others do not notice."""
    given = shard(mlp("identity"), *ONE_GRADIENT, problem=TEACHER, seeds=(0, 1))
    disturbed, alone = train(with_a_diverging(given)), train(given)
    ending = disturbed.endings[0]
    assert ending.trial == 1000
    assert ending.test_loss is None and ending.test_accuracy is None
    assert ending.divergence is not None
    step = ending.divergence["step"]
    seen = [row for row in disturbed.statistics.to_pylist() if row["trial"] == 1000]
    assert max(row["step"] for row in seen) == step
    assert [row["step"] for row in disturbed.curves.to_pylist() if row["trial"] == 1000] == list(range(step + 1))
    assert ending.divergence["layer"] in {row["layer"] for row in seen}
    assert math.isfinite(ending.divergence["last_finite_loss"])
    before = [row for row in seen if row["step"] < step]
    assert before and all(math.isfinite(row["gradient_norm"]) for row in before)
    assert_close(alone, disturbed)


def test_divergence_is_found_where_and_when_it_begins() -> None:
    """A weight that becomes NaN after the third update shows at step 3, at its layer, with the loss of step 2 before it."""
    for layer, path in enumerate(("hidden.0.linear", "hidden.1.linear", "output")):
        running = training(shard(mlp(), seeds=(0, 1), precision="float32"))
        running.advance(3)
        losses = running.programs[0].watch.state["loss"].clone()
        linears(running.programs[0])[layer].weight[1, 0, 0] = math.nan
        running.advance(10)
        first, second = running.endings()
        assert first.divergence is None and first.test_loss is not None
        assert second.divergence == {"step": 3, "layer": path, "last_finite_loss": losses[1].item()}


def test_a_gradient_that_alone_is_not_finite_is_divergence() -> None:
    """A finite loss whose gradient overflows ends the trial at that step, and that loss is its last finite one."""
    linear = {"kind": "linear", "out_features": 4, "bias": False}
    running = training(shard(layers(linear, linear), problem=TEACHER, precision="float32", steps=3))
    (made,) = running.programs
    running.advance(1)
    first, second, output = linears(made)
    first.weight.zero_()
    second.weight.fill_(3e38)
    output.weight.fill_(1e5)
    assert output.bias is not None
    loss = (output.bias - made.batches.at(1)[1]).square().mean().item()
    running.advance(3)
    (ending,) = running.endings()
    assert ending.divergence is not None
    expected = {"step": 1, "layer": "layers.0.linear", "last_finite_loss": pytest.approx(loss, rel=1e-6)}
    assert ending.divergence == expected


def test_all_diverged_is_the_end() -> None:
    """When no trial is left, the shard says so, and every ending is a divergence."""
    given = with_a_diverging(shard(mlp("relu"), precision="float32"))
    running = training(only(given, 0))
    assert not running.all_diverged
    running.advance(5)
    assert running.all_diverged
    assert [ending.divergence is not None for ending in running.endings()] == [True]


def test_nothing_is_invented_of_a_diverged_trial() -> None:
    """Where the loss over a split is NaN, so is the accuracy: the class of NaN outputs is nobody's answer."""
    given = with_a_diverging(shard(mlp("relu"), precision="float32"))
    curves = [row for row in train(given).curves.to_pylist() if row["trial"] == 1000]
    broken = [row for row in curves if math.isnan(row["validation_loss"])]
    assert broken
    assert all(math.isnan(row["validation_accuracy"]) for row in broken)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=len)
def test_nothing_is_too_small_to_be_seen(seeds: tuple[int, ...], batch_size: int, poison: float) -> None:
    """One bad bias of a single unit is found, in a batch of one sample and a program of one trial."""
    network = layers({"kind": "linear", "out_features": 1}, {"kind": "activation", "activation": "sin"})
    running = training(shard(network, seeds=seeds, batch_size=batch_size, precision="float32"))
    bias = linears(running.programs[0])[0].bias
    assert bias is not None
    bias[-1] = poison
    running.advance(2)
    assert running.programs[0].watch.state["step"].tolist() == [-1] * (len(seeds) - 1) + [0]
    assert running.programs[0].watch.state["layer"][-1] == 0
