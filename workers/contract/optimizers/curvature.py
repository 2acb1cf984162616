"""Rules that measure curvature."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import Positive, Whole
from workers.contract.optimizers.base import Optimizer, Pattern


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
