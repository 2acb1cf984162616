"""Data sets of the user's own."""

from typing import Annotated, Literal

from pydantic import Field

from workers.contract.base import Spec, Whole
from workers.contract.problems.problem import Loss, Problem

MIN_SAMPLES = 20
"""Of a data set: the test and the validation split need a few each."""


class DatasetFacts(Spec):
    """What a network has to know of a data set."""

    loss: Loss = Field(examples=["cross_entropy"])
    """`cross_entropy` for classes, `mean_squared_error` for quantities."""
    shape: Annotated[tuple[Annotated[Whole, Field(ge=1, le=2**31)], ...], Field(min_length=1, max_length=3)] = Field(
        examples=[[4]]
    )
    """Of one sample: [F] features, [S, F] a sequence, [C, H, W] an image."""
    outputs: Whole = Field(ge=1, le=65_536, examples=[3])
    """Classes, or target columns."""
    samples: Whole = Field(ge=MIN_SAMPLES, le=2**40, examples=[150])
    """Rows of all splits together."""


class Dataset(Problem):
    """Your own data: what POST /v1/datasets took."""

    kind: Literal["dataset"] = "dataset"
    id: str = Field(min_length=1, max_length=64, examples=["9f2c" * 16])
    """As the upload answered: a digest of what the data say."""
    about: DatasetFacts | None = Field(
        default=None, examples=[{"loss": "cross_entropy", "shape": [4], "outputs": 3, "samples": 150}]
    )
    """What the data set is. The service fills it in, and refuses what is stated and not so."""

    @property
    def facts(self) -> DatasetFacts:
        if self.about is None:
            raise ValueError(f"the data set {self.id} has not been looked up: its shape is not known")
        return self.about

    @property
    def loss(self) -> Loss:
        return self.facts.loss

    @property
    def shape(self) -> tuple[int, ...]:
        return self.facts.shape

    @property
    def outputs(self) -> int:
        return self.facts.outputs

    @property
    def samples(self) -> int:
        return self.facts.samples
