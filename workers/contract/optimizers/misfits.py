"""What stands round a rule and cannot: refused at the door, with the field, the reason and what to change."""

from collections.abc import Iterator
from typing import cast

from workers.contract.optimizers.base import Optimizer


def misfits(optimizer: Optimizer, steps: int) -> Iterator[tuple[str, str]]:
    """(field below the optimizer, message) of all that does not go together.

    Args:
        steps: of the whole training.
    """
    around = optimizer.wrappers()
    numbers = optimizer.hyperparameters()
    for field in around:
        if reason := refusal(type(optimizer), field, "lr" in numbers):
            yield field, f"{field} cannot stand round {optimizer.label!r}: {reason}; leave it out"
    longest = max(values(numbers.get("schedule.warmup_steps", 0)))
    if longest >= steps:
        message = (
            f"a warm-up of {longest:g} steps does not end within the {steps:,} steps of the training: make it shorter"
        )
        yield "schedule/warmup_steps", message
    if "added_decay" in around and any(values(numbers.get("weight_decay", 0.0))):
        message = "the rule has a weight_decay of its own: set that to 0, or leave this out"
        yield "added_decay", message
    if min(values(numbers.get("depth_lr.bound", 1.0))) < 1:
        yield "depth_lr/bound", "the largest factor has to be 1 or more"


def refusal(rule: type[Optimizer], field: str, rate: bool) -> str | None:
    """Why a wrapper makes no sense round this rule; None if it does.

    Args:
        rate: whether it has a learning rate.
    """
    if field in rule.refuses:
        return rule.refuses[field]
    if field in ("schedule", "depth_lr") and not rate:
        return "it has no learning rate"
    if field == "sam" and rule.pattern != "one_gradient":
        return "it looks at the loss more than once a step already, and a sharp minimum would cost it a third look"
    return None


def values(number_or_grid: object) -> list[float]:
    """One or several, as a list."""
    return cast(list[float], number_or_grid if isinstance(number_or_grid, list) else [number_or_grid])
