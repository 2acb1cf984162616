"""Pooling. T trials, B samples, F features, N planes: no trial, sample or feature differs from another to torch's own kernels.

Windows over images are taken with the planes' places side by side in memory on a CPU: so torch finds the largest for many planes at a time,
and otherwise for one after another, with a branch for each element, three to ten times slower.
"""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from workers.contract import layers as specs
from workers.contract.shapes import ExpandedLayer
from workers.engine.network.by_autograd import Recorded
from workers.engine.network.layer import Slots

aten = torch.ops.aten


class Pool:
    """The largest, or the mean, of windows; a sequence is an image of width one."""

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        spec = layer.spec
        assert isinstance(spec, specs.MaxPool | specs.AveragePool)
        self.image = len(layer.in_shape) == 3
        self.largest = isinstance(spec, specs.MaxPool)
        step = spec.stride or spec.kernel_size
        self.windows = ([spec.kernel_size, spec.kernel_size if self.image else 1], [step, step if self.image else 1])
        self.planes: Tensor
        """[N, F, H, W], a view of the input."""
        self.index: Tensor
        """Where in its plane each of the largest is."""

    def initialise(self) -> None: ...

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self.planes = self._planes(x)
        arranged = self._arranged(self.planes)
        if self.largest:
            pooled, self.index = aten.max_pool2d_with_indices(arranged, *self.windows)
        else:
            pooled = functional.avg_pool2d(arranged, *self.windows)
        return self._shaped(self._restored(pooled), x)

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        if not wanted:
            return None
        above, none = self._planes(delta), [0, 0]
        if self.largest:
            index = self._restored(self.index)
            below = aten.max_pool2d_with_indices_backward(above, self.planes, *self.windows, none, [1, 1], False, index)
        else:
            below = aten.avg_pool2d_backward(above, self.planes, *self.windows, none, False, True, None)
        return self._shaped(below, delta)

    def _planes(self, x: Tensor) -> Tensor:
        """[T, B, F, H, W] -> [1, T·B·F, H, W]; [T, B, S, F] -> [T·B, F, S, 1], whose features are side by side already."""
        return x.reshape(1, -1, *x.shape[3:]) if self.image else x.flatten(0, 1).mT.unsqueeze(3)

    def _shaped(self, planes: Tensor, like: Tensor) -> Tensor:
        """`_planes` back, of as many trials, samples and features as another has."""
        if self.image:
            return planes.view(*like.shape[:3], *planes.shape[2:])
        steps: Tensor = planes.squeeze(3).mT.unflatten(0, like.shape[:2])
        return steps

    def _arranged(self, planes: Tensor) -> Tensor:
        """The same numbers; in memory [H, W, N]."""
        if planes.is_cuda or not self.image:
            return planes
        places = planes.shape[2:]
        return planes.view(-1, places.numel()).t().contiguous().view(1, *places, -1).permute(0, 3, 1, 2)

    def _restored(self, arranged: Tensor) -> Tensor:
        """The same numbers; in memory [N, H, W]."""
        if arranged.is_cuda or not self.image:
            return arranged
        count, *places = arranged.shape[1:]
        return arranged.permute(0, 2, 3, 1).view(-1, count).t().contiguous().view(1, count, *places)


class GlobalPool:
    """A function of [N, F, places]."""

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        self.image = len(layer.in_shape) == 3
        self.largest = cast(specs.GlobalPool, layer.spec).of == "max"
        self.recorded: Recorded

    def initialise(self) -> None: ...

    def forward(self, x: Tensor, training: bool) -> Tensor:
        if not training:
            return self._function(x)
        self.recorded = Recorded(self._function, x)
        return self.recorded.value.detach()

    def _function(self, x: Tensor) -> Tensor:
        places = (3, 4) if self.image else (2,)
        return x.amax(places) if self.largest else x.mean(places)

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        return self.recorded.pull(delta)[0] if wanted else None
