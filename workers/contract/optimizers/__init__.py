"""The optimizers, a file a family. g is the gradient, θ the parameters, all operations elementwise unless said.

A float hyper-parameter given as a list is a grid: every value runs.
"""

from typing import Annotated

from pydantic import Field

from workers.contract.base import ByKind
from workers.contract.optimizers.adam import AdaBelief, Adam, Adamax, AdamW, Nadam, Radam, Yogi
from workers.contract.optimizers.adaptive import Adadelta, Adagrad, Rmsprop, Smorms3
from workers.contract.optimizers.base import Decay, Optimizer, Pattern
from workers.contract.optimizers.curvature import VsgdFd
from workers.contract.optimizers.descent import Sgd, SgdW
from workers.contract.optimizers.sign_based import Lion, Rprop, RpropMinus, RpropPlus, SignSgd, Signum, Tiger

OPTIMIZERS = (
    Sgd,
    SgdW,
    Rmsprop,
    Rprop,
    RpropMinus,
    RpropPlus,
    SignSgd,
    Signum,
    Lion,
    Tiger,
    Adam,
    AdamW,
    Adamax,
    Nadam,
    Radam,
    Yogi,
    AdaBelief,
    Adagrad,
    Adadelta,
    Smorms3,
    VsgdFd,
)

OptimizerSpec = Annotated[
    Sgd
    | SgdW
    | Rmsprop
    | Rprop
    | RpropMinus
    | RpropPlus
    | SignSgd
    | Signum
    | Lion
    | Tiger
    | Adam
    | AdamW
    | Adamax
    | Nadam
    | Radam
    | Yogi
    | AdaBelief
    | Adagrad
    | Adadelta
    | Smorms3
    | VsgdFd,
    Field(discriminator="kind"),
    ByKind,
]

__all__ = [
    "OPTIMIZERS",
    "AdaBelief",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Decay",
    "Lion",
    "Nadam",
    "Optimizer",
    "OptimizerSpec",
    "Pattern",
    "Radam",
    "Rmsprop",
    "Rprop",
    "RpropMinus",
    "RpropPlus",
    "Sgd",
    "SgdW",
    "SignSgd",
    "Signum",
    "Smorms3",
    "Tiger",
    "VsgdFd",
    "Yogi",
]
