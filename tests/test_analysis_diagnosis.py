"""The verdict on the signal, from made-up statistics whose slopes are known."""

from collections.abc import Sequence
from math import inf, nan
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from analysis_samples import statistics
from engine_samples import mlp, shard, train

from workers.analysis.diagnosis import Followed, diagnose, verdict
from workers.analysis.signals import courses
from workers.contract.results import Diagnosis

FLAT = [1.0, 1.0, 1.0, 1.0, 1.0]


def diagnosed(
    rows: Sequence[tuple[int, int, Sequence[float | None]]], *, diverged: Sequence[int] = (), **others: Any
) -> Diagnosis:
    """The diagnosis of all trials in the rows."""
    found = courses(statistics(rows, **others))
    diagnosis = diagnose(Followed(course, trial in diverged) for trial, course in found.items())
    assert diagnosis is not None
    return diagnosis


def falling(rate: float, layers: int = 6) -> list[float]:
    """Norms of hidden layers that gain `rate` decades with each layer towards the input, then the output's."""
    return [10 ** (rate * (layers - 1 - depth)) for depth in range(layers)] + [3.0]


@pytest.mark.parametrize(
    ("decades", "expected"),
    [
        (0.0, "healthy"),
        (1.0, "healthy"),
        (-1.0, "healthy"),
        (-1.01, "weakening"),
        (-2.0, "weakening"),
        (-2.01, "vanishing"),
        (1.01, "growing"),
        (2.0, "growing"),
        (2.01, "exploding"),
        (None, "unknown"),
    ],
)
def test_the_thresholds_are_one_and_two_decades(decades: float | None, expected: str) -> None:
    """On either side, the bound itself belonging to the milder verdict."""
    assert verdict(decades) == expected


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(-0.63, "vanishing"), (-0.3, "weakening"), (0.01, "healthy"), (0.3, "growing"), (0.5, "exploding")],
)
def test_a_known_slope_comes_back(rate: float, expected: str) -> None:
    """Six hidden layers are five steps apart; the output layer's own norm is none of the slope."""
    found = diagnosed([(0, 0, falling(rate))])
    assert found.decades_per_layer == pytest.approx(rate, abs=1e-12)
    assert found.decades == pytest.approx(5 * rate, abs=1e-12)
    assert (found.verdict, found.step) == (expected, 0)


def test_the_slope_is_a_least_squares_fit_against_depth() -> None:
    """As numpy's polyfit, over layers of which none lies on the line."""
    norms = [1e-5, 3e-4, 2e-4, 5e-2, 0.3, 7.0]
    slope = np.polyfit(range(5), np.log10(norms[:5]), 1)[0]
    assert diagnosed([(0, 0, norms)]).decades_per_layer == pytest.approx(-slope, rel=1e-12)


def test_trials_are_averaged_in_decades() -> None:
    """−0.2 and −0.6 make −0.4, and the norms shown are geometric means."""
    found = diagnosed([(0, 0, falling(-0.2)), (1, 0, falling(-0.6))], gradient_norm=[4.0] * 7)
    assert found.decades_per_layer == pytest.approx(-0.4, abs=1e-12)
    assert found.layers[0].error_signal_norm == pytest.approx(1e-2)
    assert found.layers[0].gradient_norm == pytest.approx(4.0)


def test_step_0_and_the_last_step_stand_side_by_side() -> None:
    """What lies between them is left aside, and the order of rows does not matter."""
    rows = [(trial, step, falling(rate)) for trial in (0, 1) for step, rate in ((0, -0.63), (50, 9.0), (100, -0.02))]
    table = statistics(rows)
    shuffled = table.take(np.random.default_rng(0).permutation(table.num_rows))
    found, other = (diagnose(Followed(c, False) for c in courses(t).values()) for t in (table, shuffled))
    assert found is not None and found == other and found.at_step_0 is not None
    assert (found.step, found.verdict, found.at_step_0.step, found.at_step_0.verdict) == (
        100,
        "healthy",
        0,
        "vanishing",
    )
    assert found.evidence == [
        "At step 0 the error signal falls by 0.63 decades per layer: "
        "its norm is 1 at hidden.5.linear and 0.00071 at hidden.0.linear.",
        "At step 0 it has lost more than two decades from hidden.1.linear on down, in 2 of 6 hidden layers.",
        "At step 100 the error signal falls by 0.02 decades per layer: "
        "its norm is 1 at hidden.5.linear and 0.79 at hidden.0.linear.",
        "Between the top and the bottom hidden layer δ changes by -3.1 at step 0, -0.1 at step 100 decades: vanishing → healthy.",
    ]


