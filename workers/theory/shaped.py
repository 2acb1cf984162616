"""Shaped non-linearities of a network: the constants that its depth and its shortcuts ask for, as `scaled` ones."""

from collections.abc import Callable, Sequence
from math import sqrt

from scipy.optimize import brentq

from workers.contract.activations import Scaled, Shaped
from workers.contract.layers import Activation, Highway, Normalization, Residual
from workers.contract.nonlinearities import LeakyRelu
from workers.contract.shapes import ExpandedLayer, walk
from workers.theory.refusal import Refused
from workers.theory.shaping import (
    Constants,
    Unshapeable,
    deep_kernel_shaping,
    deep_kernel_shaping_of_leaky_relu,
    leaky_relu_map,
    tailored,
)
from workers.theory.topology import Local, through

SLOPE = 1.5
"""C′(1) of the whole network under deep kernel shaping (Martens et al. 2021, section 5.4)."""
CURVATURE = 0.3
"""C″(1) of the whole network under tailored activation transformations (Zhang et al. 2022, section 4.2)."""
CORRELATION = 0.9
"""C(0) of the whole network with tailored leaky ReLUs (Zhang et al. 2022, section 4.1)."""

Whole = Callable[[float, Local], float]
"""`through` of a network: (start, what one non-linearity does) -> what comes out."""


class NotShapeable(Refused):
    """A layer's non-linearity has no constants that do what was asked."""

    code = "not_shapeable"


def shaped(layers: Sequence[ExpandedLayer]) -> list[ExpandedLayer]:
    """The layers with every shaped non-linearity as a scaled one.

    Raises:
        NotShapeable: for the first that cannot be.
    """
    asking = [
        layer
        for layer in walk(layers)
        if isinstance(layer.spec, Activation) and isinstance(layer.spec.activation, Shaped)
    ]
    if not asking:
        return list(layers)
    for layer in walk(layers):
        if isinstance(layer.spec, Residual) and not layer.spec.normalized:
            raise NotShapeable(
                asking[0],
                f"the constants hold where mean squares stay 1, and the sums of {layer.path!r} grow: say "
                f'"normalized": true {"instead of a scale that is learned" if layer.spec.trainable else "there"}',
            )
        if isinstance(layer.spec, Highway | Normalization):
            raise NotShapeable(
                asking[0],
                f"the constants hold for layers in a row, normalized residual and dense ones, and {layer.path!r} is a {layer.spec.kind}: "
                'a network without it, or a "scaled" non-linearity with constants of your own',
            )

    def whole(start: float, local: Local) -> float:
        return through(layers, start, local)

    return _with_constants(layers, whole)


def _with_constants(layers: Sequence[ExpandedLayer], whole: Whole) -> list[ExpandedLayer]:
    found = []
    for layer in layers:
        update: dict[str, object] = {"layers": _with_constants(layer.layers, whole)} if layer.layers else {}
        if isinstance(layer.spec, Activation) and isinstance(layer.spec.activation, Shaped):
            try:
                constants = solve(layer.spec.activation, whole)
            except Unshapeable as reason:
                raise NotShapeable(layer, str(reason)) from None
            update["spec"] = layer.spec.model_copy(update={"activation": constants})
        found.append(layer.model_copy(update=update) if update else layer)
    return found


def solve(asked: Shaped, whole: Whole) -> Scaled:
    """The constants with which the whole network has the kernel asked for.

    Raises:
        Unshapeable: if there are none.
    """
    of = asked.of
    if isinstance(of, LeakyRelu):
        if asked.method == "dks":
            below, constants = deep_kernel_shaping_of_leaky_relu(local_slope(whole, asked.target or SLOPE))
        else:
            below = local_negative_slope(whole, asked.target or CORRELATION)
            constants = Constants(1.0, 0.0, sqrt(2 / (1 + below**2)), 0.0)
        return constants.spec(LeakyRelu(negative_slope=below))
    if asked.method == "dks":
        return deep_kernel_shaping(of, local_slope(whole, asked.target or SLOPE)).spec(of)
    return tailored(of, local_curvature(whole, asked.target or CURVATURE)).spec(of)


def local_slope(whole: Whole, total: float) -> float:
    """C′(1) that each non-linearity may have for the network's to be `total`; total^{1/L} for L in a row."""
    return _root(lambda slope: whole(1.0, lambda y: slope * y) - total, 1.0, total)


def local_curvature(whole: Whole, total: float) -> float:
    """C″(1) that each may have where all C′(1) are 1; total/L for L in a row."""
    return _root(lambda curvature: whole(0.0, lambda y: y + curvature) - total, 0.0, total)


def local_negative_slope(whole: Whole, total: float) -> float:
    """The slope below zero of leaky ReLUs with which the network's C(0) is `total`.

    Raises:
        Unshapeable: where even ReLUs do not bring two inputs that near.
    """

    def excess(below: float) -> float:
        return whole(0.0, lambda c: leaky_relu_map(c, below)) - total

    if excess(0.0) < 0:
        reached = excess(0.0) + total
        raise Unshapeable(
            f"so few layers reach a correlation C(0) of {reached:.3g} with ReLUs themselves, {total:g} was asked for: "
            "a smaller target, or more layers"
        )
    return _root(excess, 0.0, 1.0)


def _root(excess: Callable[[float], float], low: float, high: float) -> float:
    """Of a function that changes its sign in between, ends included."""
    return float(brentq(excess, low, high, xtol=1e-16, rtol=1e-14))
