"""What a worker with a compiler trains in compiled code on its CPU. The engine asks here, too, so that estimates are of what runs."""

from collections.abc import Sequence

from workers.contract.layers import Activation, Flatten, Linear, Lstm, Rnn, Unflatten
from workers.contract.optimizers import OptimizerSpec, Pattern
from workers.contract.regularizers import Regularizers
from workers.contract.shapes import ExpandedLayer

RULES = ("sgd", "rmsprop", "adam", "rprop", "signsgd", "signum", "smorms3")
"""Those with a kernel; others are updated by torch between compiled passes."""
LARGEST_THROUGH_TIME = 1024
"""Units, and inputs, of a recurrent layer: products of larger ones are a BLAS's."""


def compilable(
    network: Sequence[ExpandedLayer], pattern: Pattern, regularizers: Regularizers, *, extended: bool
) -> bool:
    """Whether it is linear layers, each with at most a non-linearity of fixed form on it, rnn and lstm layers, on features or sequences,
    and one gradient is all that is asked.

    Args:
        extended: whether the gradient's range is: through time that is torch's.
    """
    specs = [layer.spec for layer in network]
    return (
        pattern == "one_gradient"
        and not regularizers
        and all(map(_fits, [None, *network], network))
        and not (extended and any(isinstance(spec, Rnn | Lstm) for spec in specs))
        and not any(isinstance(spec, Linear) and spec.weight_normalization for spec in specs)
    )


def updated_there(optimizer: OptimizerSpec) -> bool:
    """Whether the update is compiled as well: a rule that is, with no more than a schedule round it."""
    return optimizer.kind in RULES and optimizer.wrapper_kinds().keys() <= {"schedule"}


def _fits(below: ExpandedLayer | None, layer: ExpandedLayer) -> bool:
    if isinstance(layer.spec, Activation):
        return below is not None and isinstance(below.spec, Linear) and not layer.parameters
    if isinstance(layer.spec, Rnn | Lstm):
        return max(layer.spec.hidden_size, layer.in_shape[-1]) <= LARGEST_THROUGH_TIME
    return isinstance(layer.spec, Linear | Flatten | Unflatten)
