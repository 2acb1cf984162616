"""Dense layers."""

from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import Whole
from workers.contract.layers.layer import MAX_WIDTH, DoesNotFit, Shape, Weighted, words
from workers.contract.layers.weight_normalizations import WeightNormalizationSpec


class Linear(Weighted):
    """z = W x + b, at every step of a sequence."""

    kind: Literal["linear"] = "linear"
    formula: ClassVar[str] = "z = W x + b"
    source: ClassVar[str] = "torch.nn.Linear"
    out_features: Annotated[Whole, Field(ge=1, le=MAX_WIDTH)] = Field(examples=[64])
    """Units."""
    in_features: Annotated[Whole, Field(ge=1, le=MAX_WIDTH)] | None = Field(default=None, examples=[64])
    """Checked against what arrives, if given."""
    bias: bool = Field(default=True, strict=True, examples=[True])
    """Whether b is there."""
    weight_normalization: WeightNormalizationSpec | None = Field(default=None, examples=["weight"])
    """How W is made of what is learned, if it is not learned itself."""
    output: bool = Field(default=False, strict=True, examples=[False])
    """True on the last layer says that it is the output layer, so that none is added."""

    def out_shape(self, shape: Shape) -> Shape:
        if len(shape) == 3:
            raise DoesNotFit(
                f"is dense and receives an image, {words(shape)}: put a flatten or a global_pool before it"
            )
        if self.in_features is not None and self.in_features != shape[-1]:
            raise DoesNotFit(
                f"expects {words((self.in_features,))} and receives {words(shape)}: "
                f"set in_features to {shape[-1]}, or leave it out",
                "in_features",
            )
        return (*shape[:-1], self.out_features)

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        weight = (self.out_features, shape[-1])
        own = (weight, (self.out_features,)) if self.bias else (weight,)
        return own + (self.weight_normalization.tensors(self.out_features) if self.weight_normalization else ())

    def positions(self, shape: Shape) -> int:
        return prod(shape[:-1])
