"""What has been measured of each optimizer at its defaults, in float32. The table is written by `benchmarks.invariance`, which says how
it is measured, and measured again by a test.
"""

from typing import NamedTuple

from workers.contract.optimizers import BRIDGED, Bridged, Optimizer


class Invariance(NamedTuple):
    """Range of scales by which all gradients can be multiplied with the steps staying the same, within a tenth."""

    down_to: float | None
    """The smallest scale; 1e-30 is the smallest tried. None: a tenth of the gradient already gives other steps."""
    up_to: float | None
    """The largest scale; 1e10 is the largest tried. None: ten times the gradient already gives other steps."""
    remembered_per_parameter: float
    """Numbers that the rule keeps for each parameter, of a weight of 64 by 64 and its bias, or of as many parameters as it may train."""


MEASURED: dict[str, Invariance] = {
    # measured
    "sgd": Invariance(None, None, 0),
    "sgdw": Invariance(None, None, 1),
    "rmsprop": Invariance(1e-05, 1e10, 1),
    "rprop": Invariance(1e-30, 1e10, 2),
    "rprop_minus": Invariance(1e-30, 1e10, 2),
    "rprop_plus": Invariance(1e-30, 1e10, 2),
    "irprop_plus": Invariance(1e-30, 1e10, 2),
    "signsgd": Invariance(1e-30, 1e10, 0),
    "signum": Invariance(1e-30, 1e10, 1),
    "lion": Invariance(1e-30, 1e10, 1),
    "tiger": Invariance(1e-30, 1e10, 1),
    "adam": Invariance(1e-06, 1e10, 2),
    "adamw": Invariance(1e-06, 1e10, 2),
    "adamax": Invariance(1e-06, 1e10, 2),
    "nadam": Invariance(1e-06, 1e10, 2),
    "radam": Invariance(None, None, 2),
    "yogi": Invariance(None, 1e10, 2),
    "adabelief": Invariance(1e-05, 1e10, 2),
    "adagrad": Invariance(1e-08, 1e10, 1),
    "adadelta": Invariance(1e-01, 1e10, 2),
    "smorms3": Invariance(1e-07, 1e10, 3),
    "sm3": Invariance(1e-13, 1e10, 1.05),
    "adafactor": Invariance(1e-13, 1e10, 0.05),
    "normalized_gradient": Invariance(1e-30, 1e10, 1),
    "unit_normalized_gradient": Invariance(1e-30, 1e10, 1),
    "lars": Invariance(1e-30, 1e10, 1),
    "lamb": Invariance(1e-04, 1e10, 2),
    "novograd": Invariance(1e-07, 1e10, 1),
    "fromage": Invariance(1e-30, 1e10, 0),
    "muon": Invariance(1e-30, 1e10, 2),
    "dadapt_sgd": Invariance(1e-30, 1e10, 2),
    "dadapt_adam": Invariance(1e-04, 1e10, 3),
    "prodigy": Invariance(1e-04, 1e10, 4),
    "schedule_free_sgd": Invariance(None, None, 1),
    "schedule_free_adamw": Invariance(1e-06, 1e10, 2),
    "vsgd_l": Invariance(1e-18, 1e10, 4),
    "vsgd_b": Invariance(1e-22, 1e10, 2),
    "vsgd_g": Invariance(1e-22, 1e10, 2),
    "vsgd_fd": Invariance(1e-18, 1e10, 5),
    "sophia": Invariance(1e-09, 1e10, 2),
    "shampoo": Invariance(1e-18, 1e10, 2.97),
    "soap": Invariance(1e-05, 1e10, 5.94),
    "lbfgs": Invariance(1e-30, 1e10, 22.01),
    "random_search": Invariance(1e-30, 1e10, 0),
    "spsa": Invariance(None, None, 0),
    "mezo": Invariance(None, None, 0),
    "openai_es": Invariance(1e-30, 1e10, 0),
    "snes": Invariance(1e-30, 1e10, 1),
    "sep_cma_es": Invariance(1e-30, 1e10, 3),
    "cma_es": Invariance(1e-30, 1e10, 1003),
    "pgpe": Invariance(1e-30, 1e10, 2),
    "forward_gradient": Invariance(None, None, 0),
    # end
}
"""By kind, in the contract's order."""


def measured(optimizer: Optimizer) -> Invariance:
    """Of a rule of ours or a bridged class, without what stands round it."""
    if isinstance(optimizer, Bridged):
        found = BRIDGED[optimizer.kind]
        return Invariance(found.down_to, found.up_to, found.remembered_per_parameter)
    kind: str = type(optimizer).model_fields["kind"].default
    return MEASURED[kind]
