"""Normalisations. Statistics are of a trial's own batch or sample; γ and β are one per feature (per channel of an image)."""

from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import ByKind, Fraction, Number, Positive, Spec, Whole
from workers.contract.layers.layer import DoesNotFit, Layer, Shape, features, words


class _Placed(Spec):
    mixes_samples: ClassVar[bool] = False
    """Whether what comes out for a sample depends on the others of its batch."""
    starts_from_data: ClassVar[bool] = False
    """Whether γ and β start from what arrives."""

    eps: Positive = Field(default=1e-5, le=1, examples=[1e-5])
    """Added to the variance."""
    position: Literal["before", "after"] = Field(default="before", examples=["before"])
    """Before or after the non-linearity, in the short form of a network; a layer of the long form stands where it stands."""

    def fits(self, shape: Shape) -> None:
        """Raises DoesNotFit for what cannot be normalised."""

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        own = (features(shape),)
        return (own, own)


class _Normalization(_Placed):
    affine: bool = Field(default=True, strict=True, examples=[True])
    """Whether γ and β are learned; else they stay where they start, at 1 and 0 unless said otherwise."""

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        return super().tensors(shape) if self.affine else ()


class _OverBatch(_Normalization):
    momentum: Fraction = Field(default=0.1, gt=0, examples=[0.1])
    """Weight of the newest batch in the running mean and (unbiased) variance."""
    mixes_samples: ClassVar[bool] = True


class BatchNorm(_OverBatch):
    """γ·(z − E z)/√(Var z + eps) + β, mean and variance of each feature over the batch; running means of both in evaluation."""

    kind: Literal["batch"] = "batch"
    gamma: Positive = Field(default=1.0, le=100, examples=[1.0])
    """Where γ starts."""
    beta: Number = Field(default=0.0, ge=-100, le=100, examples=[0.0])
    """Where β starts."""
    source: ClassVar[str] = "Ioffe & Szegedy 2015, algorithms 1 and 2; torch.nn.BatchNorm1d"


class CriticalBatchNorm(_OverBatch):
    """A batch norm for the non-linearity behind it, whichever: γ and β start where the error signal neither vanishes nor explodes.

    A layer multiplies E‖δ‖² by γ² E[θ′(γz+β)²]/Var θ(γz+β), z ~ N(0, 1), as the batch grows; by Poincaré's inequality that is above 1
    but for straight lines, and is brought to `target`^(1/L) for the L such norms of the network, γ as large as that allows. Batches of B
    samples add a factor (B − 2)/(B − 3) of their own. What γ and β are, a preview shows.
    """

    kind: Literal["critical_batch"] = "critical_batch"
    target: Positive = Field(default=1.5, gt=1, le=1e6, examples=[1.5])
    """Growth of E‖δ‖² over the whole network."""
    source: ClassVar[str] = "Yang et al. 2019, corollary 4.1, solved for γ and β"


class LayerNorm(_Normalization):
    """γ·(z − E z)/√(Var z + eps) + β, mean and variance over the features of one sample (all of an image; each step of a sequence)."""

    kind: Literal["layer"] = "layer"
    source: ClassVar[str] = "Ba, Kiros & Hinton 2016, eqs. 3 and 4; torch.nn.LayerNorm"


class RmsNorm(_Normalization):
    """γ·z/√(E z² + eps), mean square over the features of one sample; no β."""

    kind: Literal["rms"] = "rms"
    source: ClassVar[str] = "Zhang & Sennrich 2019, eq. 4; torch.nn.RMSNorm"

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        return ((features(shape),),) if self.affine else ()


class GroupNorm(_Normalization):
    """γ·(z − E z)/√(Var z + eps) + β, mean and variance over groups of neighbouring features of one sample, at all places together."""

    kind: Literal["group"] = "group"
    groups: Annotated[Whole, Field(ge=1, le=4096)] = Field(default=4, examples=[4])
    """Parts of the features; divides their number."""
    source: ClassVar[str] = "Wu & He 2018, eqs. 1 and 7; torch.nn.GroupNorm"

    def fits(self, shape: Shape) -> None:
        if features(shape) % self.groups:
            raise DoesNotFit(
                f"has {self.groups} groups and receives {words(shape)}, whose {features(shape)} they do not divide",
                "normalization/groups",
            )


class InstanceNorm(_Normalization):
    """γ·(z − E z)/√(Var z + eps) + β, mean and variance of each feature of one sample over its places."""

    kind: Literal["instance"] = "instance"
    source: ClassVar[str] = "Ulyanov, Vedaldi & Lempitsky 2016; torch.nn.InstanceNorm2d"

    def fits(self, shape: Shape) -> None:
        if len(shape) == 1:
            raise DoesNotFit(
                f"is taken over the places of a sequence or an image and receives {words(shape)}, one number each: "
                "use layer, or batch"
            )


class ActNorm(_Placed):
    """γ·z + β, which start so that every feature has mean 0 and deviation 1 over training inputs; learned from there, no statistics."""

    kind: Literal["actnorm"] = "actnorm"
    starts_from_data: ClassVar[bool] = True
    source: ClassVar[str] = "Kingma & Dhariwal 2018, section 3.1"


NORMALIZATIONS = (BatchNorm, CriticalBatchNorm, LayerNorm, RmsNorm, GroupNorm, InstanceNorm, ActNorm)

NormalizationSpec = Annotated[
    BatchNorm | CriticalBatchNorm | LayerNorm | RmsNorm | GroupNorm | InstanceNorm | ActNorm,
    Field(discriminator="kind"),
    ByKind,
]


class Normalization(Layer):
    """Brings what it receives to a fixed scale."""

    kind: Literal["normalization"] = "normalization"
    formula: ClassVar[str] = "a = gamma*(z - m)/s + beta"
    source: ClassVar[str] = "of each normalisation: see normalizations"
    normalization: NormalizationSpec = Field(examples=["batch"])
    """How."""

    @property
    def mixes_samples(self) -> bool:
        return self.normalization.mixes_samples

    @property
    def starts_from_data(self) -> bool:
        return self.normalization.starts_from_data

    def out_shape(self, shape: Shape) -> Shape:
        self.normalization.fits(shape)
        return shape

    def tensors(self, shape: Shape) -> tuple[Shape, ...]:
        return self.normalization.tensors(shape)

    def workspace(self, shape: Shape) -> int:
        """What it receives, normalised."""
        return prod(shape)
