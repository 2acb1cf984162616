"""Layers that treat every element, or the order of elements, alone."""

from math import prod
from typing import Literal

from pydantic import Field

from workers.contract.activations import ActivationSpec
from workers.contract.base import Fraction
from workers.contract.layers.layer import Layer, Shape


class Activation(Layer):
    """a = θ(z), elementwise."""

    kind: Literal["activation"] = "activation"
    activation: ActivationSpec = Field(examples=["sigmoid"])
    """The non-linearity."""


class Dropout(Layer):
    """During training sets each input to zero with probability p and divides the others by 1−p."""

    kind: Literal["dropout"] = "dropout"
    p: Fraction = Field(default=0.5, examples=[0.1])
    """Probability of being dropped."""


class Flatten(Layer):
    """A sequence or an image as one vector, in row-major order."""

    kind: Literal["flatten"] = "flatten"

    def out_shape(self, shape: Shape) -> Shape:
        return (prod(shape),)
