"""The optimizers, a file a family. g is the gradient, θ the parameters, all operations elementwise unless said.

A float hyper-parameter given as a list is a grid: every value runs.
"""

from typing import Annotated

from pydantic import Field

from workers.contract.base import ByKind
from workers.contract.optimizers.adam import AdaBelief, Adam, Adamax, AdamW, Nadam, Radam, Yogi
from workers.contract.optimizers.adaptive import Adadelta, Adafactor, Adagrad, Rmsprop, Sm3, Smorms3
from workers.contract.optimizers.averaged import ScheduleFreeAdamW, ScheduleFreeSgd
from workers.contract.optimizers.base import GRADIENT_FREE, GRADIENTS, Decay, Evaluations, Optimizer, Pattern
from workers.contract.optimizers.bridged import BRIDGED, REFUSED, Bridged
from workers.contract.optimizers.curvature import Sophia, VsgdB, VsgdFd, VsgdG, VsgdL
from workers.contract.optimizers.descent import Sgd, SgdW
from workers.contract.optimizers.gradient_free import (
    CmaEs,
    ForwardGradient,
    Mezo,
    OpenAiEs,
    Pgpe,
    RandomSearch,
    SepCmaEs,
    Snes,
    Spsa,
)
from workers.contract.optimizers.per_layer import (
    Fromage,
    Lamb,
    Lars,
    NormalizedGradient,
    NovoGrad,
    UnitNormalizedGradient,
)
from workers.contract.optimizers.per_matrix import Muon
from workers.contract.optimizers.second_order import Lbfgs, Shampoo, Soap
from workers.contract.optimizers.sign_based import (
    IrpropPlus,
    Lion,
    Rprop,
    RpropMinus,
    RpropPlus,
    SignSgd,
    Signum,
    Tiger,
)
from workers.contract.optimizers.without_rate import DadaptAdam, DadaptSgd, Prodigy

OPTIMIZERS = (
    Sgd,
    SgdW,
    Rmsprop,
    Rprop,
    RpropMinus,
    RpropPlus,
    IrpropPlus,
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
    Sm3,
    Adafactor,
    NormalizedGradient,
    UnitNormalizedGradient,
    Lars,
    Lamb,
    NovoGrad,
    Fromage,
    Muon,
    DadaptSgd,
    DadaptAdam,
    Prodigy,
    ScheduleFreeSgd,
    ScheduleFreeAdamW,
    VsgdL,
    VsgdB,
    VsgdG,
    VsgdFd,
    Sophia,
    Shampoo,
    Soap,
    Lbfgs,
    RandomSearch,
    Spsa,
    Mezo,
    OpenAiEs,
    Snes,
    SepCmaEs,
    CmaEs,
    Pgpe,
    ForwardGradient,
)
"""Rules of ours. `Bridged` stands for all others."""

OptimizerSpec = Annotated[
    Sgd
    | SgdW
    | Rmsprop
    | Rprop
    | RpropMinus
    | RpropPlus
    | IrpropPlus
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
    | Sm3
    | Adafactor
    | NormalizedGradient
    | UnitNormalizedGradient
    | Lars
    | Lamb
    | NovoGrad
    | Fromage
    | Muon
    | DadaptSgd
    | DadaptAdam
    | Prodigy
    | ScheduleFreeSgd
    | ScheduleFreeAdamW
    | VsgdL
    | VsgdB
    | VsgdG
    | VsgdFd
    | Sophia
    | Shampoo
    | Soap
    | Lbfgs
    | RandomSearch
    | Spsa
    | Mezo
    | OpenAiEs
    | Snes
    | SepCmaEs
    | CmaEs
    | Pgpe
    | ForwardGradient
    | Bridged,
    Field(discriminator="kind"),
    ByKind,
]

__all__ = [
    "BRIDGED",
    "GRADIENTS",
    "GRADIENT_FREE",
    "OPTIMIZERS",
    "REFUSED",
    "AdaBelief",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Bridged",
    "CmaEs",
    "DadaptAdam",
    "DadaptSgd",
    "Decay",
    "Evaluations",
    "ForwardGradient",
    "Fromage",
    "IrpropPlus",
    "Lamb",
    "Lars",
    "Lbfgs",
    "Lion",
    "Mezo",
    "Muon",
    "Nadam",
    "NormalizedGradient",
    "NovoGrad",
    "OpenAiEs",
    "Optimizer",
    "OptimizerSpec",
    "Pattern",
    "Pgpe",
    "Prodigy",
    "Radam",
    "RandomSearch",
    "Rmsprop",
    "Rprop",
    "RpropMinus",
    "RpropPlus",
    "ScheduleFreeAdamW",
    "ScheduleFreeSgd",
    "SepCmaEs",
    "Sgd",
    "SgdW",
    "Shampoo",
    "SignSgd",
    "Signum",
    "Sm3",
    "Smorms3",
    "Snes",
    "Soap",
    "Sophia",
    "Spsa",
    "Tiger",
    "UnitNormalizedGradient",
    "VsgdB",
    "VsgdFd",
    "VsgdG",
    "VsgdL",
    "Yogi",
]
