"""Layers made of layers. F(x) is what the layers inside, one after another, make of x."""

from math import prod, sqrt
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from workers.contract.base import NonNegative, Number, Whole
from workers.contract.layers.layer import MAX_LAYERS, DoesNotFit, Layer, Shape, words

if TYPE_CHECKING:
    from workers.contract.layers import LayerSpec

_BLOCK = [{"kind": "linear", "out_features": 64}, {"kind": "activation", "activation": "sigmoid"}]


class _Container(Layer):
    layers: list["LayerSpec"] = Field(min_length=1, max_length=MAX_LAYERS, examples=[_BLOCK])
    """What is inside, from the input upwards."""


class Sequential(_Container):
    """F(x): a block with a name."""

    kind: Literal["sequential"] = "sequential"
    formula: ClassVar[str] = "a = F(x)"
    source: ClassVar[str] = "torch.nn.Sequential"


class Repeat(_Container):
    """The layers inside, one copy after another, each with its own parameters."""

    kind: Literal["repeat"] = "repeat"
    formula: ClassVar[str] = "a = F_n(...F_2(F_1(x)))"
    source: ClassVar[str] = "torch.nn.Sequential, of copies"
    times: Annotated[Whole, Field(ge=1, le=MAX_LAYERS)] = Field(examples=[6])
    """Copies."""


class _Shortcut(_Container):
    where_shapes_change: Literal["refuse", "leave_out"] = Field(default="refuse", examples=["refuse"])
    """Where F changes the shape there is nothing to add to: refuse the network, or leave the shortcut out and take F(x) alone."""

    def joined(self, shape: Shape, inside: Shape) -> Shape:
        """What comes out where `inside` is what F makes of `shape`."""
        if inside != shape:
            raise DoesNotFit(
                f"adds what it receives, {words(shape)}, to what its layers give, {words(inside)}: make these equal, or say "
                '"where_shapes_change": "leave_out"'
            )
        return shape


class Residual(_Shortcut):
    """x + s·F(x), or that over √(1 + s²)."""

    kind: Literal["residual"] = "residual"
    formula: ClassVar[str] = "a = x + s*F(x); normalized: (x + s*F(x))/sqrt(1 + s^2)"
    scale: NonNegative | Literal["depth"] = Field(default=1.0, examples=[1.0])
    """s; "depth" is 1/√(residual blocks of the network)."""
    trainable: bool = Field(default=False, strict=True, examples=[False])
    """Whether s is learned, one number for the block: with a scale of 0 this is ReZero, and SkipInit."""
    normalized: bool = Field(default=False, strict=True, examples=[False])
    """Whether the sum is divided by √(1 + s²), so that parts with a mean square of 1 stay there: what shaped non-linearities need."""
    fixup: bool = Field(default=False, strict=True, examples=[False])
    """Whether F starts by Fixup's rules: of its m layers of weights, two at least, the last at zero, the others L^(−1/(2m−2)) smaller than
    the network says, L being how many such blocks it has. An update then changes the network as much at any depth. Of the paper's
    scalars, the multiplier is a trainable s that starts at 1; the last layer of F should have no bias, since those of all blocks add up."""
    source: ClassVar[str] = (
        "He et al. 2016; Bachlechner et al. 2020 (ReZero); De & Smith 2020 (SkipInit); 1/√L: Hayou et al. 2021; "
        "normalized: Martens et al. 2021; fixup: Zhang, Dauphin & Ma 2019, section 3.3"
    )

    @model_validator(mode="after")
    def _constant_where_normalized(self) -> Self:
        if self.normalized and self.trainable:
            raise ValueError("a scale that is learned has no constant to divide by: leave out normalized, or trainable")
        return self

    @property
    def shares(self) -> tuple[float, float]:
        """What x and F(x) are multiplied by before training. Of a network that is expanded, where s is a number."""
        assert self.scale != "depth"
        root = sqrt(1 + self.scale**2) if self.normalized else 1.0
        return 1 / root, self.scale / root

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        return ((1,),) if self.trainable else ()


class Highway(_Shortcut):
    """t·F(x) + (1 − t)·x with the gate t = σ(W x + b), at every step of a sequence; W starts as xavier_normal."""

    kind: Literal["highway"] = "highway"
    formula: ClassVar[str] = "a = t*F(x) + (1 - t)*x, t = sigmoid(W x + b)"
    transform_bias: Number = Field(default=-2.0, ge=-50, le=50, examples=[-2.0])
    """Where b starts; negative carries x through."""
    source: ClassVar[str] = "Srivastava, Greff & Schmidhuber 2015, eq. 3; section 2.2 for the bias"

    def joined(self, shape: Shape, inside: Shape) -> Shape:
        if len(shape) == 3:
            raise DoesNotFit(f"has a dense gate and receives an image, {words(shape)}: use residual")
        return super().joined(shape, inside)

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        return ((shape[-1], shape[-1]), (shape[-1],))

    def workspace(self, shape: Shape) -> int:
        """The gate."""
        return prod(shape)

    def positions(self, shape: Shape) -> int:
        return prod(shape[:-1])


class Dense(_Container):
    """x and F(x) side by side: whatever comes after reads both. Copies of it, one after another, are a block of a DenseNet."""

    kind: Literal["dense"] = "dense"
    formula: ClassVar[str] = "a = [x, F(x)]"
    source: ClassVar[str] = "Huang et al. 2017 (DenseNet), eq. 2"

    def joined(self, shape: Shape, inside: Shape) -> Shape:
        """Features add up, channels of an image; the rest has to be alike."""
        at = channel_axis(shape)
        alike = len(shape) == len(inside) and all(
            own == other for axis, (own, other) in enumerate(zip(shape, inside, strict=True)) if axis != at
        )
        if not alike:
            raise DoesNotFit(
                f"puts what it receives, {words(shape)}, beside what its layers give, {words(inside)}: let these differ in "
                f"their {'channels' if len(shape) == 3 else 'features'} only"
            )
        return (*shape[:at], shape[at] + inside[at], *shape[at + 1 :])


HOLDING = (Residual, Highway, Dense)
"""The layers that keep others inside when a network is expanded."""


def channel_axis(shape: Shape) -> int:
    """Of what a sample has at every place: an image's channels, features otherwise."""
    return 0 if len(shape) == 3 else len(shape) - 1
