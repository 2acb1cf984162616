"""Convolutions. T trials, B samples, C/O channels in and out, P places: S steps of a sequence, or H × W of an image.

torch's own kernels, forward and backward, for one trial after the other; some narrow layers as one convolution of T groups, which is
up to twice as fast there and several times slower elsewhere. On a GPU always so: a call for each trial would leave it idle.
"""

from typing import Any

import torch
from torch import Tensor

from workers.contract import layers as specs
from workers.contract.shapes import ExpandedLayer
from workers.engine.initialisers import draw_bias, draw_weight
from workers.engine.network.layer import Slots, trials_by_seed, views
from workers.engine.network.made_weights import made_weights
from workers.engine.network.unit_variance import to_unit_variance

NARROW = 8
"""Channels, of the narrower side, up to which one convolution of T groups is faster; over images only where both sides are multiples of it,
which the groups' kernels want: of one or three channels they take up to three times as long.
"""

aten = torch.ops.aten


class Convolution:
    """Columns of the flat parameters: W [O, C, kernel...] row by row, then b [O] if there is one."""

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        spec = layer.spec
        assert isinstance(spec, specs.Conv1d | specs.Conv2d) and layer.init is not None
        self.layer, self.slots, self.init = layer, slots, layer.init
        self.weight, self.bias = self._parts(slots.parameters)
        self.weight_gradient, self.bias_gradient = self._parts(slots.gradient)
        self.made = made_weights(layer, slots)
        if self.made and self.made.state:
            self.state = self.made.state
        self.kernel = self.weight
        """[T, O, C, ...]: W as it weighs, where it is made of what is learned."""
        self.directions = self.weight.dim() - 3
        self.geometry = [[number] * self.directions for number in (spec.stride, spec.margin, spec.dilation)]
        out, into = self.weight.shape[1:3]
        suited = self.directions == 1 or out % NARROW == into % NARROW == 0
        self.grouped = slots.parameters.is_cuda or (suited and min(out, into) <= NARROW)
        self.starting = False
        self.recentring: float | None = None
        """A deviation that W x is to have in the next pass forward, and from there."""
        self.input: Tensor
        self.output: Tensor
        self.error_signal: Tensor

    def _parts(self, flat: Tensor) -> tuple[Tensor, Tensor | None]:
        weight, *others = views(flat, self.layer.tensors)
        assert isinstance(self.layer.spec, specs.Conv1d | specs.Conv2d)
        return weight, others[0] if self.layer.spec.bias else None

    def initialise(self) -> None:
        out, fan_in = self.weight.shape[1], self.weight[0, 0].numel()
        places = self.weight[0, 0, 0].numel()
        for seed, rows in trials_by_seed(self.slots.seeds).items():
            drawn = draw_weight(self.init, out, fan_in, seed, self.layer.path, places)
            self.weight[rows] = drawn.view(self.weight.shape[1:]).to(self.weight)
            if self.bias is not None:
                self.bias[rows] = draw_bias(self.init, drawn, seed, self.layer.path).to(self.weight)
        self.starting = self.init.starts_from_data
        if self.made:
            self.made.initialise(self.layer.path)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self.input = _channels_first(x, self.directions)
        if self.starting or self.recentring:
            gain, given = self.recentring or self.init.number(), self._forward(self.input, biased=False)
            to_unit_variance(self.weight, self.bias, given, gain, 0.0 if self.recentring else self.init.input_mean)
            self.starting, self.recentring = False, None
        if self.made:
            self.kernel = self.made.value(training)
        self.output = _channels_first(self._forward(self.input), self.directions)
        return self.output

    def _forward(self, x: Tensor, biased: bool = True) -> Tensor:
        """[T, B, C, P] -> [T, B, O, P]"""
        own = self.bias if biased else None
        if self.grouped:
            bias = own.flatten() if own is not None else None
            return _parted(self._convolve(_joined(x), self.kernel.flatten(0, 1), bias, len(x)), len(x))
        biases = own if own is not None else [None] * len(x)
        return torch.stack(
            [self._convolve(part, weight, bias) for part, weight, bias in zip(x, self.kernel, biases, strict=True)]
        )

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int = 1) -> Tensor:
        found: Tensor = aten.convolution(x, weight, bias, *self.geometry, False, [0] * self.directions, groups)
        return found

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        self.error_signal = delta
        below = self._backward(_channels_first(delta, self.directions), wanted)
        return _channels_first(below, self.directions) if below is not None else None

    def _backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        mask = [wanted, True, self.bias is not None]
        if self.grouped:
            joined, x = _joined(delta), _joined(self.input)
            below, weight, bias = self._differentiate(joined, x, self.kernel.flatten(0, 1), mask, len(delta))
            self._give(weight.view(self.weight.shape))
            if self.bias_gradient is not None:
                self.bias_gradient.copy_(bias.view(self.bias_gradient.shape))
            return _parted(below, len(delta)) if wanted else None
        found, of_weights = [], []
        for row, (own, x, weight) in enumerate(zip(delta, self.input, self.kernel, strict=True)):
            below, of_weight, of_bias = self._differentiate(own, x, weight, mask)
            of_weights.append(of_weight)
            if self.bias_gradient is not None:
                self.bias_gradient[row] = of_bias
            found.append(below)
        self._give(torch.stack(of_weights))
        return torch.stack(found) if wanted else None

    def _give(self, gradient: Tensor) -> None:
        """∂L/∂W to its place."""
        if self.made:
            self.made.pull(gradient)
        else:
            self.weight_gradient.copy_(gradient)

    def _differentiate(self, delta: Tensor, x: Tensor, weight: Tensor, mask: list[bool], groups: int = 1) -> Any:
        return aten.convolution_backward(
            delta, x, weight, [len(weight)], *self.geometry, False, [0] * self.directions, groups, mask
        )


def _channels_first(x: Tensor, directions: int) -> Tensor:
    """[T, B, S, C] <-> [T, B, C, S]; images have their channels first already."""
    return x.mT.contiguous() if directions == 1 else x


def _joined(x: Tensor) -> Tensor:
    """[T, B, C, P] -> [B, T·C, P]"""
    return x.transpose(0, 1).flatten(1, 2)


def _parted(x: Tensor, trials: int) -> Tensor:
    """[B, T·C, P] -> [T, B, C, P]"""
    parted: Tensor = x.unflatten(1, (trials, -1))
    return parted.transpose(0, 1).contiguous()
