"""What keeps the signal during training, not only at the start: penalties, losses of their own for lower layers, and re-centring.

Penalties and auxiliary losses are added to the loss that is trained; losses that are reported are the problem's alone. Of hidden layers:
the output layer is left alone.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import ByKind, NonNegative, Positive, Spec, Whole


class _Penalty(Spec):
    weight: Positive = Field(le=1e9, examples=[0.01])
    """λ."""


class SoftOrthogonality(_Penalty):
    """Pulls the rows of every weight matrix, or its columns where these are fewer, to be orthogonal and of length `gain`.

    Recurrent layers: each gate's U. Statistics are of the loss without it: it is added where an optimizer is given the gradient.
    """

    kind: Literal["soft_orthogonality"] = "soft_orthogonality"
    formula: ClassVar[str] = "weight * sum |W W^T - gain^2 I|^2"
    source: ClassVar[str] = "Bansal, Chen & Wang 2018, eq. 2"
    gain: Positive = Field(default=1.0, le=1e6, examples=[1.0])
    """What singular values are pulled to."""


class SpectralBound(_Penalty):
    """Pulls the singular values of every weight matrix down that are above a bound, and leaves the others alone.

    Recurrent layers: each gate's U. Statistics are of the loss without it, as with soft orthogonality.
    """

    kind: Literal["spectral_bound"] = "spectral_bound"
    formula: ClassVar[str] = "weight * sum max(0, sigma_i(W) - bound)^2"
    source: ClassVar[str] = "Yoshida & Miyato 2017, eq. 3, of all singular values above a bound"
    bound: Positive = Field(default=1.0, le=1e6, examples=[1.5])
    """Singular values below it are free."""


class VanishingGradient(_Penalty):
    """Has the error signal of every `rnn` keep its norm from a step to the one before, as far as U decides that: Pascanu's Omega.

    Of its gradient the immediate part is taken, as in the source: delta and theta' count as constants. Statistics are of the loss
    without it, as with soft orthogonality.
    """

    kind: Literal["vanishing_gradient"] = "vanishing_gradient"
    formula: ClassVar[str] = "weight * sum_t mean (|theta'(z_t)*(U^T delta_(t+1))|/|delta_(t+1)| - 1)^2 over samples"
    source: ClassVar[str] = "Pascanu, Mikolov & Bengio 2013, eqs. 9 and 10"


class ActivationScale(_Penalty):
    """Pulls the root mean square of what every non-linearity gives, over batch and units, to a target. Part of the error signal."""

    kind: Literal["activation_scale"] = "activation_scale"
    formula: ClassVar[str] = "weight * sum (rms(a) - target)^2"
    source: ClassVar[str] = "Krueger & Memisevic 2016 (norm stabilizer), of layers instead of steps"
    target: NonNegative = Field(default=1.0, le=1e6, examples=[0.5])
    """Of each non-linearity."""


class Saturation(_Penalty):
    """Pulls units back to where their non-linearity is steep: 1 − (θ′/max |θ′|)² is 0 there and 1 on the flat. Part of the error signal."""

    kind: Literal["saturation"] = "saturation"
    formula: ClassVar[str] = "weight * sum mean(1 - (theta'(z)/max|theta'|)^2)"
    source: ClassVar[str] = "after Goroshin & LeCun 2013 (saturating auto-encoders), which push to the flat parts"


class AuxiliaryLoss(_Penalty):
    """A linear head with the problem's loss of its own behind every `every`-th layer of weights: δ does not come from the top alone.

    The heads learn with the network; what they predict is not reported. They are part of the error signal below them, and their
    parameters belong to the row of the layer they stand behind.
    """

    kind: Literal["auxiliary_loss"] = "auxiliary_loss"
    formula: ClassVar[str] = "weight * sum loss(V h + c) over the heads"
    source: ClassVar[str] = "Lee et al. 2015 (deeply-supervised nets), eq. 3; Szegedy et al. 2015"
    every: Annotated[Whole, Field(ge=1, le=1000)] = Field(default=4, examples=[4])
    """Layers of weights from one head to the next, from the input upwards."""


class Recentring(Spec):
    """LSUV again: every so many steps weights are divided by the deviation of W x on the batch, layer by layer from the input upwards."""

    kind: Literal["recentring"] = "recentring"
    formula: ClassVar[str] = "W <- gain * W/std(W x), at steps every, 2 every, ..."
    source: ClassVar[str] = "Mishkin & Matas 2016, algorithm 1, repeated"
    every: Annotated[Whole, Field(ge=1, le=1_000_000)] = Field(examples=[50])
    """Steps."""
    gain: Positive = Field(default=1.0, le=1e6, examples=[1.0])
    """The deviation afterwards."""


REGULARIZERS = (
    SoftOrthogonality, SpectralBound, VanishingGradient, ActivationScale, Saturation, AuxiliaryLoss, Recentring,
)  # fmt: skip

RegularizerSpec = Annotated[
    SoftOrthogonality | SpectralBound | VanishingGradient | ActivationScale | Saturation | AuxiliaryLoss | Recentring,
    Field(discriminator="kind"),
    ByKind,
]

Regularizers = Annotated[list[RegularizerSpec], Field(max_length=8)]
