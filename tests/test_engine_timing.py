"""What a step of each optimizer takes: measured on a clock, apart from what is recorded and from the company of other trials."""

from types import SimpleNamespace
from typing import Any

import pytest
from engine_samples import mlp, shard

from workers.contract.plan import Execution, Shard
from workers.engine import timing
from workers.engine.program import Program
from workers.engine.recording import Recording
from workers.engine.shard import ADVANCE, Training


def trained(asked: Shard, path: Any = "portable") -> Training:
    chunks = [len(asked.trials)]
    training = Training(asked, Execution(device="cpu", threads=1, chunks=chunks, path=path))
    training.advance(asked.steps)
    return training


def never() -> bool:
    return False


@pytest.mark.parametrize("path", ["portable", "native"])
def test_the_time_is_that_of_the_rules_own_steps(path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that the steps themselves push on, as this machine is shared: a second for a program's first step, which may compile,
    then 1 ms a step under sgd and 7 under adam. A share of the whole training could not tell the two apart.
    """
    asked = shard(mlp(), "sgd", "adam", seeds=(0, 1), precision="float32", steps=60, recorded=[0, 60])
    whole, advance, clock = trained(asked, path), ADVANCE[path], [0.0]

    def advanced(program: Program, recording: Recording, start: int, until: int) -> None:
        advance(program, recording, start, until)
        (trial,) = program.trials
        clock[0] += sum({"sgd": 0.001, "adam": 0.007}[trial.kind] if step else 1.0 for step in range(start, until))

    monkeypatch.setitem(ADVANCE, path, advanced)
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    assert timing.step_seconds(whole, never) == pytest.approx({"0 sgd": 0.001, "1 adam": 0.007})


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
