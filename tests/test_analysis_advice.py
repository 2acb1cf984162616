"""What the diagnosis advises: remedies that the theory has tried, optimizers by what is lost, and nothing where nothing is wrong."""

from typing import Any

import pytest

from workers.analysis.advice import FINE, advice, network_remedies
from workers.analysis.predicted import predict
from workers.analysis.selection import defaults
from workers.contract.comparison import BASE, ComparisonSpec
from workers.contract.results import Advice, Diagnosis, Finding, LayerDiagnosis, Rescue, Stage, Verdict
from workers.theory.resolution import networks


def spec(activation: Any, depth: int, *optimizers: Any, **network: Any) -> ComparisonSpec:
    body = {"kind": "mlp", "depth": depth, "width": 64, "activation": activation, **network}
    return ComparisonSpec.model_validate(
        {"problem": "digits", "network": body, "optimizers": list(optimizers) or ["sgd"]}
    )


def moment(
    verdict: Verdict, *found: Finding, layers: list[LayerDiagnosis] | None = None, step: int = 0
) -> dict[str, Any]:
    return {
        "step": step,
        "verdict": verdict,
        "decades_per_layer": -0.6,
        "decades": -3.0,
        "findings": list(found),
        "layers": layers or [],
    }


def advised(
    asked: ComparisonSpec, start: dict[str, Any], end: dict[str, Any], rescue: Rescue = "helps"
) -> list[Advice]:
    found = Diagnosis(**end, at_step_0=Stage(**start), magnitude_independent_optimizer=rescue)
    optimizer = asked.optimizers[0]
    return advice(asked, optimizer, defaults(optimizer), found, lambda: network_remedies(asked, BASE, 64))


@pytest.mark.parametrize(
    ("activation", "depth"),
    [("sigmoid", 6), ("sigmoid", 20), ("gaussian", 20), ("softplus", 20), ("gaussian_half", 20)],
)
def test_every_remedy_of_the_network_can_be_run_and_is_healthier_by_the_theory(activation: str, depth: int) -> None:
    """Written as a variant of the same request, it is valid, and its own forecast is what the advice says."""
    asked = spec(activation, depth)
    found = network_remedies(asked, BASE, 64)
    assert found
    for remedy in found:
        body = asked.model_dump() | {"variants": {"cured": remedy.variant}}
        cured = networks(ComparisonSpec.model_validate(body))["cured"]
        after = predict(cured, asked.problem, 64, asked.precision)
        assert after.verdict in FINE and after.verdict in remedy.because


def test_the_sigmoids_cure_is_centring() -> None:
    """Finding 4: with orthogonal weights at its critical gain, 4."""
    found = network_remedies(spec("sigmoid", 10), BASE, 64)
    assert {"activation": "centred_sigmoid", "init": {"kind": "orthogonal", "gain": "critical"}} in [
        one.variant for one in found
    ]


def test_a_network_that_is_well_by_the_theory_has_no_remedy() -> None:
    """Whatever is wrong, changing it is not it."""
    assert network_remedies(spec("tanh", 5, init={"kind": "orthogonal", "gain": "critical"}), BASE, 64) == []


@pytest.mark.parametrize("verdict", FINE)
def test_nothing_is_advised_where_nothing_is_wrong(verdict: Verdict) -> None:
    """At the end of training."""
    assert advised(spec("sigmoid", 6), moment("vanishing"), moment(verdict, step=9)) == []


def test_other_optimizers_are_named_where_only_size_is_lost() -> None:
    """Not to one whose steps ignore size already, not where direction is gone, too."""
    gone = moment("vanishing")

    def named(optimizer: str, rescue: Rescue) -> list[str]:
        return [kind for one in advised(spec("sigmoid", 6, optimizer), gone, gone, rescue) for kind in one.optimizers]

    assert "signum" in named("sgd", "helps") and "rprop" in named("adam", "helps")
    assert named("signum", "helps") == named("sgd", "cannot_help") == []
    assert "signum" in named("torch.optim/ASGD", "may_help")  # a bridged one, of which nothing is measured


def test_advice_names_what_the_numbers_point_to() -> None:
    """Inputs, eps, precision and learning rate."""
    saturated = Finding(verdict="saturated", layers=1, first_layer="hidden.0.linear")
    zero = Finding(verdict="underflowed", layers=2, first_layer="hidden.1.linear")
    layer = LayerDiagnosis(
        layer="hidden.0.linear",
        verdict="saturated",
        gradient_norm=1.0,
        error_signal_norm=1.0,
        saturation=0.97,
        eps_dominance=0.9,
    )
    well = spec("tanh", 5, "adam", init={"kind": "orthogonal", "gain": "critical"})
    start = moment("saturated", saturated, layers=[layer])
    remedies = [one.remedy for one in advised(well, start, start | {"step": 9, "findings": [zero]}, "not_needed")]
    assert remedies == [
        "smaller inputs, or a smaller gain of the first layer",
        "a smaller eps, such as 1e-30",
        '"precision": "float64"',
    ]
    (slower,) = advised(well, moment("healthy"), moment("diverged", step=9), "not_needed")
    assert slower.remedy == "a smaller learning rate, such as 0.0001" and "healthy at step 0" in slower.because
