"""signSGD: every weight moves by lr against the sign of its gradient.

    θ ← (1 − lr·weight_decay)·θ                         (decoupled)
    θ ← θ − lr·sign(g)

Source: Bernstein et al. 2018 (arXiv:1802.04434), algorithm 1.

Fixed points: g = 0. A zero gradient moves nothing; a gradient of any other size, however small, moves lr.
Failure modes: the step never shrinks by itself, so θ ends in a cycle of width lr around the optimum and needs a schedule; a
weight whose gradient is pure noise walks at random by lr a step; a skewed noise is followed to its median, not to its mean.
A NaN gradient counts as zero.
"""

from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, shrink


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {}


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    shrink(theta, hyper)
    theta.addcmul_(gradients.mean.sign(), -hyper["lr"].to(theta.dtype))


RULE = Rule(initial_state, update, degrees={})
