"""Layers round layers: residual, highway and dense. F(x) is what the layers inside make of x."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.contract import layers as specs
from workers.contract.initialisers import XavierNormal
from workers.contract.shapes import ExpandedLayer
from workers.engine.initialisers import draw_weight
from workers.engine.network.layer import Layer, Slots, trials_by_seed, views

GATE = XavierNormal()
"""How the weights of a gate start, whatever the layers inside do."""


def through(layers: Sequence[Layer], x: Tensor, training: bool) -> Tensor:
    for layer in layers:
        x = layer.forward(x, training)
    return x


def back(layers: Sequence[Layer], delta: Tensor, wanted: bool) -> Tensor | None:
    below: Tensor | None = delta
    for index in range(len(layers) - 1, -1, -1):
        assert below is not None
        below = layers[index].backward(below, wanted or index > 0)
    return below


class Residual:
    """x + s·F(x), or that over √(1 + s²)."""

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        assert isinstance(layer.spec, specs.Residual)
        self.inside, self.slots = slots.inside, slots
        self.carried, self.start = layer.spec.shares
        self.trainable = layer.spec.trainable
        self.branch: Tensor
        self.error_signal: Tensor

    def initialise(self) -> None:
        self.slots.parameters.fill_(self.start)

    def _scale(self, x: Tensor) -> Tensor | float:
        return self.slots.parameters.view(-1, *[1] * (x.dim() - 1)) if self.trainable else self.start

    def _carried(self, x: Tensor) -> Tensor:
        return x if self.carried == 1 else self.carried * x

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self.branch = through(self.inside, x, training)
        return self._carried(x) + self._scale(x) * self.branch

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        self.error_signal = delta
        if self.trainable:
            self.slots.gradient.copy_((delta * self.branch).flatten(1).sum(1, keepdim=True))
        below = back(self.inside, self._scale(delta) * delta, wanted)
        return self._carried(delta) + below if wanted and below is not None else None


class Highway:
    """t·F(x) + (1 − t)·x with t = σ(W x + b)."""

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        assert isinstance(layer.spec, specs.Highway)
        self.layer, self.slots, self.inside = layer, slots, slots.inside
        self.weight, self.bias = views(slots.parameters, layer.tensors)
        self.weight_gradient, self.bias_gradient = views(slots.gradient, layer.tensors)
        self.transform_bias = layer.spec.transform_bias
        self.input: Tensor
        self.branch: Tensor
        self.gate: Tensor
        self.error_signal: Tensor

    def initialise(self) -> None:
        out, into = self.weight.shape[1:]
        for seed, rows in trials_by_seed(self.slots.seeds).items():
            self.weight[rows] = draw_weight(GATE, out, into, seed, self.layer.path).to(self.weight)
        self.bias.fill_(self.transform_bias)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self.input = x
        self.branch = through(self.inside, x, training)
        rows = x.flatten(1, -2)
        self.gate = torch.baddbmm(self.bias[:, None, :], rows, self.weight.mT).sigmoid_().view(x.shape)
        return torch.lerp(x, self.branch, self.gate)

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        self.error_signal = delta
        at_gate = delta * (self.branch - self.input) * self.gate * (1 - self.gate)
        rows = at_gate.flatten(1, -2)
        torch.bmm(rows.mT, self.input.flatten(1, -2), out=self.weight_gradient)
        torch.sum(rows, 1, out=self.bias_gradient)
        below = back(self.inside, delta * self.gate, wanted)
        if not wanted or below is None:
            return None
        return below + delta * (1 - self.gate) + torch.bmm(rows, self.weight).view(delta.shape)


class Dense:
    """x and F(x) side by side, [T, B, F + F′], of images [T, B, C + C′, H, W]."""

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        self.inside = slots.inside
        self.axis = 2 + specs.channel_axis(layer.in_shape)
        self.received = layer.in_shape[specs.channel_axis(layer.in_shape)]

    def initialise(self) -> None:
        """Nothing of its own."""

    def forward(self, x: Tensor, training: bool) -> Tensor:
        return torch.cat([x, through(self.inside, x, training)], self.axis)

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        own = delta.shape[self.axis] - self.received
        carried, branch = delta.split([self.received, own], self.axis)
        below = back(self.inside, branch.contiguous(), wanted)
        return carried + below if wanted and below is not None else None


HOLDING = (Residual, Highway, Dense)
"""The layers that keep others inside."""
