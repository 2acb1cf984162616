"""Normalised gradient descent, unit by unit: every unit's incoming weights move by the same length.

    m ← momentum·m + (1 − momentum)·g
    θ ← (1 − lr·weight_decay)·θ                         (decoupled)
    θ_u ← θ_u − lr·m_u/‖m_u‖                            for each unit u, its row of the weight and its bias as one vector

Source: as normalized_gradient, with the smallest blocks that Yu et al. 2017 (arXiv:1707.04822) allow; a unit's row as what is
normalised also in Brock et al. 2021 (arXiv:2102.06171), section 4, whose norms leave the bias out.

Fixed points: m_u = 0. A unit whose gradient is exactly zero stays. No eps: the steps do not depend on the gradient's size down to the
smallest normal number, and the norm is taken of numbers in range.
Failure modes: the step never shrinks by itself: θ_u circles the optimum at a distance of about lr. Units that matter and units whose
gradient is noise move by the same length, so that a layer of O units moves by lr·√O.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from workers.engine.optimizers.normalized_gradient import initial_state
from workers.engine.optimizers.norms import in_range, ratio
from workers.engine.optimizers.rule import Gradients, Hyper, LayerParameters, Rule, State, at, shrink


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    direction = gradients.mean
    if "momentum" in hyper:
        direction = state["exp_avg"].lerp_(direction, (1 - hyper["momentum"]).to(theta.dtype))
    shrink(theta, hyper)
    for part in gradients.layout.layers:
        for columns, shape, bias in blocks(part):
            units = direction[:, columns].unflatten(1, shape)
            if bias is not None:
                units = torch.cat([units, direction[:, bias, None]], 2)
            unit, length = (each.unflatten(0, (-1, shape[0])) for each in in_range(units.flatten(0, 1)))
            step = unit * ratio(at(hyper["lr"], columns)[:, None], length, 0.0).to(theta.dtype)
            theta[:, columns].sub_(step[:, :, : shape[1]].flatten(1))
            if bias is not None:
                theta[:, bias].sub_(step[:, :, -1])


def blocks(layer: LayerParameters) -> Iterator[tuple[slice, tuple[int, int], slice | None]]:
    """Columns and shape of what is normalised row by row, and the bias that joins its rows.

    That is each matrix with the vector that follows it, if that has an element for each row. Any other vector is one unit.
    """
    parts = list(layer.matrices)
    while parts:
        columns, shape = parts.pop(0)
        if len(shape) == 1:
            yield columns, (1, *shape), None
        elif parts and parts[0][1] == shape[:1]:
            yield columns, (shape[0], shape[1]), parts.pop(0)[0]
        else:
            yield columns, (shape[0], shape[1]), None


RULE = Rule(initial_state, update, degrees={"exp_avg": 1})
