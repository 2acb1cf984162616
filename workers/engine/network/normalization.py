"""Normalisations, one function each in a visible table. T trials, B samples.

Each brings x [T, B, ...] to its scale with the statistics of one trial; γ and β come after, one per feature.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from workers.contract import layers as specs
from workers.contract.shapes import ExpandedLayer
from workers.engine.network.by_autograd import Recorded
from workers.engine.network.layer import Slots, trials_by_seed, views

State = dict[str, Tensor]
Normalize = Callable[[Tensor, Any, State | None], Tensor]
"""(x, spec, state) -> x at its scale. `state` are running means to take in place of the batch's, None in training."""


def batch(x: Tensor, spec: specs.BatchNorm, state: State | None) -> Tensor:
    """Over samples, and over places where there are any (Ioffe & Szegedy 2015)."""
    mean, variance = _moments(x) if state is None else (state["mean"], state["variance"])
    return (x - _spread(mean, x)) * _spread(torch.rsqrt(variance + spec.eps), x)


def layer(x: Tensor, spec: specs.LayerNorm, state: State | None) -> Tensor:
    """Over the features of a sample, all of an image, each step of a sequence for itself (Ba et al. 2016)."""
    over = _of_sample(x)
    centred = x - x.mean(over, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(over, keepdim=True) + spec.eps)


def rms(x: Tensor, spec: specs.RmsNorm, state: State | None) -> Tensor:
    """As layer norm, without taking the mean away (Zhang & Sennrich 2019)."""
    return x * torch.rsqrt(x.square().mean(_of_sample(x), keepdim=True) + spec.eps)


def group(x: Tensor, spec: specs.GroupNorm, state: State | None) -> Tensor:
    """Over a group of neighbouring features of a sample, at all its places (Wu & He 2018)."""
    axis = _axis(x)
    parts = x.unflatten(axis, (spec.groups, -1))
    over = [place for place in range(2, parts.dim()) if place != axis]
    variance, mean = torch.var_mean(parts, over, correction=0, keepdim=True)
    scaled: Tensor = (parts - mean) * torch.rsqrt(variance + spec.eps)
    return scaled.view(x.shape)


def instance(x: Tensor, spec: specs.InstanceNorm, state: State | None) -> Tensor:
    """Of a feature of a sample, over its places (Ulyanov et al. 2016)."""
    over = [place for place in range(2, x.dim()) if place != _axis(x)]
    variance, mean = torch.var_mean(x, over, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + spec.eps)


def as_it_is(x: Tensor, spec: specs.ActNorm, state: State | None) -> Tensor:
    """γ and β alone, from where they started (Kingma & Dhariwal 2018)."""
    return x


NORMALIZATIONS: dict[str, Normalize] = {
    "batch": batch,
    "layer": layer,
    "rms": rms,
    "group": group,
    "instance": instance,
    "actnorm": as_it_is,
}


class Normalization:
    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        assert isinstance(layer.spec, specs.Normalization)
        self.spec = layer.spec.normalization
        self.normalize = NORMALIZATIONS[self.spec.kind]
        self.parameters = views(slots.parameters, layer.tensors)
        self.gradients = views(slots.gradient, layer.tensors)
        self.start = (1.0, 0.0)
        self.state: State = {}
        if isinstance(self.spec, specs.BatchNorm):
            start = slots.parameters.new_zeros(len(slots.seeds), specs.features(layer.in_shape))
            self.state = {"mean": start, "variance": torch.ones_like(start)}
            self.start = (self.spec.gamma, self.spec.beta)
        self.starting = False
        self.seeds = slots.seeds
        self.recorded: Recorded

    def initialise(self) -> None:
        for tensor, start in zip(self.parameters, self.start, strict=False):
            tensor.fill_(start)
        self.starting = self.spec.starts_from_data

    def forward(self, x: Tensor, training: bool) -> Tensor:
        if self.starting:
            self._start(x)
        if not training:
            return self._function(x, *self.parameters, state=self.state)
        if isinstance(self.spec, specs.BatchNorm):
            self._remember(x, self.spec.momentum)
        self.recorded = Recorded(self._function, x, *self.parameters)
        return self.recorded.value.detach()

    def _start(self, x: Tensor) -> None:
        """γ and β bring every feature to mean 0 and deviation 1; trials of one seed, which start alike, by the same numbers."""
        gamma, beta = self.parameters
        for rows in trials_by_seed(self.seeds).values():
            mean, variance = _moments(x[rows[:1]])
            gamma[rows] = torch.rsqrt(variance + self.spec.eps)
            beta[rows] = -mean * gamma[rows[:1]]
        self.starting = False

    def _function(self, x: Tensor, *parameters: Tensor, state: State | None = None) -> Tensor:
        y = self.normalize(x, self.spec, state)
        if parameters:
            y = y * _spread(parameters[0], x)
        if len(parameters) == 2:
            y = y + _spread(parameters[1], x)
        if not parameters and self.start != (1.0, 0.0):
            y = y * self.start[0] + self.start[1]
        return y

    def _remember(self, x: Tensor, momentum: float) -> None:
        """Running mean, and running variance without bias, as torch has them."""
        mean, variance = _moments(x)
        count = x[0].numel() / mean.shape[1]
        self.state["mean"].lerp_(mean, momentum)
        self.state["variance"].lerp_(variance * (count / max(1, count - 1)), momentum)

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        below, *gradients = self.recorded.pull(delta)
        for own, gradient in zip(self.gradients, gradients, strict=True):
            own.copy_(gradient)
        return below if wanted else None


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance [T, F] of each feature."""
    over = [axis for axis in range(1, x.dim()) if axis != _axis(x)]
    variance, mean = torch.var_mean(x, over, correction=0)
    return mean, variance


def _axis(x: Tensor) -> int:
    """Of the features: channels of [T, B, C, H, W], else the last."""
    return 2 if x.dim() == 5 else x.dim() - 1


def _spread(of_feature: Tensor, x: Tensor) -> Tensor:
    """[T, F] in x's shape."""
    shape = [len(x), *[1] * (x.dim() - 1)]
    shape[_axis(x)] = of_feature.shape[1]
    return of_feature.view(shape)


def _of_sample(x: Tensor) -> tuple[int, ...]:
    return (2, 3, 4) if x.dim() == 5 else (-1,)
