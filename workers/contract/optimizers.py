"""The optimizers. g is the gradient, θ the parameters, all operations elementwise unless said.

A float hyper-parameter given as a list is a grid: every value runs.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import Betas, ByKind, FractionGrid, NonNegativeGrid, Positive, PositiveGrid, Spec, Whole

Pattern = Literal["one_gradient", "two_gradients"]
Decay = Literal["coupled", "decoupled", "none"]


class Optimizer(Spec):
    """What every optimizer may state beside its hyper-parameters."""

    name: str | None = Field(default=None, min_length=1, max_length=80, examples=["sgd, full batch"])
    """What the result calls it, so that one kind can stand twice; its kind if null."""
    batch_size: Annotated[Whole, Field(ge=1, le=1_000_000)] | Literal["full"] | None = Field(
        default=None, examples=[128, "full"]
    )
    """Its own batch size, instead of the comparison's."""

    pattern: ClassVar[Pattern] = "one_gradient"
    decay: ClassVar[Decay] = "none"
    formula: ClassVar[str]
    source: ClassVar[str]
    family: ClassVar[str]
    full_batch_unless_stated: ClassVar[bool] = False

    @property
    def label(self) -> str:
        kind: str = getattr(self, "kind")  # noqa: B009 - every leaf declares its own Literal
        return self.name or kind

    def hyperparameters(self) -> dict[str, object]:
        """Everything the rule takes, defaults included, grids as lists."""
        return self.model_dump(exclude={"kind", "name", "batch_size"})


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


class Rmsprop(Optimizer):
    """Divides by a running root mean square of the gradient."""

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


class Rprop(Optimizer):
    """iRprop−: a step size for each weight, grown while the gradient's sign holds; full-batch unless it states otherwise."""

    kind: Literal["rprop"] = "rprop"
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
    family: ClassVar[str] = "sign-based"
    formula: ClassVar[str] = (
        "D <- clip(D*(eta_plus if sign holds, eta_minus if it changes)); theta <- theta - sign(g)*D (no move after a change)"
    )
    source: ClassVar[str] = "Riedmiller & Braun 1993; iRprop-: Igel & Huesken 2000; as torch.optim.Rprop"


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


class VsgdFd(Optimizer):
    """vSGD with finite-difference curvature: its own learning rate for each weight, none to tune. Two gradients a step."""

    kind: Literal["vsgd_fd"] = "vsgd_fd"
    eps: Positive = Field(default=1e-30, examples=[1e-30])
    """Keeps quotients of vanishing averages finite."""
    slow_start: Annotated[Whole, Field(ge=1, le=1000)] = Field(default=2, examples=[2])
    """Steps at the start that only collect averages and do not move."""
    c: Positive = Field(default=2.0, ge=1, examples=[2.0])
    """C: over-estimates the variances after the slow start, so that the first moves are careful."""
    probe_scale: Positive = Field(default=1e-3, le=1, examples=[1e-3])
    """The probe is at least this long relative to the layer's weights, so that float32 does not absorb it."""
    pattern: ClassVar[Pattern] = "two_gradients"
    family: ClassVar[str] = "curvature"
    formula: ClassVar[str] = (
        "h = |g(theta+p) - g(theta)|/|p|; eta = (mean h/mean h^2) * n*G^2/(v + (n-1)*G^2); theta <- theta - eta*g"
    )
    source: ClassVar[str] = "Schaul, Zhang & LeCun 2013 (arXiv:1206.1106); Schaul & LeCun 2013 (arXiv:1301.3764)"


OPTIMIZERS = (Sgd, Rmsprop, Rprop, SignSgd, Signum, Adam, Smorms3, VsgdFd)

OptimizerSpec = Annotated[
    Sgd | Rmsprop | Rprop | SignSgd | Signum | Adam | Smorms3 | VsgdFd, Field(discriminator="kind"), ByKind
]
