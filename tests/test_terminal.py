"""What the terminal shows of a result: right, within its width, whatever is missing or odd."""

from dataclasses import replace
from math import inf
from typing import Any

import pytest
from analysis_samples import comparison, run, statistics
from rich.cells import cell_len
from rich.console import Console

from service import terminal
from workers.analysis.result import build_result
from workers.contract.plan import Trial
from workers.contract.results import LayerDiagnosis, Result

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


def fits(told: str, width: int) -> bool:
    return max(cell_len(line.rstrip()) for line in told.splitlines()) <= width


def loss_by_optimizer(trial: Trial) -> float | None:
    return {"sgd": 2.3, "adam": 0.25, "rmsprop": None}.get(trial.optimizer, 1.0)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [1, 3, 12])
def test_everything_fits_the_width(width: int, count: int) -> None:
    """From one optimizer to twelve, every line is within the width, and every optimizer has a column."""
    names = [{"kind": "sgd", "name": f"sgd number {index}", "lr": [0.1, 1.0]} for index in range(count)]
    told = shown(result_of(*names, losses=lambda trial: trial.hyperparameters["lr"]), width)
    assert fits(told, width)
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


def test_a_narrow_ranking_loses_nothing() -> None:
    """In 80 columns the interval and the verdict go on in the next line; names and settings are there in full."""
    spec = {"kind": "sgd", "lr": [0.1, 1.0], "momentum": [0, 0.9], "weight_decay": [0, 1e-4]}
    losses = {"sgd": 1.2345e-5, "adam": 0.25, "rmsprop": None}
    told = shown(result_of(spec, "adam", "rmsprop", losses=lambda trial: losses[trial.optimizer]), 80)
    heading = " ".join(" ".join(told.splitlines()[:2]).split())
    assert all(word in heading for word in ("test loss", "[95 %]", "accuracy", "beats", "diverged", "signal"))
    words = told.split("log₁₀")[0].split()
    assert {"sgd", "adam", "rmsprop", "momentum", "0.25", "[0.25,", "1.23e-5", "[1.23e-5,", "0%"} <= set(words)
    assert {"weight_decay", "lr"} <= set(words)
    assert words.count("vanishing") == 3 and words.count("healthy") == 2
    assert fits(told, 80) and "…" not in told


def test_a_wide_ranking_has_one_line_an_arm() -> None:
    """Where there is room, number and interval stand side by side."""
    table = shown(result_of("sgd", "adam", losses=loss_by_optimizer), 120).split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in table] == ["#", "─" * len(table[1].strip()), "1", "2"]


LONG = "a name that goes on and on, as if to see whether it ever ends in eighty letters"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "name",
    [LONG, "x" * 80, "確率的勾配降下法" * 10, "[bold]sgd[/bold]", "[/x]", "\\[", "sgd\n\n\tsgd", "\x1b[31msgd\x1b[2J"],
)
def test_any_name_can_be_shown(name: str, width: int) -> None:
    """As it is, brackets included, on one line of the picture, without steering the terminal, within the width."""
    optimizers = [{"kind": "sgd", "name": name}, *("adam", "rmsprop", "rprop", "signum")]
    told = shown(result_of(*optimizers, baseline=name, variants={name: {"activation": "tanh"}}), width)
    assert fits(told, width)
    assert told.count("\noutput ") == told.count("\nhidden.0.linear ") >= 2
    assert "\x1b" not in told and "\t" not in told
    if name.startswith("["):
        assert told.count(name) >= 4


def test_a_picture_fits_half_a_terminal() -> None:
    """One optimizer below the other if need be."""
    pictures = terminal.pictures(result_of("sgd", "adam", variants={LONG: {}}), width=40)
    assert all(fits(picture, 40) for picture in pictures)


