"""The native batched optimizer rules: one table, one file a rule.

Everything else of torch.optim or pytorch_optimizer goes through the bridge; what stands here is fast, is checked against a
slow twin, and can be captured as a CUDA graph.
"""

from workers.engine.optimizers import (
    adabelief,
    adadelta,
    adagrad,
    adam,
    adamax,
    adamw,
    dadapt_adam,
    dadapt_sgd,
    fromage,
    lamb,
    lars,
    lion,
    nadam,
    normalized_gradient,
    novograd,
    prodigy,
    radam,
    rmsprop,
    rprop,
    rprop_minus,
    rprop_plus,
    schedule_free_adamw,
    schedule_free_sgd,
    sgd,
    sgdw,
    signsgd,
    signum,
    smorms3,
    tiger,
    vsgd_fd,
    yogi,
)
from workers.engine.optimizers.rule import Gradients, Hyper, Rule, State

RULES: dict[str, Rule] = {
    "sgd": sgd.RULE,
    "sgdw": sgdw.RULE,
    "rmsprop": rmsprop.RULE,
    "rprop": rprop.RULE,
    "rprop_minus": rprop_minus.RULE,
    "rprop_plus": rprop_plus.RULE,
    "signsgd": signsgd.RULE,
    "signum": signum.RULE,
    "lion": lion.RULE,
    "tiger": tiger.RULE,
    "adam": adam.RULE,
    "adamw": adamw.RULE,
    "adamax": adamax.RULE,
    "nadam": nadam.RULE,
    "radam": radam.RULE,
    "yogi": yogi.RULE,
    "adabelief": adabelief.RULE,
    "adagrad": adagrad.RULE,
    "adadelta": adadelta.RULE,
    "smorms3": smorms3.RULE,
    "normalized_gradient": normalized_gradient.RULE,
    "lars": lars.RULE,
    "lamb": lamb.RULE,
    "novograd": novograd.RULE,
    "fromage": fromage.RULE,
    "dadapt_sgd": dadapt_sgd.RULE,
    "dadapt_adam": dadapt_adam.RULE,
    "prodigy": prodigy.RULE,
    "schedule_free_sgd": schedule_free_sgd.RULE,
    "schedule_free_adamw": schedule_free_adamw.RULE,
    "vsgd_fd": vsgd_fd.RULE,
}
"""Kind, as the contract spells it, to rule."""

__all__ = ["RULES", "Gradients", "Hyper", "Rule", "State"]
