"""Problems: data plus loss. Splits are fixed by name: 60 % training, 20 % validation, the rest test.

Inputs are standardised on the training split, and so are the targets of a regression.
"""

from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.activations import ActivationSpec
from workers.contract.base import ByKind, NonNegative, Spec, Whole
from workers.contract.nonlinearities import Tanh

Loss = Literal["cross_entropy", "mean_squared_error"]

MIN_SAMPLES = 20
"""Of a data set: the test and the validation split need a few each."""


class _Problem(Spec):
    @property
    def loss(self) -> Loss:
        """What is minimised: its mean over the samples of a batch."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample of the input: (F,) features, (S, F) a sequence, (C, H, W) an image."""
        raise NotImplementedError

    @property
    def features(self) -> int:
        """Numbers in one sample of the input."""
        return prod(self.shape)

    @property
    def outputs(self) -> int:
        """Number of outputs the network must have: classes, or target columns."""
        raise NotImplementedError

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of the network's output on one sample."""
        return (self.outputs,)

    @property
    def samples(self) -> int:
        """Rows in all splits together."""
        raise NotImplementedError

    @property
    def training_samples(self) -> int:
        return split_sizes(self.samples)[0]


def split_sizes(samples: int) -> tuple[int, int, int]:
    """Sizes of the training, validation and test splits."""
    training, validation = samples * 3 // 5, samples // 5
    return training, validation, samples - training - validation


class _BuiltIn(_Problem):
    """A data set of fixed size that scikit-learn carries."""

    size: ClassVar[tuple[int, int, int]]
    """(samples, features, outputs)"""

    @property
    def samples(self) -> int:
        return self.size[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.size[1],)

    @property
    def outputs(self) -> int:
        return self.size[2]


class Digits(_BuiltIn):
    """8×8 grey images of handwritten digits, ten classes, 1797 samples."""

    kind: Literal["digits"] = "digits"
    images: bool = Field(default=False, strict=True, examples=[True])
    """Whether a sample is an image (1, 8, 8), on one scale for all pixels, for convolutions; else it is 64 features, each on its own."""
    loss: ClassVar[Loss] = "cross_entropy"
    size: ClassVar[tuple[int, int, int]] = (1797, 64, 10)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, 8, 8) if self.images else (64,)


class BreastCancer(_BuiltIn):
    """Thirty measurements of cell nuclei, two classes, 569 samples."""

    kind: Literal["breast_cancer"] = "breast_cancer"
    loss: ClassVar[Loss] = "cross_entropy"
    size: ClassVar[tuple[int, int, int]] = (569, 30, 2)


class Wine(_BuiltIn):
    """Thirteen chemical measurements, three cultivars, 178 samples."""

    kind: Literal["wine"] = "wine"
    loss: ClassVar[Loss] = "cross_entropy"
    size: ClassVar[tuple[int, int, int]] = (178, 13, 3)


class Diabetes(_BuiltIn):
    """Ten baseline variables against disease progression after a year, regression, 442 samples."""

    kind: Literal["diabetes"] = "diabetes"
    loss: ClassVar[Loss] = "mean_squared_error"
    size: ClassVar[tuple[int, int, int]] = (442, 10, 1)


class Spirals(_Problem):
    """Interleaved spirals in the plane, one a class."""

    kind: Literal["spirals"] = "spirals"
    loss: ClassVar[Loss] = "cross_entropy"
    classes: Whole = Field(default=2, ge=2, le=10, examples=[2])
    """Number of spirals."""
    count: Whole = Field(default=1000, ge=50, le=100_000, examples=[1000])
    """Points in all splits together."""
    turns: NonNegative = Field(default=1.5, le=10, examples=[1.5])
    """Revolutions from the centre to the rim."""
    noise: NonNegative = Field(default=0.02, le=1, examples=[0.02])
    """Standard deviation of what is added to each coordinate, in radii."""

    @property
    def samples(self) -> int:
        return self.count

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    @property
    def outputs(self) -> int:
        return self.classes


class Teacher(_Problem):
    """Regression to the outputs of a random network on normal inputs; the teacher is drawn by `draw`, not by the trial's seed."""

    kind: Literal["teacher"] = "teacher"
    loss: ClassVar[Loss] = "mean_squared_error"
    inputs: Whole = Field(default=20, ge=1, le=4096, examples=[20])
    """Input features."""
    targets: Whole = Field(default=1, ge=1, le=4096, examples=[1])
    """Output features."""
    depth: Whole = Field(default=2, ge=1, le=50, examples=[2])
    """Hidden layers of the teacher."""
    width: Whole = Field(default=32, ge=1, le=4096, examples=[32])
    """Units in each of them."""
    activation: ActivationSpec = Field(default=Tanh(), examples=["tanh"])
    """The teacher's non-linearity."""
    count: Whole = Field(default=2000, ge=50, le=100_000, examples=[2000])
    """Points in all splits together."""
    noise: NonNegative = Field(default=0.0, le=100, examples=[0.0])
    """Standard deviation of what is added to the targets, in standard deviations of the target."""
    draw: Whole = Field(default=0, ge=0, le=2**31, examples=[0])
    """Seed of the teacher and its inputs."""

    @property
    def samples(self) -> int:
        return self.count

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.inputs,)

    @property
    def outputs(self) -> int:
        return self.targets


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


class Dataset(_Problem):
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


PROBLEMS = (Digits, BreastCancer, Wine, Diabetes, Spirals, Teacher, Dataset)

ProblemSpec = Annotated[
    Digits | BreastCancer | Wine | Diabetes | Spirals | Teacher | Dataset, Field(discriminator="kind"), ByKind
]