def test_any_layer_can_be_shown() -> None:
    """Of a long path the end is shown, where layers differ; columns stay in line."""
    paths = {f"{LONG}.{index}.{LONG}.linear.{index}": 10.0**-index for index in range(3)} | {
        "確率的": 1e-5,
        "output": 1.0,
    }
    result = result_of("sgd", "adam")
    for arm in result.arms:
        assert arm.diagnosis is not None
        layers = [
            LayerDiagnosis(layer=path, verdict="healthy", gradient_norm=norm, error_signal_norm=norm)
            for path, norm in paths.items()
        ]
        arm.diagnosis.layers, arm.diagnosis.at_step_0 = layers, None
    for width in WIDTHS:
        told = shown(result, width)
        assert fits(told, width)
        rows = told.splitlines()[-5:]
        assert [row.split()[0] for row in rows[:2]] == ["output", "確率的"]
        assert all(f".linear.{index}  " in row for index, row in zip((2, 1, 0), rows[2:], strict=True))
        assert len({cell_len(row) for row in rows}) == 1


def test_optimizers_need_not_know_the_same_layers() -> None:
    """What one of them has no number for is a dash in its column."""
    result = result_of("sgd", "adam")
    first = result.arms[0].diagnosis
    assert first is not None
    first.layers = first.layers[1:]
    assert shown(result).splitlines()[-1].split()[0] == "hidden.0.linear"
    assert [word for word in shown(result).splitlines()[-1].split() if word in ("–", "-3.0")] == ["–", "-3.0"]


def test_twelve_optimizers_share_one_scale() -> None:
    """In 80 columns they are drawn in several pictures, as many in each as fit, with the same heading and layers."""
    names = [{"kind": "sgd", "name": f"sgd{index}"} for index in range(12)]
    pictures = [picture.splitlines() for picture in terminal.pictures(result_of(*names), width=80)]
    assert len(pictures) == 3
    assert len({tuple(line.split()[0] for line in picture if picture.index(line) != 1) for picture in pictures}) == 1
    assert len({picture[0] for picture in pictures}) == 1
    assert [len(picture[1].split()) for picture in pictures] == [4, 4, 4]


def test_without_a_reported_trial_there_is_no_loss() -> None:
    """A dash, not the infinity that a diverged trial has; the signal of what was stopped is told all the same."""
    spec = comparison("sgd", "adam", tuning=None, seeds=2)
    stopped = [replace(t, outcome="cancelled", test_loss=None) for t in run(spec, lambda _: 0.5)]
    rows = [(t.trial, step, VANISHING) for t in stopped for step in (0, 60)]
    for result in (build_result(spec, [], None, None), build_result(spec, stopped, None, statistics(rows))):
        assert "∞" not in shown(result)
        assert [line.split()[0] for line in shown(result).splitlines()[2:4]] == ["–", "–"]
    assert shown(build_result(spec, stopped, None, statistics(rows))).count("vanishing") == 2


def test_a_signal_that_spans_no_decade_is_drawn() -> None:
    """A norm of exactly one everywhere has a scale from 1e0 to 1e1, and norms beyond float32 are on theirs."""
    spec = comparison("sgd", tuning=None, seeds=1)
    for norms, scale in (((1.0,) * 4, "1e0 to 1e1"), ((1e-300, 1e-200, 1e-100, 1e300), "1e-300 to 1e300")):
        rows = [(0, step, norms) for step in (0, 1000)]
        told = shown(build_result(spec, run(spec, lambda _: 1.0), None, statistics(rows)))
        assert scale in told and fits(told, 100)


def test_several_problems_have_a_column_a_table_over_all_and_a_picture_each() -> None:
    """Ranks start again on each problem; the table before is over all of them."""
    found = result_of(
        "sgd",
        "adam",
        problems=["wine", "digits"],
        problem="wine",
        losses=lambda trial: 0.1 if trial.optimizer == "adam" else 0.5,
    )
    told = shown(found, width=120)
    assert "problem" in told and "wine, base: log₁₀" in told and "digits, base: log₁₀" in told
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(terminal.overall(found))
    first = next(line.split() for line in capture.get().splitlines() if line.split()[:1] == ["1"])
    assert first == ["1", "adam", "1", "[1,", "1]", "100%"]
    assert terminal.overall(result_of("sgd")) is None


def test_a_method_that_lost_to_what_it_contains_is_told() -> None:
    """By the names in the table."""
    lost = result_of("sgd", "adam", seeds=5, losses=lambda trial: 0.9 if trial.optimizer == "adam" else 0.5)
    (warning,) = terminal.warnings(lost)
    assert warning.startswith("adam did worse than sgd, which it contains")
    assert terminal.warnings(result_of("sgd", "adam", seeds=5)) == []
