"""Rules that measure curvature."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import Positive, Whole
from workers.contract.optimizers.base import Optimizer, Pattern


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
