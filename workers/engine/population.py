"""Candidates of gradient-free rules, through the same layers: their places are folded into the trial axis.

R rows of one rule (a trial each), N candidates of a row, C of them at a time, B samples, P parameters. All candidates of a trial see the
same batch, the same dropout and the same of whatever else a layer draws: their losses differ because they stand elsewhere.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.engine.losses import LossFunction
from workers.engine.network import Layer
from workers.engine.network.layer import Remembering
from workers.engine.network.shortcuts import through

ELEMENTS_AT_ONCE = {"cpu": 400_000, "cuda": 100_000_000}
"""Activations of the widest layer, of all candidates that are passed forward together: bounds memory, and on a CPU keeps to the cache."""


def at_once(population: int, rows: int, widest: int, device: str) -> int:
    """C: as many as the budget holds, at least one.

    Args:
        widest: numbers that one row's batch makes in the widest layer.
    """
    return max(1, min(population, ELEMENTS_AT_ONCE[device] // (rows * widest)))


class Candidates:
    """Layers of their own for R·C trials, of which nothing is remembered."""

    def __init__(self, theta: Tensor, layers: Sequence[Layer], remembering: Sequence[Remembering], rows: int) -> None:
        """
        Args:
            theta: [R·C, P], what the layers are views of.
            layers, remembering: of the network, and those of them with running statistics.
        """
        self.theta = theta.unflatten(0, (rows, -1))
        self.layers, self.remembering = layers, remembering

    def losses(
        self, theta: Tensor, tried: Tensor, x: Tensor, y: Tensor, loss: LossFunction, running: list[dict[str, Tensor]]
    ) -> Tensor:
        """Mean losses over the batch, float64 [R, N].

        Args:
            theta: [R, P].
            tried: [R, N, P], where the candidates stand, relative to θ.
            x, y: the batch, [R, B, ...].
            running: what the program's own layers remember of these rows: layers that look at it see it, none changes it.
        """
        rows, count = tried.shape[:2]
        together = self.theta.shape[1]
        found = torch.empty(rows, count, dtype=torch.float64, device=theta.device)
        x, y = (each[:, None].expand(-1, together, *each.shape[1:]).flatten(0, 1) for each in (x, y))
        for start in range(0, count, together):
            part = slice(min(start, count - together), min(start + together, count))  # the last may overlap
            torch.add(theta[:, None], tried[:, part], out=self.theta)
            for layer, state in zip(self.remembering, running, strict=True):
                for name, value in state.items():
                    layer.state[name].unflatten(0, (rows, together)).copy_(value[:, None])
            output = through(self.layers, x, training=True)
            found[:, part] = loss.value(output, y).mean(1, dtype=torch.float64).unflatten(0, (rows, together))
        return found
