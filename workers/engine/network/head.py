"""A linear head with a loss of its own on what passes through. T trials, B samples, F numbers of one, O outputs."""

import torch
from torch import Tensor

from workers.contract import layers as specs
from workers.contract.initialisers import XavierNormal
from workers.contract.shapes import ExpandedLayer
from workers.engine.initialisers import draw_weight
from workers.engine.losses import LossFunction
from workers.engine.network.layer import Slots, trials_by_seed, views
from workers.engine.network.linear import affine

START = XavierNormal()


class AuxiliaryHead:
    """Columns of the flat parameters: V [O, F], c [O]."""

    loss: LossFunction
    """The problem's, and the targets of the batch [T, B, ...]: set by whoever passes backward."""
    target: Tensor

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        assert isinstance(layer.spec, specs.AuxiliaryHead)
        self.path, self.share, self.slots = layer.path, layer.spec.weight, slots
        self.weight, self.bias = views(slots.parameters, layer.tensors)
        self.weight_gradient, self.bias_gradient = views(slots.gradient, layer.tensors)
        self.input: Tensor

    def initialise(self) -> None:
        out, into = self.weight.shape[1:]
        for seed, rows in trials_by_seed(self.slots.seeds).items():
            self.weight[rows] = draw_weight(START, out, into, seed, self.path).to(self.weight)
        self.bias.zero_()

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self.input = x
        return x

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        rows = self.input.flatten(2)
        own = self.loss.gradient(affine(rows, self.weight, self.bias), self.target).mul_(self.share)
        torch.bmm(own.mT, rows, out=self.weight_gradient)
        torch.sum(own, 1, out=self.bias_gradient)
        return delta + torch.bmm(own, self.weight).view(delta.shape) if wanted else None
