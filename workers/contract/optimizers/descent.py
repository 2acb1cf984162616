"""Gradient descent: steps in proportion to the gradient."""

from typing import ClassVar, Literal

from pydantic import Field

from workers.contract.base import FractionGrid, NonNegativeGrid, PositiveGrid
from workers.contract.optimizers.base import Decay, Optimizer


class Sgd(Optimizer):
    """Stochastic gradient descent. The default lr is 0.1, not torch's 1e-3, at which hardly any network of ours moves."""

    kind: Literal["sgd"] = "sgd"
    lr: PositiveGrid = Field(default=0.1, examples=[0.1, [0.01, 0.1, 1.0]])
    """Learning rate."""
    momentum: FractionGrid = Field(default=0.0, examples=[0.9])
    """μ of the velocity."""
    dampening: FractionGrid = Field(default=0.0, examples=[0.0])
    """How much less than all of the gradient enters the velocity."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[1e-4])
    """Coupled (L2): added to the gradient as weight_decay·θ."""
    nesterov: bool = Field(default=False, strict=True, examples=[True])
    """Nesterov's look-ahead; needs momentum and no dampening."""
    decay: ClassVar[Decay] = "coupled"
    family: ClassVar[str] = "gradient descent"
    formula: ClassVar[str] = "b <- momentum*b + (1-dampening)*g; theta <- theta - lr*b   (nesterov: g + momentum*b)"
    source: ClassVar[str] = "Robbins & Monro 1951; Polyak 1964; Sutskever et al. 2013; as torch.optim.SGD"


class SgdW(Optimizer):
    """SGD with decoupled weight decay."""

    kind: Literal["sgdw"] = "sgdw"
    lr: PositiveGrid = Field(default=0.1, examples=[0.1, [0.01, 0.1, 1.0]])
    """Learning rate."""
    momentum: FractionGrid = Field(default=0.9, examples=[0.9])
    """μ of the velocity."""
    weight_decay: NonNegativeGrid = Field(default=1e-2, examples=[1e-2])
    """Decoupled: θ shrinks by lr·weight_decay·θ."""
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "gradient descent"
    formula: ClassVar[str] = "theta <- (1 - lr*weight_decay)*theta; b <- momentum*b + g; theta <- theta - lr*b"
    source: ClassVar[str] = "Loshchilov & Hutter 2019 (arXiv:1711.05101), algorithm 1"
