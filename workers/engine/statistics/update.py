"""Statistics of what a step moved. T trials, n parameters of a layer."""

import torch
from torch import Tensor

from workers.engine.scaling import norm


def update(before: Tensor, after: Tensor | None, gradient_norm: Tensor, eps_dominated: Tensor) -> dict[str, Tensor]:
    """All columns of the group `update`.

    Args:
        before, after: [T, n] parameters; None where no update was made.
        gradient_norm: float64 [T].
        eps_dominated: float64 [T], the share of elements, NaN for rules without an eps.
    """
    weight_norm = norm(before)
    update_norm = torch.full_like(weight_norm, torch.nan) if after is None else norm(after - before)
    return {
        "weight_norm": weight_norm,
        "update_norm": update_norm,
        "update_to_weight_ratio": torch.where(weight_norm > 0, update_norm / weight_norm, torch.nan),
        "effective_lr": torch.where(gradient_norm > 0, update_norm / gradient_norm, torch.nan),
        "eps_dominance": eps_dominated,
    }
