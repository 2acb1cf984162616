"""What a worker with a compiler trains in compiled code on its CPU. The engine asks here, too, so that estimates are of what runs."""

from collections.abc import Iterator, Sequence
from math import prod

from workers.contract.layers import (
    Activation,
    AveragePool,
    Conv1d,
    Conv2d,
    Flatten,
    GlobalPool,
    Linear,
    Lstm,
    MaxPool,
    Rnn,
    Unflatten,
)
from workers.contract.optimizers import OptimizerSpec, Pattern
from workers.contract.regularizers import Regularizers
from workers.contract.shapes import ExpandedLayer

RULES = ("sgd", "rmsprop", "adam", "rprop", "signsgd", "signum", "smorms3")
"""Those with a kernel; others are updated by torch between compiled passes."""
LARGEST_THROUGH_TIME = 1024
"""Units, and inputs, of a recurrent layer: products of larger ones are a BLAS's."""
POOLS = (MaxPool, AveragePool, GlobalPool)
MOST_PAIRS = 2**18
"""Of a place that comes in and one that goes out, which a convolution or a pool brings together: compiled code has a list of them."""


def compilable(
    network: Sequence[ExpandedLayer], pattern: Pattern, regularizers: Regularizers, *, extended: bool
) -> bool:
    """Whether it is linear layers and convolutions, each with at most a non-linearity of fixed form on it, pooling above convolutions, rnn
    and lstm layers, and one gradient is all that is asked.

    Args:
        extended: whether the gradient's range is: through time that is torch's.
    """
    specs = [layer.spec for layer in network]
    return (
        pattern == "one_gradient"
        and not regularizers
        and all(map(_fits, [None, *network], network))
        and all(map(_pools, _weights_below(network), network))
        and not (extended and any(isinstance(spec, Rnn | Lstm) for spec in specs))
        and not any(isinstance(spec, Linear | Conv1d | Conv2d) and spec.weight_normalization for spec in specs)
    )


def updated_there(optimizer: OptimizerSpec) -> bool:
    """Whether the update is compiled as well: a rule that is, with no more than a schedule round it."""
    return optimizer.kind in RULES and optimizer.wrapper_kinds().keys() <= {"schedule"}


def _fits(below: ExpandedLayer | None, layer: ExpandedLayer) -> bool:
    spec = layer.spec
    if isinstance(spec, Activation):
        return below is not None and isinstance(below.spec, Linear | Conv1d | Conv2d) and not layer.parameters
    if isinstance(spec, Rnn | Lstm):
        return max(spec.hidden_size, layer.in_shape[-1]) <= LARGEST_THROUGH_TIME
    if isinstance(spec, Conv1d | Conv2d):
        return spec.positions(layer.in_shape) * prod(layer.tensors[0][2:]) <= MOST_PAIRS
    return isinstance(spec, (Linear, Flatten, Unflatten, *POOLS))


def _pools(weights: ExpandedLayer | None, layer: ExpandedLayer) -> bool:
    """Whether it is no pooling, or some above a convolution."""
    return not isinstance(layer.spec, POOLS) or (weights is not None and isinstance(weights.spec, Conv1d | Conv2d))


def _weights_below(network: Sequence[ExpandedLayer]) -> Iterator[ExpandedLayer | None]:
    """For each layer the nearest one of weights beneath it."""
    nearest = None
    for layer in network:
        yield nearest
        nearest = layer if layer.depth is not None else nearest
