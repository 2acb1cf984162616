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


class Sm3(Optimizer):
    """Adagrad whose sums are bounded by one number for each row and one for each column of a weight."""

    kind: Literal["sm3"] = "sm3"
    lr: PositiveGrid = Field(default=0.1, examples=[0.1, [0.01, 0.1]])
    """Learning rate; the first steps are about this long."""
    momentum: FractionGrid = Field(default=0.9, examples=[0.9])
    """Memory of the running mean of the scaled gradients."""
    eps: NonNegativeGrid = Field(default=1e-30, examples=[1e-30])
    """Added to ν, which is a square: gradients below its root make the rule SGD with a tiny step."""
    family: ClassVar[str] = "adaptive"
    formula: ClassVar[str] = (
        "nu <- min(max of nu in its row, max of nu in its column) + g^2; "
        "m <- momentum*m + (1-momentum)*g/sqrt(nu+eps); theta <- theta - lr*m"
    )
    source: ClassVar[str] = "Anil et al. 2019 (arXiv:1901.11150), algorithm 2"


class Adafactor(Optimizer):
    """RMSprop with a mean square of rank one for each weight, clipped, and steps relative to the size of the weights."""

    kind: Literal["adafactor"] = "adafactor"
    lr: PositiveGrid = Field(default=0.01, examples=[0.01, [0.001, 0.01]])
    """Largest step relative to the weights' size; from the step 1/lr² on it falls like 1/√k."""
    eps1: NonNegativeGrid = Field(default=1e-30, examples=[1e-30])
    """Added to the squares: gradients below its root take smaller steps."""
    eps2: NonNegativeGrid = Field(default=1e-3, examples=[1e-3])
    """The least size that weights are taken to have, so that those at zero move."""
    d: PositiveGrid = Field(default=1.0, examples=[1.0])
    """The root mean square at which a weight's or a bias's scaled gradient is clipped."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Decoupled: θ shrinks by lr·weight_decay·θ."""
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "adaptive"
    formula: ClassVar[str] = (
        "v <- (1-k^-0.8)*v + k^-0.8*(g^2+eps1); V = row means*column means/mean of v; u = g/sqrt(V); "
        "theta <- theta - min(lr, 1/sqrt(k))*max(eps2, RMS(theta))*u/max(1, RMS(u)/d)"
    )
    source: ClassVar[str] = "Shazeer & Stern 2018 (arXiv:1804.04235), algorithms 4 to 6"
