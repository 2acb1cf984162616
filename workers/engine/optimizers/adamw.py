"""AdamW: Adam whose weight decay shrinks θ and does not enter the gradient.

    θ ← (1 − lr·weight_decay)·θ                         (decoupled)
    then Adam's step without decay

Source: Loshchilov & Hutter 2019 (arXiv:1711.05101), algorithm 2; step for step torch.optim.AdamW, with Adam's exception for
eps = 0.

Fixed points: m = 0 and θ = 0: a zero gradient leaves the decay alone.
Failure modes: Adam's. Where eps dominates, the decay goes on at full strength while the gradient's step vanishes: the first
layers of a deep saturating network shrink towards zero.
"""

from torch import Tensor

from workers.engine.optimizers import adam
from workers.engine.optimizers.rule import Gradients, Hyper, Rule, State, shrink


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, *, amsgrad: bool = False) -> None:
    shrink(theta, hyper)
    adam.step(theta, gradients.mean, state, hyper, amsgrad=amsgrad)


RULE = Rule(adam.initial_state, update, adam.eps_dominated)
