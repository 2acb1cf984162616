"""Pooling. No trial differs from another: trials and samples are one axis to torch's own kernels."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from workers.contract import layers as specs
from workers.contract.shapes import ExpandedLayer
from workers.engine.network.by_autograd import Recorded
from workers.engine.network.layer import Slots

Pooling = Callable[[Tensor], Tensor]


class Pool:
    """A function of [N, F, H, W], a sequence being an image of width one."""

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        self.out_shape = layer.out_shape
        self.pooling = _pooling(layer)
        self.recorded: Recorded

    def initialise(self) -> None: ...

    def forward(self, x: Tensor, training: bool) -> Tensor:
        if not training:
            return self._function(x)
        self.recorded = Recorded(self._function, x)
        return self.recorded.value.detach()

    def _function(self, x: Tensor) -> Tensor:
        image = x if x.dim() == 5 else x.mT.unsqueeze(-1)
        pooled: Tensor = self.pooling(image.flatten(0, 1)).unflatten(0, x.shape[:2])
        if len(self.out_shape) == 2:
            return pooled.squeeze(-1).mT
        return pooled if len(self.out_shape) == 3 else pooled.flatten(2)

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        return self.recorded.pull(delta)[0] if wanted else None


def _pooling(layer: ExpandedLayer) -> Pooling:
    spec = layer.spec
    if isinstance(spec, specs.GlobalPool):
        mean, largest = (lambda x: x.mean((2, 3))), (lambda x: torch.amax(x.flatten(2), 2))
        return mean if spec.of == "average" else largest
    assert isinstance(spec, specs.MaxPool | specs.AveragePool)
    image, size, step = len(layer.in_shape) == 3, spec.kernel_size, spec.stride or spec.kernel_size
    kernel, stride = (size, size if image else 1), (step, step if image else 1)
    if isinstance(spec, specs.MaxPool):
        return lambda x: functional.max_pool2d(x, kernel, stride)
    return lambda x: functional.avg_pool2d(x, kernel, stride)
