"""How long training takes, from the shapes alone: to a factor of two. T trials, B samples, P parameters of a trial.

The constants were fitted to the engine on two CPU cores, for depths of 3 to 50 and widths of 16 to 256: within 35 %.
"""

from collections.abc import Sequence

from workers.contract.optimizers import GRADIENT_FREE, Optimizer
from workers.contract.shapes import ExpandedLayer, walk

PASSES = 6.0
"""Operations for each parameter and sample: two forward, four backward."""
INEFFICIENCY = 2.6
"""Time of a pass with its non-linearities and statistics over that of its matrix products at the speed a worker publishes."""
UPDATE = 32.0
"""Operations' time for each parameter and step: the update."""
LAYER_SECONDS = {"cpu": 4e-4, "cuda": 1e-4}
"""What a layer of a batched program takes in a step however little there is to compute."""

BRIDGE_SECONDS = 2e-4
"""What an optimizer object takes in a step for each layer of its trial, about; most take less, a few ten times as much."""


def gradients_worth(optimizer: Optimizer) -> float:
    """What a step takes, in gradients. Gradient-free rules are looked at where they are, too: another pass forward."""
    glance = 1 / 3 if optimizer.evaluation in GRADIENT_FREE else 0.0
    return optimizer.per_step().cost + glance


def step_flops(network: Sequence[ExpandedLayer], batch_size: int, trials: float, gradients: float) -> float:
    """Of a step: 2.6·6·B·P for each of the trials' gradients, P counted as often as one sample uses them, and 32 P for each update.

    Args:
        trials: how many.
        gradients: of all of them together.
    """
    layers = list(walk(network))
    parameters = sum(layer.own_parameters for layer in layers)
    used = sum(
        (layer.own_parameters + layer.spec.kept(layer.in_shape)) * layer.spec.positions(layer.in_shape)
        for layer in layers
    )
    return gradients * INEFFICIENCY * PASSES * batch_size * used + trials * UPDATE * parameters


def bridge_seconds(network: Sequence[ExpandedLayer]) -> float:
    """What a step of one trial takes more where its optimizer is an object of its own."""
    return BRIDGE_SECONDS * sum(layer.depth is not None for layer in walk(network))


def step_seconds(network: Sequence[ExpandedLayer], gradients: float, device: str) -> float:
    """What a step of a whole shard takes at least."""
    return LAYER_SECONDS[device] * gradients * sum(layer.depth is not None for layer in walk(network))
