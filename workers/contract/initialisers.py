"""How weights start. Var W is the variance of one weight, g the gain; biases start at zero unless `bias_std` is given.

A gain may be "critical": the number that puts the layer's signal at the edge of chaos, which the theory works out, layer by layer, before
anything is planned. What trains, and whatever else reads an expanded network, sees numbers only.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from workers.contract.base import ByKind, NonNegative, Number, Positive, Spec

Gain = Positive | Literal["critical"]


class _Init(Spec):
    takes_critical: ClassVar[bool] = True
    """Whether a gain may be "critical"."""
    starts_from_data: ClassVar[bool] = False
    """Whether weights start from what arrives: training inputs go through the network before anything is trained."""

    gain: Gain = Field(default=1.0, examples=[1.0])
    """g, which multiplies the standard deviation; "critical" for the non-linearity's edge of chaos, given `bias_std`."""
    bias_std: NonNegative | None = Field(default=None, examples=[0.05])
    """Standard deviation of normal initial biases; null means zero biases (torch: its own uniform ones)."""

    input_mean: Number = Field(default=0.0, ge=-1e6, le=1e6, examples=[0.5])
    """m in b_i = -m Σ_j W_ij (+ what `bias_std` asks for), which takes out the mean of what arrives: ½ behind a sigmoid, whose network then
    starts as that of the centred one. The first layer, whose inputs have none, leaves it out."""

    @field_validator("gain")
    @classmethod
    def _a_number_where_critical_says_nothing(cls, gain: Gain) -> Gain:
        if gain == "critical" and not cls.takes_critical:
            raise ValueError("this kind has no critical gain: give it a number, or use another kind, orthogonal, say")
        return gain

    def number(self) -> float:
        """The gain, once it is a number."""
        assert self.gain != "critical", "the theory resolves it before a network is built"
        return self.gain


class XavierUniform(_Init):
    """Uniform, Var W = g²·2/(fan_in+fan_out)."""

    kind: Literal["xavier_uniform"] = "xavier_uniform"
    source: ClassVar[str] = "Glorot & Bengio 2010, eq. 16"


class XavierNormal(_Init):
    """Normal, Var W = g²·2/(fan_in+fan_out)."""

    kind: Literal["xavier_normal"] = "xavier_normal"
    source: ClassVar[str] = "Glorot & Bengio 2010, eq. 12"


class LecunUniform(_Init):
    """Uniform, Var W = g²/fan_in."""

    kind: Literal["lecun_uniform"] = "lecun_uniform"
    source: ClassVar[str] = "LeCun et al. 1998, Efficient BackProp, section 4.6"


class LecunNormal(_Init):
    """Normal, Var W = g²/fan_in."""

    kind: Literal["lecun_normal"] = "lecun_normal"
    source: ClassVar[str] = "LeCun et al. 1998, Efficient BackProp, section 4.6"


class KaimingUniform(_Init):
    """Uniform, Var W = g²/fan_in with g = √2."""

    kind: Literal["kaiming_uniform"] = "kaiming_uniform"
    gain: Gain = Field(default=2**0.5, examples=[2**0.5])
    """g, which multiplies the standard deviation; √2 makes up for the half that a ReLU cuts off."""
    source: ClassVar[str] = "He et al. 2015, eq. 10"


class KaimingNormal(_Init):
    """Normal, Var W = g²/fan_in with g = √2."""

    kind: Literal["kaiming_normal"] = "kaiming_normal"
    gain: Gain = Field(default=2**0.5, examples=[2**0.5])
    """g, which multiplies the standard deviation; √2 makes up for the half that a ReLU cuts off."""
    source: ClassVar[str] = "He et al. 2015, eq. 10"


class Orthogonal(_Init):
    """g times a random matrix with orthonormal rows or columns, uniform over such matrices."""

    kind: Literal["orthogonal"] = "orthogonal"
    source: ClassVar[str] = "Saxe et al. 2014; Mezzadri 2007 for the uniform measure"


class ScaledUniformOrthogonal(_Init):
    """An orthogonal matrix times g·√(fan_out/fan_in) where it has more rows than columns: mean squares are kept by any shape."""

    kind: Literal["scaled_uniform_orthogonal"] = "scaled_uniform_orthogonal"
    source: ClassVar[str] = "Martens et al. 2021, on parameter distributions; dks: scaled_uniform_orthogonal"


class DeltaOrthogonal(_Init):
    """Convolutions whose kernel is zero but in the middle, and there orthogonal: isometric while channels do not become fewer.

    A dense layer has the middle only, and is orthogonal.
    """

    kind: Literal["delta_orthogonal"] = "delta_orthogonal"
    source: ClassVar[str] = "Xiao et al. 2018, section 2.4 and algorithm 1"


class Identity(_Init):
    """g times the identity, as far as it reaches where there are more rows or columns; in a kernel's middle. Noise may be added."""

    kind: Literal["identity"] = "identity"
    takes_critical: ClassVar[bool] = False
    noise: NonNegative = Field(default=0.0, examples=[0.001])
    """Standard deviation of normal numbers added to all weights."""
    source: ClassVar[str] = "Le, Jaitly & Hinton 2015 (IRNN); torch.nn.init.eye_ and dirac_"


class Zeros(_Init):
    """For an output layer, or the last layer of a branch beside a shortcut: hidden layers in a row would learn nothing."""

    kind: Literal["zeros"] = "zeros"
    takes_critical: ClassVar[bool] = False
    source: ClassVar[str] = "Zhang, Dauphin & Ma 2019 (Fixup), rule 1; torch.nn.init.zeros_"


class Lsuv(_Init):
    """Layer-sequential unit variance: orthogonal, then from the input upwards divided by the deviation of what the layer gives.

    The deviation is that of W x over training inputs and units, as the layers below give x by then; after it, it is g. Recurrent layers
    and attention, whose output is not W x, stay orthogonal.
    """

    kind: Literal["lsuv"] = "lsuv"
    takes_critical: ClassVar[bool] = False
    starts_from_data: ClassVar[bool] = True
    source: ClassVar[str] = "Mishkin & Matas 2016, algorithm 1; a layer is linear in W, so that one division is exact"


class TorchDefault(_Init):
    """What torch.nn.Linear does: weights and biases uniform in ±g/√fan_in, so Var W = g²/(3 fan_in)."""

    kind: Literal["torch"] = "torch"
    source: ClassVar[str] = "torch.nn.Linear.reset_parameters"


INITIALISERS = (
    XavierUniform, XavierNormal, LecunUniform, LecunNormal, KaimingUniform, KaimingNormal, Orthogonal, ScaledUniformOrthogonal,
    DeltaOrthogonal, Identity, Zeros, Lsuv, TorchDefault,
)  # fmt: skip

InitSpec = Annotated[
    XavierUniform
    | XavierNormal
    | LecunUniform
    | LecunNormal
    | KaimingUniform
    | KaimingNormal
    | Orthogonal
    | ScaledUniformOrthogonal
    | DeltaOrthogonal
    | Identity
    | Zeros
    | Lsuv
    | TorchDefault,
    Field(discriminator="kind"),
    ByKind,
]
