"""Rules that estimate curvature, or what stands for it, from gradients alone: between weights, not only of each."""

from typing import ClassVar, Literal

from pydantic import Field

from workers.contract.base import Betas, FractionGrid, NonNegativeGrid, Positive, PositiveGrid
from workers.contract.optimizers.base import Decay, Optimizer


class Shampoo(Optimizer):
    """A weight's gradient between inverse roots of the sums of its own outer products; Adagrad for vectors and very large sides."""

    kind: Literal["shampoo"] = "shampoo"
    lr: PositiveGrid = Field(default=0.1, examples=[0.1, [0.01, 0.1]])
    """Learning rate."""
    momentum: FractionGrid = Field(default=0.0, examples=[0.9])
    """Memory of past steps."""
    eps: Positive = Field(default=1e-4, ge=1e-7, le=1, examples=[1e-4])
    """Ridge, relative to each matrix's own norm."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.01])
    """Decoupled: θ shrinks by lr·weight_decay·θ."""
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "per matrix"
    formula: ClassVar[str] = (
        "L <- L + GG'; R <- R + G'G; theta <- theta - lr*L^(-1/4) G R^(-1/4), roots with a ridge of eps*|L|; sides over 256 are left out, "
        "vectors take g/sqrt(sum g^2)"
    )
    source: ClassVar[str] = "Gupta, Koren & Singer 2018 (arXiv:1802.09568), algorithm 1; ridge of Anil et al. 2020"


class Soap(Optimizer):
    """Adam in the eigenbasis of Shampoo's matrices, renewed in every step; Adam for vectors and very large sides."""

    kind: Literal["soap"] = "soap"
    lr: PositiveGrid = Field(default=3e-3, examples=[3e-3, [3e-4, 3e-3]])
    """Learning rate."""
    betas: Betas = Field(default=[0.95, 0.95], examples=[[0.95, 0.95]])
    """Memories of the mean, and of the mean square and Shampoo's matrices."""
    eps: NonNegativeGrid = Field(default=1e-8, examples=[1e-8])
    """Added to the root."""
    weight_decay: NonNegativeGrid = Field(default=0.01, examples=[0.01])
    """Decoupled: θ shrinks by lr·weight_decay·θ."""
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "per matrix"
    formula: ClassVar[str] = (
        "L, R <- running means of GG', G'G; bases Q by one QR step each; Adam on Q_L' G Q_R, its step turned back by Q_L, Q_R"
    )
    source: ClassVar[str] = "Vyas et al. 2024 (arXiv:2409.11321), algorithm 3"


class Lbfgs(Optimizer):
    """L-BFGS: Newton's direction from the last ten changes of the gradient, without a line search."""

    kind: Literal["lbfgs"] = "lbfgs"
    lr: PositiveGrid = Field(default=1.0, examples=[1.0, [0.1, 1.0]])
    """Learning rate; 1 is Newton's step."""
    full_batch_unless_stated: ClassVar[bool] = True
    family: ClassVar[str] = "curvature"
    formula: ClassVar[str] = (
        "theta <- theta - lr*H*g, H from the last ten pairs (s, y) with s'y > 1e-10*|s|*|y|; first step g/|g|_1"
    )
    source: ClassVar[str] = (
        "Nocedal & Wright 2006, algorithm 7.4; torch.optim.LBFGS with max_iter=1 but for its absolute thresholds"
    )
