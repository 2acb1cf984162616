"""Random search: the best of some random places near θ, if it is better than θ. N candidates.

    z_i ~ N(0, I)
    θ ← θ + sigma·z_b, b the best of them, if L(θ + sigma·z_b) < L(θ) on the same batch; else θ ← θ

Source: Matyas 1965, "Random optimization", Automation and Remote Control 26; as a (1+N) evolution strategy without step-size control.

Fixed points: no candidate is better, which far below sigma of a minimum is almost always so. N + 1 losses a step. It does not change where
the loss is scaled or bent by a rising function.
Failure modes: the share of better candidates falls with the number of parameters and as sigma nears the distance to the minimum; from
batch to batch it follows the noise of the loss. Candidates whose loss is not finite are never taken.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.draws import Draws
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, found


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout, *, population: int) -> State:
    return {}


def ask(theta: Tensor, state: State, hyper: Hyper, draws: Draws, *, population: int) -> Tensor:
    return draws.normal(theta, population) * hyper["sigma"].to(theta.dtype)[:, None]


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, *, population: int) -> None:
    tried, losses = found(gradients)
    known = losses.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    least, best = known.min(1, keepdim=True)
    taken = tried.gather(1, best[:, :, None].expand(-1, -1, tried.shape[2])).squeeze(1)
    theta.addcmul_(taken, (least < gradients.loss).to(theta.dtype))


RULE = Rule(initial_state, update, ask=ask)
