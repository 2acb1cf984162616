"""What a layer is to the engine. T trials, B samples; activations are [T, B, ...], the rest as in the contract's shapes.

A layer is built for the trials of one program. It keeps what its backward pass and the statistics need of the last
forward pass, so a pass backward must follow the pass forward that it belongs to.
"""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from workers.contract.layers import Shape
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
    inside: "list[Layer]" = field(default_factory=list)
    """The layers inside, already built."""


class Layer(Protocol):
    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None: ...

    def initialise(self) -> None:
        """Writes the parameters' start into its slots. Each distinct seed is drawn once and given to its trials."""

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """[T, B, in] -> [T, B, out]; `training` as in torch, for layers that differ."""

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        """∂L/∂output -> ∂L/∂input (None if not `wanted`), writing the gradient of the parameters into its slots."""


class Weighted(Layer, Protocol):
    """A layer of weights: what a row of the statistics is about."""

    output: Tensor
    """[T, B, out] of the last pass forward: the pre-activation."""
    error_signal: Tensor
    """[T, B, out], ∂L/∂output."""


class Starting(Layer, Protocol):
    """A layer whose start depends on what it receives."""

    starting: bool
    """From `initialise` to the next pass forward, in which it sees training inputs as the layers below give them, and starts from them."""


class Remembering(Layer, Protocol):
    """A layer that keeps more than its parameters from step to step."""

    state: dict[str, Tensor]
    """[T, ...] each, updated in place: part of a checkpoint."""


def views(flat: Tensor, tensors: tuple[Shape, ...]) -> list[Tensor]:
    """[T, n] -> views [T, *shape] of each tensor that lies in the columns, one after another."""
    found, start = [], 0
    for shape in tensors:
        stop = start + torch.Size(shape).numel()
        found.append(flat[:, start:stop].unflatten(1, shape))
        start = stop
    return found


def trials_by_seed(seeds: list[int]) -> dict[int, list[int]]:
    """Rows of each distinct seed."""
    rows: dict[int, list[int]] = {}
    for row, seed in enumerate(seeds):
        rows.setdefault(seed, []).append(row)
    return rows
