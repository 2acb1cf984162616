"""Statistics of what a step moved. L layers, T trials, n parameters of a layer. Results are float64 [L, T]."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from workers.contract.statistics import Pass
from workers.engine.scaling import norms


def update(
    before: Sequence[Tensor],
    moved: Sequence[Tensor] | None,
    gradient_norm: Tensor,
    eps_dominated: Tensor,
    left: Tensor,
    passes: Collection[Pass],
) -> dict[str, Tensor]:
    """All columns of the group `update`; those that need other passes are NaN.

    Args:
        before: [T, n] parameters of each layer.
        moved: [T, n], what was added to them; None where no update was made.
        gradient_norm: [L, T].
        eps_dominated: [L, T], the share of elements, NaN for rules without an eps.
        left: [L, T], of the gradient's norm by clipping, NaN for rules without it.
    """
    nothing = torch.full_like(gradient_norm, torch.nan)
    weight_norm, update_norm = norms(before) if "weight" in passes else nothing, nothing
    if moved is not None and "movement" in passes:
        update_norm = norms(moved)
    return update_columns(weight_norm, update_norm, gradient_norm, eps_dominated, left)


def update_columns(
    weight_norm: Tensor, update_norm: Tensor, gradient_norm: Tensor, eps_dominated: Tensor, left: Tensor
) -> dict[str, Tensor]:
    """The columns from norms, float64 [L, T] each."""
    return {
        "weight_norm": weight_norm,
        "update_norm": update_norm,
        "update_to_weight_ratio": torch.where(weight_norm > 0, update_norm / weight_norm, torch.nan),
        "effective_lr": torch.where(gradient_norm > 0, update_norm / gradient_norm, torch.nan),
        "eps_dominance": eps_dominated,
        "estimate_cosine": torch.full_like(weight_norm, torch.nan),  # of gradient-free rules: train.py knows
        "clipped_gradient_norm": gradient_norm * left,
    }
