"""Loss and accuracy over a whole split. T trials."""

import torch
from torch import Tensor

from workers.engine.problems import Split
from workers.engine.program import Program

SAMPLES_AT_ONCE = 256
"""Bounds the memory of a pass over a large split."""


def evaluate(program: Program, split: Split) -> tuple[Tensor, Tensor]:
    """Mean loss and share of correct answers (NaN on regressions and where the loss is NaN), float64 [T] each, dropout off."""
    trials = len(program.trials)
    loss = torch.zeros(trials, dtype=torch.float64, device=split.x.device)
    correct = torch.zeros_like(loss)
    for x, y in zip(split.x.split(SAMPLES_AT_ONCE), split.y.split(SAMPLES_AT_ONCE), strict=True):
        output = program.forward(x.expand(trials, *x.shape), training=False)
        target = y.expand(trials, *y.shape)
        loss += program.loss.value(output, target).sum(1, dtype=torch.float64)
        if program.loss.correct is None:
            correct += torch.nan
        else:
            correct += program.loss.correct(output, target).sum(1)
    return loss / len(split.x), torch.where(loss.isnan(), torch.nan, correct / len(split.x))
