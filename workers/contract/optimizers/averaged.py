"""Rules whose answer is an average of their iterates. Losses are measured at the average; gradients are taken elsewhere."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from workers.contract.base import Betas, FractionGrid, NonNegativeGrid, PositiveGrid
from workers.contract.optimizers.base import Decay, Optimizer, Pattern

NO_SCHEDULE = {"schedule": "its average is that of a constant learning rate, and stands in for a schedule"}


class ScheduleFreeSgd(Optimizer):
    """SGD whose average needs no schedule. The gradient at the average is taken, too, and not used: two gradients a step."""

    kind: Literal["schedule_free_sgd"] = "schedule_free_sgd"
    lr: PositiveGrid = Field(default=1.0, examples=[1.0])
    """Learning rate; larger than that of plain SGD."""
    beta: FractionGrid = Field(default=0.9, examples=[0.9])
    """How near the average the gradient is taken: at (1 − beta)·z + beta·θ."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Coupled (L2), of the place where the gradient is taken."""
    pattern: ClassVar[Pattern] = "two_gradients"
    refuses: ClassVar[Mapping[str, str]] = NO_SCHEDULE
    decay: ClassVar[Decay] = "coupled"
    family: ClassVar[str] = "averaged"
    formula: ClassVar[str] = (
        "y = (1-beta)*z + beta*theta; z <- z - lr*(g(y) + weight_decay*y); theta <- (1-1/k)*theta + z/k"
    )
    source: ClassVar[str] = (
        "Defazio et al. 2024 (arXiv:2405.15682); as pytorch_optimizer's ScheduleFreeSGD after eval()"
    )


class ScheduleFreeAdamW(Optimizer):
    """AdamW whose average needs no schedule. The gradient at the average is taken, too, and not used: two gradients a step."""

    kind: Literal["schedule_free_adamw"] = "schedule_free_adamw"
    lr: PositiveGrid = Field(default=2.5e-3, examples=[2.5e-3])
    """Learning rate; about the length of a step of z in each coordinate."""
    betas: Betas = Field(default=[0.9, 0.999], examples=[[0.9, 0.999]])
    """How near the average the gradient is taken, and the memory of the mean square."""
    eps: NonNegativeGrid = Field(default=1e-8, examples=[1e-8])
    """Added to the root: below it the rule becomes SGD with a tiny step."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.01])
    """Decoupled from the root mean square, of the place where the gradient is taken."""
    pattern: ClassVar[Pattern] = "two_gradients"
    refuses: ClassVar[Mapping[str, str]] = NO_SCHEDULE
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "averaged"
    formula: ClassVar[str] = (
        "y = (1-b1)*z + b1*theta; v <- b2*v + (1-b2)*g(y)^2; "
        "z <- z - lr*(g(y)/(sqrt(v/(1-b2^k))+eps) + weight_decay*y); theta <- (1-1/k)*theta + z/k"
    )
    source: ClassVar[str] = "Defazio et al. 2024 (arXiv:2405.15682), algorithm 1"
