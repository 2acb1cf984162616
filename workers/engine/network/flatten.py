"""A sequence or an image as one vector."""

from torch import Tensor

from workers.contract.shapes import ExpandedLayer
from workers.engine.network.layer import Slots


class Flatten:
    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        self.shape = layer.in_shape

    def initialise(self) -> None: ...

    def forward(self, x: Tensor, training: bool) -> Tensor:
        return x.flatten(2)

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        return delta.unflatten(2, self.shape) if wanted else None
