"""Adam and its relatives: a running mean over a running measure of size."""

from typing import ClassVar, Literal

from pydantic import Field

from workers.contract.base import Betas, NonNegativeGrid, PositiveGrid
from workers.contract.optimizers.base import Decay, Optimizer


class Adam(Optimizer):
    """Running mean over running root mean square, both corrected for their start."""

    kind: Literal["adam"] = "adam"
    lr: PositiveGrid = Field(default=1e-3, examples=[1e-3])
    """Learning rate; about the length of a step in each coordinate."""
    betas: Betas = Field(default=[0.9, 0.999], examples=[[0.9, 0.999]])
    """Memories of the mean and of the mean square."""
    eps: NonNegativeGrid = Field(default=1e-8, examples=[1e-8])
    """Added to the root: below it the rule becomes SGD with a tiny step."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Coupled (L2)."""
    amsgrad: bool = Field(default=False, strict=True, examples=[False])
    """Divide by the largest mean square so far."""
    decay: ClassVar[Decay] = "coupled"
    family: ClassVar[str] = "adaptive"
    formula: ClassVar[str] = (
        "m <- b1*m + (1-b1)*g; v <- b2*v + (1-b2)*g^2; theta <- theta - lr*(m/(1-b1^k))/(sqrt(v/(1-b2^k))+eps)"
    )
    source: ClassVar[str] = "Kingma & Ba 2015; Reddi et al. 2018; as torch.optim.Adam"


class AdamW(Optimizer):
    """Adam whose weight decay shrinks the weights and does not enter the gradient."""

    kind: Literal["adamw"] = "adamw"
    lr: PositiveGrid = Field(default=1e-3, examples=[1e-3])
    """Learning rate; about the length of a step in each coordinate."""
    betas: Betas = Field(default=[0.9, 0.999], examples=[[0.9, 0.999]])
    """Memories of the mean and of the mean square."""
    eps: NonNegativeGrid = Field(default=1e-8, examples=[1e-8])
    """Added to the root: below it the rule becomes SGD with a tiny step."""
    weight_decay: NonNegativeGrid = Field(default=0.01, examples=[0.01])
    """Decoupled: θ shrinks by lr·weight_decay·θ."""
    amsgrad: bool = Field(default=False, strict=True, examples=[False])
    """Divide by the largest mean square so far."""
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "adaptive"
    formula: ClassVar[str] = "theta <- (1 - lr*weight_decay)*theta; then as adam"
    source: ClassVar[str] = "Loshchilov & Hutter 2019 (arXiv:1711.05101); as torch.optim.AdamW"


class Adamax(Optimizer):
    """Adam with the largest recent gradient, decayed, in place of the root mean square."""

    kind: Literal["adamax"] = "adamax"
    lr: PositiveGrid = Field(default=2e-3, examples=[2e-3])
    """Learning rate; about the length of a step in each coordinate."""
    betas: Betas = Field(default=[0.9, 0.999], examples=[[0.9, 0.999]])
    """Memories of the mean and of the largest."""
    eps: NonNegativeGrid = Field(default=1e-8, examples=[1e-8])
    """Added to |g|: below it the rule becomes SGD with a tiny step."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Coupled (L2)."""
    decay: ClassVar[Decay] = "coupled"
    family: ClassVar[str] = "adaptive"
    formula: ClassVar[str] = "m <- b1*m + (1-b1)*g; u <- max(b2*u, |g|+eps); theta <- theta - lr/(1-b1^k)*m/u"
    source: ClassVar[str] = "Kingma & Ba 2015, algorithm 2; as torch.optim.Adamax"


