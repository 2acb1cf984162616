"""Vectors for symbols. T trials, B samples, S steps, V symbols, D numbers of a vector."""

import torch
from torch import Tensor

from workers.contract import layers as specs
from workers.contract.shapes import ExpandedLayer
from workers.engine.network.layer import Slots, trials_by_seed, views
from workers.engine.seeding import torch_generator


class Embedding:
    """Columns of the flat parameters: W [V, D], row by row."""

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        assert isinstance(layer.spec, specs.Embedding)
        self.path, self.std, self.slots = layer.path, layer.spec.std, slots
        (self.weight,), (self.gradient,) = (views(flat, layer.tensors) for flat in (slots.parameters, slots.gradient))
        self.places: Tensor
        """int64 [T, B·S, D]: the symbols, once for each number of a vector."""
        self.output: Tensor
        self.error_signal: Tensor

    def initialise(self) -> None:
        for seed, rows in trials_by_seed(self.slots.seeds).items():
            generator = torch_generator(seed, "init", self.path, "weight")
            drawn = torch.randn(self.weight.shape[1:], generator=generator, dtype=torch.float64)
            self.weight[rows] = (drawn * self.std).to(self.weight)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """[T, B, S] whole numbers -> [T, B, S, D]"""
        width = self.weight.shape[2]
        self.places = x.flatten(1).long()[..., None].expand(-1, -1, width)
        self.output = self.weight.gather(1, self.places).view(*x.shape, width)
        return self.output

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        self.error_signal = delta
        self.gradient.zero_().scatter_add_(1, self.places, delta.flatten(1, 2))
        return None
