"""Pooling: many places become one. Over the steps of a sequence (S, F), or over the places of an image (C, H, W)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import Whole
from workers.contract.layers.layer import DoesNotFit, Layer, Shape, words

Side = Annotated[Whole, Field(ge=1, le=1024)]


class _Pool(Layer):
    kernel_size: Side = Field(default=2, examples=[2])
    """Places of a window in each direction."""
    stride: Side | None = Field(default=None, examples=[2])
    """Places from one window to the next; as many as a window has if null."""

    def out_shape(self, shape: Shape) -> Shape:
        if len(shape) == 1:
            raise DoesNotFit(
                f"runs over places and receives {words(shape)}, which have none: put an unflatten before it, or leave it out"
            )
        steps = shape[:1] if len(shape) == 2 else shape[1:]
        if min(steps) < self.kernel_size:
            raise DoesNotFit(
                f"takes {self.kernel_size} places at a time and receives {min(steps)}: a smaller kernel_size, or less pooling before it",
                "kernel_size",
            )
        stride = self.stride or self.kernel_size
        found = tuple((size - self.kernel_size) // stride + 1 for size in steps)
        return (*found, shape[1]) if len(shape) == 2 else (shape[0], *found)


class MaxPool(_Pool):
    """The largest of each window, per feature."""

    kind: Literal["max_pool"] = "max_pool"
    formula: ClassVar[str] = "a[i] = max_k x[stride*i + k]"
    source: ClassVar[str] = "torch.nn.MaxPool1d and MaxPool2d; Ranzato et al. 2007"


class AveragePool(_Pool):
    """The mean of each window, per feature."""

    kind: Literal["average_pool"] = "average_pool"
    formula: ClassVar[str] = "a[i] = mean_k x[stride*i + k]"
    source: ClassVar[str] = "torch.nn.AvgPool1d and AvgPool2d; LeCun et al. 1998, section II"


class GlobalPool(Layer):
    """One number per feature: the mean, or the largest, over all steps of a sequence or all places of an image."""

    kind: Literal["global_pool"] = "global_pool"
    of: Literal["average", "max"] = Field(default="average", examples=["average"])
    """Which number."""
    formula: ClassVar[str] = "a = mean_i x[i], or max_i x[i]"
    source: ClassVar[str] = "torch.nn.AdaptiveAvgPool2d(1) and AdaptiveMaxPool2d(1); Lin, Chen & Yan 2014, section 3.2"

    def out_shape(self, shape: Shape) -> Shape:
        if len(shape) == 1:
            raise DoesNotFit(f"runs over places and receives {words(shape)}, which have none: leave it out")
        return (shape[1],) if len(shape) == 2 else (shape[0],)
