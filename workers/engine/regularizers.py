"""Penalties, and re-centring. T trials, B samples, O/I out/in features, L layers.

Penalties on weights are added to the gradient where the rules are given it, those on activations to the error signal where it passes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.contract.regularizers import (
    ActivationScale,
    Recentring,
    RegularizerSpec,
    Saturation,
    SoftOrthogonality,
    SpectralBound,
    VanishingGradient,
)
from workers.engine.activations import NonLinearity
from workers.engine.network import Activation, Layer, Linear
from workers.engine.network.activation import Constants
from workers.engine.network.convolution import Convolution
from workers.engine.network.recurrent import Gru, Lstm, Rnn


def soft_orthogonality(weight: Tensor, spec: SoftOrthogonality) -> Tensor:
    """∂/∂W of λ‖W Wᵀ − g²I‖², 4λ(W Wᵀ − g²I)W; of WᵀW where there are fewer columns. [T, O, I] -> the same."""
    if weight.shape[1] > weight.shape[2]:
        return soft_orthogonality(weight.mT, spec).mT
    gram = torch.bmm(weight, weight.mT)
    gram.diagonal(dim1=1, dim2=2).sub_(spec.gain**2)
    return torch.bmm(gram, weight).mul_(4 * spec.weight)


def spectral_bound(weight: Tensor, spec: SpectralBound) -> Tensor:
    """∂/∂W of λ Σ max(0, σ_i − b)²: 2λ U max(0, Σ − b) Vᵀ. A matrix with a non-finite element has NaN."""
    finite = weight.isfinite().flatten(1).all(1)[:, None, None]
    left, values, right = torch.linalg.svd(torch.where(finite, weight, 0.0), full_matrices=False)
    over = (values - spec.bound).clamp_min_(0).mul_(2 * spec.weight)
    return torch.where(finite, torch.bmm(left * over[:, None, :], right), torch.nan)


ON_WEIGHTS: dict[str, Callable[..., Tensor]] = {
    "soft_orthogonality": soft_orthogonality,
    "spectral_bound": spectral_bound,
}


def activation_scale(non_linearity: NonLinearity, z: Tensor, a: Tensor, spec: ActivationScale) -> Tensor:
    """∂/∂z of λ(r − t)² with r = √mean a² over batch and units: 2λ(r − t)a/(r N)·θ′. An a of zeros has none."""
    over = list(range(1, a.dim()))
    rms = a.square().mean(over, keepdim=True).sqrt()
    count = a[0].numel()
    at_value = a * torch.where(rms > 0, 2 * spec.weight / count * (rms - spec.target) / rms, 0.0)
    return non_linearity.backward(at_value, z, a)


def saturation(non_linearity: NonLinearity, z: Tensor, a: Tensor, spec: Saturation) -> Tensor:
    """∂/∂z of λ mean(1 − (θ′/s)²) over batch and units: −2λ θ′θ″/(s² N), θ″ by autograd of θ′."""
    with torch.enable_grad():
        at = z.detach().requires_grad_()
        slope = non_linearity.derivative(at, non_linearity.value(at))
        (found,) = torch.autograd.grad((slope / non_linearity.steepest).square().sum(), at)
    return found.mul_(-spec.weight / z[0].numel())


ON_ACTIVATIONS: dict[str, Callable[..., Tensor]] = {"activation_scale": activation_scale, "saturation": saturation}


def vanishing_gradient(weight: Tensor, delta: Tensor, slope: Tensor, spec: VanishingGradient) -> Tensor:
    """∂⁺/∂U of λ Σ_t mean_b (r − 1)², r = ‖p‖ with p = θ′(z_t)·(Uᵀ u) and u = δ_{t+1}/‖δ_{t+1}‖: 2λ/B Σ (r − 1)/r u (θ′ p)ᵀ.

    Args:
        weight: U [T, H, H].
        delta, slope: δ and θ′ at the pre-activations, [S, T, B, H]. Where δ is zero, or all θ′ are, nothing is pulled.
    """
    after, slope = delta[1:], slope[:-1]
    unit = after / after.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(after.dtype).tiny)
    unit = unit / unit.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(after.dtype).tiny)
    arrived = slope * (unit @ weight)
    ratio = arrived.norm(dim=-1, keepdim=True)
    pull = torch.where(ratio > 0, 2 * spec.weight / delta.shape[2] * (ratio - 1) / ratio, 0.0)
    return torch.einsum("stbi,stbj->tij", unit, slope * arrived * pull)


@dataclass(frozen=True)
class ThroughTime:
    """A penalty on what a recurrent layer does to δ from step to step."""

    layer: Rnn
    spec: VanishingGradient

    def add(self) -> None:
        layer = self.layer
        slope = layer.theta.derivative(layer.pre, layer.seen[1:, ..., : layer.size])
        delta = layer.error_signal.permute(2, 0, 1, 3)
        layer.gradients[1].add_(vanishing_gradient(layer.recurrent, delta, slope, self.spec))


@dataclass(frozen=True)
class Penalty:
    """Of one weight matrix."""

    weight: Tensor
    """[T, O, I], and its place in the gradient: views."""
    gradient: Tensor
    spec: RegularizerSpec

    def add(self) -> None:
        found = ON_WEIGHTS[self.spec.kind](self.weight.flatten(2), self.spec)
        self.gradient.add_(found.view(self.gradient.shape))


@dataclass(frozen=True)
class Anchor:
    """λ/2·Σ(x − x₀)² over the constants of a non-linearity that learn."""

    constants: Constants

    def add(self) -> None:
        spec = self.constants.spec
        for name, gradient in self.constants.gradients.items():
            gradient.add_(self.constants.parameters[name] - getattr(spec, name), alpha=spec.penalty)


WeightPenalty = Penalty | ThroughTime | Anchor
"""What is added to the gradient where the rules are given it."""


def penalties(regularizers: Sequence[RegularizerSpec], hidden: Sequence[Layer]) -> list[WeightPenalty]:
    """Those on weights, of every matrix of the hidden layers, on steps through time, and on constants that learn."""
    found: list[WeightPenalty] = [
        Anchor(layer.constants)
        for layer in hidden
        if isinstance(layer, Activation) and layer.constants and layer.constants.spec.penalty
    ]
    for spec in regularizers:
        for layer in hidden:
            if spec.kind in ON_WEIGHTS:
                found += [Penalty(*place, spec) for place in _matrices(layer)]
            elif isinstance(spec, VanishingGradient) and isinstance(layer, Rnn):
                found.append(ThroughTime(layer, spec))
    return found


def _matrices(layer: Layer) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights and their gradients; of a recurrent layer each gate's U."""
    if isinstance(layer, Linear | Convolution):
        yield layer.weight, layer.weight_gradient
    elif isinstance(layer, Rnn | Gru | Lstm):
        for place in range(0, layer.recurrent.shape[1], layer.size):
            gate = slice(place, place + layer.size)
            yield layer.recurrent[:, gate], layer.gradients[1][:, gate]


def watch_activations(regularizers: Sequence[RegularizerSpec], layers: Sequence[Layer]) -> None:
    """Has every activation layer add the penalties on what it gives to the error signal that passes."""
    for layer in layers:
        if isinstance(layer, Activation):
            layer.penalties = [
                (ON_ACTIVATIONS[spec.kind], spec) for spec in regularizers if spec.kind in ON_ACTIVATIONS
            ]


def recentre(regularizers: Sequence[RegularizerSpec], hidden: Sequence[Layer], step: int) -> bool:
    """Whether this step re-centres; the layers then wait for the next pass forward, which does it."""
    due = [spec for spec in regularizers if isinstance(spec, Recentring) and step and step % spec.every == 0]
    for spec in due:
        for layer in hidden:
            if isinstance(layer, Linear | Convolution):
                layer.recentring = spec.gain
    return bool(due)
