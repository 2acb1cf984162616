"""Inverse roots of many small matrices at once, by products alone: nothing waits for the device. R rows, n by n matrices."""

import torch
from torch import Tensor

ITERATIONS = 32
"""Enough for a ridge of 1e-7: the smallest eigenvalue grows by (1 + 1/p)^p ≥ 2.25 in each until the last few square its error."""


def inverse_root(a: Tensor, p: int, ridge: Tensor) -> Tensor:
    """(A + ridge·‖A‖_F·I)^(−1/p) of symmetric positive semi-definite A; zeros where A is zero.

    Newton's coupled iteration: M = z·A, X = z^(1/p)·I; N = ((p + 1)·I − M)/p; X ← X·N, M ← N^p·M, until M = I.
    Source: Guo & Higham 2006, "A Schur–Newton method for the matrix pth root and its inverse", (3.6); Anil et al. 2020
    (arXiv:2002.09018), appendix.

    Args:
        a: [R, n, n].
        p: 2 or 4.
        ridge: [R, 1, 1], from 1e-7.
    """
    largest = a.abs().amax((1, 2), keepdim=True)
    safe = torch.where(largest > 0, largest, 1.0)
    unit = a / safe
    norm = torch.linalg.vector_norm(unit, dim=(1, 2), keepdim=True).clamp_min(1)
    one = torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
    z = (p + 1) / (2 * (1 + ridge))
    m = torch.addcmul(unit / norm, one, ridge) * z
    x = one * z ** (1 / p)
    for _ in range(ITERATIONS):
        n = (one * (p + 1) - m) / p
        x = x @ n
        power = n @ n
        m = (power @ power if p == 4 else power) @ m
    back = (safe.double() * norm.double()) ** (-1 / p) * (largest > 0)
    found: Tensor = x * back.to(a.dtype)
    return found
