"""SNES, the separable natural evolution strategy: θ and a standard deviation for each parameter go by the ranks of candidates. d
parameters, N candidates.

    z_i ~ N(0, I);   u_i = max(0, ln(N/2 + 1) − ln(rank_i))/Σ − 1/N, rank 1 the lowest of the losses L(θ + σ·z_i)
    θ ← θ + eta_mu·σ·Σ u_i·z_i
    σ ← σ·exp(½·eta_sigma·η_σ·Σ u_i·(z_i² − 1)),   η_σ = (3 + ln d)/(5√d);   σ = sigma at first

Source: Schaul, Glasmachers & Schmidhuber 2011, "High dimensions and heavy tails for natural evolution strategies", algorithm 1, with the
utilities and rates of Wierstra et al. 2014 (JMLR 15), table 1; eta_sigma is ours, 1 there. Equal losses share their utility.

Fixed points: ranks that go with no direction; on a flat loss neither θ nor σ moves. N losses a step. It does not change where the loss is
scaled or bent by a rising function, nor where parameters are scaled together with σ.
Failure modes: parameters that depend on each other have to be moved together, and it sees each by itself; η_σ falls as 1/√d, so σ adapts
slowly in large networks; from batch to batch ranks follow the noise of the loss, and σ then shrinks before θ is where it should be.
Losses that are not finite rank last.
"""

from math import log, sqrt

from torch import Tensor

from workers.engine.optimizers.draws import Draws
from workers.engine.optimizers.ranks import combined, utilities
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, found


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout, *, population: int) -> State:
    return {"sigma": hyper["sigma"].to(theta.dtype).repeat(1, theta.shape[1])}


def ask(theta: Tensor, state: State, hyper: Hyper, draws: Draws, *, population: int) -> Tensor:
    return draws.normal(theta, population) * state["sigma"][:, None]


def estimate(gradients: Gradients, state: State, hyper: Hyper, *, population: int) -> Tensor:
    """−Σ u·z/σ, of the losses' expected utility."""
    tried, losses = found(gradients)
    return combined(-utilities(losses), tried / state["sigma"][:, None]) / state["sigma"]


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, *, population: int) -> None:
    tried, losses = found(gradients)
    u, sigma, parameters = utilities(losses), state["sigma"], theta.shape[1]
    z = tried / sigma[:, None]
    theta.addcmul_(combined(u, tried), hyper["eta_mu"].to(theta.dtype))
    rate = hyper["eta_sigma"] * (3 + log(parameters)) / (10 * sqrt(parameters))
    # Σ u = 0, so the 1 of z² − 1 drops out
    sigma.mul_((combined(u, z.square_()) * rate.to(theta.dtype)).exp_())


RULE = Rule(initial_state, update, ask=ask, estimate=estimate)
