"""Radial units: what arrives is compared with centres. The non-linearity comes after, as with any layer of weights."""

from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import Fraction, Positive, Whole
from workers.contract.layers.layer import MAX_WIDTH, DoesNotFit, Layer, Shape, words

Part = Literal["centres", "widths"]


class Rbf(Layer):
    """The pre-activation z = r/w of radial units, r the distance of what arrives to a unit's centre c, at every step of a sequence.

    A gaussian, multiquadric or inverse_multiquadric activation after it makes the RBF layer of the literature; any other non-linearity
    stands there as well. What is learned of a width is 1/w, which cannot divide by zero. Before training, training inputs go through the
    layers below, as they do in training, so that centres and widths start from what this layer itself receives.
    """

    kind: Literal["rbf"] = "rbf"
    weighted: ClassVar[bool] = True
    formula: ClassVar[str] = "z = r/w, r = ||x - c||"
    source: ClassVar[str] = (
        "Broomhead & Lowe 1988; Moody & Darken 1989 (k-means); multiquadrics: Hardy 1971; median width: Garreau et al. 2017"
    )
    out_features: Annotated[Whole, Field(ge=1, le=MAX_WIDTH)] = Field(examples=[64])
    """Units."""
    distance: Literal["euclidean", "scaled", "unit_sphere", "log"] = Field(default="euclidean", examples=["scaled"])
    """What r is. "euclidean": d = ‖x − c‖. The others keep it positive and bring it to a fixed scale: "scaled" is r² = d²/E d², E over
    the batch for each unit; "unit_sphere" is the distance of x/‖x‖ to c/‖c‖, r² between 0 and 4; "log" is
    r² = exp((ln ρ − E ln ρ)/std ln ρ), ρ = d² + E d²/100, which spreads distances that are all alike. In evaluation running means."""
    centres: Literal["samples", "k_means", "normal"] = Field(default="samples", examples=["k_means"])
    """Where the centres start: at samples of this layer's own input, at their k-means, or drawn from N(0, 1) whatever arrives."""
    width: Positive | Literal["median", "dimension"] = Field(default="median", examples=["median"])
    """w before training. "median": the median of r, so that 1/w² = 1/median r². "dimension": the 1/w² = √(n/2) of n inputs that scaled
    distances need, whose r² varies by √(2/n) only."""
    trainable: list[Part] = Field(default=["centres", "widths"], max_length=2, examples=[["centres", "widths"]])
    """What is learned. Nothing of it: the layer is frozen as it starts, and has no row among the statistics."""
    momentum: Fraction = Field(default=0.1, gt=0, examples=[0.1])
    """Weight of the newest batch in running means, of "scaled" and "log"."""

    @property
    def mixes_samples(self) -> bool:
        return self.distance in ("scaled", "log")

    @property
    def starts_from_data(self) -> bool:
        return True

    def out_shape(self, shape: Shape) -> Shape:
        if len(shape) == 3:
            raise DoesNotFit(
                f"has dense centres and receives an image, {words(shape)}: put a flatten or a global_pool before it"
            )
        return (*shape[:-1], self.out_features)

    def _parts(self, shape: Shape) -> dict[Part, Shape]:
        return {"centres": (self.out_features, shape[-1]), "widths": (self.out_features,)}

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        return tuple(size for part, size in self._parts(shape).items() if part in self.trainable)

    def workspace(self, shape: Shape) -> int:
        """Distances, and what is made of them on the way to r."""
        return {"euclidean": 1, "unit_sphere": 1, "scaled": 2, "log": 6}[self.distance] * prod(self.out_shape(shape))

    def kept(self, shape: Shape) -> int:
        return sum(prod(size) for part, size in self._parts(shape).items() if part not in self.trainable)

    def positions(self, shape: Shape) -> int:
        return prod(shape[:-1])
