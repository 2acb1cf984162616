"""Adaptive rules without a look at their start: each weight's gradient over a measure of its own size."""

from typing import ClassVar, Literal

from pydantic import Field

from workers.contract.base import FractionGrid, NonNegativeGrid, PositiveGrid
from workers.contract.optimizers.base import Decay, Optimizer


class Rmsprop(Optimizer):
    """Divides by a running root mean square of the gradient. Hinton's own: alpha 0.9, eps 0."""

    kind: Literal["rmsprop"] = "rmsprop"
    lr: PositiveGrid = Field(default=0.01, examples=[0.001, [0.001, 0.01]])
    """Learning rate; about the length of a step in each coordinate."""
    alpha: FractionGrid = Field(default=0.99, examples=[0.99])
    """Memory of the mean square."""
    eps: NonNegativeGrid = Field(default=1e-8, examples=[1e-8])
    """Added to the root: below it the rule becomes SGD with a tiny step."""
    momentum: FractionGrid = Field(default=0.0, examples=[0.0])
    """μ of the velocity."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Coupled (L2)."""
    centered: bool = Field(default=False, strict=True, examples=[False])
    """Subtract the squared running mean: divide by a standard deviation."""
    decay: ClassVar[Decay] = "coupled"
    family: ClassVar[str] = "adaptive"
    formula: ClassVar[str] = "v <- alpha*v + (1-alpha)*g^2; theta <- theta - lr*g/(sqrt(v)+eps)"
    source: ClassVar[str] = "Hinton, Neural Networks for Machine Learning, lecture 6e; as torch.optim.RMSprop"


class Adagrad(Optimizer):
    """The gradient over the root of the sum of all its squares."""

    kind: Literal["adagrad"] = "adagrad"
    lr: PositiveGrid = Field(default=0.01, examples=[0.01])
    """Learning rate; about the length of a step in each coordinate."""
    lr_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """The learning rate falls like 1/(1 + lr_decay·steps)."""
    initial_accumulator_value: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """The sum of squares at the start."""
    eps: NonNegativeGrid = Field(default=1e-10, examples=[1e-10])
    """Added to the root: below it the rule becomes SGD with a tiny step."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Coupled (L2)."""
    decay: ClassVar[Decay] = "coupled"
    family: ClassVar[str] = "adaptive"
    formula: ClassVar[str] = "v <- v + g^2; theta <- theta - lr/(1+(k-1)*lr_decay)*g/(sqrt(v)+eps)"
    source: ClassVar[str] = "Duchi, Hazan & Singer 2011; as torch.optim.Adagrad"


class Adadelta(Optimizer):
    """The gradient over its running root mean square, times that of the steps so far."""

    kind: Literal["adadelta"] = "adadelta"
    lr: PositiveGrid = Field(default=1.0, examples=[1.0])
    """Factor of a step that has units of its own."""
    rho: FractionGrid = Field(default=0.9, examples=[0.9])
    """Memory of both mean squares."""
    eps: NonNegativeGrid = Field(default=1e-6, examples=[1e-6])
    """Under both roots: the first steps are about its root; the cut-off is near |g| = 1e-3."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Coupled (L2)."""
    decay: ClassVar[Decay] = "coupled"
    family: ClassVar[str] = "adaptive"
    formula: ClassVar[str] = (
        "v <- rho*v + (1-rho)*g^2; d = sqrt(u+eps)/sqrt(v+eps)*g; u <- rho*u + (1-rho)*d^2; theta <- theta - lr*d"
    )
    source: ClassVar[str] = "Zeiler 2012 (arXiv:1212.5701); as torch.optim.Adadelta"


class Smorms3(Optimizer):
    """Squared mean over mean square: a step no longer than the signal in the gradient warrants."""

    kind: Literal["smorms3"] = "smorms3"
    lr: PositiveGrid = Field(default=1e-3, examples=[1e-3])
    """Upper bound of the learning rate."""
    eps: PositiveGrid = Field(default=1e-16, examples=[1e-16])
    """Acts on the squared gradient: the cut-off is near |g| = 1e-8."""
    family: ClassVar[str] = "adaptive"
    formula: ClassVar[str] = (
        "r = 1/(m+1); G <- (1-r)G + r*g; v <- (1-r)v + r*g^2; x = G^2/(v+eps); theta <- theta - g*min(x, lr)/(sqrt(v)+eps); m <- 1 + m(1-x)"
    )
    source: ClassVar[str] = "S. Funk, sifter.org, 20 April 2015"
