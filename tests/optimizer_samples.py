"""Rules at work on rows of θ, and the settings they are tried with. R rows, P parameters of a trial, n samples in a batch."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from reference.landscapes import CURVATURES, LOSSES, PARAMETERS, SHAPES, STEPS
from reference.optimizers import SampleGradients
from reference.tensors import Shapes
from torch import Tensor

from workers.contract.optimizers import OPTIMIZERS, Adam, Muon, Optimizer, Rmsprop, Rprop, Sgd, Signum, Smorms3, VsgdFd
from workers.engine.optimizers import RULES, SIZES, Draws, Gradients, Layout, State, keys_of
from workers.engine.optimizers.wrappers import wrapped

Array = NDArray[np.float64]

SPECS: dict[str, type[Optimizer]] = {spec.model_fields["kind"].default: spec for spec in OPTIMIZERS}

SEED = 20150420
"""Of all rows' directions, where a rule draws some."""
WITHIN = {"muon": 1e-6, "shampoo": 1e-6, "soap": 1e-6, "lbfgs": 1e-6, "forward_gradient": 1e-8}
"""Where the distance to the twin may be more than 1e-10: matrices iterated by another way round, a difference beside a derivative."""


class Run:
    """A rule at work on rows of θ, and everything it needs."""

    def __init__(
        self,
        rows: list[Optimizer],
        dtype: torch.dtype = torch.float64,
        device: str = "cpu",
        shapes: Shapes = SHAPES,
    ) -> None:
        self.kind = kind_of(rows[0])
        self.rule = wrapped(RULES[self.kind], rows[0].wrapper_kinds(), STEPS)
        self.layout = Layout.of(shapes)
        settings = [numbers_and_flags(row) for row in rows]
        self.flags = settings[0][1]
        self.hyper = {
            name: torch.tensor([[numbers[name]] for numbers, _ in settings], dtype=torch.float64, device=device)
            for name in settings[0][0]
            if name not in ("momentum", "weight_decay") or any(numbers[name] for numbers, _ in settings)
        }
        self.start_at(torch.from_numpy(starts(len(rows))).to(device, dtype))

    def start_at(self, theta: Tensor) -> None:
        self.theta = theta.clone()
        self.flat = torch.zeros(len(theta), 1, dtype=torch.float64, device=theta.device)
        self.draws = Draws(
            keys_of([SEED] * len(theta), theta.device), torch.zeros((), dtype=torch.int64, device=theta.device)
        )
        self.state: State = self.rule.initial_state(self.theta, self.hyper, self.layout, **self.flags)

    def step(
        self,
        samples: Callable[[Tensor], Tensor],
        loss: Tensor | None = None,
        curvature: Tensor | None = None,
        losses: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """`samples` takes θ [R, P] to the gradient of each sample's own loss, [R, n, P]. Unless told the loss [R, 1] is 0, the curvature
        [R, P] one, and the loss near θ goes with the gradient there; `losses` takes θ [R, N, P] to it, [R, N]. Gradient-free rules
        are given NaN for a gradient.
        """
        own = samples(self.theta)
        gradients = Gradients(
            own.mean(1),
            own.shape[1],
            self.layout,
            self.flat if loss is None else loss,
            sample_squares=own.square().mean(1),
            curvature=torch.ones_like(self.theta) if curvature is None else curvature,
        )
        if self.rule.probe is not None:
            probed = self.theta + self.rule.probe(self.theta, gradients, self.state, self.hyper, **self.flags)
            gradients = replace(gradients, at_probe=samples(probed).mean(1), displacement=probed - self.theta)
        if self.rule.ask is not None:
            gradients = replace(self._asked(own.mean(1), gradients.loss, losses), batch_size=own.shape[1])
        self.rule.update(self.theta, gradients, self.state, self.hyper, **self.flags)
        self.draws.step.add_(1)

    def _asked(self, mean: Tensor, loss: Tensor, losses: Callable[[Tensor], Tensor] | None) -> Gradients:
        """With the losses of a gradient-free rule's candidates."""
        assert self.rule.ask is not None
        tried = self.rule.ask(self.theta, self.state, self.hyper, self.draws, **self.flags)
        near = losses or (lambda places: loss + torch.bmm(places - self.theta[:, None], mean[:, :, None]).squeeze(2))
        found = near(self.theta[:, None] + tried)
        unknown = torch.full_like(mean, torch.nan)
        return Gradients(unknown, 1, self.layout, loss, tried=tried, losses=found.double())

    def follow(self, landscape: SampleGradients, k: int) -> None:
        """Step k on a landscape, each row where it is."""
        self.draws.step.fill_(k)
        loss, curvature = loss_of(landscape, k, self.theta), curvature_of(landscape, k, self.theta)
        self.step(
            lambda theta: of_rows(landscape, k, theta), loss, curvature, lambda places: losses_of(landscape, k, places)
        )


def of_rows(landscape: SampleGradients, k: int, theta: Tensor) -> Tensor:
    """[R, n, P] of θ [R, P], in its precision."""
    return torch.from_numpy(landscape(k, theta.double().numpy()[:, None])).to(theta.dtype)


def losses_of(landscape: SampleGradients, k: int, places: Tensor) -> Tensor:
    """[R, N] of places [R, N, P]."""
    return torch.from_numpy(LOSSES[landscape](k, places.double().numpy()))


def loss_of(landscape: SampleGradients, k: int, theta: Tensor) -> Tensor:
    """[R, 1] of θ [R, P]."""
    return torch.from_numpy(LOSSES[landscape](k, theta.double().numpy()))[:, None]


def curvature_of(landscape: SampleGradients, k: int, theta: Tensor) -> Tensor:
    """[R, P] of θ [R, P], in its precision."""
    return torch.from_numpy(CURVATURES[landscape](k, theta.double().numpy())).mean(1).to(theta)


def given(own: Tensor) -> Callable[[Tensor], Tensor]:
    """Samples' gradients that do not depend on θ."""
    return lambda theta: own


def kind_of(spec: Optimizer | type[Optimizer]) -> str:
    kind: str = spec.model_fields["kind"].default if isinstance(spec, type) else spec.model_dump()["kind"]
    return kind


def numbers_and_flags(spec: Optimizer) -> tuple[dict[str, float], dict[str, bool | int]]:
    numbers: dict[str, float] = {}
    flags: dict[str, bool | int] = {}
    for name, value in spec.hyperparameters().items():
        if isinstance(value, bool) or (isinstance(value, int) and name in SIZES):
            flags[name] = value
        elif isinstance(value, list):
            numbers |= {f"{name.removesuffix('s')}{place}": float(part) for place, part in enumerate(value, 1)}
        else:
            assert isinstance(value, int | float)
            numbers[name] = float(value)
    return numbers, flags


def starts(rows: int) -> Array:
    return np.random.default_rng(7).normal(size=(rows, PARAMETERS))


def without_decay(spec: type[Optimizer], **more: Any) -> Optimizer:
    """The defaults, except that weights are not pulled to zero."""
    return spec(**({"weight_decay": 0.0} if "weight_decay" in spec.model_fields else {}), **more)


def moved(spec: type[Optimizer], name: str) -> Any:
    """Another value of a hyper-parameter than its default."""
    default = spec.model_fields[name].default
    if isinstance(default, list):
        return [0.5, 0.9]
    if name == "eps":  # a small one beside weight decay makes a rule amplify rounding where θ passes zero
        return 1e-3 if default != 1e-3 else 1e-2
    for value in (3 * default or 0.1, 0.6):
        try:
            spec(**{name: value})
        except ValidationError:
            continue
        return value
    raise AssertionError(f"no other value of {name} found")


def bounds(spec: type[Optimizer]) -> tuple[list[Optimizer], list[Optimizer]]:
    """A setting for the smallest value that each number may take, and one for the largest: of all candidates the outermost allowed."""
    smallest, largest = [], []
    for name, field in spec.model_fields.items():
        if name in (*Optimizer.model_fields, "kind", *SIZES) or isinstance(field.default, bool):
            continue
        candidates = [0.0, 1e-12, 1, 1 + 1e-6, 1 - 1e-6, 10.0, 1000, 1e12]
        allowed = []
        for value in candidates:
            try:
                allowed.append(spec(**{name: [value, value] if isinstance(field.default, list) else value}))
            except ValidationError:
                continue
        smallest.append(allowed[0])
        largest.append(allowed[-1])
    return smallest, largest


def settings_of(kind: str) -> dict[str, list[Optimizer]]:
    """Cases of a rule that nobody wrote any for: defaults and every number changed, plain, and with each flag the other way."""
    spec = SPECS[kind]
    own = [name for name in spec.model_fields if name not in (*Optimizer.model_fields, "kind", *SIZES)]
    sizes = [name for name in SIZES if name in spec.model_fields]
    flags = [name for name in own if isinstance(spec.model_fields[name].default, bool)]
    numbers = {name: moved(spec, name) for name in own if name not in flags}
    rate = {name: value for name, value in numbers.items() if name == "lr"}
    cases = {kind: [spec(), spec(**numbers), *([spec(**rate)] if rate else [])]}
    zeros = {name: 0.0 for name in ("momentum", "weight_decay") if name in own}
    if zeros:
        cases[f"{kind}, plain"] = [spec(**zeros), spec(**numbers | zeros)]
    for flag in flags:
        other = not spec.model_fields[flag].default
        cases[f"{kind}, {flag} {other}"] = [spec(**{flag: other}), spec(**numbers, **{flag: other})]
    for size in sizes:
        cases[f"{kind}, {size}"] = [spec(**{size: 6}), spec(**numbers, **{size: 6})]
    return cases


WRITTEN: dict[str, list[Optimizer]] = {
    "sgd": [
        Sgd(lr=0.1),
        Sgd(lr=0.02, momentum=0.9),
        Sgd(lr=0.5, dampening=0.5),
        Sgd(lr=0.05, momentum=0.5, dampening=0.3, weight_decay=0.1),
    ],
    "sgd, plain": [Sgd(lr=0.1), Sgd(lr=0.01), Sgd(lr=1.5)],
    "sgd, nesterov": [
        Sgd(lr=0.02, momentum=0.9, nesterov=True),
        Sgd(lr=0.1, momentum=0.5, weight_decay=0.05, nesterov=True),
    ],
    "rmsprop": [
        Rmsprop(),
        Rmsprop(lr=0.001, alpha=0.9, momentum=0.9),
        Rmsprop(lr=0.1, eps=1e-3, weight_decay=0.1),
        Rmsprop(alpha=0.0, eps=0.1),
    ],
    "rmsprop, plain": [Rmsprop(), Rmsprop(lr=0.1, alpha=0.5)],
    "rmsprop, centered": [
        Rmsprop(centered=True),
        Rmsprop(lr=0.02, alpha=0.9, eps=1e-3, momentum=0.5, weight_decay=0.01, centered=True),
    ],
    "rprop": [Rprop(), Rprop(lr=1.0, eta_minus=0.3, eta_plus=1.7), Rprop(step_min=1e-3, step_max=0.05)],
    "signum": [Signum(), Signum(lr=0.1, momentum=0.0), Signum(lr=0.02, momentum=0.99, weight_decay=0.5)],
    "signum, plain": [Signum(momentum=0.0), Signum(lr=0.1, momentum=0.0)],
    "adam": [
        Adam(),
        Adam(lr=0.1, betas=[0.5, 0.9], eps=1e-4),
        Adam(lr=0.02, betas=[0.0, 0.99], weight_decay=0.1),
    ],
    "adam, amsgrad": [Adam(lr=0.05, amsgrad=True), Adam(lr=0.1, betas=[0.8, 0.5], weight_decay=0.1, amsgrad=True)],
    "muon, without nesterov": [Muon(nesterov=False), Muon(lr=0.1, momentum=0.5, weight_decay=0.1, nesterov=False)],
    "smorms3": [Smorms3(), Smorms3(lr=0.3), Smorms3(lr=0.05, eps=1e-4)],
    "vsgd_fd": [VsgdFd(), VsgdFd(slow_start=10, c=5.0), VsgdFd(slow_start=1, c=1.0, probe_scale=0.5, eps=1e-3)],
}
"""Where the corners are worth choosing by hand."""

CASES: dict[str, list[Optimizer]] = WRITTEN | dict(
    chain.from_iterable(settings_of(kind).items() for kind in SPECS if kind not in WRITTEN)
)
"""Rows that are trained together, each with its own hyper-parameters; flags are shared."""