class Nadam(Optimizer):
    """Adam with Nesterov's look-ahead."""

    kind: Literal["nadam"] = "nadam"
    lr: PositiveGrid = Field(default=2e-3, examples=[2e-3])
    """Learning rate; about the length of a step in each coordinate."""
    betas: Betas = Field(default=[0.9, 0.999], examples=[[0.9, 0.999]])
    """Memories of the mean and of the mean square."""
    eps: NonNegativeGrid = Field(default=1e-8, examples=[1e-8])
    """Added to the root: below it the rule becomes SGD with a tiny step."""
    momentum_decay: NonNegativeGrid = Field(default=4e-3, examples=[4e-3])
    """How fast the momentum's warm-up ends."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Coupled (L2)."""
    decay: ClassVar[Decay] = "coupled"
    family: ClassVar[str] = "adaptive"
    formula: ClassVar[str] = (
        "m <- b1*m + (1-b1)*g; v <- b2*v + (1-b2)*g^2; mu_k = b1*(1 - 0.96^(k*momentum_decay)/2); "
        "theta <- theta - lr*((1-mu_k)/(1-prod mu)*g + mu_{k+1}/(1-prod mu_{k+1})*m)/(sqrt(v/(1-b2^k))+eps)"
    )
    source: ClassVar[str] = "Dozat 2016; as torch.optim.NAdam"


class Radam(Optimizer):
    """Adam that divides by the root mean square only once enough gradients have been seen to know it."""

    kind: Literal["radam"] = "radam"
    lr: PositiveGrid = Field(default=1e-3, examples=[1e-3])
    """Learning rate; about the length of a step in each coordinate."""
    betas: Betas = Field(default=[0.9, 0.999], examples=[[0.9, 0.999]])
    """Memories of the mean and of the mean square."""
    eps: NonNegativeGrid = Field(default=1e-8, examples=[1e-8])
    """Added to the root: below it the rule becomes SGD with a tiny step."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Coupled (L2)."""
    decay: ClassVar[Decay] = "coupled"
    family: ClassVar[str] = "adaptive"
    formula: ClassVar[str] = (
        "m <- b1*m + (1-b1)*g; v <- b2*v + (1-b2)*g^2; theta <- theta - lr*m/(1-b1^k)*(r*sqrt(1-b2^k)/(sqrt(v)+eps) if rho > 5, else 1)"
    )
    source: ClassVar[str] = "Liu et al. 2020 (arXiv:1908.03265); as torch.optim.RAdam"


class Yogi(Optimizer):
    """Adam whose mean square changes by at most a share of the squared gradient in a step."""

    kind: Literal["yogi"] = "yogi"
    lr: PositiveGrid = Field(default=0.01, examples=[0.01])
    """Learning rate; about the length of a step in each coordinate."""
    betas: Betas = Field(default=[0.9, 0.999], examples=[[0.9, 0.999]])
    """Memories of the mean and of the mean square."""
    eps: NonNegativeGrid = Field(default=1e-3, examples=[1e-3])
    """Added to the root: below it the rule becomes SGD with a tiny step."""
    initial_accumulator: NonNegativeGrid = Field(default=1e-6, examples=[1e-6])
    """The mean square at the start."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Decoupled: θ shrinks by lr·weight_decay·θ."""
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "adaptive"
    formula: ClassVar[str] = (
        "m <- b1*m + (1-b1)*g; v <- v - (1-b2)*sign(v-g^2)*g^2; theta <- theta - lr*m/(sqrt(v)+eps)"
    )
    source: ClassVar[str] = "Zaheer et al. 2018, algorithm 2"


class AdaBelief(Optimizer):
    """Adam that divides by how far the gradient is from its running mean."""

    kind: Literal["adabelief"] = "adabelief"
    lr: PositiveGrid = Field(default=1e-3, examples=[1e-3])
    """Learning rate; about the length of a step in each coordinate."""
    betas: Betas = Field(default=[0.9, 0.999], examples=[[0.9, 0.999]])
    """Memories of the mean and of the mean squared deviation."""
    eps: NonNegativeGrid = Field(default=1e-16, examples=[1e-16])
    """Added to the squared deviation in every step: the cut-off is near 3e-7."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Decoupled: θ shrinks by lr·weight_decay·θ."""
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "adaptive"
    formula: ClassVar[str] = (
        "m <- b1*m + (1-b1)*g; s <- b2*s + (1-b2)*(g-m)^2 + eps; theta <- theta - lr*(m/(1-b1^k))/(sqrt(s/(1-b2^k))+eps)"
    )
    source: ClassVar[str] = "Zhuang et al. 2020 (arXiv:2010.07468), algorithm 2, as the authors' code"
