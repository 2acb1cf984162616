"""Losses of their own for lower layers."""

from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import Positive, Whole
from workers.contract.layers.layer import MAX_WIDTH, Layer, Shape


class AuxiliaryHead(Layer):
    """Passes x on as it is, and adds weight·loss(V x + c) to what is trained: the problem's loss of a linear head, V from xavier_normal.

    What comes in is flattened for the head. Losses that are reported are those of the network's own output.
    """

    kind: Literal["auxiliary_head"] = "auxiliary_head"
    formula: ClassVar[str] = "a = x; loss <- loss + weight*loss(V x + c)"
    source: ClassVar[str] = "Lee et al. 2015 (deeply-supervised nets), eq. 3; Szegedy et al. 2015"
    weight: Positive = Field(default=0.3, le=1e9, examples=[0.3])
    """λ."""
    outputs: Annotated[Whole, Field(ge=1, le=MAX_WIDTH)] | None = Field(default=None, examples=[10])
    """Of the head: the problem's, whatever is said here."""

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        assert self.outputs is not None, "set where the network is expanded"
        return (self.outputs, prod(shape)), (self.outputs,)
