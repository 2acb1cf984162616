"""What a layer is to the engine. T trials, B samples, F features; activations are [T, B, F].

A layer is built for the trials of one program. It keeps what its backward pass and the statistics need of the last
forward pass, so a pass backward must follow the pass forward that it belongs to.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from workers.contract.shapes import ExpandedLayer


@dataclass(frozen=True)
class Slots:
    """A layer's place in the program: its columns of the flat parameters and gradients, and what randomness it may use."""

    parameters: Tensor
    """[T, n], a view of this layer's columns."""
    gradient: Tensor
    """[T, n], likewise."""
    seeds: list[int]
    """Of the trials."""
    step: Tensor
    """int64 scalar: updates made so far."""


class Layer(Protocol):
    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None: ...

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """[T, B, F in] -> [T, B, F out]; `training` as in torch, for layers that differ."""

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        """∂L/∂output -> ∂L/∂input (None if not `wanted`), writing the gradient of the parameters into its slots."""
