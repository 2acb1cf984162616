"""Effective ranks: how many directions a matrix uses, between 1 and its rank. T trials; results float64 [T].

(Σσ²)²/Σσ⁴ over its singular values σ, the participation ratio of the eigenvalues of MMᵀ: k where k of them are alike and the others 0.
No singular value is computed: (tr MMᵀ)²/‖MMᵀ‖²_F. Source: Gao et al. 2017, "A theory of multineuronal dimensionality, dynamics and
measurement", equation 5; with Σσ² for Σσ, the exponential of Rényi's entropy of order 2 where Roy & Vetterli 2007 have Shannon's.
"""

import torch
from torch import Tensor

from workers.engine.scaling import dot, in_range, peaks


def effective_rank(matrix: Tensor) -> Tensor:
    """Of [T, N, M]; NaN where it is zero or not finite."""
    scaled, _ = in_range([matrix], peaks([matrix]))
    m = next(scaled)
    gram = torch.bmm(m, m.mT) if m.shape[1] <= m.shape[2] else torch.bmm(m.mT, m)
    flat = m.flatten(1)
    total, gram = dot(flat, flat).double(), gram.flatten(1)
    return torch.where(total > 0, total.square() / dot(gram, gram).double(), torch.nan)


def of_activations(a: Tensor) -> Tensor:
    """Of [T, B, ...] less its mean over the samples: how many directions the samples are spread over; NaN where they are all alike."""
    values = a.flatten(2)
    return effective_rank(values - values.mean(1, keepdim=True))
