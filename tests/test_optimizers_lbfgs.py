"""L-BFGS against torch's own, where that one's thresholds do not bite."""

import numpy as np
import torch
from optimizer_samples import Run
from reference.landscapes import CURVATURE, LAYERS, MINIMUM, PARAMETERS
from reference.second_order import lbfgs
from torch import Tensor

from workers.contract.optimizers import Lbfgs


def gradient(theta: Tensor) -> Tensor:
    return (theta - torch.from_numpy(MINIMUM)) @ torch.from_numpy(CURVATURE)


def test_is_torchs_on_a_quadratic() -> None:
    """Fifteen steps of max_iter=1, ten pairs, no line search: the same places, down to a gradient below a tenth of the first."""
    run = Run([Lbfgs(lr=0.5)])
    theirs = torch.nn.Parameter(run.theta[0].clone())
    optimizer = torch.optim.LBFGS(
        [theirs], lr=0.5, max_iter=1, history_size=10, tolerance_grad=0.0, tolerance_change=0.0
    )

    def closure() -> Tensor:
        theirs.grad = gradient(theirs.detach())
        return torch.zeros(())

    first = gradient(run.theta).norm()
    assert gradient(run.theta).abs().sum() > 1  # else torch's first step is another
    for _ in range(15):
        run.step(lambda theta: gradient(theta)[:, None])
        optimizer.step(closure)
        torch.testing.assert_close(run.theta[0], theirs.detach(), rtol=1e-9, atol=1e-9)
    assert gradient(run.theta).norm() < 0.1 * first


def test_a_vanished_gradient_is_followed_all_the_same() -> None:
    """A loss 1e-12 times as large has the same path, where torch's first step is 1e-12 times as long and no pair is kept."""
    run = Run([Lbfgs()])
    usual, small = (
        lbfgs(run.theta[0].numpy(), lambda k, theta, s=s: s * ((theta - MINIMUM) @ CURVATURE)[None], LAYERS, 15, lr=1.0)  # type: ignore[misc]
        for s in (1.0, 1e-12)
    )
    for k in range(15):
        run.step(lambda theta: 1e-12 * gradient(theta)[:, None])
        np.testing.assert_allclose(small[k], usual[k], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(run.theta[0].numpy(), usual[k], rtol=1e-6, atol=1e-6)
    assert len(usual[-1]) == PARAMETERS
