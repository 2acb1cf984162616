"""The non-linearities a network may use. z is the pre-activation."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import ByKind, Spec


class Sigmoid(Spec):
    """1/(1+exp(−z)): saturates on both sides, its mean of one half carries no gradient."""

    kind: Literal["sigmoid"] = "sigmoid"
    formula: ClassVar[str] = "1/(1+exp(-z))"


class Tanh(Spec):
    """tanh z: odd, slope 1 at zero, saturates on both sides."""

    kind: Literal["tanh"] = "tanh"
    formula: ClassVar[str] = "tanh(z)"


class Softplus(Spec):
    """ln(1+exp z): a smooth ReLU whose mean grows with depth."""

    kind: Literal["softplus"] = "softplus"
    formula: ClassVar[str] = "log(1+exp(z))"


class Softsign(Spec):
    """z/(1+|z|): saturates polynomially, more gently than tanh."""

    kind: Literal["softsign"] = "softsign"
    formula: ClassVar[str] = "z/(1+abs(z))"


class Erf(Spec):
    """erf z, slope 2/√π at zero."""

    kind: Literal["erf"] = "erf"
    formula: ClassVar[str] = "erf(z)"


class Sin(Spec):
    """sin z: periodic, does not saturate for good."""

    kind: Literal["sin"] = "sin"
    formula: ClassVar[str] = "sin(z)"


class Gaussian(Spec):
    """exp(−z²): even, flat at its top and in its tails."""

    kind: Literal["gaussian"] = "gaussian"
    formula: ClassVar[str] = "exp(-z**2)"


class Relu(Spec):
    """max(0, z): the control."""

    kind: Literal["relu"] = "relu"
    formula: ClassVar[str] = "max(0, z)"


class Gelu(Spec):
    """z Φ(z), with Φ the normal distribution function."""

    kind: Literal["gelu"] = "gelu"
    formula: ClassVar[str] = "z*(1+erf(z/sqrt(2)))/2"


class Silu(Spec):
    """z σ(z)."""

    kind: Literal["silu"] = "silu"
    formula: ClassVar[str] = "z/(1+exp(-z))"


class Identity(Spec):
    """z: a deep linear network."""

    kind: Literal["identity"] = "identity"
    formula: ClassVar[str] = "z"


ACTIVATIONS = (Sigmoid, Tanh, Softplus, Softsign, Erf, Sin, Gaussian, Relu, Gelu, Silu, Identity)

ActivationSpec = Annotated[
    Sigmoid | Tanh | Softplus | Softsign | Erf | Sin | Gaussian | Relu | Gelu | Silu | Identity,
    Field(discriminator="kind"),
    ByKind,
]
