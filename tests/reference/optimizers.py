"""Which slow twin belongs to which rule, and how each is called: one visible table."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reference import signsgd, signum, smorms3, vsgd_fd

Array = NDArray[np.float64]

SampleGradients = Callable[[int, Array], Array]
"""(step from 0, θ [P]) -> [n, P], the gradient of each sample's own loss; the same samples whenever the step is the same."""

TRAJECTORIES: dict[str, Callable[..., list[Array]]] = {
    "signsgd": signsgd.trajectory,
    "signum": signum.trajectory,
    "smorms3": smorms3.trajectory,
    "vsgd_fd": vsgd_fd.trajectory,
}
"""(θ [P], sample gradients, layers' columns, steps, **hyper-parameters) -> θ after each step. Rules not here have a twin in torch.optim."""
