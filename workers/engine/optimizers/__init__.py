"""The native batched optimizer rules: one table, one file a rule.

Everything else of torch.optim or pytorch_optimizer goes through the bridge; what stands here is fast, is checked against a
slow twin, and can be captured as a CUDA graph.
"""

from workers.engine.optimizers import adam, rmsprop, rprop, sgd, signsgd, signum, smorms3, vsgd_fd
from workers.engine.optimizers.rule import Gradients, Hyper, Rule, State

RULES: dict[str, Rule] = {
    "sgd": sgd.RULE,
    "rmsprop": rmsprop.RULE,
    "rprop": rprop.RULE,
    "signsgd": signsgd.RULE,
    "signum": signum.RULE,
    "adam": adam.RULE,
    "smorms3": smorms3.RULE,
    "vsgd_fd": vsgd_fd.RULE,
}
"""Kind, as the contract spells it, to rule."""

__all__ = ["RULES", "Gradients", "Hyper", "Rule", "State"]
