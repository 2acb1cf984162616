"""What each kind of layer makes of a signal on its way up, and of the error signal on its way down, in a wide network at step 0.

x are the activations at a place, δ = ∂L/∂x, both of n units; two samples of a batch of B. Weights count as independent of what comes
down to them, which is right for wide layers (Yang 2020). A layer's function returns what comes out, and its `Pull` for the way down.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import inf, log, log1p, log10, prod, sqrt

import numpy as np
from scipy.special import expit

from workers.contract.activations import expression_of
from workers.contract.expressions import Expression, Z, substitute
from workers.contract.initialisers import XavierNormal
from workers.contract.layers import Activation, Dropout, Highway, Linear, Normalization, Residual, WeightStandardization
from workers.contract.shapes import ExpandedLayer
from workers.theory.meanfield import CorrelationMap, correlation_map
from workers.theory.tabulated import Tabulated, Unpredictable, tabulate_expression
from workers.theory.weights import ISOMETRIC, sigma_b, sigma_w, sigma_w_made

GATE = XavierNormal()
"""How the weights of a highway gate start."""
LARGEST = 1e280
"""Of E[x²]: beyond, it stays there, so that correlations can still be told."""
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(24)


@dataclass(frozen=True, slots=True)
class Signal:
    """x, on the average over units, samples and draws of the weights."""

    units: int
    second: float
    """E[x²]"""
    spread: float
    """E[(x − x′)²]/2 = E[x²] − E[x x′] of two samples: the variance over samples."""
    mean: float
    normal: bool
    """Whether x is a sum of many terms, N(mean, E[x²] − mean²)."""

    @property
    def gap(self) -> float:
        """1 − c, of two samples' x, their mean included."""
        return self.spread / self.second if self.second > 0 else 0.0

    @property
    def variance(self) -> float:
        """Over units: at least that over samples, which has no difference to lose its digits in."""
        return max(self.second - self.mean**2, self.spread)


@dataclass(frozen=True, slots=True)
class Error:
    """δ."""

    log_square: float
    """log₁₀ E‖δ‖² over units and samples."""
    shared: float
    """ρ = E[δ·δ′]/E‖δ‖², of two samples."""
    along: float = 0.0
    """Share of ‖δ‖² that all samples have in common in the direction of x: a batch norm takes it out."""
    variance: float = 0.0
    """Relative variance of ‖δ‖² of one sample over draws of the weights, to first order in 1/width (finite_width.py)."""


Pull = Callable[[Error], Error]
"""∂L/∂output -> ∂L/∂input"""


@dataclass
class Seen:
    """What is noted on the way, by path of the layer."""

    batch_size: int
    outputs: dict[str, Signal] = field(default_factory=dict)
    errors: dict[str, Error] = field(default_factory=dict)
    """δ at the outputs."""
    gradients: dict[str, float] = field(default_factory=dict)
    """log₁₀ E‖∂L/∂parameters‖² of a layer's own."""
    saturation: dict[str, float] = field(default_factory=dict)
    """P(|θ′| below a tenth of its maximum)"""

    def together(self, error: Error, alike: float) -> float:
        """log₁₀ of how Σ_b,b′ (δ_b·δ_b′)(h_b·h_b′) exceeds its diagonal's δ: 1 + (B − 1)ρκ, κ the correlation of h."""
        return error.log_square + log_of(max(0.0, 1 + (self.batch_size - 1) * error.shared * alike))


