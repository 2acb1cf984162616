"""Data sets that scikit-learn carries."""

from typing import ClassVar, Literal

from pydantic import Field

from workers.contract.problems.problem import Loss, Problem


class _BuiltIn(Problem):
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
