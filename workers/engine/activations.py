"""The non-linearities: value, derivative and the largest |derivative|.

z is the pre-activation, a = θ(z) the value. All functions are elementwise. What each one is, is said by its formula in the contract;
the table holds what torch computes faster, or more precisely, than the formula step by step.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from workers.contract.activations import ActivationSpec, Normalised, Scaled, expression_of
from workers.contract.expectations import moments
from workers.contract.expressions import Expression, Functions, Z, compiled, derivative
from workers.contract.nonlinearities import Named

aten = torch.ops.aten


@dataclass(frozen=True)
class NonLinearity:
    value: Callable[[Tensor], Tensor]
    """z -> a."""
    derivative: Callable[[Tensor, Tensor], Tensor]
    """(z, a) -> θ′(z), a tensor of its own."""
    steepest: float | Tensor
    """max |θ′|, which saturation is measured against; of each trial and unit, [T, 1, U] or [T, 1, 1], where constants learn."""
    fused: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    """(δ, z, a) -> δ·θ′(z) in one pass, where torch has it."""

    def backward(self, delta: Tensor, z: Tensor, a: Tensor) -> Tensor:
        """δ at the pre-activation from δ at the value."""
        if self.fused is not None:
            return self.fused(delta, z, a)
        return self.derivative(z, a).mul_(delta)


def _normal_density(z: Tensor) -> Tensor:
    return torch.exp(z.square() * -0.5) * (1 / math.sqrt(2 * math.pi))


def _normal_distribution(z: Tensor) -> Tensor:
    share: Tensor = torch.special.ndtr(z)
    return share


def _silu_slope(z: Tensor) -> Tensor:
    gate = torch.sigmoid(z)
    return gate * (1 + z * (1 - gate))


def _mish_slope(z: Tensor) -> Tensor:
    gate = torch.tanh(functional.softplus(z, threshold=40))
    return gate + z * torch.sigmoid(z) * (1 - gate * gate)


def _elu_slope(z: Tensor) -> Tensor:
    return torch.exp(z.clamp_max(0))


def _within(z: Tensor, bound: float) -> Tensor:
    return (z.abs() < bound).to(z.dtype)


LECUN = 1.7159
SELU = 1.0507009873554805, 1.6732632423543773
"""λ and α (Klambauer et al. 2017)."""
BRIM = math.sqrt(3 - math.sqrt(6))
"""Where the Mexican hat is steepest: z⁴ − 6z² + 3 = 0."""


NON_LINEARITIES: dict[str, NonLinearity] = {
    "sigmoid": NonLinearity(
        torch.sigmoid,
        lambda z, a: aten.sigmoid_backward(a.new_ones(()), a),
        0.25,
        lambda delta, z, a: aten.sigmoid_backward(delta, a),
    ),
    "tanh": NonLinearity(
        torch.tanh,
        lambda z, a: aten.tanh_backward(a.new_ones(()), a),
        1.0,
        lambda delta, z, a: aten.tanh_backward(delta, a),
    ),
    "centred_sigmoid": NonLinearity(lambda z: torch.tanh(z * 0.5).mul_(0.5), lambda z, a: 0.25 - a * a, 0.25),
    "lecun_tanh": NonLinearity(
        lambda z: torch.tanh(z * (2 / 3)).mul_(LECUN), lambda z, a: (2 / 3) * (LECUN - a * a / LECUN), LECUN * 2 / 3
    ),
    # torch's backward takes 1/6 in float32, whatever z is
    "hard_sigmoid": NonLinearity(functional.hardsigmoid, lambda z, a: _within(z, 3) / 6, 1 / 6),
    "hard_tanh": NonLinearity(
        functional.hardtanh,
        lambda z, a: _within(z, 1),
        1.0,
        lambda delta, z, a: aten.hardtanh_backward(delta, z, -1, 1),
    ),
    # torch's own threshold, 20, is one of float32: there float64 would jump by 2e-9
    "softplus": NonLinearity(lambda z: functional.softplus(z, threshold=40), lambda z, a: torch.sigmoid(z), 1.0),
    "softsign": NonLinearity(functional.softsign, lambda z, a: (1 + z.abs()).square_().reciprocal_(), 1.0),
    "erf": NonLinearity(
        torch.erf, lambda z, a: torch.exp(-z.square()) * (2 / math.sqrt(math.pi)), 2 / math.sqrt(math.pi)
    ),
    "arctan": NonLinearity(torch.arctan, lambda z, a: z.square().add_(1).reciprocal_(), 1.0),
    "sin": NonLinearity(torch.sin, lambda z, a: torch.cos(z), 1.0),
    "gaussian": NonLinearity(lambda z: torch.exp(-z.square()), lambda z, a: -2 * z * a, math.sqrt(2 / math.e)),
    "gaussian_half": NonLinearity(lambda z: torch.exp(z.square() * -0.5), lambda z, a: -z * a, math.exp(-0.5)),
    "multiquadric": NonLinearity(
        lambda z: z.square().add_(1).sqrt_(),
        lambda z, a: z / a,
        1.0,
    ),
    # steepest at z² = 1/2
    "inverse_multiquadric": NonLinearity(
        lambda z: z.square().add_(1).rsqrt_(), lambda z, a: a.pow(3).mul_(z).neg_(), 2 / math.sqrt(27)
    ),
    "mexican_hat": NonLinearity(
        lambda z: (1 - z.square()) * torch.exp(z.square() * -0.5),
        lambda z, a: z * (z.square() - 3) * torch.exp(z.square() * -0.5),
        BRIM * math.sqrt(6) * math.exp(-(BRIM**2) / 2),
    ),
    "bent_identity": NonLinearity(
        lambda z: torch.sqrt(z.square() + 1).sub_(1).mul_(0.5).add_(z),
        lambda z, a: z * 0.5 / torch.sqrt(z.square() + 1) + 1,
        1.5,
    ),
    "gelu": NonLinearity(
        functional.gelu,
        lambda z, a: _normal_distribution(z).addcmul_(z, _normal_density(z)),
        # the slope Φ(z) + zφ(z) is largest where 2φ = z²φ, at z = √2
        0.5 * (1 + math.erf(1.0)) + math.exp(-1.0) / math.sqrt(math.pi),
        lambda delta, z, a: aten.gelu_backward(delta, z),
    ),
    # the slope σ(z)(1 + z(1−σ(z))) is largest where z·tanh(z/2) = 2, at z = 2.39936
    "silu": NonLinearity(
        functional.silu,
        lambda z, a: _silu_slope(z),
        1.0998393201288668,
        lambda delta, z, a: aten.silu_backward(delta, z),
    ),
    # largest at z = 1.49057, found on the formula's derivative
    "mish": NonLinearity(
        functional.mish,
        lambda z, a: _mish_slope(z),
        1.088498161251728,
        lambda delta, z, a: aten.mish_backward(delta, z),
    ),
    "elu": NonLinearity(functional.elu, lambda z, a: _elu_slope(z), 1.0),
    "selu": NonLinearity(
        functional.selu,
        lambda z, a: torch.where(z > 0, SELU[0], _elu_slope(z) * (SELU[0] * SELU[1])),
        SELU[0] * SELU[1],
    ),
    "celu": NonLinearity(functional.celu, lambda z, a: _elu_slope(z), 1.0),
    "relu": NonLinearity(torch.relu, lambda z, a: (z > 0).to(z.dtype), 1.0),
    "leaky_relu": NonLinearity(
        functional.leaky_relu,
        lambda z, a: (z > 0).to(z.dtype).mul_(0.99).add_(0.01),
        1.0,
        lambda delta, z, a: aten.leaky_relu_backward(delta, z, 0.01, False),
    ),
    "identity": NonLinearity(lambda z: z, lambda z, a: torch.ones_like(z), 1.0, lambda delta, z, a: delta),
}
"""By kind, with the constants of a bare name."""


def _at_least(a: Tensor, b: Tensor | float) -> Tensor:
    return a.clamp_min(b) if isinstance(b, float) else torch.maximum(a, b)


def _at_most(a: Tensor, b: Tensor | float) -> Tensor:
    return a.clamp_max(b) if isinstance(b, float) else torch.minimum(a, b)


TORCH: Functions = {
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "sign": torch.sign,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": lambda z: functional.softplus(z, threshold=40),
    "erf": torch.erf,
    "arctan": torch.arctan,
    "sin": torch.sin,
    "cos": torch.cos,
    "max": _at_least,
    "min": _at_most,
    "where": torch.where,
    "constant": torch.full_like,
}
"""What a formula's functions are on tensors."""


@cache
def non_linearity(spec: ActivationSpec) -> NonLinearity:
    """Of any spec: the table's where it has it, the formula's own evaluation elsewhere."""
    if isinstance(spec, Named) and spec == type(spec)():
        return NON_LINEARITIES[spec.kind]
    return of_expression(expression_of(spec), _steepest(spec))


def of_expression(theta: Expression, steepest: float) -> NonLinearity:
    """The formula and its derivative, step by step."""
    slope = derivative(theta)
    of_slope = torch.clone if slope is Z else compiled(slope, TORCH)
    return NonLinearity(compiled(theta, TORCH), lambda z, a: of_slope(z), steepest)


def _steepest(spec: ActivationSpec) -> float:
    """The largest |θ′|; of a formula, which may have none, for |z| ≤ 10."""
    if isinstance(spec, Scaled):
        return abs(spec.a * spec.b) * float(non_linearity(spec.of).steepest)
    if isinstance(spec, Normalised):
        return float(non_linearity(spec.of).steepest) / moments(expression_of(spec.of))[1]
    z = torch.linspace(-10, 10, 20001, dtype=torch.float64)
    slope = compiled(derivative(expression_of(spec)), TORCH)(z).abs()
    return float(slope[slope.isfinite()].max())
