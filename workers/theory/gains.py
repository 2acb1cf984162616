"""Gains that a request leaves to the theory, `"gain": "critical"`: numbers, one for each layer, by its own shape."""

from collections.abc import Sequence
from math import prod, sqrt

from workers.contract.activations import ActivationSpec, Normalised, Scaled, Shaped
from workers.contract.layers import Activation, Conv1d, Conv2d, Dropout, Linear
from workers.contract.nonlinearities import Identity
from workers.contract.shapes import ExpandedLayer, walk
from workers.theory.critical import complaint, critical_of
from workers.theory.refusal import Refused
from workers.theory.weights import gain_for


class NotCritical(Refused):
    """A layer's non-linearity has no critical gain that is of use; the message names the nearest remedy."""

    code = "not_critical"


def with_gains(layers: Sequence[ExpandedLayer]) -> list[ExpandedLayer]:
    """The layers with every critical gain worked out.

    A layer's σw belongs to the non-linearity below it, for the first one to the one above. Dropout below multiplies both E[θ²] and
    E[θ′²] by 1/(1−p), so that σw is √(1−p) of what it would be. In a convolution fan_in counts the places of the kernel (Xiao et al. 2018).

    Raises:
        NotCritical: for the first layer that cannot be.
    """
    everything = list(walk(layers))
    gains = {
        layer.path: _gain(everything, place)
        for place, layer in enumerate(everything)
        if layer.init is not None and layer.init.gain == "critical"
    }
    return _with_gains(layers, gains) if gains else list(layers)


def _with_gains(layers: Sequence[ExpandedLayer], gains: dict[str, float]) -> list[ExpandedLayer]:
    """By path."""
    found = []
    for layer in layers:
        update: dict[str, object] = {"layers": _with_gains(layer.layers, gains)} if layer.layers else {}
        if layer.path in gains and layer.init is not None:
            update["init"] = layer.init.model_copy(update={"gain": gains[layer.path]})
        found.append(layer.model_copy(update=update) if update else layer)
    return found


def _gain(layers: Sequence[ExpandedLayer], place: int) -> float:
    layer = layers[place]
    assert layer.init is not None
    if not isinstance(layer.spec, Linear | Conv1d | Conv2d):
        what = f"{layer.path!r} is a {layer.spec.kind} layer, for which there is no critical gain"
        raise NotCritical(layer, f"{what}: give it an init of its own")
    activation, keep = _below(layers, place)
    sigma_b = (layer.init.bias_std or 0.0) if layer.spec.bias else 0.0
    activation = _less(activation, _mean(layers, place))
    if why := complaint(activation, sigma_b):
        raise NotCritical(layer, why)
    wanted = critical_of(activation, sigma_b).sigma_w * sqrt(keep)
    out, into, *kernel = layer.tensors[0]
    return gain_for(layer.init, wanted, out, into * prod(kernel), prod(kernel))


def _mean(layers: Sequence[ExpandedLayer], place: int) -> float:
    """The mean that biases take out of the non-linearity which `_below` finds: this layer's, or the next one's above the first layer."""
    for layer in layers[place if layers[place].depth else place + 1 :]:
        if isinstance(layer.spec, Linear | Conv1d | Conv2d) and layer.init is not None:
            return layer.init.input_mean if layer.spec.bias else 0.0
    return 0.0


def _less(activation: ActivationSpec, mean: float) -> ActivationSpec:
    """θ − m: what a layer reads whose bias takes out the mean m."""
    if not mean or isinstance(activation, Shaped):
        return activation
    if isinstance(activation, Scaled):
        return activation.model_copy(update={"d": activation.d - mean})
    if isinstance(activation, Normalised):
        return activation
    return Scaled(of=activation, d=-mean)


def _below(layers: Sequence[ExpandedLayer], place: int) -> tuple[ActivationSpec, float]:
    """The non-linearity whose output the layer reads and the share that dropout keeps of it; the next one above the first layer."""
    keep = 1.0
    for layer in reversed(layers[:place]):
        if isinstance(layer.spec, Dropout):
            keep *= 1 - layer.spec.p
        elif isinstance(layer.spec, Activation):
            return layer.spec.activation, keep
        elif layer.depth is not None:
            return Identity(), keep
    above = (layer.spec.activation for layer in layers[place:] if isinstance(layer.spec, Activation))
    return next(above, Identity()), keep