def test_each_layer_has_a_verdict_of_its_own() -> None:
    """By the decades since the top hidden layer; the output layer, where the signal starts, has lost none."""
    found = diagnosed([(0, 0, [1e-3, 10**-1.5, 1e-1, 1.0, 1e9])])
    assert [(layer.layer, layer.verdict) for layer in found.layers] == [
        ("hidden.0.linear", "vanishing"),
        ("hidden.1.linear", "weakening"),
        ("hidden.2.linear", "healthy"),
        ("hidden.3.linear", "healthy"),
        ("output", "healthy"),
    ]


def test_exact_zeros_are_underflow_not_vanishing() -> None:
    """The rate is that of the layers that still have a signal; there is no number of decades to zero."""
    found = diagnosed([(0, 0, [0.0, 0.0, 1e-40, 1e-20, 1.0])])
    assert (found.verdict, found.decades) == ("underflowed", None)
    assert found.decades_per_layer == pytest.approx(-20)
    assert [layer.verdict for layer in found.layers] == [
        "underflowed",
        "underflowed",
        "vanishing",
        "healthy",
        "healthy",
    ]
    assert found.layers[0].error_signal_norm == 0
    assert found.evidence == [
        "At step 0 the error signal is exactly zero in 2 of 4 hidden layers; its norm is 1e-40 at hidden.2.linear."
    ]


DYING: dict[str, Any] = {"dead_fraction": [0.0, 0.0, 0.0, 0.6, 0.0], "saturation_fraction": [0.0, 0.1, 0.6, 0.95, 0.0]}
"""The top hidden layer of four, of which more than half is flat on every sample."""


@pytest.mark.parametrize(("left", "expected"), [(0.9, "dead"), (0.011, "dead"), (0.009, "healthy"), (1e-8, "healthy")])
def test_what_is_flat_once_the_batch_is_fitted_is_no_verdict_on_the_arm(left: float, expected: str) -> None:
    """The layer is dead either way; the arm is as long as a hundredth of the error at the output is left. The evidence says so."""
    found = diagnosed([(0, 0, FLAT), (0, 600, [left * norm for norm in FLAT])], **DYING)
    assert found.at_step_0 is not None and found.at_step_0.verdict == "dead"
    assert (found.verdict, found.layers[3].verdict) == (expected, "dead")
    assert [one.verdict for one in found.findings] == ["dead", "saturated"]
    told = "At step 600 the error at the output is"
    assert any(sentence.startswith(told) for sentence in found.evidence) == (expected == "healthy")


def test_a_fitted_network_still_vanishes_if_it_does() -> None:
    """Its signal is told by its size, whatever is left of it."""
    found = diagnosed([(0, 0, FLAT), (0, 600, [1e-12, 1e-11, 1e-10, 1e-9, 1e-9])], **DYING)
    assert found.verdict == "vanishing" and found.decades == pytest.approx(-3)


def test_where_no_error_comes_in_nothing_has_underflowed() -> None:
    """Every sample right by so much that the softmax is exact: zeros all the way, and no layer is to blame."""
    found = diagnosed([(0, 0, FLAT), (0, 600, [0.0] * 5)])
    assert (found.verdict, found.findings, {layer.verdict for layer in found.layers}) == ("unknown", [], {"unknown"})
    assert any("nothing is left of the error at the output" in sentence for sentence in found.evidence)


def test_a_signal_that_is_zero_everywhere_has_no_rate() -> None:
    """A dead network."""
    found = diagnosed([(0, 0, [0.0, 0.0, 0.0, 1.0])])
    assert (found.verdict, found.decades_per_layer) == ("underflowed", None)


def test_most_trials_decide() -> None:
    """One underflow of three is not the arm's verdict, and not part of its figures; two are."""
    dead, alive = [0.0, 1.0, 1.0], [0.1, 1.0, 1.0]
    mostly_alive = diagnosed([(0, 0, dead), (1, 0, alive), (2, 0, alive)])
    assert mostly_alive.verdict == "healthy"
    assert mostly_alive.decades == pytest.approx(-1.0)
    assert diagnosed([(0, 0, dead), (1, 0, dead), (2, 0, alive)]).verdict == "underflowed"


@pytest.mark.parametrize("norm", [nan, inf])
def test_a_non_finite_signal_is_diverged_where_the_trial_is_and_exploding_before(norm: float) -> None:
    """Its numbers are null, and nothing warns on the way."""
    found = diagnosed([(0, 0, FLAT), (0, 8, [norm, norm, 1.0, 1.0, 1.0])], diverged=[0])
    assert (found.verdict, found.step, found.decades, found.decades_per_layer) == ("diverged", 8, None, None)
    still = diagnosed([(0, 0, FLAT), (0, 8, [norm, norm, 1.0, 1.0, 1.0])])
    assert still.verdict == "exploding"
    assert [layer.verdict for layer in found.layers[:3]] == ["exploding", "exploding", "healthy"]
    assert found.layers[0].error_signal_norm is None
    assert found.evidence[-1] == "1 of 1 trials diverged: their signal is not finite."


