"""Layer-sequential unit variance (Mishkin & Matas 2016): the start of weights from what the layer makes of training inputs. T trials."""

import math

from torch import Tensor

from workers.contract.initialisers import InitSpec
from workers.engine.network.layer import Slots, trials_by_seed


def to_unit_variance(weight: Tensor, bias: Tensor | None, given: Tensor, init: InitSpec, slots: Slots) -> None:
    """Multiplies W by gain/std(W x), in place; trials of one seed, which start alike, by the same. A collapsed output is left alone.

    Args:
        weight: [T, O, ...].
        bias: [T, O], of which −m Σ_j W_ij goes with the weights.
        given: W x over training inputs, [T, ...].
    """
    for rows in trials_by_seed(slots.seeds).values():
        deviation = float(given[rows[0]].double().std(correction=0))
        if not 0 < deviation < math.inf:
            continue
        before = weight[rows].flatten(2).sum(2)
        weight[rows] = weight[rows] * (init.number() / deviation)
        if bias is not None and init.input_mean:
            bias[rows] = bias[rows] + init.input_mean * (before - weight[rows].flatten(2).sum(2))