def through(layers: Sequence[ExpandedLayer], x: Signal, seen: Seen) -> tuple[Signal, Pull]:
    """Layers one after another. Non-linearities in a row are one, with the dropout between them.

    Raises:
        Unpredictable: if a non-linearity jumps, or there is no theory here for a layer.
    """
    pulls: list[Pull] = []
    place = 0
    while place < len(layers):
        end = place
        while end < len(layers) and isinstance(layers[end].spec, Activation | Dropout):
            end += 1
        if end > place:
            x, pull = _pointwise(layers[place:end], x, seen)
        else:
            layer, end = layers[place], place + 1
            if layer.spec.kind not in LAYERS:
                raise Unpredictable(f"there is no theory here for {layer.spec.kind} layers")
            x, own = LAYERS[layer.spec.kind](layer, x, seen)
            pull = _noting(layer.path, own, seen)
            seen.outputs[layer.path] = x
        pulls.append(pull)
        place = end

    def back(error: Error) -> Error:
        for pull in reversed(pulls):
            error = pull(error)
        return error

    return x, back


def _noting(path: str, pull: Pull, seen: Seen) -> Pull:
    def noting(error: Error) -> Error:
        seen.errors[path] = error
        return pull(error)

    return noting


def _pointwise(layers: Sequence[ExpandedLayer], x: Signal, seen: Seen) -> tuple[Signal, Pull]:
    """dropout(θ(x)): E[θ²] and E[θ′²] over x's distribution; a mask is one of each sample's own."""
    theta, keep = Z, 1.0
    for layer in layers:
        if isinstance(layer.spec, Activation):
            theta = _composed(expression_of(layer.spec.activation), theta)
        elif isinstance(layer.spec, Dropout):
            keep *= 1 - layer.spec.p
    if theta is Z:
        value, slope, sloping, along, scatter = x, 1.0, 1.0, 0.0, 0.0
    else:
        if not x.normal:
            raise Unpredictable(
                f"{layers[0].path!r} is a non-linearity of what is not a sum of many terms, so that its distribution is unknown here"
            )
        table, q = _tabulated(_composed(theta, Z + x.mean) if x.mean else theta), x.variance
        kernel, gap = _kernel(table, q), min(2.0, x.spread / q) if q > 0 else 0.0
        second = min(table.second(q), LARGEST)
        value = Signal(x.units, second, second * kernel.distance(gap), table.mean(q), normal=False)
        slope, sloping = table.slope_second(q), kernel.slope_correlation(1 - gap)
        along = table.slope_mean(q)[1] ** 2 / slope if slope > 0 else 0.0
        scatter = 3 * max(0.0, table.kurtosis(q)[1] - 1) / x.units
        for layer in layers:
            seen.saturation[layer.path] = table.saturation(q)
    for layer in layers:
        seen.outputs[layer.path] = value
    dropped = replace(value, second=value.second / keep, spread=value.spread + value.second * (1 / keep - 1))

    def pull(error: Error) -> Error:
        for layer in layers:
            if layer.tensors:
                seen.gradients[layer.path] = -inf  # constants that learn: a handful, beside the row's weights
        shared = error.shared * keep
        return Error(
            error.log_square + log_of(slope) - log_of(keep), shared * sloping, shared * along, error.variance + scatter
        )

    return dropped, pull


