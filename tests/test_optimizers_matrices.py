"""Rules that know weights' shapes, on tall, wide and equal matrices. P parameters, n samples in a batch."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from optimizer_samples import SPECS, WITHIN, numbers_and_flags
from reference.optimizers import BY_SHAPE, trajectory
from reference.tensors import layers_of

from workers.engine.optimizers import RULES, Gradients, Layout
from workers.engine.optimizers.muon import orthogonalised

SHAPES = (
    ((3, 2), (3,)),
    ((5, 3), (5,)),
    ((5, 3),),
    ((4, 5), (4, 1), (4,), (4,)),  # as of a recurrent layer
    ((2, 4), (2,), (2,), (2,)),  # γ and β of a normalisation behind a weight and its bias
    ((1, 2), (1,)),
)
LAYERS = layers_of(SHAPES)
PARAMETERS = LAYERS[-1].stop
_source = np.random.default_rng(3)
START = _source.normal(size=PARAMETERS)
NOISE = 0.3 * _source.normal(size=(200, 4, PARAMETERS))
CURVATURE = np.geomspace(0.01, 1, PARAMETERS)


def quadratic(k: int, theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n, P]."""
    gradient: NDArray[np.float64] = CURVATURE * theta + NOISE[k]
    return gradient


@torch.no_grad()
@pytest.mark.parametrize("kind", sorted(BY_SHAPE))
def test_weights_of_any_shape(kind: str) -> None:
    """Tall, wide and repeated shapes, with and without a bias: where the reference is, in each of 200 steps."""
    spec = SPECS[kind]()
    numbers, flags = numbers_and_flags(spec)
    hyper = {name: torch.full((1, 1), value, dtype=torch.float64) for name, value in numbers.items()}
    theta, layout = torch.from_numpy(START.copy())[None], Layout.of(SHAPES)
    state = RULES[kind].initial_state(theta, hyper, layout, **flags)
    within = WITHIN.get(kind, 1e-10)
    path = trajectory(kind, spec.hyperparameters(), START, quadratic, LAYERS, len(NOISE), SHAPES)
    for k, expected in enumerate(path):
        mean = torch.from_numpy(quadratic(k, theta[0].numpy()).mean(axis=0))[None]
        RULES[kind].update(theta, Gradients(mean, NOISE.shape[1], layout, torch.zeros(1, 1)), state, hyper, **flags)
        np.testing.assert_allclose(theta[0].numpy(), expected, rtol=within, atol=within, err_msg=f"step {k}")


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_orthogonalised_is_torchs(shape: tuple[int, int]) -> None:
    """The direction of torch.optim.Muon, which iterates in bfloat16: within what its rounding leaves."""
    gradient = torch.from_numpy(np.random.default_rng(1).normal(size=shape))
    weight = torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64))
    weight.grad = gradient.clone()
    torch.optim.Muon([weight], lr=1.0, weight_decay=0.0, momentum=0.0).step()
    stretch = max(1, shape[0] / shape[1]) ** 0.5
    torch.testing.assert_close(orthogonalised(gradient) * stretch, -weight.detach(), rtol=0, atol=0.06)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_orthogonalised_acts_on_singular_values(shape: tuple[int, int], scale: float) -> None:
    """The iteration is an odd polynomial of each singular value alone, of a matrix of any size."""
    gradient = np.random.default_rng(2).normal(size=shape)
    left, values, right = np.linalg.svd(gradient / np.linalg.norm(gradient), full_matrices=False)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    found = orthogonalised(torch.from_numpy(scale * gradient)).numpy()
    np.testing.assert_allclose(found, left @ np.diag(values) @ right, rtol=1e-10, atol=1e-10)