def test_diverged_trials_count_though_their_rows_have_ended() -> None:
    """Most of three: diverged. One of three: the others' figures, and a sentence."""
    rows = [(trial, 0, FLAT) for trial in range(3)] + [(0, 8, FLAT)]
    most = diagnosed(rows, diverged=[1, 2])
    assert (most.verdict, most.decades, most.step) == ("diverged", None, 8)
    few = diagnosed([*rows, (1, 8, FLAT)], diverged=[2])
    assert (few.verdict, few.decades) == ("healthy", 0.0)
    assert few.evidence[-1] == "1 of 3 trials diverged: the figures at the end are of the others."


def test_an_arm_of_which_all_diverged_shows_its_last_finite_rows() -> None:
    """Its verdict is diverged; step 0 is told as it was."""
    found = diagnosed([(0, 0, FLAT), (1, 0, FLAT)], diverged=[0, 1])
    assert (found.verdict, found.decades, found.layers[0].error_signal_norm) == ("diverged", None, 1.0)
    assert found.at_step_0 is not None and found.at_step_0.verdict == "healthy"


def test_a_single_hidden_layer_has_no_slope() -> None:
    """Nor decades: unknown."""
    found = diagnosed([(0, 0, [0.1, 1.0])])
    assert (found.verdict, found.decades, found.decades_per_layer) == ("unknown", None, None)


def test_no_hidden_layer_no_rows_no_columns() -> None:
    """A linear classifier is unknown; without rows, or with null ones, there is no diagnosis; other columns may be missing."""
    assert diagnosed([(0, 0, [1.0])]).verdict == "unknown"
    assert diagnose([]) is None
    assert courses(None) == {} and courses(statistics([(0, 0, [None, None])])) == {}
    assert diagnosed([(0, 0, FLAT)]).layers[0].gradient_norm is None


def test_a_dictionary_of_layers_is_read_as_well() -> None:
    """The trainer writes names once."""
    table = statistics([(0, 0, falling(-0.5)), (0, 5, falling(0.0))])
    encoded = table.set_column(2, "layer", table["layer"].dictionary_encode())
    assert pa.types.is_dictionary(encoded["layer"].type)
    assert str(courses(encoded)) == str(courses(table))


def test_vanishing_under_flat_weight_gradients_is_masked() -> None:
    """Finding 1 of the signal's theory: their ratios alone misdiagnose. Where they fall alike nothing is hidden."""
    found = diagnosed([(0, 0, falling(-0.63))], gradient_norm=[1.0, 1.1, 1.2, 1.0, 0.9, 1.0, 5.0])
    assert found.verdict == "masked_vanishing"
    assert found.evidence[2].startswith(
        "At step 0 this is masked: weight gradients are within 0.12 decades of each other"
    )
    assert diagnosed([(0, 0, falling(-0.63))], gradient_norm=falling(-0.63)).verdict == "vanishing"


def test_what_else_is_wrong_is_said_with_its_numbers() -> None:
    """Eps that rules, inputs that grow alike, saturation."""
    found = diagnosed(
        [(0, 0, [1.0, 1.0, 1.0, 1.0])],
        eps_dominance=[0.98, 0.7, 0.2, 0.0],
        activation_sample_std=[1.0, 0.1, 1e-3, 1.0],
        activation_std=[1.0, 1.0, 1.0, 1.0],
        saturation_fraction=[0.9, 0.1, 0.6, 0.0],
    )
    assert found.evidence[0].startswith("At step 0 the error signal keeps its size: ")
    assert found.evidence[1:] == [
        "At step 0 eps exceeds √v for most parameters in 2 of 3 hidden layers (98% at hidden.0.linear): "
        "there the rule is SGD with a tiny step.",
        "At step 0 different inputs grow alike on their way up: the activations' spread across samples falls by 3.0 decades "
        "from hidden.0.linear to hidden.2.linear and two samples correlate by 1 − 1e-06 at hidden.2.linear, the first above 0.99.",
        "At step 0 most of the non-linearities' derivatives are below a tenth of their maximum in 2 of 3 hidden layers "
        "(90% at hidden.0.linear).",
    ]
    assert [finding.verdict for finding in found.findings] == ["collapsed"]


def test_saturation_and_death_say_which_layer_is_the_first() -> None:
    """Counted from the input, where the signal of the forward pass meets them; a layer says all that holds in it."""
    found = diagnosed(
        [(0, 0, FLAT)],
        saturation_fraction=[0.2, 0.95, 0.97, 0.1, 0.0],
        dead_fraction=[0.0, 0.0, 0.7, 0.0, 0.0],
    )
    assert found.verdict == "dead"
    assert [(one.verdict, one.layers, one.first_layer) for one in found.findings] == [
        ("dead", 1, "hidden.2.linear"),
        ("saturated", 2, "hidden.1.linear"),
    ]
    assert [(layer.verdict, layer.also) for layer in found.layers[1:3]] == [("saturated", []), ("dead", ["saturated"])]


