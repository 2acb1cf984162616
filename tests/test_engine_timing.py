"""What a step of each optimizer takes: measured on a clock, apart from what is recorded and from the company of other trials."""

import time
from typing import Any

import pytest
from engine_samples import mlp, shard

from workers.contract.plan import Execution, Shard
from workers.engine import timing
from workers.engine.shard import Training


def trained(asked: Shard, path: Any = "portable") -> Training:
    chunks = [len(asked.trials)]
    training = Training(asked, Execution(device="cpu", threads=1, chunks=chunks, path=path))
    training.advance(asked.steps)
    return training


def never() -> bool:
    return False


def test_a_rule_that_takes_longer_is_measured_longer() -> None:
    """Muon's five products of matrices in every step, beside sgd in the same program; a share of the whole could not tell them apart."""
    asked = shard(mlp(depth=3, width=64), "sgd", "muon", seeds=(0, 1), precision="float32", steps=60, recorded=[0, 60])
    found = timing.step_seconds(trained(asked), never)
    assert list(found) == ["0 sgd", "1 muon"] and found["1 muon"] > 1.5 * found["0 sgd"]


@pytest.mark.parametrize("path", ["portable", "native"])
def test_the_time_is_that_of_the_steps(path: Any) -> None:
    """Within a factor of three, this machine is shared, of what 400 steps of one trial take by the wall's clock; nothing is recorded."""
    asked = shard(mlp(depth=3, width=64), "adam", precision="float32", steps=1000, recorded=[999, 1000])
    whole = Training(asked, Execution(device="cpu", threads=1, chunks=[1], path=path))
    whole.advance(1)
    began = time.perf_counter()
    whole.advance(401)
    wanted = (time.perf_counter() - began) / 400
    (seconds,) = timing.step_seconds(whole, never).values()
    assert wanted / 3 < seconds < 3 * wanted


def test_it_is_no_part_of_the_training() -> None:
    """What was trained and recorded stays as it is."""
    asked = shard(mlp(), "adam", "sgd", seeds=(0, 1), steps=20, recorded=[0, 10, 20])
    untimed, timed = trained(asked), trained(asked)
    timing.step_seconds(timed, never)
    assert timed.endings() == untimed.endings()
    for own, other in zip(timed.tables(), untimed.tables(), strict=True):
        assert own is not None and other is not None and own.equals(other)


def test_what_is_not_measured_has_no_time() -> None:
    """Tuning trials, trainings of two steps, and all that is left once a stop was asked for."""
    asked = shard(mlp(), "sgd", "adam", steps=20, recorded=[0, 20])
    searching = asked.model_copy(
        update={"trials": [trial.model_copy(update={"role": "tuning"}) for trial in asked.trials]}
    )
    short = shard(mlp(), "sgd", steps=2, recorded=[0, 2])
    assert timing.step_seconds(trained(searching), never) == timing.step_seconds(trained(short), never) == {}
    asks = iter([False, True])
    assert list(timing.step_seconds(trained(asked), lambda: next(asks))) == ["0 sgd"]
