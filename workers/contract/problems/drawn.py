"""Problems that are drawn: points in the plane, and regression to a random network."""

from typing import ClassVar, Literal

from pydantic import Field

from workers.contract.activations import ActivationSpec
from workers.contract.base import NonNegative, Whole
from workers.contract.nonlinearities import Tanh
from workers.contract.problems.problem import Loss, Problem


class Spirals(Problem):
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


class Teacher(Problem):
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
