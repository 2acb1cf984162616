"""The non-linearities: value, derivative and the largest |derivative|, one visible table.

z is the pre-activation, a = θ(z) the value. All functions are elementwise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

aten = torch.ops.aten


@dataclass(frozen=True)
class NonLinearity:
    value: Callable[[Tensor], Tensor]
    """z -> a."""
    derivative: Callable[[Tensor, Tensor], Tensor]
    """(z, a) -> θ′(z)."""
    steepest: float
    """max |θ′|, which saturation is measured against."""
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


NON_LINEARITIES: dict[str, NonLinearity] = {
    "sigmoid": NonLinearity(
        torch.sigmoid, lambda z, a: a * (1 - a), 0.25, lambda delta, z, a: aten.sigmoid_backward(delta, a)
    ),
    "tanh": NonLinearity(torch.tanh, lambda z, a: 1 - a * a, 1.0, lambda delta, z, a: aten.tanh_backward(delta, a)),
    # torch's own threshold, 20, is one of float32: there float64 would jump by 2e-9
    "softplus": NonLinearity(lambda z: functional.softplus(z, threshold=40), lambda z, a: torch.sigmoid(z), 1.0),
    "softsign": NonLinearity(functional.softsign, lambda z, a: (1 + z.abs()).square_().reciprocal_(), 1.0),
    "erf": NonLinearity(
        torch.erf, lambda z, a: torch.exp(-z.square()) * (2 / math.sqrt(math.pi)), 2 / math.sqrt(math.pi)
    ),
    "sin": NonLinearity(torch.sin, lambda z, a: torch.cos(z), 1.0),
    "gaussian": NonLinearity(lambda z: torch.exp(-z.square()), lambda z, a: -2 * z * a, math.sqrt(2 / math.e)),
    "relu": NonLinearity(torch.relu, lambda z, a: (z > 0).to(z.dtype), 1.0),
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
    "identity": NonLinearity(lambda z: z, lambda z, a: torch.ones_like(z), 1.0, lambda delta, z, a: delta),
}
