"""What arms are called among each other."""

from workers.contract.results import Arm, Result


def named(arm: Arm, result: Result) -> str:
    """Optimizer, with problem and variant before it where there are several."""
    told = (arm.problem, {other.problem for other in result.arms}), (arm.variant, {a.variant for a in result.arms})
    return " · ".join([*(name for name, there in told if len(there) > 1), arm.optimizer])
