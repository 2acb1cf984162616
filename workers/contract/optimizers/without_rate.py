"""Rules that find their learning rate themselves; lr is a factor of what they find, 1 unless stated."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from workers.contract.base import Betas, FractionGrid, NonNegativeGrid, Positive, PositiveGrid
from workers.contract.optimizers.base import Decay, Optimizer

ONE_RATE = {"depth_lr": "it finds one rate for all layers, from sums over all of them"}


class DadaptSgd(Optimizer):
    """SGD whose learning rate is a lower bound on the distance to the solution, found on the way."""

    kind: Literal["dadapt_sgd"] = "dadapt_sgd"
    lr: PositiveGrid = Field(default=1.0, examples=[1.0])
    """Factor of the rate that is found."""
    momentum: FractionGrid = Field(default=0.9, examples=[0.9])
    """Memory of the running mean of the iterates."""
    d0: Positive = Field(default=1e-6, examples=[1e-6])
    """The first estimate of the distance; below the truth."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Coupled (L2)."""
    decay: ClassVar[Decay] = "coupled"
    family: ClassVar[str] = "without a learning rate"
    refuses: ClassVar[Mapping[str, str]] = ONE_RATE
    formula: ClassVar[str] = (
        "r = d*lr/|g_1|; n <- n + r*<g,s>; s <- s + r*g; d <- max(d, 2n/|s|); "
        "theta <- momentum*theta + (1-momentum)*(theta_1 - s)"
    )
    source: ClassVar[str] = "Defazio & Mishchenko 2023 (arXiv:2301.07733), algorithm 4"


class DadaptAdam(Optimizer):
    """Adam whose learning rate is a lower bound on the distance to the solution, found on the way."""

    kind: Literal["dadapt_adam"] = "dadapt_adam"
    lr: PositiveGrid = Field(default=1.0, examples=[1.0])
    """Factor of the rate that is found."""
    betas: Betas = Field(default=[0.9, 0.999], examples=[[0.9, 0.999]])
    """Memories of the mean and of the mean square."""
    d0: Positive = Field(default=1e-6, examples=[1e-6])
    """The first estimate of the distance; below the truth."""
    eps: NonNegativeGrid = Field(default=1e-8, examples=[1e-8])
    """Added to the root: below it the rule becomes SGD with a tiny step."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Coupled (L2)."""
    decay: ClassVar[Decay] = "coupled"
    family: ClassVar[str] = "without a learning rate"
    refuses: ClassVar[Mapping[str, str]] = ONE_RATE
    formula: ClassVar[str] = (
        "n <- c*n + (1-c)*d*lr*<g, s/(sqrt(v)+eps)>; m <- b1*m + (1-b1)*d*lr*g; v <- b2*v + (1-b2)*g^2; "
        "s <- c*s + (1-c)*d*lr*g; d <- max(d, n/((1-c)*|s|_1)); theta <- theta - m/(sqrt(v)+eps)   (c = sqrt(b2))"
    )
    source: ClassVar[str] = (
        "Defazio & Mishchenko 2023 (arXiv:2301.07733), algorithm 5; as pytorch_optimizer's DAdaptAdam"
    )


class Prodigy(Optimizer):
    """Adam that estimates the distance to the solution as it goes, faster than D-Adaptation does."""

    kind: Literal["prodigy"] = "prodigy"
    lr: PositiveGrid = Field(default=1.0, examples=[1.0])
    """Factor of the rate that is found."""
    betas: Betas = Field(default=[0.9, 0.999], examples=[[0.9, 0.999]])
    """Memories of the mean and of the mean square."""
    d0: Positive = Field(default=1e-6, examples=[1e-6])
    """The first estimate of the distance; below the truth."""
    d_coef: PositiveGrid = Field(default=1.0, examples=[1.0])
    """Factor of the estimates: what the authors would have one tune."""
    eps: NonNegativeGrid = Field(default=1e-8, examples=[1e-8])
    """Added to the root, times d: below it the rule becomes SGD with a tiny step."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Decoupled: θ shrinks by d·lr·weight_decay·θ."""
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "without a learning rate"
    refuses: ClassVar[Mapping[str, str]] = ONE_RATE
    formula: ClassVar[str] = (
        "n <- c*n + d/d0*d*lr*<g, theta_1-theta>; s <- c*s + d/d0*d*lr*g; m <- b1*m + (1-b1)*d*g; "
        "v <- b2*v + (1-b2)*(d*g)^2; d' = max(d, d_coef*n/|s|_1); theta <- theta - d*lr*m/(sqrt(v)+d'*eps)   (c = sqrt(b2))"
    )
    source: ClassVar[str] = "Mishchenko & Defazio 2024 (arXiv:2306.06101), algorithm 4; as pytorch_optimizer's Prodigy"
