"""Convolutions: z = W ∗ x + b, one weight for every place. Weights are [out, in, ...kernel] as in torch."""

from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import Whole
from workers.contract.layers.layer import MAX_WIDTH, DoesNotFit, Shape, Weighted, words
from workers.contract.layers.weight_normalizations import WeightNormalizationSpec

MAX_KERNEL = 1024

Side = Annotated[Whole, Field(ge=1, le=MAX_KERNEL)]


class _Convolution(Weighted):
    out_channels: Annotated[Whole, Field(ge=1, le=MAX_WIDTH)] = Field(examples=[16])
    """Channels that come out."""
    kernel_size: Side = Field(default=3, examples=[3])
    """Places that a unit sees in each direction."""
    stride: Side = Field(default=1, examples=[1])
    """Places from one window to the next."""
    padding: Annotated[Whole, Field(ge=0, le=MAX_KERNEL)] | Literal["same"] = Field(default="same", examples=["same"])
    """Zeros put on each side; "same" keeps the length, for odd kernels at stride 1."""
    dilation: Side = Field(default=1, examples=[1])
    """Distance between the places that a unit sees."""
    bias: bool = Field(default=True, strict=True, examples=[True])
    """Whether b is there."""
    weight_normalization: WeightNormalizationSpec | None = Field(default=None, examples=["weight"])
    """How W is made of what is learned, if it is not learned itself."""

    @property
    def margin(self) -> int:
        """The padding, as a number."""
        return self.dilation * (self.kernel_size - 1) // 2 if self.padding == "same" else self.padding

    def _sizes(self, sizes: Shape) -> Shape:
        """Places that come out for those that go in."""
        reach = self.dilation * (self.kernel_size - 1) + 1
        if self.padding == "same" and self.stride != 1:
            raise DoesNotFit(
                f"cannot keep the length at a stride of {self.stride}: give padding as a number", "padding"
            )
        if self.padding == "same" and reach % 2 == 0:
            raise DoesNotFit(
                f"covers {reach} places, an even number, and cannot put as many zeros on one side as on the other: "
                "give padding as a number, or an odd kernel_size",
                "padding",
            )
        padded = [size + 2 * self.margin for size in sizes]
        if min(padded) < reach:
            raise DoesNotFit(
                f"covers {reach} places and receives {min(padded)}, padding included: a smaller kernel_size or dilation, "
                "more padding, or less pooling before it",
                "kernel_size",
            )
        return tuple((size - reach) // self.stride + 1 for size in padded)

    def _tensors(self, channels: int, directions: int) -> tuple[Shape, ...]:
        weight = (self.out_channels, channels, *[self.kernel_size] * directions)
        own = (weight, (self.out_channels,)) if self.bias else (weight,)
        return own + (self.weight_normalization.tensors(self.out_channels) if self.weight_normalization else ())


class Conv1d(_Convolution):
    """Over the steps of a sequence (S, F), whose features are the channels; gives (S', out_channels)."""

    kind: Literal["conv1d"] = "conv1d"
    formula: ClassVar[str] = "z[s] = b + sum_k W[:, :, k] x[stride*s + dilation*k - padding]"
    source: ClassVar[str] = "torch.nn.Conv1d; LeCun et al. 1998, section II"

    def out_shape(self, shape: Shape) -> Shape:
        if len(shape) != 2:
            raise DoesNotFit(f"runs over the steps of a sequence and receives {_what(shape)}: {_instead(shape)}")
        return (*self._sizes(shape[:1]), self.out_channels)

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        return self._tensors(shape[1], 1)

    def positions(self, shape: Shape) -> int:
        return prod(self._sizes(shape[:1]))


class Conv2d(_Convolution):
    """Over the places of an image (C, H, W), with a square kernel; gives (out_channels, H', W')."""

    kind: Literal["conv2d"] = "conv2d"
    formula: ClassVar[str] = "z[i, j] = b + sum_kl W[:, :, k, l] x[:, stride*i + dilation*k - padding, ...]"
    source: ClassVar[str] = "torch.nn.Conv2d; LeCun et al. 1998, section II"

    def out_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise DoesNotFit(f"runs over an image and receives {_what(shape)}: {_instead(shape)}")
        return (self.out_channels, *self._sizes(shape[1:]))

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        return self._tensors(shape[0], 2)

    def positions(self, shape: Shape) -> int:
        return prod(self._sizes(shape[1:]))


def _what(shape: Shape) -> str:
    kind = {1: "no order of them", 2: "a sequence", 3: "an image"}[len(shape)]
    return f"{words(shape)}, {kind}"


def _instead(shape: Shape) -> str:
    other = {2: "take conv1d, or put", 3: "take conv2d, or put"}.get(len(shape), "put")
    return f"{other} an unflatten before it, which gives features a shape"
