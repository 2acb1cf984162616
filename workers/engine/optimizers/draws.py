"""Random directions of rules that try places near θ: functions of (seed, step), so that nothing is remembered between steps.

R rows (one trial each), N directions of a row, P parameters. A seed's directions are the same under every optimizer, whoever shares its
batch, and after a restart.
"""

from dataclasses import dataclass
from math import tau

import torch
from torch import Tensor

from workers.engine.seeding import derive, uniform

PURPOSE = "perturbations"


@dataclass(frozen=True)
class Draws:
    """Of one step."""

    keys: Tensor
    """int64 [R]."""
    step: Tensor
    """int64 scalar: updates made so far."""

    def normal(self, theta: Tensor, count: int) -> Tensor:
        """[R, N, P] of N(0, 1), in θ's format; by Box and Muller's polar form of pairs of uniform numbers, so |z| is below 5.8."""
        numbers = count * theta.shape[1]
        pairs = (numbers + 1) // 2
        u = uniform(self.keys, self.step, 2 * pairs).to(theta.dtype).unflatten(1, (pairs, 2))
        radius, angle = torch.log1p(-u[..., 0]).mul_(-2).sqrt_(), u[..., 1] * tau
        z = torch.stack([angle.cos().mul_(radius), angle.sin().mul_(radius)], 2).flatten(1)
        directions: Tensor = z[:, :numbers].unflatten(1, (count, theta.shape[1]))
        return directions

    def signs(self, theta: Tensor) -> Tensor:
        """[R, P] of -1 and 1 with equal chances, in θ's format."""
        return (uniform(self.keys, self.step, theta.shape[1]) < 0.5).to(theta.dtype).mul_(2).sub_(1)


def keys_of(seeds: list[int], device: torch.device) -> Tensor:
    return torch.tensor([derive(seed, PURPOSE) for seed in seeds], device=device)