def linear(layer: ExpandedLayer, x: Signal, seen: Seen) -> tuple[Signal, Pull]:
    """W x + b: E[z²] = σw² E[(x − m)²] + σb², and σw² ‖δ‖² comes through; lsuv makes σw² E[x²] the square of its gain."""
    assert isinstance(layer.spec, Linear) and layer.init is not None
    if len(layer.in_shape) != 1:
        raise Unpredictable("there is no theory here for linear layers at every step of a sequence")
    out, into = layer.out_shape[-1], layer.in_shape[-1]
    own = layer.init.number() ** 2 / x.second if layer.init.kind == "lsuv" and x.second > 0 else None
    of_weights, stretch = sigma_w(layer.init, out, into) ** 2 if own is None else own, 1.0
    if isinstance(layer.spec.weight_normalization, WeightStandardization):
        x = replace(x, second=x.variance, mean=0.0)  # rows that sum to zero do not see what all units have in common
    if layer.spec.weight_normalization is not None:
        made = sigma_w_made(layer.spec.weight_normalization, layer.init, out, into) ** 2
        # ∂L/∂V is ∂L/∂W by as much as V is stretched; what it loses of its direction is there in g, or of order 1/n
        of_weights, stretch = made, made / of_weights
    of_bias = sigma_b(layer.init, into) ** 2 if layer.spec.bias else 0.0
    centre = layer.init.input_mean if layer.spec.bias else 0.0
    second = of_weights * (x.variance + (x.mean - centre) ** 2 if centre else x.second) + of_bias
    within = min(second, LARGEST) / (second or 1.0)
    z = Signal(out, second * within, of_weights * x.spread * within, 0.0, normal=True)
    scatter = 0.0 if layer.init.kind in ISOMETRIC else 2 / into

    def pull(error: Error) -> Error:
        weights = log_of(stretch * into * x.second) + seen.together(error, 1 - x.gap)
        biases = seen.together(error, 1.0) if layer.spec.bias else -inf  # type: ignore[union-attr]
        seen.gradients[layer.path] = log_sum(weights, biases)
        return Error(error.log_square + log_of(of_weights), error.shared, 0.0, error.variance + scatter)

    return z, pull


def normalization(layer: ExpandedLayer, x: Signal, seen: Seen) -> tuple[Signal, Pull]:
    """(x − mean)/√(variance + eps), over the units of a sample, or over samples (Yang et al. 2019).

    δ is divided by the same root. What is taken out of it is of order 1/n over units, of a group for group norm. An
    actnorm starts as a batch norm that its statistics are not part of. Over samples it is what δ has in common, and
    (B − 2)/(B − 3) is what two lost degrees of freedom and the scatter of the variance come to, as for a linear batch norm.
    """
    assert isinstance(layer.spec, Normalization)
    spec, batch = layer.spec.normalization, seen.batch_size
    if spec.kind == "batch":
        if batch <= 3:
            raise Unpredictable(f"the error signal behind a batch norm has no expectation for batches of {batch}")
        own = x.spread * (batch - 1) / batch
        second = own / (own + spec.eps)
        y = Signal(x.units, second, second * batch / (batch - 1), 0.0, x.normal)
        scale = (batch - 2) / (batch - 3) / (x.spread + spec.eps)
        gamma, beta = spec.gamma, spec.beta
    elif spec.kind == "actnorm":
        own = x.spread / (x.spread + spec.eps)
        y, scale = Signal(x.units, own, own, 0.0, x.normal), 1 / (x.spread + spec.eps)
        gamma, beta = 1.0, 0.0
    elif spec.kind in ("instance", "critical_batch"):
        raise Unpredictable(f"there is no theory here for {spec.kind} norms")
    else:
        own = x.variance if spec.kind in ("layer", "group") else x.second
        mean = x.mean / sqrt(own + spec.eps) if spec.kind == "rms" else 0.0
        y = Signal(x.units, own / (own + spec.eps), x.spread / (own + spec.eps), mean, x.normal)
        scale = 1 / (own + spec.eps)
        gamma, beta = 1.0, 0.0
    scale *= gamma**2

    def pull(error: Error) -> Error:
        if layer.tensors:
            of_gamma = log_of(y.second) + seen.together(error, 1 - y.gap)
            of_beta = seen.together(error, 1.0) if len(layer.tensors) == 2 else -inf
            seen.gradients[layer.path] = log_sum(of_gamma, of_beta)
        if spec.kind == "batch":
            left = max(0.0, 1 - error.shared - error.along)
            return Error(error.log_square + log_of(scale * left), -1 / (batch - 1), 0.0, error.variance)
        return Error(error.log_square + log_of(scale), error.shared, 0.0, error.variance)

    second = gamma**2 * y.second + 2 * gamma * beta * y.mean + beta**2
    return Signal(x.units, second, gamma**2 * y.spread, gamma * y.mean + beta, y.normal), pull


