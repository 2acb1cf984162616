"""What the terminal shows of a result: right, within its width, whatever is missing or odd."""

from math import inf
from typing import Any

import pytest
from analysis_samples import comparison, run, statistics
from rich.console import Console

from service import terminal
from workers.analysis.result import build_result
from workers.contract.plan import Trial
from workers.contract.results import Result

WIDTHS = (80, 100, 120)
HEALTHY = (1e-3, 2e-3, 4e-3, 1e-1)
VANISHING = (1e-9, 1e-6, 1e-3, 1e-1)


def result_of(*optimizers: Any, losses: Any = lambda trial: 0.5, norms: Any = HEALTHY, **fields: Any) -> Result:
    """A result with the same error signal in every trial at step 0, and `norms` at the end."""
    spec = comparison(*optimizers, **{"tuning": None, "seeds": 2, **fields})
    trials = run(spec, losses)
    rows = [(t.trial, step, signal) for t in trials for step, signal in ((0, VANISHING), (1000, norms))]
    return build_result(spec, trials, None, statistics(rows))


def shown(result: Result, width: int = 100) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(terminal.ranking(result))
    return "\n".join([capture.get(), *terminal.pictures(result, width=width)])


def loss_by_optimizer(trial: Trial) -> float | None:
    return {"sgd": 2.3, "adam": 0.25, "rmsprop": None}.get(trial.optimizer, 1.0)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [1, 3, 12])
def test_everything_fits_the_width(width: int, count: int) -> None:
    """From one optimizer to twelve, every line is within the width, and every optimizer has a column."""
    names = [{"kind": "sgd", "name": f"sgd number {index}", "lr": [0.1, 1.0]} for index in range(count)]
    told = shown(result_of(*names, losses=lambda trial: trial.hyperparameters["lr"]), width)
    assert max(len(line.rstrip()) for line in told.splitlines()) <= width
    assert told.count("hidden.2.linear") == told.count("output")
    for index in range(count):
        assert f"sgd number {index}"[: terminal.MIN_BAR] in told


def test_the_ranking_is_by_loss_and_tells_who_beats_whom() -> None:
    """Best first, the baseline against nobody, a diverged arm last with its count and an infinite loss."""
    table = shown(result_of("sgd", "adam", "rmsprop", losses=loss_by_optimizer)).splitlines()
    rows = [line.split() for line in table if line[:1].isdigit()]
    assert [row[1] for row in rows] == ["adam", "sgd", "rmsprop"]
    assert "0.25 [0.25, 0.25]" in table[2] and "100%" in table[2]
    assert "∞" in rows[2] and "2 of 2" in " ".join(rows[2])
    assert "vanishing → healthy" in table[2]


def test_the_picture_says_where_the_signal_was_and_is() -> None:
    """A row for each layer, top down; the number is the end's, the circle that of step 0, on one scale."""
    picture = shown(result_of("sgd")).split("base: ")[1].splitlines()
    assert "1e-9 to 1e-1" in picture[0]
    assert [line.split()[0] for line in picture[2:]] == [
        "output",
        "hidden.2.linear",
        "hidden.1.linear",
        "hidden.0.linear",
    ]
    assert [line.split()[-1] for line in picture[2:]] == ["-1.0", "-2.4", "-2.7", "-3.0"]
    places = [line.index(terminal.MARK) for line in picture[2:]]
    assert places == sorted(places, reverse=True) and len(set(places)) == 4
    filled = [line.count("█") for line in picture[2:]]
    assert filled == sorted(filled, reverse=True)


def test_variants_have_a_column_and_a_picture_each() -> None:
    """Their names are told wherever there is more than one."""
    told = shown(result_of("sgd", variants={"tanh": {"activation": "tanh"}}))
    assert "variant" in told.splitlines()[0]
    assert told.count("log₁₀ of the error signal's norm") == 2
    assert "tanh: log₁₀" in told


def test_a_regression_has_no_accuracy() -> None:
    """Neither a heading nor a column."""
    told = shown(result_of("sgd", problem="diabetes"))
    assert "accuracy" not in told


def test_zero_missing_and_infinite_norms_are_told_as_such() -> None:
    """An exact zero is 0, what is not finite or not there is a dash; nothing is drawn for them."""
    zero = shown(result_of("sgd", norms=(0.0, 1e-3, 1e-2, 1e-1)))
    assert zero.splitlines()[-1].split()[-1] == "0"
    broken = shown(result_of("sgd", norms=(inf, inf, 1e-2, 1e-1)))
    assert broken.splitlines()[-1].split()[-1] == "–"
    assert "underflowed" in zero and "exploding" in broken


def test_without_any_signal_there_is_no_picture() -> None:
    """Nothing recorded yet, or all of it zero: the ranking stands alone."""
    spec = comparison("sgd", tuning=None, seeds=1)
    assert terminal.pictures(build_result(spec, run(spec, lambda _: 1.0), None, None)) == []
    rows = [(0, step, (0.0,) * 4) for step in (0, 1000)]
    assert terminal.pictures(build_result(spec, run(spec, lambda _: 1.0), None, statistics(rows))) == []


def test_the_reasons_are_those_of_the_baseline_and_the_best() -> None:
    """Sentences with their numbers, the baseline first; nothing where nothing was recorded."""
    baseline, best = terminal.reasons(result_of("sgd", "adam", "rmsprop", losses=loss_by_optimizer))
    assert baseline.startswith("base, sgd:\n  At step 0 the error signal falls by 3.00 decades per layer")
    assert best.startswith("base, adam:\n")
    spec = comparison("sgd", tuning=None, seeds=1)
    assert terminal.reasons(build_result(spec, run(spec, lambda _: 1.0), None, None)) == []


def test_a_setting_at_the_edge_is_starred_and_explained() -> None:
    """The star stands at the value, its meaning below the table; no star, no explanation."""
    at_edge = result_of({"kind": "sgd", "lr": [0.1, 1.0]}, losses=lambda trial: 1 / trial.hyperparameters["lr"])
    assert f"lr 1{terminal.EDGE}" in shown(at_edge)
    assert "an edge of what was searched" in shown(at_edge)
    assert terminal.EDGE not in shown(result_of("sgd"))
