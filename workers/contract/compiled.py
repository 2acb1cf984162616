"""What a worker with a compiler trains in compiled code on its CPU. The engine asks here, too, so that estimates are of what runs."""

from collections.abc import Sequence

from workers.contract.layers import Activation, Linear
from workers.contract.optimizers import OptimizerSpec, Pattern
from workers.contract.regularizers import Regularizers
from workers.contract.shapes import ExpandedLayer

RULES = ("sgd", "rmsprop", "adam", "rprop", "signsgd", "signum", "smorms3")
"""Those with a kernel; others are updated by torch between compiled passes."""


def compilable(network: Sequence[ExpandedLayer], pattern: Pattern, regularizers: Regularizers) -> bool:
    """Whether it is linear layers, each with at most a non-linearity of fixed form on it, and one gradient is all that is asked."""
    return (
        pattern == "one_gradient"
        and not regularizers
        and isinstance(network[0].spec, Linear)
        and all(map(_fits, network, network[1:]))
        and not any(isinstance(layer.spec, Linear) and layer.spec.weight_normalization for layer in network)
    )


def updated_there(optimizer: OptimizerSpec) -> bool:
    """Whether the update is compiled as well: a rule that is, with no more than a schedule round it."""
    return optimizer.kind in RULES and optimizer.wrapper_kinds().keys() <= {"schedule"}


def _fits(below: ExpandedLayer, above: ExpandedLayer) -> bool:
    if isinstance(above.spec, Activation):
        return isinstance(below.spec, Linear) and not above.parameters
    return isinstance(above.spec, Linear)
