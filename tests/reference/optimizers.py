"""What each rule is compared with: an implementation by others where they have it right, else a slow twin from the paper."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytorch_optimizer
import torch
from numpy.typing import NDArray

from reference import (
    adafactor,
    dadapt_sgd,
    gradient_free,
    muon,
    per_layer,
    per_unit,
    rprop,
    schedule_free_adamw,
    second_order,
    signsgd,
    signum,
    smorms3,
    sophia,
    vsgd,
    vsgd_fd,
    yogi,
)
from reference.landscapes import CURVATURES, LOSSES, SHAPES
from reference.tensors import Shapes, tensors

Array = NDArray[np.float64]

SampleGradients = Callable[[int, Array], Array]
"""(step from 0, θ [P]) -> [n, P], the gradient of each sample's own loss; the same samples whenever the step is the same."""

Arguments = dict[str, Any]


def as_they_are(ours: Arguments) -> Arguments:
    return ours


def torchs_rprop(ours: Arguments) -> Arguments:
    etas, sizes = (ours[f"eta_{name}"] for name in ("minus", "plus")), (ours[f"step_{name}"] for name in ("min", "max"))
    return {"lr": ours["lr"], "etas": tuple(etas), "step_sizes": tuple(sizes)}


def schedule_free(ours: Arguments) -> Arguments:
    return {"momentum" if name == "beta" else name: value for name, value in ours.items()}


BY_OTHERS: dict[str, tuple[Callable[..., torch.optim.Optimizer], Callable[[Arguments], Arguments]]] = {
    "sgd": (torch.optim.SGD, as_they_are),
    "sgdw": (pytorch_optimizer.SGDW, as_they_are),
    "rmsprop": (torch.optim.RMSprop, as_they_are),
    "rprop": (torch.optim.Rprop, torchs_rprop),
    "lion": (pytorch_optimizer.Lion, as_they_are),
    "tiger": (pytorch_optimizer.Tiger, as_they_are),
    "adam": (torch.optim.Adam, as_they_are),
    "adamw": (torch.optim.AdamW, as_they_are),
    "adamax": (torch.optim.Adamax, as_they_are),
    "nadam": (torch.optim.NAdam, as_they_are),
    "radam": (torch.optim.RAdam, as_they_are),
    "adabelief": (pytorch_optimizer.AdaBelief, as_they_are),
    "adagrad": (torch.optim.Adagrad, as_they_are),
    "adadelta": (torch.optim.Adadelta, as_they_are),
    "sm3": (pytorch_optimizer.SM3, as_they_are),
    "lars": (pytorch_optimizer.LARS, as_they_are),
    "schedule_free_sgd": (pytorch_optimizer.ScheduleFreeSGD, schedule_free),
    "novograd": (pytorch_optimizer.NovoGrad, as_they_are),
    "fromage": (pytorch_optimizer.Fromage, as_they_are),
    "dadapt_adam": (pytorch_optimizer.DAdaptAdam, as_they_are),
    "prodigy": (pytorch_optimizer.Prodigy, as_they_are),
}
"""A class of torch.optim or pytorch_optimizer, and our hyper-parameters in its words."""

BY_SHAPE = {"adafactor", "muon", "shampoo", "sm3", "soap", "unit_normalized_gradient"}
"""Compared on weights and biases of their true shapes."""

BY_LOSS = {"irprop_plus"}
"""Told how to compute the loss of a step's samples."""

BY_LOSSES: dict[str, Callable[..., list[Array]]] = {
    "random_search": gradient_free.random_search,
    "spsa": gradient_free.spsa,
    "mezo": gradient_free.mezo,
    "openai_es": gradient_free.openai_es,
    "snes": gradient_free.snes,
    "sep_cma_es": gradient_free.sep_cma_es,
    "cma_es": gradient_free.cma_es,
    "pgpe": gradient_free.pgpe,
    "forward_gradient": gradient_free.forward_gradient,
}
"""Told how to compute the loss, and the seed of their directions."""