def test_the_ratio_of_squared_norms_is_the_theorys_chi() -> None:
    """χ̂_l = ‖δ_l‖²/‖δ_{l+1}‖², unknown at the top."""
    chis = [layer.chi for layer in diagnosed([(0, 0, falling(-0.25))]).layers]
    assert chis[:5] == pytest.approx([10**-0.5] * 5) and chis[5:] == [None, None]


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(-0.63, -0.02, "recovering"), (-0.1, -0.63, "worsening"), (-0.3, 0.5, "worsening"), (-0.3, -0.35, "steady")],
)
def test_the_trend_is_that_of_the_size_of_d(first: float, last: float, expected: str) -> None:
    """By half a decade or more, whichever way the signal goes; an early step stands between."""
    table = statistics([(0, 0, falling(first)), (0, 10, falling(-0.2)), (0, 100, falling(last))])
    found = diagnose(Followed(course, False) for course in courses(table, {0: 10}).values())
    assert found is not None and found.trend == expected
    assert found.early is not None and (found.early.step, found.early.verdict) == (10, "healthy")


@pytest.mark.parametrize(
    ("rate", "spread", "lost", "rescue"),
    [
        (-0.02, 0.5, "nothing", "not_needed"),
        (-0.63, 0.5, "magnitude", "helps"),
        (-0.63, 1e-3, "magnitude", "helps"),
        (-0.63, 1e-5, "magnitude_and_direction", "may_help"),
        (-0.63, 1e-7, "magnitude_and_direction", "cannot_help"),
        (-0.02, 1e-7, "direction", "cannot_help"),
        (0.5, 0.5, "magnitude", "may_help"),
    ],
)
def test_size_and_direction_are_told_apart(rate: float, spread: float, lost: str, rescue: str) -> None:
    """Direction is lost where nothing tells samples apart any more, whatever the size of δ."""
    found = diagnosed(
        [(0, 0, falling(rate))], activation_std=[1.0] * 7, activation_sample_std=[1.0] * 5 + [spread, 1.0]
    )
    assert (found.lost, found.magnitude_independent_optimizer) == (lost, rescue)


def test_no_step_has_the_sign_of_zero() -> None:
    """Neither an underflow nor a dead layer leaves anything to normalise; without hidden layers nothing can be told."""
    assert diagnosed([(0, 0, [0.0, 0.0, 1e-40, 1e-20, 1.0])]).magnitude_independent_optimizer == "cannot_help"
    dead = diagnosed([(0, 0, FLAT)], dead_fraction=[0.0, 0.0, 1.0, 0.0, 0.0])
    assert dead.magnitude_independent_optimizer == "cannot_help"
    assert diagnosed([(0, 0, [1.0])]).magnitude_independent_optimizer is None


def test_an_output_layer_that_starts_at_zero_is_no_underflow() -> None:
    """Below it nothing comes in yet, which is told; one whose weights are not zero, and no δ below it, is underflow."""
    zeros = [0.0] * 5 + [1.0]
    found = diagnosed([(0, 0, zeros), (0, 9, [*FLAT, 1.0])], weight_norm=[1.0] * 5 + [0.0])
    assert found.at_step_0 is not None and found.at_step_0.verdict == "unknown"
    assert found.magnitude_independent_optimizer is None
    assert "weights are all zero" in " ".join(found.evidence)
    other = diagnosed([(0, 0, zeros)], weight_norm=[1.0] * 6)
    assert other.verdict == "underflowed"


@pytest.mark.parametrize(("steps", "expected"), [(60, "healthy"), (200, "unknown")])
def test_rprop_that_has_fitted_every_sample_is_not_called_dead(steps: int, expected: str) -> None:
    """Trained by the engine: more than half of the top layer's units flat, every training sample right; later no error is left at all."""
    asked = shard(mlp("tanh", depth=3, width=16), {"kind": "rprop", "step_max": 1.0}, seeds=(0, 1), steps=steps)
    run = train(asked.model_copy(update={"batch_size": asked.problem.training_samples, "recorded": [0, steps]}))
    found = diagnose(Followed(course, False) for course in courses(run.statistics).values())
    assert {row["train_accuracy"] for row in run.curves.to_pylist() if row["step"] == steps} == {1.0}
    assert found is not None and found.verdict == expected
    assert (found.layers[2].dead or 0) > 0.5 and found.layers[2].verdict == "dead"