def residual(layer: ExpandedLayer, x: Signal, seen: Seen) -> tuple[Signal, Pull]:
    """Sum r x + s F(x), r mostly 1: squares add up both ways, means add before they are squared (Yang & Schoenholz 2017)."""
    assert isinstance(layer.spec, Residual)
    carried, scale = layer.spec.shares
    branch, back = _branch(layer, x, seen)
    y = Signal(
        x.units,
        carried**2 * x.second + scale**2 * branch.second + 2 * carried * scale * x.mean * branch.mean,
        carried**2 * x.spread + scale**2 * branch.spread,
        carried * x.mean + scale * branch.mean,
        x.normal and branch.normal,
    )

    def pull(error: Error) -> Error:
        if layer.tensors:
            seen.gradients[layer.path] = log_of(branch.second) + seen.together(error, 1 - branch.gap)
        below = back(replace(error, log_square=error.log_square + 2 * log_of(scale), along=0.0))
        return _joined(x.units, replace(error, log_square=error.log_square + 2 * log_of(carried)), [below])

    return y, pull


def highway(layer: ExpandedLayer, x: Signal, seen: Seen) -> tuple[Signal, Pull]:
    """A mixture t F(x) + (1 − t) x, t = σ(W x + b) drawn apart from both (Srivastava et al. 2015, eq. 3); δ comes down through t, too."""
    assert isinstance(layer.spec, Highway)
    if len(layer.in_shape) != 1:
        raise Unpredictable("there is no theory here for highway layers at every step of a sequence")
    branch, back = _branch(layer, x, seen)
    of_gate = sigma_w(GATE, x.units, x.units) ** 2
    gate = _gate(layer.spec.transform_bias, of_gate * x.second, min(1.0, x.gap))
    means = x.mean * branch.mean
    y = Signal(
        x.units,
        gate.square * branch.second + gate.carry_square * x.second + 2 * (gate.mean - gate.square) * means,
        (gate.square - gate.spread) * branch.spread
        + (gate.carry_square - gate.spread) * x.spread
        + gate.spread * (branch.second + x.second - 2 * means),
        gate.mean * branch.mean + (1 - gate.mean) * x.mean,
        x.normal and branch.normal,
    )
    apart = branch.second + x.second - 2 * means
    alike = 1 - (branch.spread + x.spread) / apart if apart > 0 else 0.0

    def pull(error: Error) -> Error:
        def part(square: float, correlation: float) -> Error:
            return replace(
                error, log_square=error.log_square + log_of(square), shared=error.shared * correlation, along=0.0
            )

        at_gate = part(apart * gate.slope_square, alike * gate.slope_correlation)
        weights = log_of(x.units * x.second) + seen.together(at_gate, 1 - x.gap)
        seen.gradients[layer.path] = log_sum(weights, seen.together(at_gate, 1.0))
        by_gate = replace(at_gate, log_square=at_gate.log_square + log_of(of_gate))
        carried = part(gate.carry_square, 1 - gate.spread / gate.carry_square if gate.carry_square > 0 else 0.0)
        below = back(part(gate.square, 1 - gate.spread / gate.square if gate.square > 0 else 0.0))
        return _joined(x.units, carried, [below, by_gate])

    return y, pull


def dense(layer: ExpandedLayer, x: Signal, seen: Seen) -> tuple[Signal, Pull]:
    """X and F(x) side by side: an average by units; δ of what reads them has the same size at every unit, before and behind."""
    branch, back = _branch(layer, x, seen)
    units = x.units + branch.units
    own, other = x.units / units, branch.units / units
    alike = x.normal and branch.normal and x.mean == branch.mean and x.second == branch.second
    y = Signal(
        units,
        own * x.second + other * branch.second,
        own * x.spread + other * branch.spread,
        own * x.mean + other * branch.mean,
        alike,
    )

    def pull(error: Error) -> Error:
        def part(share: float) -> Error:
            return replace(error, log_square=error.log_square + log_of(share), along=0.0)

        return _joined(x.units, part(own), [back(part(other))])

    return y, pull


