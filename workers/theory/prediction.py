"""The forecast for a network as it will be built: layer by layer at step 0, before anything is trained.

z_l are the pre-activations of layer l with parameters, q_l their variance, c_l the correlation of two samples' z_l, δ_l = ∂L/∂z_l;
the loss is a mean over B samples. Forward from standardised inputs (q = 1, c = 0), with the q_l of the layers as they are, not the
fixed point; then backward from the loss. Weights on the way back count as drawn anew, which is right for wide layers (Yang 2020);
labels are taken as random.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise
from math import inf, log10, prod, sqrt

import numpy as np

from workers.contract.activations import expression_of
from workers.contract.expressions import Expression, Z, substitute
from workers.contract.layers import Activation, Dropout, Linear
from workers.contract.problems import Loss
from workers.contract.shapes import ExpandedLayer
from workers.theory.finite_width import backward_variance, spread
from workers.theory.meanfield import CorrelationMap, correlation_maps
from workers.theory.tabulated import Numbers, Tabulated, Unpredictable, tabulate_expression
from workers.theory.weights import sigma_b, sigma_w

DRAWS = 2048
"""Of logits, for the mean square of softmax − one-hot."""
Q_SOFTMAX = 1e4
"""Variance of logits beyond which softmax is one-hot anyway."""


@dataclass(frozen=True)
class LayerSignal:
    """One layer with parameters. −inf is the logarithm of an exact zero."""

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
    """E‖δ_l‖²/E‖δ_{l+1}‖²; None on the top layer."""
    log10_delta: float
    """Of ‖δ_l‖ over samples and units."""
    log10_gradient: float
    """Of the norm of the layer's gradient, weights and biases together."""
    band: float
    """Standard deviation of log10_delta over draws of the weights, from the layers' widths, to first order, for one sample."""


@dataclass(frozen=True)
class _Stage:
    """A layer with parameters, or the input, and what follows up to the next one: h = dropout(θ(z))."""

    layer: ExpandedLayer | None
    units: int
    theta: Tabulated
    keep: float
    """1 − p of the dropout."""
    sigma_w: float = 1.0
    sigma_b: float = 0.0

    def second(self, q: float) -> float:
        """E[h²]"""
        return self.theta.second(q) / self.keep


def forecast(network: Sequence[ExpandedLayer], loss: Loss, batch_size: int) -> list[LayerSignal]:
    """What step 0 will look like, from the input upwards, layers with parameters only.

    Args:
        network: expanded, every gain a number.
        loss: of the problem; inputs, and targets of a regression, are standardised.
        batch_size: B.

    Raises:
        Unpredictable: if a non-linearity jumps, or a layer is of a kind that the theory does not have.
    """
    stages = _stages(network)
    variances = [1.0]
    for below, stage in pairwise(stages):
        variances.append(stage.sigma_w**2 * below.second(variances[-1]) + stage.sigma_b**2)
    maps = _maps(stages, variances)
    gaps = [1.0]
    for below, stage, q, c in zip(stages, stages[1:], variances, maps, strict=False):
        gaps.append(_gap(below, stage, q, c, gaps[-1]))
    return _backward(stages, variances, maps, gaps, loss, batch_size)


def _stages(network: Sequence[ExpandedLayer]) -> list[_Stage]:
    """The input's, then one for each layer with parameters; non-linearities in a row are composed."""
    found: list[_Stage] = []
    start: ExpandedLayer | None = None
    theta, keep = Z, 1.0

    def close() -> None:
        found.append(_stage(start, network[0].in_shape, _tabulated(theta), keep))

    for layer in network:
        if isinstance(layer.spec, Linear):
            close()
            start, theta, keep = layer, Z, 1.0
        elif isinstance(layer.spec, Activation):
            theta = _composed(expression_of(layer.spec.activation), theta)
        elif isinstance(layer.spec, Dropout):
            keep *= 1 - layer.spec.p
        else:
            raise Unpredictable(f"there is no theory here for {layer.spec.kind} layers")
    close()
    return found


