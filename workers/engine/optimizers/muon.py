"""Muon: momentum whose singular values are all brought near one, for the weights of hidden layers; AdamW for the rest.

    m ← momentum·m + (1 − momentum)·g
    u = (1 − momentum)·g + momentum·m if nesterov, else m
    X = u/‖u‖_F, five times X ← a·X + (b·XXᵀ + c·(XXᵀ)²)·X      (a, b, c) = (3.4445, −4.7750, 2.0315)
    θ ← (1 − lr·weight_decay)·θ − lr·√max(1, O/I)·X     for a weight [O, I] of a hidden layer
    biases, and the first and the last layer: AdamW with lr·adam_ratio, betas, eps and the same weight_decay      (decoupled)

Source: Jordan et al. 2024 (kellerjordan.github.io/posts/muon), which leaves the first and last layer and all vectors to AdamW; the
numbers are its repository's. Deviations: no bfloat16, and no eps beside ‖u‖_F, whose elements are brought into range first.

Fixed points: m = 0. A zero gradient moves nothing but what is left in m, and the decay.
Failure modes: the step of a hidden weight never shrinks by itself: it circles the optimum. Singular values end between 0.7 and 1.2,
not at one; those below 1e-3 of the norm are not brought up in five steps. Without a hidden layer it is AdamW, whose failure modes the
other parameters have in any case.
"""

from math import sqrt

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, at, nonzero

A, B, C = 3.4445, -4.7750, 2.0315
ITERATIONS = 5


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout, *, nesterov: bool = True) -> State:
    return {
        "exp_avg": torch.zeros_like(theta),
        "exp_avg_sq": torch.zeros_like(theta),
        "step": torch.zeros_like(hyper["lr"]),
        "eps": hyper["eps"].to(theta.dtype).repeat(1, len(layout.layers)),
    }


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, *, nesterov: bool = True) -> None:
    state["step"].add_(1)
    hidden: dict[tuple[int, ...], list[slice]] = {}
    for place, layer in enumerate(gradients.layout.layers):
        for columns, shape in layer.matrices:
            if is_hidden(place, shape, gradients.layout):
                hidden.setdefault(shape, []).append(columns)
            else:
                adamw(theta, gradients, state, hyper, place, columns)
    for shape, places in hidden.items():
        muon(theta, gradients.mean, state["exp_avg"], hyper, shape, places, nesterov)


def is_hidden(place: int, shape: tuple[int, ...], layout: Layout) -> bool:
    """Whether a tensor of layer `place` is a weight between the first and the last layer."""
    return 0 < place < len(layout.layers) - 1 and len(shape) == 2


def muon(
    theta: Tensor,
    gradient: Tensor,
    mean: Tensor,
    hyper: Hyper,
    shape: tuple[int, ...],
    places: list[slice],
    nesterov: bool,
) -> None:
    """One step of all weights of one shape, orthogonalised together."""
    momentum = (hyper["momentum"] if "momentum" in hyper else torch.zeros_like(hyper["adam_ratio"])).to(theta.dtype)
    directions = []
    for columns in places:
        here = mean[:, columns].lerp_(gradient[:, columns], 1 - momentum)
        direction = torch.lerp(gradient[:, columns], here, momentum) if nesterov else here
        directions.append(direction.unflatten(1, shape))
    stretch = sqrt(max(1, shape[0] / shape[1]))
    for columns, move in zip(places, orthogonalised(torch.stack(directions)), strict=True):
        rate = at(hyper["lr"], columns)
        shrink_at(theta[:, columns], rate, hyper)
        theta[:, columns].addcmul_(move.flatten(1), -(rate * stretch).to(theta.dtype))


def orthogonalised(x: Tensor) -> Tensor:
    """Matrices [..., O, I] with singular values near one, by Newton and Schulz's iteration; zeros stay."""
    if x.shape[-2] > x.shape[-1]:
        return orthogonalised(x.mT).mT
    x = x / x.abs().amax((-2, -1), keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    x = x / torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp_min(1)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = A * x + (B * gram + C * gram @ gram) @ x
    return x


def adamw(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, layer: int, columns: slice) -> None:
    dtype, here, own = theta.dtype, theta[:, columns], gradients.mean[:, columns]
    mean = state["exp_avg"][:, columns].lerp_(own, (1 - hyper["beta1"]).to(dtype))
    square = state["exp_avg_sq"][:, columns].mul_(hyper["beta2"].to(dtype))
    square.addcmul_(own * (1 - hyper["beta2"]).to(dtype), own)
    first, second = (1 - hyper[beta] ** state["step"] for beta in ("beta1", "beta2"))
    eps = hyper["eps"] * torch.exp2(-gradients.exponent(layer))  # on the scale of what is given of g
    state["eps"][:, layer : layer + 1] = eps
    root = square.sqrt().mul_(second.rsqrt().to(dtype)).add_(nonzero(eps, dtype))
    rate = at(hyper["lr"], columns) * hyper["adam_ratio"]
    shrink_at(here, rate, hyper)
    here.addcmul_(mean / root, -(rate / first).to(dtype))


def shrink_at(theta: Tensor, rate: Tensor, hyper: Hyper) -> None:
    if "weight_decay" in hyper:
        theta.mul_((1 - rate * hyper["weight_decay"]).to(theta.dtype))


def eps_dominated(state: State, hyper: Hyper, layout: Layout) -> Tensor:
    """Of what AdamW updates; a hidden weight has no eps."""
    found = torch.zeros_like(state["exp_avg_sq"], dtype=torch.bool)
    shortest = (1 - hyper["beta2"] ** state["step"]).sqrt() * state["eps"]  # √v of eps, before v's correction
    for place, layer in enumerate(layout.layers):
        for columns, shape in layer.matrices:
            if not is_hidden(place, shape, layout):
                found[:, columns] = state["exp_avg_sq"][:, columns].sqrt() < shortest[:, place : place + 1]
    return found


RULE = Rule(initial_state, update, eps_dominated, degrees={"exp_avg": 1, "exp_avg_sq": 2})
