"""Statistics that may be measured at fewer steps than are recorded: what each group takes of a program, after a pass forward and, where a
gradient is taken, one backward. A group is a function here; what it computes of tensors is in statistics/. L layers, T trials.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from workers.contract.statistics import Occasional
from workers.engine.program import Program
from workers.engine.statistics.trajectory import Last, alphas, distances

Columns = dict[str, Tensor]
"""By statistic: float64 [L, T]."""


def trajectory(program: Program, step: int) -> Columns:
    """What is not recorded may be left out."""
    parameters, found = program.of_layers(program.theta), Columns()
    if program.start is not None:
        found["distance"] = distances(parameters, program.of_layers(program.start))
    if program.trail and step:
        exponents = _exponents(program) - program.trail["exponents"]
        last = Last(program.of_layers(program.trail["theta"]), program.of_layers(program.previous), exponents)
        found["alpha"] = alphas(parameters, program.of_layers(program.gradient), last)
    return found


MEASURES: dict[Occasional, Callable[[Program, int], Columns]] = {
    "trajectory": trajectory,
}
"""(program, step) -> what is known of the group's columns; changes nothing."""


def measured_now(program: Program, step: int) -> Columns:
    """The columns of the groups of which it is the step."""
    found = Columns()
    for group, steps in program.shard.occasional.items():
        if step in steps:
            found |= MEASURES[group](program, step)
    return found


def remember(program: Program, step: int) -> None:
    """What the next step looks back at, before anything moves."""
    if looked_back_at(program, step):
        program.trail["theta"].copy_(program.theta)
        program.trail["exponents"].copy_(_exponents(program))


def looked_back_at(program: Program, step: int) -> bool:
    return bool(program.trail) and step + 1 in program.shard.occasional["trajectory"]


def alone(program: Program, step: int) -> bool:
    """Whether this step is measured, or remembered, beyond what compiled code does."""
    return looked_back_at(program, step) or any(step in steps for steps in program.shard.occasional.values())


def _exponents(program: Program) -> Tensor:
    """Of the gradient's layers, float64 [L, T]."""
    if program.extended:
        return program.extended.exponents
    return torch.zeros(len(program.columns), len(program.trials), dtype=torch.float64, device=program.theta.device)
