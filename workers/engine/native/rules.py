"""What has a kernel in step.cpp: rules and losses, in the order in which it numbers them."""

from typing import NamedTuple


class Kernel(NamedTuple):
    """How a rule's numbers are laid out in the kernel's arrays."""

    hyper: tuple[str, ...]
    """Hyper-parameters, and flags as 0 or 1. A trial that has others is updated by the rule itself, in torch."""
    state: tuple[str, ...] = ()
    """Tensors [R, P]; those that the rule does not keep arrive as null."""


KERNELS: dict[str, Kernel] = {
    "sgd": Kernel(("lr", "momentum", "dampening", "weight_decay", "nesterov"), ("momentum_buffer",)),
    "rmsprop": Kernel(("lr", "alpha", "eps", "momentum", "weight_decay"), ("square_avg", "momentum_buffer")),
    "adam": Kernel(("lr", "beta1", "beta2", "eps", "weight_decay"), ("exp_avg", "exp_avg_sq")),
    "rprop": Kernel(("eta_plus", "eta_minus", "step_min", "step_max", "lr"), ("prev_sign", "step_size")),
    "signsgd": Kernel(("lr", "weight_decay")),
    "signum": Kernel(("lr", "momentum", "weight_decay"), ("exp_avg",)),
    "smorms3": Kernel(("lr", "eps"), ("mean", "mean_square", "memory")),
}

LOSSES = ("cross_entropy", "mean_squared_error")
