"""Normalisations of a layer's weights instead of its activations. V is what is learned, row i what a unit weighs with, n numbers."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import ByKind, Positive, Spec
from workers.contract.layers.layer import Shape


class _OfWeights(Spec):
    gains: ClassVar[bool] = True
    """Whether a gain g_i of each row is learned, too: it lies behind the bias."""
    mixes_samples: ClassVar[bool] = False

    def tensors(self, out: int) -> tuple[Shape, ...]:
        return ((out,),) if self.gains else ()


class WeightNorm(_OfWeights):
    """W_i = g_i V_i/‖V_i‖: length and direction of a unit's weights are learned apart."""

    kind: Literal["weight"] = "weight"
    start: Literal["init", "unit"] = Field(default="init", examples=["unit"])
    """Where g starts: at ‖V_i‖, so that W starts as the layer's init says; or at 1, so that z has the mean square of x."""
    source: ClassVar[str] = "Salimans & Kingma 2016, eq. 2; torch.nn.utils.parametrizations.weight_norm"


class WeightStandardization(_OfWeights):
    """W_i = g_i (V_i − mean V_i)/(√n·std V_i): a unit's weights have no mean and a mean square of g_i²/n, whatever V is."""

    kind: Literal["weight_standardization"] = "weight_standardization"
    gain: Positive = Field(default=1.0, le=1e6, examples=[1.0])
    """Where g starts."""
    source: ClassVar[str] = "Qiao et al. 2019, eqs. 5 to 7; scaled by 1/√n as in Brock, De & Smith 2021, eq. 2"


class SpectralNorm(_OfWeights):
    """W = bound·V/σ(V), σ the largest singular value, by one step of power iteration a pass: no direction is stretched by more."""

    kind: Literal["spectral"] = "spectral"
    gains: ClassVar[bool] = False
    bound: Positive = Field(default=1.0, le=1e6, examples=[1.0])
    """The largest singular value of W."""
    source: ClassVar[str] = "Miyato et al. 2018, algorithm 1; torch.nn.utils.parametrizations.spectral_norm"


class NormPropagation(_OfWeights):
    """Unit rows, W_i = g_i V_i/‖V_i‖ with g starting at 1, and the non-linearity normalised, (θ − m)/s over z ~ N(0, 1): without a batch.

    Of the short form: in a list of layers it is `weight` with "start": "unit" on the linear layer, and a `normalised` non-linearity.
    """

    kind: Literal["propagation"] = "propagation"
    source: ClassVar[str] = "Arpit et al. 2016, algorithm 1, for any non-linearity"


WEIGHT_NORMALIZATIONS = (WeightNorm, WeightStandardization, SpectralNorm)

WeightNormalizationSpec = Annotated[
    WeightNorm | WeightStandardization | SpectralNorm, Field(discriminator="kind"), ByKind
]
