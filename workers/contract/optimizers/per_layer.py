"""Rules that measure each layer's gradient as a whole: its weights and its bias as one vector."""

from typing import ClassVar, Literal

from pydantic import Field

from workers.contract.base import Betas, FractionGrid, NonNegativeGrid, PositiveGrid
from workers.contract.optimizers.base import Decay, Optimizer


class NormalizedGradient(Optimizer):
    """Every layer moves by the same length, whatever the size of its gradient."""

    kind: Literal["normalized_gradient"] = "normalized_gradient"
    lr: PositiveGrid = Field(default=0.01, examples=[0.01, [0.01, 0.1]])
    """Length of each layer's step."""
    momentum: FractionGrid = Field(default=0.9, examples=[0.9])
    """Memory of the running mean that is normalised."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Decoupled: θ shrinks by lr·weight_decay·θ."""
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "per layer"
    formula: ClassVar[str] = "m <- momentum*m + (1-momentum)*g; theta_l <- theta_l - lr*m_l/|m_l|"
    source: ClassVar[str] = (
        "Hazan et al. 2015; by layer: Yu et al. 2017; with momentum: Cutkosky & Mehta 2020, algorithm 1"
    )


class UnitNormalizedGradient(Optimizer):
    """Every unit's incoming weights, its bias among them, move by the same length, whatever the size of their gradient."""

    kind: Literal["unit_normalized_gradient"] = "unit_normalized_gradient"
    lr: PositiveGrid = Field(default=0.01, examples=[0.01, [0.001, 0.01]])
    """Length of each unit's step; a layer of O units moves by lr·√O."""
    momentum: FractionGrid = Field(default=0.9, examples=[0.9])
    """Memory of the running mean that is normalised."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Decoupled: θ shrinks by lr·weight_decay·θ."""
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "per unit"
    formula: ClassVar[str] = "m <- momentum*m + (1-momentum)*g; theta_u <- theta_u - lr*m_u/|m_u|"
    source: ClassVar[str] = "Yu et al. 2017 (arXiv:1707.04822), a block for each unit; momentum: Cutkosky & Mehta 2020"


class Lars(Optimizer):
    """Momentum SGD whose learning rate in a layer is in proportion to its weights over its gradient."""

    kind: Literal["lars"] = "lars"
    lr: PositiveGrid = Field(default=1.0, examples=[1.0])
    """Learning rate; a layer's relative step is about trust_coefficient times it."""
    momentum: FractionGrid = Field(default=0.9, examples=[0.9])
    """μ of the velocity."""
    trust_coefficient: PositiveGrid = Field(default=1e-3, examples=[1e-3])
    """η: how far a layer is trusted to move relative to its weights."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[1e-4])
    """Coupled (L2), inside the layer's normalisation."""
    decay: ClassVar[Decay] = "coupled"
    family: ClassVar[str] = "per layer"
    formula: ClassVar[str] = (
        "r_l = trust_coefficient*|theta_l|/(|g_l| + weight_decay*|theta_l|); "
        "b <- momentum*b + r_l*(g + weight_decay*theta); theta <- theta - lr*b"
    )
    source: ClassVar[str] = "You, Gitman & Ginsburg 2017 (arXiv:1708.03888), algorithm 1"


class Lamb(Optimizer):
    """Adam's direction, lengthened or shortened in each layer to the norm of its weights."""

    kind: Literal["lamb"] = "lamb"
    lr: PositiveGrid = Field(default=1e-3, examples=[1e-3])
    """Learning rate: the length of a layer's step relative to its weights."""
    betas: Betas = Field(default=[0.9, 0.999], examples=[[0.9, 0.999]])
    """Memories of the mean and of the mean square."""
    eps: NonNegativeGrid = Field(default=1e-6, examples=[1e-6])
    """Added to the root; what it takes away the layer's normalisation gives back."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.01])
    """Decoupled from the moments: weight_decay·θ joins the direction before it is normalised."""
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "per layer"
    formula: ClassVar[str] = (
        "u = (m/(1-b1^k))/(sqrt(v/(1-b2^k))+eps) + weight_decay*theta; theta_l <- theta_l - lr*|theta_l|/|u_l|*u_l"
    )
    source: ClassVar[str] = "You et al. 2020 (arXiv:1904.00962), algorithm 2"


class NovoGrad(Optimizer):
    """The gradient over the running root mean square of its layer's norm, then momentum."""

    kind: Literal["novograd"] = "novograd"
    lr: PositiveGrid = Field(default=1e-3, examples=[1e-3])
    """Learning rate; a layer's step is at most lr/(1 − beta1) long under a steady gradient."""
    betas: Betas = Field(default=[0.95, 0.98], examples=[[0.95, 0.98]])
    """Memories of the momentum and of the squared norm."""
    eps: NonNegativeGrid = Field(default=1e-8, examples=[1e-8])
    """Added to the root: below it the rule becomes SGD with a tiny step."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[1e-3])
    """Coupled to the momentum, not to the normalisation: weight_decay·θ joins the normalised gradient."""
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "per layer"
    formula: ClassVar[str] = (
        "v_l <- b2*v_l + (1-b2)*|g_l|^2; m <- b1*m + g/(sqrt(v_l)+eps) + weight_decay*theta; theta <- theta - lr*m"
    )
    source: ClassVar[str] = "Ginsburg et al. 2019 (arXiv:1905.11286), algorithm 1"


class Fromage(Optimizer):
    """Every layer turns by the same angle, whatever the size of its gradient."""

    kind: Literal["fromage"] = "fromage"
    lr: PositiveGrid = Field(default=0.01, examples=[0.01])
    """Length of a layer's step relative to its weights."""
    family: ClassVar[str] = "per layer"
    formula: ClassVar[str] = "theta_l <- (theta_l - lr*|theta_l|/|g_l|*g_l)/sqrt(1+lr^2)"
    source: ClassVar[str] = "Bernstein et al. 2020 (arXiv:2002.03432), algorithm 1"