def flatten(layer: ExpandedLayer, x: Signal, seen: Seen) -> tuple[Signal, Pull]:
    """The same numbers."""
    return replace(x, units=prod(layer.out_shape)), lambda error: error


LAYERS: Mapping[str, Callable[[ExpandedLayer, Signal, Seen], tuple[Signal, Pull]]] = {
    "linear": linear,
    "normalization": normalization,
    "residual": residual,
    "highway": highway,
    "dense": dense,
    "flatten": flatten,
}
"""By kind; activation and dropout are in `_pointwise`."""


def _branch(layer: ExpandedLayer, x: Signal, seen: Seen) -> tuple[Signal, Pull]:
    if not any(inside.depth is not None for inside in layer.layers):
        raise Unpredictable(f"{layer.path!r} has no weights inside, so that its branch depends on what it is added to")
    return through(layer.layers, x, seen)


def _joined(units: int, carried: Error, others: list[Error]) -> Error:
    """δ of what goes several ways, whose δ are independent but for their common origin.

    The squared norm of a sum of independent parts scatters with the parts', and by 4 a b/n of their product.
    """
    parts = [carried, *others]
    total = carried.log_square
    for other in others:
        total = log_sum(total, other.log_square)
    shares = [10 ** (part.log_square - total) if total > -inf else 0.0 for part in parts]
    variance = carried.variance + 4 * shares[0] * (1 - shares[0]) / units
    variance += sum(
        share**2 * (other.variance - carried.variance) for share, other in zip(shares[1:], others, strict=True)
    )
    return Error(total, sum(share * part.shared for share, part in zip(shares, parts, strict=True)), 0.0, variance)


@dataclass(frozen=True)
class _Gate:
    """t = σ(b + g), g ~ N(0, q), and t′ of another sample."""

    mean: float
    square: float
    """E[t²]"""
    carry_square: float
    """E[(1 − t)²]"""
    spread: float
    """E[t²] − E[t t′]"""
    slope_square: float
    """E[σ′²]"""
    slope_correlation: float


@lru_cache(maxsize=256)
def _gate(bias: float, q: float, gap: float) -> _Gate:
    """Of a correlation 1 − gap from 0 to 1, by the common part of g and each sample's own."""
    weight = WEIGHTS / WEIGHTS.sum()
    size = sqrt(min(q, 1e6))
    t = expit(bias + size * (sqrt(1 - gap) * NODES[:, None] + sqrt(gap) * NODES))
    slope = t * (1 - t)
    own_mean, own_slope = t @ weight, slope @ weight
    slope_square = float(weight @ (slope**2 @ weight))
    return _Gate(
        mean=float(weight @ own_mean),
        square=float(weight @ (t**2 @ weight)),
        carry_square=float(weight @ ((1 - t) ** 2 @ weight)),
        spread=float(weight @ ((t - own_mean[:, None]) ** 2 @ weight)),
        slope_square=slope_square,
        slope_correlation=float(weight @ own_slope**2) / slope_square if slope_square > 0 else 0.0,
    )


@lru_cache(maxsize=512)
def _composed(outer: Expression, inner: Expression) -> Expression:
    return outer if inner is Z else substitute(outer, inner)


@lru_cache(maxsize=512)
def _tabulated(theta: Expression) -> Tabulated:
    return tabulate_expression(theta)


@lru_cache(maxsize=256)
def _kernel(theta: Tabulated, q: float) -> CorrelationMap:
    return correlation_map(theta, q, 1.0)


def log_of(value: float) -> float:
    """log₁₀, −inf of 0."""
    return log10(min(value, 1e308)) if value > 0 else -inf


def log_sum(one: float, other: float) -> float:
    """log₁₀(10^one + 10^other)"""
    low, high = sorted((one, other))
    return high + log1p(10 ** (low - high)) / log(10) if low > -inf and high < inf else high