def _stage(layer: ExpandedLayer | None, in_shape: tuple[int, ...], theta: Tabulated, keep: float) -> _Stage:
    if layer is None:
        return _Stage(None, prod(in_shape), theta, keep)
    assert isinstance(layer.spec, Linear) and layer.init is not None
    out, into = layer.out_shape[-1], prod(layer.in_shape)
    of_bias = sigma_b(layer.init, into) if layer.spec.bias else 0.0
    return _Stage(layer, out, theta, keep, sigma_w(layer.init, out, into), of_bias)


@lru_cache(maxsize=512)
def _composed(outer: Expression, inner: Expression) -> Expression:
    return outer if inner is Z else substitute(outer, inner)


@lru_cache(maxsize=512)
def _tabulated(theta: Expression) -> Tabulated:
    return tabulate_expression(theta)


def _maps(stages: list[_Stage], variances: list[float]) -> list[CorrelationMap]:
    """From each stage to the next, dropout aside; layers of one non-linearity at a time."""
    found: list[CorrelationMap] = []
    for _, group in groupby(range(len(stages) - 1), key=lambda at: stages[at].theta):
        at = list(group)
        above = [stages[place + 1] for place in at]
        of_weights, of_bias = [stage.sigma_w for stage in above], [stage.sigma_b for stage in above]
        found += correlation_maps(stages[at[0]].theta, [variances[place] for place in at], of_weights, of_bias)
    return found


def _gap(below: _Stage, stage: _Stage, q: float, c: CorrelationMap, gap: float) -> float:
    """1 − c of the next layer. Dropout's masks differ between samples, and set them apart."""
    if below.keep == 1:
        return c.distance(gap)
    kept = stage.sigma_w**2 * below.theta.second(q)
    apart = kept * (1 / below.keep - 1) + (kept + stage.sigma_b**2) * c.distance(gap)
    return apart / (kept / below.keep + stage.sigma_b**2)


def _backward(
    stages: list[_Stage],
    variances: list[float],
    maps: list[CorrelationMap],
    gaps: list[float],
    loss: Loss,
    batch_size: int,
) -> list[LayerSignal]:
    """From the loss down to the first layer.

    ‖∂L/∂W_l‖² = Σ_{b,b'} (δ_b·δ_b')(h_b·h_b') over samples: B times the diagonal, and B − 1 as much again of what both samples
    share, ρ of their δ and κ of their h.
    """
    top = len(stages) - 1
    square, shared = _at_loss(loss, stages[top].units, variances[top], gaps[top])
    log_square = log10(square) - log10(batch_size)
    relative_variance, chi = 0.0, None
    found = []
    for at in range(top, 0, -1):
        stage, below, q = stages[at], stages[at - 1], variances[at]
        assert stage.layer is not None and isinstance(stage.layer.spec, Linear)
        if at < top:
            above = stages[at + 1]
            chi = above.sigma_w**2 * stage.theta.slope_second(q) / stage.keep
            log_square += _log10(chi)
            shared *= maps[at].slope_correlation(1 - gaps[at]) * stage.keep
            init = above.layer.init if above.layer else None
            orthogonal = init is not None and init.kind in ("orthogonal", "scaled_uniform_orthogonal")
            relative_variance += backward_variance(stage.theta, q, stage.units, orthogonal=orthogonal)
        alike = maps[at - 1].value_correlation(1 - gaps[at - 1]) * below.keep
        weights = below.units * below.second(variances[at - 1]) * (1 + (batch_size - 1) * shared * alike)
        biases = (1 + (batch_size - 1) * shared) * stage.layer.spec.bias
        spread_over = q * gaps[at] if at == top else maps[at].spread(gaps[at])
        found.append(
            LayerSignal(
                layer=stage.layer.path,
                depth=at - 1,
                units=stage.units,
                q=q,
                gap=gaps[at],
                sample_std=sqrt(max(0.0, spread_over)),
                saturation=stage.theta.saturation(q),
                chi=chi,
                log10_delta=0.5 * log_square,
                log10_gradient=0.5 * (log_square + _log10(weights + biases)),
                band=spread(relative_variance).deviation,
            )
        )
    return found[::-1]


def _log10(value: float) -> float:
    return log10(value) if value > 0 else -inf


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
