"""The same numbers in another shape."""

from torch import Tensor

from workers.contract.shapes import ExpandedLayer
from workers.engine.network.layer import Slots


class Reshape:
    """Flatten, unflatten."""

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        self.in_shape, self.out_shape = layer.in_shape, layer.out_shape

    def initialise(self) -> None: ...

    def forward(self, x: Tensor, training: bool) -> Tensor:
        return x.reshape(*x.shape[:2], *self.out_shape)

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        return delta.reshape(*delta.shape[:2], *self.in_shape) if wanted else None
