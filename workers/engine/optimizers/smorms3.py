"""SMORMS3: a step no longer than the signal in the gradient warrants, with a memory that forgets when the signal is strong.

    r = 1/(k + 1)                                       (k is the memory, 1 at the start; elementwise as all below)
    m ← (1 − r)·m + r·g
    v ← (1 − r)·v + r·g²
    x = m²/(v + eps)                                    (the share of the mean in the mean square, in [0, 1])
    θ ← θ − g·min(x, lr)/(√v + eps)
    k ← 1 + k·(1 − x)                                   (x not clipped)

Source: S. Funk, "RMSprop loses to SMORMS3 - beware the Epsilon!", sifter.org, 20 April 2015; as chainer's
`optimizers/smorms3.py`. Clipping x before the memory's update, as one port does, spoils the rule.

Fixed points: g = 0. A zero gradient moves nothing and lengthens the memory by one step.
Failure modes: eps acts on the *squared* gradient: below |g| ≈ √eps (1e-8 at the default) x falls with g² and the step with
g³, so vanishing gradients stop training sooner than under RMSprop. In float32 g² underflows below 1e-22, and overflows above
1e19, where θ becomes NaN. Under pure noise x ≈ 1/k: the step anneals like 1/steps, but only once x < lr.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, nonzero


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {
        "mean": torch.zeros_like(theta),
        "mean_square": torch.zeros_like(theta),
        "memory": torch.ones_like(theta),
    }


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    gradient, memory = gradients.mean, state["memory"]
    eps = nonzero(hyper["eps"], theta.dtype)
    fresh = torch.add(memory, 1).reciprocal_()
    scratch = torch.square(gradient)
    mean = state["mean"].lerp_(gradient, fresh)
    square = state["mean_square"].lerp_(scratch, fresh)
    torch.add(square, eps, out=scratch)
    signal = torch.square(mean, out=fresh).div_(scratch)
    memory.addcmul_(memory, signal, value=-1).add_(1)
    torch.sqrt(square, out=scratch).add_(eps)
    torch.minimum(signal, hyper["lr"].to(theta.dtype), out=signal)
    theta.addcmul_(gradient, signal.div_(scratch), value=-1)


def eps_dominated(state: State, hyper: Hyper, layout: Layout) -> Tensor:
    """Compares eps with v, not with √v: the sum v + eps is what cuts the step off first."""
    square = state["mean_square"]
    return square < hyper["eps"].to(square.dtype)


RULE = Rule(initial_state, update, eps_dominated)
