"""The non-linearities that have names: one formula each, for theory and training alike. z is the pre-activation."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import Number, Positive, Spec


class Named(Spec):
    """A non-linearity with a formula of its own; its fields are constants that the formula may name."""

    formula: ClassVar[str]
    source: ClassVar[str]


class Sigmoid(Named):
    """1/(1+exp(−z)): saturates on both sides, its mean of one half carries no gradient."""

    kind: Literal["sigmoid"] = "sigmoid"
    formula: ClassVar[str] = "1/(1+exp(-z))"
    source: ClassVar[str] = "Rumelhart, Hinton & Williams 1986; torch.nn.Sigmoid"


class CentredSigmoid(Named):
    """σ(z) − ½, computed as ½ tanh(z/2): the sigmoid without its mean, slope ¼ at zero."""

    kind: Literal["centred_sigmoid"] = "centred_sigmoid"
    formula: ClassVar[str] = "tanh(z/2)/2"
    source: ClassVar[str] = "LeCun et al. 1998, Efficient BackProp, section 4.4, on zero-mean outputs"


class Tanh(Named):
    """tanh z: odd, slope 1 at zero, saturates on both sides."""

    kind: Literal["tanh"] = "tanh"
    formula: ClassVar[str] = "tanh(z)"
    source: ClassVar[str] = "LeCun et al. 1998, Efficient BackProp, section 4.4; torch.nn.Tanh"


class LecunTanh(Named):
    """1.7159 tanh(2z/3): passes through (1, 1) and is most curved there."""

    kind: Literal["lecun_tanh"] = "lecun_tanh"
    formula: ClassVar[str] = "1.7159*tanh(2*z/3)"
    source: ClassVar[str] = "LeCun et al. 1998, Efficient BackProp, section 4.4"


class HardSigmoid(Named):
    """z/6 + ½, cut off at 0 and 1: flat beyond ±3."""

    kind: Literal["hard_sigmoid"] = "hard_sigmoid"
    formula: ClassVar[str] = "max(0, min(1, z/6 + 1/2))"
    source: ClassVar[str] = "Courbariaux et al. 2015, with torch.nn.Hardsigmoid's slope"


class HardTanh(Named):
    """z, cut off at ±1: flat beyond."""

    kind: Literal["hard_tanh"] = "hard_tanh"
    formula: ClassVar[str] = "max(-1, min(1, z))"
    source: ClassVar[str] = "Collobert 2004; torch.nn.Hardtanh"


class Softplus(Named):
    """ln(1+exp z): a smooth ReLU whose mean grows with depth."""

    kind: Literal["softplus"] = "softplus"
    formula: ClassVar[str] = "log(1+exp(z))"
    source: ClassVar[str] = "Dugas et al. 2000; torch.nn.Softplus"


class Softsign(Named):
    """z/(1+|z|): saturates polynomially, more gently than tanh."""

    kind: Literal["softsign"] = "softsign"
    formula: ClassVar[str] = "z/(1+abs(z))"
    source: ClassVar[str] = "Bergstra et al. 2009; torch.nn.Softsign"


class Erf(Named):
    """erf z, slope 2/√π at zero."""

    kind: Literal["erf"] = "erf"
    formula: ClassVar[str] = "erf(z)"
    source: ClassVar[str] = "Saad & Solla 1995"


class Arctan(Named):
    """arctan z: odd, slope 1 at zero, saturates polynomially at ±π/2."""

    kind: Literal["arctan"] = "arctan"
    formula: ClassVar[str] = "arctan(z)"
    source: ClassVar[str] = "torch.arctan"


class Sin(Named):
    """sin z: periodic, does not saturate for good."""

    kind: Literal["sin"] = "sin"
    formula: ClassVar[str] = "sin(z)"
    source: ClassVar[str] = "Sitzmann et al. 2020"


class Gaussian(Named):
    """exp(−z²): even, flat at its top and in its tails."""

    kind: Literal["gaussian"] = "gaussian"
    formula: ClassVar[str] = "exp(-z**2)"
    source: ClassVar[str] = "Broomhead & Lowe 1988"


class GaussianHalf(Named):
    """exp(−z²/2): the Gaussian of unit width, even, flat at its top and in its tails."""

    kind: Literal["gaussian_half"] = "gaussian_half"
    formula: ClassVar[str] = "exp(-z**2/2)"
    source: ClassVar[str] = "Broomhead & Lowe 1988"


class Multiquadric(Named):
    """√(1+z²): even, flat at its bottom, |z| far out."""

    kind: Literal["multiquadric"] = "multiquadric"
    formula: ClassVar[str] = "sqrt(1 + z**2)"
    source: ClassVar[str] = "Hardy 1971"


class InverseMultiquadric(Named):
    """1/√(1+z²): even, flat at its top and, slowly, in its tails."""

    kind: Literal["inverse_multiquadric"] = "inverse_multiquadric"
    formula: ClassVar[str] = "1/sqrt(1 + z**2)"
    source: ClassVar[str] = "Micchelli 1986"


class MexicanHat(Named):
    """(1−z²) exp(−z²/2): minus the second derivative of the Gaussian; even, with a negative brim."""

    kind: Literal["mexican_hat"] = "mexican_hat"
    formula: ClassVar[str] = "(1 - z**2)*exp(-z**2/2)"
    source: ClassVar[str] = "Zhang & Benveniste 1992, Wavelet networks"


class BentIdentity(Named):
    """(√(z²+1) − 1)/2 + z: slope ½ on the far left, 3/2 on the far right, never flat."""

    kind: Literal["bent_identity"] = "bent_identity"
    formula: ClassVar[str] = "(sqrt(z**2 + 1) - 1)/2 + z"
    source: ClassVar[str] = "a smooth leaky ReLU; no paper of its own"


class Gelu(Named):
    """z Φ(z), with Φ the normal distribution function."""

    kind: Literal["gelu"] = "gelu"
    formula: ClassVar[str] = "z*(1+erf(z/sqrt(2)))/2"
    source: ClassVar[str] = "Hendrycks & Gimpel 2016; torch.nn.GELU"


class Silu(Named):
    """z σ(z)."""

    kind: Literal["silu"] = "silu"
    formula: ClassVar[str] = "z/(1+exp(-z))"
    source: ClassVar[str] = "Elfwing et al. 2018; torch.nn.SiLU"


class Mish(Named):
    """z tanh(ln(1+exp z))."""

    kind: Literal["mish"] = "mish"
    formula: ClassVar[str] = "z*tanh(log(1+exp(z)))"
    source: ClassVar[str] = "Misra 2019; torch.nn.Mish"


class Elu(Named):
    """z above zero, α(exp z − 1) below."""

    kind: Literal["elu"] = "elu"
    formula: ClassVar[str] = "where(z > 0, z, alpha*expm1(z))"
    source: ClassVar[str] = "Clevert et al. 2016, eq. 16; torch.nn.ELU"
    alpha: Annotated[Positive, Field(ge=1e-3, le=1e3)] = Field(default=1.0, examples=[1.0])
    """α: it saturates at −α."""


class Selu(Named):
    """λz above zero, λα(exp z − 1) below: keeps mean 0 and variance 1 where the weights have variance 1/fan_in."""

    kind: Literal["selu"] = "selu"
    formula: ClassVar[str] = "1.0507009873554805*where(z > 0, z, 1.6732632423543773*expm1(z))"
    source: ClassVar[str] = "Klambauer et al. 2017, eq. 2; torch.nn.SELU"


class Celu(Named):
    """z above zero, α(exp(z/α) − 1) below: an ELU of slope 1 on both sides of zero."""

    kind: Literal["celu"] = "celu"
    formula: ClassVar[str] = "where(z > 0, z, alpha*expm1(z/alpha))"
    source: ClassVar[str] = "Barron 2017; torch.nn.CELU"
    alpha: Annotated[Positive, Field(ge=1e-3, le=1e3)] = Field(default=1.0, examples=[1.0])
    """α: it saturates at −α, over a range of the same width."""


class Relu(Named):
    """max(0, z): the control."""

    kind: Literal["relu"] = "relu"
    formula: ClassVar[str] = "max(0, z)"
    source: ClassVar[str] = "Nair & Hinton 2010; torch.nn.ReLU"


class LeakyRelu(Named):
    """z above zero, a fraction of it below: the control that is nowhere flat."""

    kind: Literal["leaky_relu"] = "leaky_relu"
    formula: ClassVar[str] = "where(z > 0, z, negative_slope*z)"
    source: ClassVar[str] = "Maas et al. 2013; torch.nn.LeakyReLU"
    negative_slope: Annotated[Number, Field(ge=-1e3, le=1e3)] = Field(default=0.01, examples=[0.01])
    """The slope below zero."""


class Identity(Named):
    """z: a deep linear network."""

    kind: Literal["identity"] = "identity"
    formula: ClassVar[str] = "z"
    source: ClassVar[str] = "Saxe et al. 2014"


NAMED = (
    Sigmoid, CentredSigmoid, Tanh, LecunTanh, HardSigmoid, HardTanh, Softplus, Softsign,
    Erf, Arctan, Sin, Gaussian, GaussianHalf, Multiquadric, InverseMultiquadric,
    MexicanHat, BentIdentity, Gelu, Silu, Mish, Elu, Selu, Celu, Relu, LeakyRelu, Identity,
)  # fmt: skip

NamedSpec = (
    Sigmoid | CentredSigmoid | Tanh | LecunTanh | HardSigmoid | HardTanh | Softplus | Softsign
    | Erf | Arctan | Sin | Gaussian | GaussianHalf | Multiquadric
    | InverseMultiquadric | MexicanHat | BentIdentity | Gelu | Silu | Mish | Elu | Selu | Celu | Relu | LeakyRelu | Identity
)  # fmt: skip
