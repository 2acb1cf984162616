"""Vectors for symbols."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import NonNegative, Whole
from workers.contract.layers.layer import MAX_WIDTH, DoesNotFit, Layer, Shape, words


class Embedding(Layer):
    """A learned vector for each symbol of a sequence: the first layer of a network whose inputs are `tokens`. It starts as N(0, std²)."""

    kind: Literal["embedding"] = "embedding"
    weighted: ClassVar[bool] = True
    formula: ClassVar[str] = "z[s] = W[x[s]]"
    source: ClassVar[str] = "torch.nn.Embedding"
    num_embeddings: Annotated[Whole, Field(ge=1, le=MAX_WIDTH)] = Field(examples=[8])
    """Symbols, 0 to one below this: at least the problem's."""
    embedding_dim: Annotated[Whole, Field(ge=1, le=MAX_WIDTH)] = Field(examples=[16])
    """Numbers of a vector."""
    std: NonNegative = Field(default=1.0, examples=[1.0])
    """Standard deviation before training."""

    def out_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise DoesNotFit(
                f"reads symbols, whole numbers (S,), and receives {words(shape)}: a linear layer takes what is one-hot"
            )
        return (*shape, self.embedding_dim)

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        return ((self.num_embeddings, self.embedding_dim),)
