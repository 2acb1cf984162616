"""Layers in which the steps of a sequence (S, F) see each other, or learn where they stand."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import Whole
from workers.contract.layers.layer import DoesNotFit, Layer, Shape, Weighted, words


class Attention(Weighted):
    """Multi-head self-attention: every step is a mean of all steps, weighted by how well its query fits their keys, in each head apart.

    Its error signal is that of what comes out. Each of the four matrices starts as the network says.
    """

    kind: Literal["attention"] = "attention"
    formula: ClassVar[str] = (
        "z = W_o [softmax(q_h k_h^T/sqrt(F/heads)) v_h, of every head h] + b_o, (q, k, v) = W_i x + b_i"
    )
    source: ClassVar[str] = "Vaswani et al. 2017, section 3.2; torch.nn.MultiheadAttention"
    heads: Annotated[Whole, Field(ge=1, le=4096)] = Field(default=1, examples=[4])
    """Parts of the features that attend by themselves; divides their number."""
    bias: bool = Field(default=True, strict=True, examples=[True])
    """Whether b_i and b_o are there."""
    causal: bool = Field(default=False, strict=True, examples=[False])
    """Whether a step sees itself and the steps before it only."""

    def out_shape(self, shape: Shape) -> Shape:
        if len(shape) != 2:
            raise DoesNotFit(
                f"runs over the steps of a sequence and receives {words(shape)}: put an unflatten to [steps, features] before it"
            )
        if shape[1] % self.heads:
            raise DoesNotFit(
                f"has {self.heads} heads and receives {shape[1]} features, which they do not divide", "heads"
            )
        return shape

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        width = shape[1]
        if not self.bias:
            return (3 * width, width), (width, width)
        return (3 * width, width), (3 * width,), (width, width), (width,)

    def positions(self, shape: Shape) -> int:
        """At every step; and what a step takes of all others, 2·S²·F, in uses of the 4·F² weights."""
        steps, width = shape
        return steps + -(-steps * steps // (2 * width))

    def workspace(self, shape: Shape) -> int:
        """Query, key, value and their mean, and the weights of all pairs."""
        steps, width = shape
        return 4 * steps * width + self.heads * steps * steps


class PositionalEncoding(Layer):
    """x + P, where row s of P says where in its sequence step s stands."""

    kind: Literal["positional_encoding"] = "positional_encoding"
    formula: ClassVar[str] = "a[s] = x[s] + P[s], P[s, 2i] = sin(s/10000**(2i/F)), P[s, 2i+1] = cos(s/10000**(2i/F))"
    source: ClassVar[str] = "Vaswani et al. 2017, section 3.5; learned: Gehring et al. 2017, section 3.1"
    encoding: Literal["sinusoidal", "learned"] = Field(default="sinusoidal", examples=["learned"])
    """Sines and cosines of the place; or parameters, which start as normal numbers of deviation 0.02."""

    def out_shape(self, shape: Shape) -> Shape:
        if len(shape) != 2:
            raise DoesNotFit(
                f"tells the steps of a sequence apart and receives {words(shape)}: put an unflatten to [steps, features] before it"
            )
        return shape

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        return (shape,) if self.encoding == "learned" else ()
