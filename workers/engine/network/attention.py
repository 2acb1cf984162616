"""Self-attention and positional encoding. T trials, B samples, S steps, F features, H heads."""

import math

import torch
from torch import Tensor

from workers.contract import layers as specs
from workers.contract.shapes import ExpandedLayer
from workers.engine.initialisers import draw_bias, draw_weight
from workers.engine.network.by_autograd import Recorded
from workers.engine.network.layer import Slots, trials_by_seed, views
from workers.engine.network.linear import affine
from workers.engine.seeding import torch_generator

LEARNED = 0.02
"""Deviation of learned positions before training, as in GPT-2 (Radford et al. 2019)."""


class Attention:
    """Columns of the flat parameters: W_i [3F, F] (query, key, value), b_i [3F], W_o [F, F], b_o [F]; biases where there are any."""

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        spec = layer.spec
        assert isinstance(spec, specs.Attention) and layer.init is not None
        self.spec, self.init, self.path, self.slots = spec, layer.init, layer.path, slots
        self.parameters = views(slots.parameters, layer.tensors)
        self.gradients = views(slots.gradient, layer.tensors)
        self.recorded: Recorded
        self.output: Tensor
        self.error_signal: Tensor

    def initialise(self) -> None:
        width = self.parameters[-1].shape[1]
        for seed, rows in trials_by_seed(self.slots.seeds).items():
            weights, biases = [], []
            for name in ("query", "key", "value", "out"):
                weights.append(draw_weight(self.init, width, width, seed, f"{self.path}.{name}"))
                biases.append(draw_bias(self.init, weights[-1], seed, f"{self.path}.{name}"))
            drawn = [torch.cat(weights[:3]), torch.cat(biases[:3]), weights[3], biases[3]]
            for own, value in zip(self.parameters, drawn if self.spec.bias else drawn[::2], strict=True):
                own[rows] = value.to(own)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        if training:
            self.recorded = Recorded(self._function, x, *self.parameters)
            self.output = self.recorded.value.detach()
        else:
            self.output = self._function(x, *self.parameters)
        return self.output

    def _function(self, x: Tensor, *parameters: Tensor) -> Tensor:
        """[T, B, S, F] -> [T, B, S, F]"""
        into, into_bias, out, out_bias = parameters if self.spec.bias else (parameters[0], None, parameters[1], None)
        trials, samples, steps, width = x.shape
        heads = (trials, samples, steps, 3, self.spec.heads, width // self.spec.heads)
        query, key, value = affine(x, into, into_bias).view(heads).permute(3, 0, 1, 4, 2, 5)  # [T, B, H, S, F/H]
        fit = query @ key.mT / math.sqrt(heads[-1])
        if self.spec.causal:
            ahead = torch.ones(steps, steps, dtype=torch.bool, device=x.device).triu(1)
            fit = fit.masked_fill(ahead, -math.inf)
        mean = (fit.softmax(-1) @ value).transpose(2, 3).reshape(x.shape)
        return affine(mean, out, out_bias)

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        self.error_signal = delta
        below, *gradients = self.recorded.pull(delta)
        for own, gradient in zip(self.gradients, gradients, strict=True):
            own.copy_(gradient)
        return below if wanted else None


class PositionalEncoding:
    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        assert isinstance(layer.spec, specs.PositionalEncoding)
        self.path, self.slots = layer.path, slots
        self.learned, self.gradient = views(slots.parameters, layer.tensors), views(slots.gradient, layer.tensors)
        steps, features = layer.in_shape
        self.fixed = sinusoidal(steps, features).to(slots.parameters)

    def initialise(self) -> None:
        for own in self.learned:
            for seed, rows in trials_by_seed(self.slots.seeds).items():
                generator = torch_generator(seed, "init", self.path, "positions")
                own[rows] = (torch.randn(own.shape[1:], generator=generator, dtype=torch.float64) * LEARNED).to(own)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        return x + (self.learned[0][:, None] if self.learned else self.fixed)

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        for own in self.gradient:
            torch.sum(delta, 1, out=own)
        return delta if wanted else None


def sinusoidal(steps: int, features: int) -> Tensor:
    """[S, F] in float64 (Vaswani et al. 2017, section 3.5)."""
    place = torch.arange(steps, dtype=torch.float64)[:, None]
    angle = place / 10000 ** (torch.arange(0, features, 2, dtype=torch.float64) / features)
    return torch.stack([angle.sin(), angle.cos()], 2).flatten(1)[:, :features]
