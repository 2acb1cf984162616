"""CMA-ES beside the package of others, and where it ends: large networks, a matrix that has left the format."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from optimizer_samples import SEED, Run, starts
from reference.gradient_free import cyberagents_cma_es
from reference.landscapes import LANDSCAPES, LOSSES, STEPS, noisy_quadratic

from workers.contract.checks import Limits, check
from workers.contract.comparison import ComparisonSpec
from workers.contract.optimizers import CmaEs, Optimizer


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("landscape", ["noisy_quadratic", "small_network", "tiny"])
def test_equals_the_package(landscape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no losses are equal, as long as the landscape goes: rows of other populations and first spreads. The package adds 1e-8 to the
    squared lengths by which it divides negative weights, which the tutorial does not.
    """
    monkeypatch.setattr("cmaes._cma._EPS", 0.0)
    gradients = LANDSCAPES[landscape]
    steps = STEPS if landscape != "tiny" else 40
    for population in (6, 32):
        sigmas = (0.1, 0.7)
        run = Run([CmaEs(population=population, sigma=sigma) for sigma in sigmas])
        twins = [
            cyberagents_cma_es(start, steps, losses=LOSSES[gradients], seed=SEED, sigma=sigma, population=population)
            for sigma, start in zip(sigmas, starts(2), strict=True)
        ]
        for k in range(steps):
            run.follow(gradients, k)
            expected = np.stack([twin[k] for twin in twins])
            np.testing.assert_allclose(run.theta.numpy(), expected, rtol=1e-10, atol=1e-10, err_msg=f"step {k}")


def test_a_matrix_that_left_the_format_stops_nobody() -> None:
    """No eigenvalues can be had of it; its neighbours go on bit for bit."""
    rows: list[Optimizer] = [CmaEs(), CmaEs(sigma=0.5)]
    sound, spoilt = Run(rows, torch.float32), Run(rows, torch.float32)
    spoilt.state["covariance"][0] = torch.nan
    for k in range(5):
        sound.follow(noisy_quadratic, k)
        spoilt.follow(noisy_quadratic, k)
    assert torch.equal(spoilt.theta[1], sound.theta[1])


@pytest.mark.parametrize(("width", "refused"), [(4, False), (8, True)])
def test_large_networks_are_refused_at_the_door(width: int, refused: bool) -> None:
    """Of digits with 310 and 610 parameters: told how many there may be, and what to use instead."""
    asked = {
        "problem": "digits",
        "network": {"kind": "mlp", "depth": 1, "width": width},
        "optimizers": ["sgd", "cma_es"],
    }
    found = check(ComparisonSpec.model_validate(asked), Limits())
    assert [violation.pointer for violation in found] == ["/optimizers/1"] * refused
    for violation in found:
        assert violation.code == "over_limit"
        for told in ("at most 500 parameters", "610", "sep_cma_es"):
            assert told in violation.message
