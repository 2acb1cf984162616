"""Rules that treat a layer's weight as a matrix."""

from typing import ClassVar, Literal

from pydantic import Field

from workers.contract.base import Betas, FractionGrid, NonNegativeGrid, PositiveGrid
from workers.contract.optimizers.base import Decay, Optimizer


class Muon(Optimizer):
    """Momentum with all singular values near one, for the weights of hidden layers; AdamW for biases and the first and last layer."""

    kind: Literal["muon"] = "muon"
    lr: PositiveGrid = Field(default=0.02, examples=[0.02, [0.002, 0.02]])
    """Learning rate of the hidden layers' weights: about how much each singular value moves."""
    momentum: FractionGrid = Field(default=0.95, examples=[0.95])
    """Memory of the running mean that is orthogonalised."""
    nesterov: bool = Field(default=True, examples=[True])
    """Look ahead: the gradient is mixed with the running mean once more."""
    adam_ratio: PositiveGrid = Field(default=0.015, examples=[0.015, [0.015, 0.15]])
    """AdamW's learning rate, which everything else has, over lr: 3e-4 at the defaults."""
    betas: Betas = Field(default=[0.9, 0.95], examples=[[0.9, 0.95]])
    """AdamW's memories of the mean and of the mean square."""
    eps: NonNegativeGrid = Field(default=1e-10, examples=[1e-10])
    """AdamW's, added to the root."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.01])
    """Decoupled: θ shrinks by its learning rate times weight_decay·θ."""
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "per matrix"
    formula: ClassVar[str] = (
        "m <- momentum*m + (1-momentum)*g; u = (1-momentum)*g + momentum*m if nesterov, else m; X = u/|u|, five times "
        "X <- 3.4445*X + (-4.7750*XX' + 2.0315*(XX')^2)X; theta <- theta - lr*sqrt(max(1, out/in))*X; AdamW with lr*adam_ratio for the rest"
    )
    source: ClassVar[str] = "Jordan et al. 2024 (kellerjordan.github.io/posts/muon)"
