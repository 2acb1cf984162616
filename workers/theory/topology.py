"""How a function of the correlation goes through a whole network, from what one shaped non-linearity does to it."""

from collections.abc import Callable, Sequence

from workers.contract.activations import Shaped
from workers.contract.layers import Activation
from workers.contract.shapes import ExpandedLayer

Local = Callable[[float], float]
"""What one shaped non-linearity does: y ↦ s·y for slopes C′(1), y ↦ y + t for curvatures C″(1), y ↦ C(y) for correlations."""


def through(layers: Sequence[ExpandedLayer], start: float, local: Local) -> float:
    """The most that any part of the network makes of `start`: layers in a row are applied one after the other.

    The maximal C value function of Martens et al. 2021, section 5.2, and of Zhang et al. 2022, section 4; the three uses of it are
    those of `Local`, all of which only grow with depth.
    """
    for layer in layers:
        if isinstance(layer.spec, Activation) and isinstance(layer.spec.activation, Shaped):
            start = local(start)
    return start
