"""Rules that look at the gradient's sign only: steps of the same length whatever its size."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import Betas, FractionGrid, NonNegativeGrid, Positive, PositiveGrid
from workers.contract.optimizers.base import Decay, Optimizer


class StepSizes(Optimizer):
    """What the Rprop family shares: a step size Δ for each weight."""

    lr: PositiveGrid = Field(default=0.01, examples=[0.01])
    """Δ₀, the first step size."""
    eta_minus: FractionGrid = Field(default=0.5, examples=[0.5])
    """Factor of the step size when the sign changes."""
    eta_plus: Annotated[Positive, Field(gt=1, le=10)] = Field(default=1.2, examples=[1.2])
    """Factor of the step size when the sign holds."""
    step_min: Positive = Field(default=1e-6, examples=[1e-6])
    """Δmin."""
    step_max: Positive = Field(default=50.0, examples=[50.0])
    """Δmax."""
    full_batch_unless_stated: ClassVar[bool] = True
    refuses: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("schedule", "depth_lr"), "its lr is where the step sizes start, what comes after is their own"
    )
    family: ClassVar[str] = "sign-based"


class Rprop(StepSizes):
    """iRprop−: a step size for each weight, grown while the gradient's sign holds; full-batch unless it states otherwise."""

    kind: Literal["rprop"] = "rprop"
    formula: ClassVar[str] = (
        "D <- clip(D*(eta_plus if sign holds, eta_minus if it changes)); theta <- theta - sign(g)*D (no move after a change)"
    )
    source: ClassVar[str] = "Riedmiller & Braun 1993; iRprop-: Igel & Huesken 2000; as torch.optim.Rprop"


class RpropMinus(StepSizes):
    """Rprop−: as rprop, but after a change of sign it turns round at once; full-batch unless it states otherwise."""

    kind: Literal["rprop_minus"] = "rprop_minus"
    formula: ClassVar[str] = (
        "D <- clip(D*(eta_plus if sign holds, eta_minus if it changes)); theta <- theta - sign(g)*D"
    )
    source: ClassVar[str] = "Riedmiller 1994; Rprop-: Igel & Huesken 2000"


class RpropPlus(StepSizes):
    """Rprop+: as rprop, but a change of sign takes the last step back; full-batch unless it states otherwise."""

    kind: Literal["rprop_plus"] = "rprop_plus"
    formula: ClassVar[str] = (
        "D <- clip(D*(eta_plus if sign holds, eta_minus if it changes)); theta <- theta - sign(g)*D (a change undoes the last move)"
    )
    source: ClassVar[str] = "Riedmiller & Braun 1993; Rprop+: Igel & Huesken 2000"


class IrpropPlus(StepSizes):
    """iRprop+: as rprop, but a change of sign takes the last step back if the loss has risen; full-batch unless it states otherwise."""

    kind: Literal["irprop_plus"] = "irprop_plus"
    formula: ClassVar[str] = (
        "D <- clip(D*(eta_plus if sign holds, eta_minus if it changes)); theta <- theta - sign(g)*D "
        "(after a change no move, or the last move undone if the loss rose)"
    )
    source: ClassVar[str] = "Igel & Huesken 2000; Igel & Huesken 2003"


class SignSgd(Optimizer):
    """Moves every weight by lr against the sign of its gradient."""

    kind: Literal["signsgd"] = "signsgd"
    lr: PositiveGrid = Field(default=1e-3, examples=[1e-3])
    """Length of the step in each coordinate."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Decoupled: θ shrinks by lr·weight_decay·θ."""
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "sign-based"
    formula: ClassVar[str] = "theta <- theta - lr*sign(g)"
    source: ClassVar[str] = "Bernstein et al. 2018, algorithm 1"


class Signum(Optimizer):
    """The sign of a running mean of the gradient."""

    kind: Literal["signum"] = "signum"
    lr: PositiveGrid = Field(default=1e-3, examples=[1e-3])
    """Length of the step in each coordinate."""
    momentum: FractionGrid = Field(default=0.9, examples=[0.9])
    """Memory of the running mean."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Decoupled: θ shrinks by lr·weight_decay·θ."""
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "sign-based"
    formula: ClassVar[str] = "m <- momentum*m + (1-momentum)*g; theta <- theta - lr*sign(m)"
    source: ClassVar[str] = "Bernstein et al. 2018, algorithm 2"


class Lion(Optimizer):
    """The sign of a mean that leans on the newest gradient, while a longer mean is remembered."""

    kind: Literal["lion"] = "lion"
    lr: PositiveGrid = Field(default=1e-4, examples=[1e-4])
    """Length of the step in each coordinate."""
    betas: Betas = Field(default=[0.9, 0.99], examples=[[0.9, 0.99]])
    """Shares of the remembered mean in the step, and in itself."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0])
    """Decoupled: θ shrinks by lr·weight_decay·θ."""
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "sign-based"
    formula: ClassVar[str] = "theta <- theta - lr*sign(b1*m + (1-b1)*g); m <- b2*m + (1-b2)*g"
    source: ClassVar[str] = "Chen et al. 2023 (arXiv:2302.06675), program 1"


class Tiger(Optimizer):
    """Signum with a memory and a decay of its own by default."""

    kind: Literal["tiger"] = "tiger"
    lr: PositiveGrid = Field(default=1e-3, examples=[1e-3])
    """Length of the step in each coordinate."""
    beta: FractionGrid = Field(default=0.965, examples=[0.965])
    """Memory of the running mean."""
    weight_decay: NonNegativeGrid = Field(default=0.01, examples=[0.01])
    """Decoupled: θ shrinks by lr·weight_decay·θ."""
    decay: ClassVar[Decay] = "decoupled"
    family: ClassVar[str] = "sign-based"
    formula: ClassVar[str] = "m <- beta*m + (1-beta)*g; theta <- theta - lr*(sign(m) + weight_decay*theta)"
    source: ClassVar[str] = "J. Su, kexue.fm/archives/9512, 2023"
