"""What is made of candidates' losses before they weigh anything. R rows, N candidates.

A rule that goes by ranks does not change where the loss is scaled, shifted, or bent by any rising function.
"""

from math import log

import torch
from torch import Tensor


def weights_by_rank(losses: Tensor, by_rank: Tensor) -> Tensor:
    """The weight of each candidate; equal losses share their ranks' weights, so that a flat loss prefers nobody.

    Args:
        losses: float64 [R, N]; NaN counts as infinite, the worst.
        by_rank: [N], of the best, the second best ...

    Returns:
        [R, N] in the format of `by_rank`.
    """
    known = losses.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    here, there = known[:, :, None], known[:, None, :]
    better, equal = (there < here).sum(2), (there == here).sum(2)
    up_to = torch.cat([by_rank.new_zeros(1), by_rank.cumsum(0)])
    return (up_to[better + equal] - up_to[better]) / equal


def centred(losses: Tensor) -> Tensor:
    """Ranks from −1/2, the best, to 1/2, the worst; they add up to zero."""
    count = losses.shape[1]
    ranks = torch.arange(count, dtype=losses.dtype, device=losses.device)
    return weights_by_rank(losses, ranks / (count - 1) - 0.5)


def utilities(losses: Tensor) -> Tensor:
    """max(0, ln(N/2 + 1) − ln(rank))/Σ − 1/N, the best half above −1/N; they add up to zero. Wierstra et al. 2014 (JMLR 15)."""
    count = losses.shape[1]
    ranks = torch.arange(1, count + 1, dtype=losses.dtype, device=losses.device)
    by_rank = (log(count / 2 + 1) - ranks.log()).clamp_min(0)
    return weights_by_rank(losses, by_rank / by_rank.sum() - 1 / count)


def mirrored(z: Tensor) -> Tensor:
    """[R, N/2, P] -> [R, N, P]: each direction, then each the other way."""
    return torch.cat([z, -z], 1)


def combined(weights: Tensor, tried: Tensor) -> Tensor:
    """Σ w_i x_i over candidates: [R, N], [R, N, P] -> [R, P]."""
    return torch.bmm(weights.to(tried.dtype)[:, None], tried).squeeze(1)