BY_CURVATURE = {"vsgd_l", "vsgd_b", "vsgd_g", "sophia"}
"""Told how to compute the curvature of each sample's loss."""

TRAJECTORIES: dict[str, Callable[..., list[Array]]] = {
    "adafactor": adafactor.trajectory,
    "muon": muon.trajectory,
    "irprop_plus": rprop.improved_plus,
    "rprop_minus": rprop.minus,
    "rprop_plus": rprop.plus,
    "schedule_free_adamw": schedule_free_adamw.trajectory,
    "signsgd": signsgd.trajectory,
    "signum": signum.trajectory,
    "smorms3": smorms3.trajectory,
    "vsgd_fd": vsgd_fd.trajectory,
    "normalized_gradient": per_layer.normalized_gradient,
    "unit_normalized_gradient": per_unit.normalized_gradient,
    "dadapt_sgd": dadapt_sgd.trajectory,
    "lamb": per_layer.lamb,
    "vsgd_l": vsgd.local,
    "vsgd_b": vsgd.by_layer,
    "vsgd_g": vsgd.of_all,
    "sophia": sophia.trajectory,
    "shampoo": second_order.shampoo,
    "soap": second_order.soap,
    "lbfgs": second_order.lbfgs,
    "yogi": yogi.trajectory,
    **BY_LOSSES,
}
"""(θ [P], sample gradients, layers' columns, steps, **hyper-parameters) -> θ after each step."""


def trajectory(
    kind: str,
    ours: Arguments,
    theta: Array,
    gradients: SampleGradients,
    layers: tuple[slice, ...],
    steps: int,
    shapes: Shapes = SHAPES,
    seed: int = 0,
) -> list[Array]:
    """θ [P] after each step, by whatever the rule is compared with; the seed is that of random directions."""
    if kind in TRAJECTORIES:
        told: Arguments = {"shapes": shapes} if kind in BY_SHAPE else {}
        if kind in BY_LOSSES:
            told["seed"] = seed
        if kind in BY_LOSS or kind in BY_LOSSES:
            told["losses"] = LOSSES[gradients]
        if kind in BY_CURVATURE:
            told["curvatures"] = CURVATURES[gradients]
        return TRAJECTORIES[kind](theta, gradients, layers, steps, **told, **ours)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # some make tensors of their own
    rows = [(layer, (1, layer.stop - layer.start)) for layer in layers]
    parts = tensors(layers, shapes) if kind in BY_SHAPE else rows
    try:
        return by_others(*BY_OTHERS[kind], ours, theta, gradients, parts, steps)
    finally:
        torch.set_default_dtype(usual)


def by_others(
    make: Callable[..., torch.optim.Optimizer],
    translated: Callable[[Arguments], Arguments],
    ours: Arguments,
    theta: Array,
    gradients: SampleGradients,
    places: Sequence[tuple[slice, tuple[int, ...]]],
    steps: int,
) -> list[Array]:
    """A parameter for each tensor; where shapes do not matter a layer is a matrix of one row, since some treat vectors as biases."""
    parts = [torch.nn.Parameter(torch.from_numpy(theta[own].copy()).reshape(shape)) for own, shape in places]
    optimizer: Any = make(parts, **translated(ours))
    averages = hasattr(optimizer, "eval")
    path = []
    for k in range(steps):
        gradient = torch.from_numpy(gradients(k, flat(parts)).mean(axis=0))
        for part, (own, shape) in zip(parts, places, strict=True):
            part.grad = gradient[own].clone().reshape(shape)
        optimizer.step()
        if averages:
            optimizer.eval()
        path.append(flat(parts))
        if averages:
            optimizer.train()
    return path


def flat(parts: Sequence[torch.Tensor]) -> Array:
    together: Array = torch.cat([part.detach().flatten() for part in parts]).numpy()
    return together
