"""The forecast for a network as it will be built: layer by layer at step 0, before anything is trained.

z_l are the pre-activations of layer l of weights, q_l their variance, c_l the correlation of two samples' z_l, δ_l = ∂L/∂z_l;
the loss is a mean over B samples. Forward from standardised inputs (q = 1, c = 0), with the q_l of the layers as they are, not the
fixed point; then backward from the loss. Weights on the way back count as drawn anew, which is right for wide layers (Yang 2020);
labels are taken as random.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import takewhile
from math import inf, log10, prod, sqrt

import numpy as np

from workers.contract.layers import Activation, Highway, Residual
from workers.contract.problems import Loss
from workers.contract.shapes import ExpandedLayer, walk
from workers.theory.finite_width import spread
from workers.theory.propagation import Error, Seen, Signal, log_sum, through
from workers.theory.tabulated import Numbers

DRAWS = 2048
"""Of logits, for the mean square of softmax − one-hot."""
Q_SOFTMAX = 1e4
"""Variance of logits beyond which softmax is one-hot anyway."""


@dataclass(frozen=True)
class LayerSignal:
    """One layer of weights. −inf is the logarithm of an exact zero."""

    layer: str
    depth: int
    units: int
    q: float
    """Variance of the pre-activations."""
    gap: float
    """1 − c. Two samples are one and the same in float64 from 1e-16 downwards."""
    sample_std: float
    """Standard deviation of the activations over samples, root mean square over units."""
    saturation: float
    """Share of units with |θ′| below a tenth of its maximum."""
    chi: float | None
    """E‖δ_l‖²/E‖δ_{l+1}‖²; None on the top layer. In residual networks δ is that of the stream."""
    log10_delta: float
    """Of ‖δ_l‖ over samples and units."""
    log10_gradient: float
    """Of the norm of the gradient of all parameters of the row: weights, biases, those of what follows up to the next weights."""
    band: float
    """Standard deviation of log10_delta over draws of the weights, from the layers' widths, to first order, for one sample."""


def forecast(network: Sequence[ExpandedLayer], loss: Loss, batch_size: int) -> list[LayerSignal]:
    """What step 0 will look like, from the input upwards, a row for each layer of weights.

    Args:
        network: expanded, every gain a number.
        loss: of the problem; inputs, and targets of a regression, are standardised.
        batch_size: B.

    Raises:
        Unpredictable: if a non-linearity jumps, or there is no theory for a layer.
    """
    seen = Seen(batch_size)
    start = Signal(prod(network[0].in_shape), 1.0, 1.0, 0.0, normal=True)
    top, back = through(network, start, seen)
    square, shared = _at_loss(loss, top.units, top.second, top.gap)
    back(Error(log10(square) - log10(batch_size), shared))
    found, above = list[LayerSignal](), None
    for place in reversed(list(_places(network))):
        of_weights = place.layer
        z, error = seen.outputs[of_weights.path], seen.errors[(place.stream or of_weights).path]
        following = place.activation.path if place.activation else of_weights.path
        assert of_weights.depth is not None
        found.append(
            LayerSignal(
                layer=of_weights.path,
                depth=of_weights.depth,
                units=seen.outputs[(place.stream or of_weights).path].units,
                q=z.second,
                gap=z.gap,
                sample_std=sqrt(max(0.0, seen.outputs[following].spread)),
                saturation=seen.saturation.get(following, 0.0),
                chi=_rate(error.log_square, above) if above is not None else None,
                log10_delta=0.5 * error.log_square,
                log10_gradient=0.5 * reduce(log_sum, (seen.gradients[layer.path] for layer in place.parameters)),
                band=spread(error.variance).deviation,
            )
        )
        above = error.log_square
    return found[::-1]


def _rate(log_square: float, above: float) -> float:
    """‖δ‖² over that of the row above."""
    difference = log_square - above if above > -inf else -inf
    return 10 ** min(300.0, difference)


@dataclass
class _Place:
    """What a row of the statistics is about, as the engine has it."""

    layer: ExpandedLayer
    activation: ExpandedLayer | None
    """The non-linearity that follows it in its block, or else comes before it."""
    stream: ExpandedLayer | None
    """The outermost residual or highway layer that it lies in: there δ is that of the residual stream."""
    parameters: list[ExpandedLayer]
    """Layers whose parameters the row has."""


def _places(network: Sequence[ExpandedLayer]) -> list[_Place]:
    found = list(_weighted(network))
    by_path = {place.layer.path: place for place in found}
    current, waiting = None, list[ExpandedLayer]()
    for layer in walk(network):
        current = by_path.get(layer.path, current)
        if layer.tensors:
            (current.parameters if current else waiting).append(layer)
    found[0].parameters += waiting
    return found


def _weighted(
    layers: Sequence[ExpandedLayer], stream: ExpandedLayer | None = None, held: bool = False
) -> Iterator[_Place]:
    weighted = [layer.depth is not None for layer in layers]
    opening = takewhile(lambda place: not weighted[place], range(len(layers)))
    before = held and any(isinstance(layers[place].spec, Activation) for place in opening)
    for place, layer in enumerate(layers):
        if layer.layers:
            added_to = layer if isinstance(layer.spec, Residual | Highway) else None
            yield from _weighted(layer.layers, stream or added_to, held=True)
        elif weighted[place]:
            others = range(place - 1, -1, -1) if before else range(place + 1, len(layers))
            near = (layers[other] for other in takewhile(lambda other: not weighted[other], others))
            yield _Place(layer, next((one for one in near if isinstance(one.spec, Activation)), None), stream, [])


def _at_loss(loss: Loss, outputs: int, q: float, gap: float) -> tuple[float, float]:
    """(E‖B δ_b‖² of one sample, the share of it that two samples have in common) at an output z ~ N(0, q)."""
    if loss == "mean_squared_error":
        q = min(q, 1e300)
        return 4 * (1 + q) / outputs, q * (1 - gap) / (1 + q)
    common, own = _logits(outputs)
    c = min(1.0, max(0.0, 1 - gap))
    size = sqrt(min(q, Q_SOFTMAX))
    one, other = (_softmax(size * (sqrt(c) * common + sqrt(1 - c) * noise)) for noise in own)
    square = float((one * one).sum(1).mean()) - 2 / outputs + 1
    return square, max(0.0, float((one * other).sum(1).mean()) - 1 / outputs) / square


@lru_cache(maxsize=16)
def _logits(outputs: int) -> tuple[Numbers, Numbers]:
    """Standard normal draws, the same every time."""
    drawn = np.random.default_rng(0).standard_normal((3, max(16, DRAWS * 10 // max(10, outputs)), outputs))
    return drawn[0], drawn[1:]


def _softmax(z: Numbers) -> Numbers:
    e = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))
