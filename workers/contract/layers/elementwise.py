"""Layers that treat every element, or the order of elements, alone."""

from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.activations import ActivationSpec, Scaled, trained
from workers.contract.base import Fraction, Whole
from workers.contract.layers.layer import MAX_WIDTH, DoesNotFit, Layer, Shape, words


class Activation(Layer):
    """a = θ(z), elementwise."""

    kind: Literal["activation"] = "activation"
    formula: ClassVar[str] = "a = theta(z)"
    source: ClassVar[str] = "of each non-linearity: see activations"
    activation: ActivationSpec = Field(examples=["sigmoid"])
    """The non-linearity."""

    def out_shape(self, shape: Shape) -> Shape:
        if self._per_unit and len(shape) != 1:
            message = (
                f"constants of a unit's own are for layers of features, not for {words(shape)}: learn them per layer"
            )
            raise DoesNotFit(message, "activation/per")
        return shape

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        """The constants that learn, in the order a, b, c, d."""
        return (shape[:1] if self._per_unit else (1,),) * len(trained(self.activation))

    @property
    def _per_unit(self) -> bool:
        return isinstance(self.activation, Scaled) and self.activation.per == "unit"


class Dropout(Layer):
    """During training sets each input to zero with probability p and divides the others by 1−p."""

    kind: Literal["dropout"] = "dropout"
    formula: ClassVar[str] = "a = m*x/(1 - p), m ~ Bernoulli(1 - p)"
    source: ClassVar[str] = "torch.nn.Dropout; Srivastava et al. 2014, section 4"
    p: Fraction = Field(default=0.5, examples=[0.1])
    """Probability of being dropped."""


class Flatten(Layer):
    """A sequence or an image as one vector, in row-major order."""

    kind: Literal["flatten"] = "flatten"
    formula: ClassVar[str] = "a[(i*H + j)*W + k] = x[i, j, k]"
    source: ClassVar[str] = "torch.nn.Flatten"

    def out_shape(self, shape: Shape) -> Shape:
        return (prod(shape),)


class Unflatten(Layer):
    """Features as a sequence or an image, in row-major order."""

    kind: Literal["unflatten"] = "unflatten"
    shape: list[Annotated[Whole, Field(ge=1, le=MAX_WIDTH)]] = Field(min_length=2, max_length=3, examples=[[1, 8, 8]])
    """[steps, features] of a sequence, or [channels, height, width] of an image."""
    formula: ClassVar[str] = "a[i, j, k] = x[(i*H + j)*W + k]"
    source: ClassVar[str] = "torch.nn.Unflatten"

    def out_shape(self, shape: Shape) -> Shape:
        if prod(shape) != prod(self.shape):
            raise DoesNotFit(
                f"gives {words(tuple(self.shape))}, {prod(self.shape)} numbers, and receives {words(shape)}, {prod(shape)} numbers: "
                "both must be equal",
                "shape",
            )
        return tuple(self.shape)
