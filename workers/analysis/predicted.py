"""The theory's forecast in the diagnosis' words."""

from collections.abc import Sequence
from math import inf, isfinite, log10

import numpy as np

from workers.analysis.diagnosis import verdict
from workers.analysis.profile import OUTPUT
from workers.contract.comparison import ComparisonSpec
from workers.contract.plan import GradientRange
from workers.contract.previews import PredictedLayer, Prediction
from workers.contract.problems import ProblemSpec
from workers.contract.results import Forecast, LayerForecast, Stage, Verdict
from workers.contract.shapes import ExpandedLayer, rows
from workers.theory.prediction import LayerSignal, forecast
from workers.theory.tabulated import Numbers, Unpredictable

SMALLEST = {"float32": -45.15, "float64": -323.61}
"""log₁₀ of half the smallest number above zero."""
DEFECTS: tuple[Verdict, ...] = ("exploding", "underflowed")
LARGEST = {"float32": 38.53, "float64": 308.25}
SMALLEST_NORMAL = {"float32": -37.93, "float64": -307.65}
"""log₁₀ of the smallest number with all its digits."""
MARGIN = 4
"""Decades between what is typical of a layer and what the precision must hold, up and down."""


def predict(network: Sequence[ExpandedLayer], problem: ProblemSpec, batch_size: int, precision: str) -> Prediction:
    """What step 0 will look like, as the diagnosis will tell it.

    Args:
        network: expanded, gains resolved.
        problem, batch_size, precision: the comparison's; `underflowed` is what the precision cannot hold any more.
    """
    return _prediction(_signals(network, problem, batch_size), batch_size, precision)


def predict_with_range(
    spec: ComparisonSpec, network: Sequence[ExpandedLayer], batch_size: int
) -> tuple[Prediction, GradientRange]:
    """`predict` and `gradient_range` of one forecast."""
    signals = _signals(network, spec.problem, batch_size)
    return _prediction(signals, batch_size, spec.precision), _range(spec, signals, network, batch_size)


def _signals(
    network: Sequence[ExpandedLayer], problem: ProblemSpec, batch_size: int
) -> list[LayerSignal] | Unpredictable:
    if not problem.standardised:
        return Unpredictable(f"the inputs of {problem.kind} are not standardised, as the theory here has them")
    try:
        return forecast(network, problem.loss, batch_size)
    except Unpredictable as reason:
        return reason


def _prediction(layers: list[LayerSignal] | Unpredictable, batch_size: int, precision: str) -> Prediction:
    if isinstance(layers, Unpredictable):
        return Prediction(verdict="unknown", decades_per_layer=None, decades=None, reason=str(layers))
    hidden = [layer for layer in layers if layer.layer != OUTPUT]
    told = [_layer(layer, (hidden or layers)[-1], batch_size, precision) for layer in layers]
    log_norms = np.array([layer.log10_delta for layer in hidden])
    decades = float(log_norms[0] - log_norms[-1]) if len(hidden) > 1 and np.isfinite(log_norms).all() else None
    found = {_defect(layer, batch_size, precision) for layer in hidden}
    return Prediction(
        verdict=next((defect for defect in DEFECTS if defect in found), verdict(decades)),
        decades_per_layer=-_slope(log_norms) if decades is not None else None,
        decades=decades,
        layers=told,
    )


def gradient_range(spec: ComparisonSpec, network: Sequence[ExpandedLayer], batch_size: int) -> GradientRange:
    """What the request's `gradient_range` comes to for one of its networks: `auto` extends where a layer's δ or gradient comes within
    a few decades of what the precision holds with all its digits. Standard where nothing can be predicted.
    """
    if spec.gradient_range != "auto":
        return spec.gradient_range
    return _range(spec, _signals(network, spec.problem, batch_size), network, batch_size)


def _range(
    spec: ComparisonSpec, layers: list[LayerSignal] | Unpredictable, network: Sequence[ExpandedLayer], batch_size: int
) -> GradientRange:
    if spec.gradient_range != "auto":
        return spec.gradient_range
    if isinstance(layers, Unpredictable) or spec.regularized:
        return "standard"
    parameters = [row.layer.parameters for row in rows(network)]
    sizes = [
        size
        for layer, count in zip(layers, parameters, strict=True)
        for size in (
            layer.log10_delta - 0.5 * log10(batch_size * layer.units),
            layer.log10_gradient - 0.5 * log10(count),
        )
        if isfinite(size)
    ]
    low, high = SMALLEST_NORMAL[spec.precision] + MARGIN, LARGEST[spec.precision] - MARGIN
    return "standard" if all(low < size < high for size in sizes) else "extended"


def beside(prediction: Prediction, measured: Stage) -> Forecast:
    """The prediction of step 0 and its measurement, for the layers that are in both."""
    norms = {layer.layer: layer for layer in measured.layers}
    return Forecast(
        verdict=prediction.verdict,
        decades_per_layer=prediction.decades_per_layer,
        decades=prediction.decades,
        layers=[
            LayerForecast(
                layer=said.layer,
                error_signal_log10=said.error_signal_log10,
                error_signal_ratio=_ratio(norms[said.layer].error_signal_norm, said.error_signal_log10),
                gradient_log10=said.gradient_log10,
                gradient_ratio=_ratio(norms[said.layer].gradient_norm, said.gradient_log10),
            )
            for said in prediction.layers
            if said.layer in norms
        ],
    )


def _layer(at: LayerSignal, top: LayerSignal, batch_size: int, precision: str) -> PredictedLayer:
    own = "healthy" if at.layer == OUTPUT else verdict(_told(at.log10_delta - top.log10_delta))
    return PredictedLayer(
        layer=at.layer,
        depth=at.depth,
        verdict=_defect(at, batch_size, precision) or own,
        error_signal_log10=_told(at.log10_delta),
        error_signal_band=at.band,
        gradient_log10=_told(at.log10_gradient),
        chi=_told(at.chi),
        preactivation_log10_rms=_told(0.5 * log10(at.q)) if at.q > 0 else None,
        activation_sample_std=_told(at.sample_std),
        correlation=_told(1 - at.gap),
        correlation_gap_log10=_told(log10(at.gap)) if at.gap > 0 else None,
        saturation_fraction=_told(at.saturation),
    )


def _defect(at: LayerSignal, batch_size: int, precision: str) -> Verdict | None:
    """What happens to a δ of this size, and to its z, in this precision."""
    if at.log10_delta == -inf:  # weights above it are zero: logarithms do not underflow
        return None
    log_rms = at.log10_delta - 0.5 * log10(batch_size * at.units)
    if not at.q < 10 ** (2 * min(LARGEST[precision], 150)) or not log_rms < LARGEST[precision]:
        return "exploding"
    return "underflowed" if log_rms < SMALLEST[precision] else None


def _slope(log_norms: Numbers) -> float:
    """Least squares against depth."""
    return float(np.polyfit(np.arange(len(log_norms)), log_norms, 1)[0])


def _ratio(measured: float | None, predicted_log10: float | None) -> float | None:
    if measured is None or predicted_log10 is None or measured <= 0:
        return None
    log_ratio = log10(measured) - predicted_log10
    return 10**log_ratio if abs(log_ratio) < 300 else None


def _told(value: float | None) -> float | None:
    return float(value) if value is not None and isfinite(value) else None
