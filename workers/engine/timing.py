"""What a step of each optimizer takes: one trial at a time, alone on the device, with nothing recorded.

A shard trains many optimizers as one program and records on the way, so that its own time belongs to none of them; and a share of it
would give every rule the same. So the clock is held over a few steps of one trial of each, after the shard has been trained.
"""

import time
from collections.abc import Callable

import torch

from workers.contract.plan import Trial
from workers.engine.program import build
from workers.engine.recording import Recording
from workers.engine.shard import Training, advance_of

STEPS = 20
"""At least, so that what a rule does in every tenth step only is there in proportion …"""
ENOUGH_SECONDS = 0.05
"""… and for as long as this, so that a short step is not lost in the clock …"""
MOST_SECONDS = 0.5
"""… but no longer than this, however long a step is."""


def step_seconds(training: Training, stopped: Callable[[], bool]) -> dict[str, float]:
    """Seconds by name of optimizer, of those whose trials are reported; the first of its trials stands for all.

    Args:
        stopped: asked between optimizers; those that are left then have no time.
    """
    found: dict[str, float] = {}
    for trial in training.shard.trials:
        if trial.role == "final" and trial.optimizer not in found and not stopped():
            seconds = _alone(training, trial)
            if seconds is not None:
                found[trial.optimizer] = seconds
    return found


def _alone(training: Training, trial: Trial) -> float | None:
    """The mean over steps after the first; None where there are no others."""
    shard, last = training.shard, training.shard.steps
    unseen = shard.model_copy(
        update={"trials": [trial], "recorded": [last, last + 1]}
    )  # steps that are not reached here
    program = build(unseen, [trial], training.programs[0].data)
    recording, advance = Recording(program), advance_of(training.path, program)
    device = training.device

    def advanced(start: int, until: int) -> float:
        began = time.perf_counter()
        advance(program, recording, start, until)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    if last < 3:
        return None
    advanced(0, 1)  # allocates, and may compile
    step, block, spent = 1, 1, 0.0
    while step < last - 1 and spent < MOST_SECONDS and (step <= STEPS or spent < ENOUGH_SECONDS):
        until = min(step + block, last - 1)
        spent += advanced(step, until)
        step, block = until, min(2 * block, STEPS)
    return spent / (step - 1)
