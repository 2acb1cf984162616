"""vSGD-g: one learning rate for all weights, from the gradient's signal, its noise and its curvature; none to tune.

As vsgd_b with all layers as one block (n, g, q and h are told in vsgd_l):

    ḡ, l, h̄ ← running means of g, Σ q, max(h, eps) with weight 1/τ
    s = n·‖ḡ‖²/(l + (n − 1)·‖ḡ‖²)
    θ ← θ − s/max(h̄)·g
    τ ← (1 − s)·τ + 1
    The first slow_start steps only average and move nothing; then l and h̄ are multiplied by c.

Source: Schaul, Zhang & LeCun 2013 (arXiv:1206.1106), section 4.1; mini-batches and slow start as in vsgd_l.

Fixed points: g = 0.
Failure modes: those of vsgd_b, for the whole network: the steepest weight of all decides, so that layers whose gradient vanishes
stand still.
"""

from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State
from workers.engine.optimizers.vsgd_b import descend, of_blocks


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return of_blocks(1, theta, hyper)


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    state["step"].add_(1)
    descend(theta, gradients, state, hyper, [slice(0, theta.shape[1])])


RULE = Rule(initial_state, update)
