"""How a function of the correlation goes through a whole network, from what one shaped non-linearity does to it."""

from collections.abc import Callable, Sequence
from math import prod

from workers.contract.activations import Shaped
from workers.contract.layers import Activation, Dense, Residual
from workers.contract.shapes import ExpandedLayer, walk

Local = Callable[[float], float]
"""What one shaped non-linearity does: y ↦ s·y for slopes C′(1), y ↦ y + t for curvatures C″(1), y ↦ C(y) for correlations."""


def through(layers: Sequence[ExpandedLayer], start: float, local: Local) -> float:
    """The most that any part of the network makes of `start`: of the whole, and of each branch of a residual or dense layer by itself.

    The maximal C value function of Martens et al. 2021, section 5.2, and of Zhang et al. 2022, section 4 and appendix B; the three
    uses of it are those of `Local`, all of which only grow with depth.
    """
    branches = [layer.layers for layer in walk(layers) if isinstance(layer.spec, Residual | Dense)]
    return max(_whole(part, start, local) for part in (layers, *branches))


def _whole(layers: Sequence[ExpandedLayer], start: float, local: Local) -> float:
    """Layers in a row one after the other; r x + s F(x) with r² + s² = 1 is r² of what it receives and s² of what F makes of it;
    of x and F(x) side by side each has its share of the units.
    """
    for layer in layers:
        if isinstance(layer.spec, Activation) and isinstance(layer.spec.activation, Shaped):
            start = local(start)
        elif isinstance(layer.spec, Residual):
            carried, added = layer.spec.shares
            start = carried**2 * start + added**2 * _whole(layer.layers, start, local)
        elif isinstance(layer.spec, Dense):
            own = prod(layer.in_shape) / prod(layer.out_shape)
            start = own * start + (1 - own) * _whole(layer.layers, start, local)
    return start
