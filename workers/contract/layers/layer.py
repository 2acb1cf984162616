"""What a layer is to the contract: how shapes go through it and what it learns. Shapes are without trials and samples.

A shape is (F,) features, (S, F) a sequence of S steps, or (C, H, W) an image of C channels.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from workers.contract.base import Spec
from workers.contract.initialisers import InitSpec

MAX_LAYERS = 2000
"""Layers after expansion, counted before anything is expanded."""
MAX_WIDTH = 1_000_000
"""Bound of a single number; what a network may weigh in all is a setting (`max_parameters`)."""

Shape = tuple[int, ...]
Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^./\s][^./]*$")]


class DoesNotFit(Exception):  # noqa: N818 - it says what a shape is not
    """A layer cannot take what it receives. `field` is the part of its spec to change, empty for the layer itself."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class Layer(Spec):
    weighted: ClassVar[bool] = False
    """Whether it opens a row of the statistics: the parameters of what follows, up to the next such layer, belong to its row."""

    name: Name | None = Field(default=None, examples=["encoder"])
    """Its place in paths, `layers.INDEX.KIND` if null: `hidden.3.linear` is the linear layer of the fourth copy in a repeat named
    `hidden`. The output layer is `output` in any case."""

    @property
    def mixes_samples(self) -> bool:
        """Whether what comes out for a sample depends on the others of its batch."""
        return False

    @property
    def starts_from_data(self) -> bool:
        """Whether its start depends on what it receives: training inputs go through the network before anything is trained."""
        return False

    def out_shape(self, shape: Shape) -> Shape:
        """What it gives for what it receives. Raises DoesNotFit."""
        return shape

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        """Shapes of its own parameter tensors, in the order in which they lie one after another; those of layers inside come before."""
        return ()

    def kept(self, shape: Shape) -> int:
        """Numbers that it remembers beside its parameters: what is frozen."""
        return 0

    def workspace(self, shape: Shape) -> int:
        """Numbers kept of one sample from the pass forward to the pass backward, beside what comes out."""
        return 0

    workspace_stays: ClassVar[bool] = False
    """Whether they are kept until the next pass forward; else the pass backward lets them go."""

    def positions(self, shape: Shape) -> int:
        """How often each of its own parameters is used on one sample."""
        return 1


class Weighted(Layer):
    """A layer of weights: a row of the statistics, with a depth."""

    weighted: ClassVar[bool] = True

    init: InitSpec | None = Field(default=None, examples=["orthogonal"])
    """The network's `init` if null."""


def words(shape: Shape) -> str:
    return "×".join(str(size) for size in shape) + " features"


def features(shape: Shape) -> int:
    """Channels of an image, else the size of the last axis."""
    return shape[0] if len(shape) == 3 else shape[-1]
