"""Rules that measure curvature."""

from collections.abc import Mapping
from math import ceil
from typing import Annotated, ClassVar, Literal, cast

from pydantic import Field

from workers.contract.base import Betas, IntervalGrid, NonNegativeGrid, Positive, PositiveGrid, Whole
from workers.contract.optimizers.base import Decay, Evaluations, Optimizer, Pattern


class Vsgd(Optimizer):
    """What vSGD-l, -b and -g share."""

    eps: Positive = Field(default=1e-30, examples=[1e-30])
    """The least curvature: where there is less, it decides the step."""
    slow_start: Annotated[Whole, Field(ge=1, le=1000)] = Field(default=10, examples=[10])
    """Steps at the start that only collect averages and do not move."""
    c: Positive = Field(default=2.0, ge=1, examples=[2.0])
    """C: over-estimates noise and curvature after the slow start, so that the first moves are careful."""
    pattern: ClassVar[Pattern] = "curvature"
    reads_samples: ClassVar[bool] = True
    refuses: ClassVar[Mapping[str, str]] = {
        "clip": "it weighs the gradient against its samples' squares and its curvature as they are"
    }
    family: ClassVar[str] = "curvature"


class VsgdL(Vsgd):
    """vSGD-l: its own learning rate for each weight, from signal, noise and curvature; none to tune. Dense networks only."""

    kind: Literal["vsgd_l"] = "vsgd_l"
    c: Positive = Field(default=10.0, ge=1, examples=[10.0])
    """C: as with the others, and larger, for weights whose input is seldom on: their first steps are the longest."""
    formula: ClassVar[str] = (
        "h by bbprop, q mean of samples' g^2; G, v, H <- running means of g, q, max(h, eps) with memory t; "
        "s = n*G^2/(v+(n-1)*G^2); theta <- theta - s/H*g; t <- (1-s)*t + 1"
    )
    source: ClassVar[str] = "Schaul, Zhang & LeCun 2013 (arXiv:1206.1106), algorithm 1"


class VsgdB(Vsgd):
    """vSGD-b: a learning rate for each layer, from signal, noise and curvature; none to tune. Dense networks only."""

    kind: Literal["vsgd_b"] = "vsgd_b"
    formula: ClassVar[str] = (
        "as vsgd_l, by layer b: s_b = n*|G_b|^2/(l_b+(n-1)*|G_b|^2) with l_b the running mean of samples' |g_b|^2; "
        "theta_b <- theta_b - s_b/max(H_b)*g_b"
    )
    source: ClassVar[str] = "Schaul, Zhang & LeCun 2013 (arXiv:1206.1106), section 4.1"


class VsgdG(Vsgd):
    """vSGD-g: one learning rate, from signal, noise and curvature; none to tune. Dense networks only."""

    kind: Literal["vsgd_g"] = "vsgd_g"
    formula: ClassVar[str] = "as vsgd_b, with all layers as one"
    source: ClassVar[str] = "Schaul, Zhang & LeCun 2013 (arXiv:1206.1106), section 4.1"


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
    reads_samples: ClassVar[bool] = True
    refuses: ClassVar[Mapping[str, str]] = {"clip": "it takes the curvature from two gradients as they are"}
    family: ClassVar[str] = "curvature"
    formula: ClassVar[str] = (
        "h = |g(theta+p) - g(theta)|/|p|; eta = (mean h/mean h^2) * n*G^2/(v + (n-1)*G^2); theta <- theta - eta*g"
    )
    source: ClassVar[str] = "Schaul, Zhang & LeCun 2013 (arXiv:1206.1106); Schaul & LeCun 2013 (arXiv:1301.3764)"


class Sophia(Optimizer):
    """Sophia-G: the mean gradient over the curvature, clipped; the curvature from labels that the network draws itself, every few steps."""

    kind: Literal["sophia"] = "sophia"
    lr: PositiveGrid = Field(default=1e-3, examples=[1e-3, [1e-4, 1e-3]])
    """Learning rate: the longest step in each coordinate."""
    betas: Betas = Field(default=[0.96, 0.99], examples=[[0.96, 0.99]])
    """Memories of the gradient and of the curvature."""
    gamma: PositiveGrid = Field(default=0.05, examples=[0.05, [0.01, 0.05]])
    """γ, share of the curvature that a step is divided by: the smaller, the more elements are clipped."""
    eps: NonNegativeGrid = Field(default=1e-12, examples=[1e-12])
    """Least divisor."""
    update_period: IntervalGrid = Field(default=10, examples=[10])
    """Steps from one look at the curvature to the next; it costs a gradient."""
    weight_decay: NonNegativeGrid = Field(default=0.0, examples=[0.0, 0.1])
    """Decoupled: θ shrinks by lr·weight_decay·θ."""
    decay: ClassVar[Decay] = "decoupled"
    pattern: ClassVar[Pattern] = "own_labels"
    family: ClassVar[str] = "curvature"
    formula: ClassVar[str] = (
        "m <- b1*m + (1-b1)*g; every update_period steps h <- b2*h + (1-b2)*n*G^2, G the gradient for labels drawn from the predictions; "
        "theta <- theta - lr*clip(m/max(gamma*h, eps), -1, 1)"
    )
    source: ClassVar[str] = "Liu et al. 2023 (arXiv:2305.14342), algorithms 2 and 3 (Sophia-G)"

    def per_step(self) -> Evaluations:
        return Evaluations(functions=0, gradients=1 + 1 / self._period(None))

    def spent(self, steps: int, setting: Mapping[str, object] | None = None) -> Evaluations:
        """The curvature is looked at in the first step, and then once a period."""
        return Evaluations(functions=0, gradients=steps + ceil(steps / self._period(setting)))

    def _period(self, setting: Mapping[str, object] | None) -> int:
        asked = self.update_period if setting is None else setting["update_period"]
        return int(min(asked) if isinstance(asked, list) else cast(float, asked))
