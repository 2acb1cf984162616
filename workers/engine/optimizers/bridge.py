"""The bridge: any class of torch.optim or pytorch_optimizer, one object for each row. R rows, P parameters of a trial.

A row's parameter tensors are views of θ, so what the object updates in place is the row itself. It is slow (an object takes up to a
few milliseconds a row and step) and cannot be captured as a CUDA graph; in exchange nothing of the rule is ours, neither its
arithmetic nor its mistakes. Hyper-parameters are constructor arguments; what is left out keeps the class's own default.

Promises kept for every class, by tests over all of them: no row reads another; a checkpoint holds all that an object remembers,
bit for bit; what a class draws at random is drawn from (seed, "optimizer", step), the same in every arm and after a restart.
"""

import importlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workers.contract.optimizers.bridged import Class
from workers.contract.plan import Scalar
from workers.engine.optimizers.bridge_state import decode, encode
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State
from workers.engine.seeding import derive

SETTLED_BY_US = ("foreach", "fused", "capturable", "differentiable", "maximize")
"""Arguments that say how torch computes, or that a loss is to be raised."""

_GENERATORS = threading.Lock()
"""torch and numpy have one global generator each, and chunks of trials train in threads."""


def bridged(kind: str, about: Class, settings: Sequence[dict[str, Scalar]], seeds: Sequence[int]) -> Rule:
    """The rule of these rows: a new one for each group, since it holds the objects.

    Args:
        kind: as in the contract, torch.optim/Adam.
        about: what the contract knows of it.
        settings: constructor arguments of each row.
        seeds: of each row.
    """
    cls = class_of(kind)
    rows: list[Row] = []

    def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
        rows[:] = [
            Row(cls, setting, [theta[row, columns].view(shape) for columns, shape in layout.parts], about.grouped)
            for row, setting in enumerate(settings)
        ]
        return {}

    def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
        sound = gradients.mean.isfinite().all(1).tolist()
        rates = hyper["lr"].flatten().tolist() if "lr" in hyper else [None] * len(rows)
        for index, (row, seed, rate) in enumerate(zip(rows, seeds, rates, strict=True)):
            if not sound[index]:  # most classes would raise, or hide it
                theta[index] = torch.nan
                continue
            with drawing_from(seed, row.step) if about.random else nullcontext():
                own = [gradients.mean[index, columns].view(shape) for columns, shape in gradients.layout.parts]
                try:
                    row.update(own, rate)
                except Exception as error:
                    raise RuntimeError(f"{kind} fails in its step {row.step + 1}: {error}") from error

    def save() -> Any:
        return [row.save() for row in rows]

    def load(saved: Any) -> None:
        for row, own in zip(rows, saved, strict=True):
            row.load(own)

    return Rule(initial_state, update, save=save, load=load)


class Row:
    """One trial's optimizer object."""

    def __init__(
        self, cls: Callable[..., torch.optim.Optimizer], setting: dict[str, Scalar], views: list[Tensor], grouped: bool
    ) -> None:
        self.views = views
        self.parameters = [torch.nn.Parameter(view) for view in views]
        arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in setting.items()}
        given: list[Any] = by_muon(self.parameters) if grouped else self.parameters
        self.optimizer = cls(given, **arguments)
        self.rate = setting.get("lr")
        self.rates = [group.get("lr") for group in self.optimizer.param_groups]
        self.step = 0

    def update(self, gradient: list[Tensor], rate: float | None) -> None:
        """One step. A rate other than the setting's, from a schedule, scales that of every group alike."""
        if rate is not None and rate != self.rate:
            for group, own in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = own * (rate / self.rate)  # type: ignore[operator] # a rate that is scheduled is a number
            self.rate, self.rates = rate, [group["lr"] for group in self.optimizer.param_groups]
        for parameter, own in zip(self.parameters, gradient, strict=True):
            parameter.grad = own
        try:
            self.optimizer.step()
        except Exception as error:
            if not undefined(error):
                raise
            for view in self.views:
                view.fill_(torch.nan)
        for parameter, view in zip(self.parameters, self.views, strict=True):
            parameter.grad = None
            if parameter.data_ptr() != view.data_ptr():  # a class that replaces instead of updating
                view.copy_(parameter)
                parameter.data = view
        self.step += 1

    def save(self) -> Any:
        order = {id(parameter): place for place, parameter in enumerate(self.parameters)}
        inner, state = vars(self.optimizer), self.optimizer.state.items()
        return encode(
            {
                "step": self.step,
                "rate": self.rate,
                "rates": self.rates,
                "state": {order[id(parameter)]: own for parameter, own in state if id(parameter) in order},
                "shared": {key: own for key, own in state if id(key) not in order},
                "groups": [
                    {name: value for name, value in group.items() if name != "params"}
                    for group in self.optimizer.param_groups
                ],
                "attributes": {name: inner[name] for name in remembered(self.optimizer)},
            }
        )

    def load(self, saved: Any) -> None:
        found = decode(saved, self.parameters[0].device)
        self.step, self.rate, self.rates = found["step"], found["rate"], found["rates"]
        self.optimizer.state.clear()
        self.optimizer.state.update(found["shared"])
        for place, own in found["state"].items():
            self.optimizer.state[self.parameters[place]] = own
        for group, own in zip(self.optimizer.param_groups, found["groups"], strict=True):
            group.update(own)
        vars(self.optimizer).update(found["attributes"])


def class_of(kind: str) -> Callable[..., torch.optim.Optimizer]:
    """Imports its package only now: pytorch_optimizer takes a second or two."""
    package, _, name = kind.rpartition("/")
    found: Callable[..., torch.optim.Optimizer] = getattr(importlib.import_module(package), name)
    return found


def undefined(error: Exception) -> bool:
    """Whether it is one of arithmetic, a division by zero or a decomposition that does not exist: the row has diverged."""
    domain = isinstance(error, ValueError) and "math domain" in str(error)
    return domain or isinstance(error, ArithmeticError | torch.linalg.LinAlgError)  # type: ignore[attr-defined]


def by_muon(parameters: list[torch.nn.Parameter]) -> list[dict[str, Any]]:
    """Groups as the classes round Muon want them: hidden weights are matrices, the output layer and the rest go by AdamW."""
    matrices = [parameter for parameter in parameters if parameter.dim() == 2]
    hidden = {id(parameter) for parameter in matrices[:-1]}
    groups = [
        {"params": [p for p in parameters if (id(p) in hidden) == chosen], "use_muon": chosen}
        for chosen in (True, False)
    ]
    return [group for group in groups if group["params"]]


def remembered(optimizer: torch.optim.Optimizer) -> list[str]:
    """Attributes beside state and groups that a class keeps on itself: counters, warm-ups, the last loss."""
    settled = {"defaults", "state", "param_groups", *SETTLED_BY_US}
    return [
        name
        for name, value in vars(optimizer).items()
        if name[0] != "_" and name not in settled and not callable(value)
    ]


@contextmanager
def drawing_from(seed: int, step: int) -> Iterator[None]:
    """Whatever is drawn within comes from (seed, "optimizer", step); the global generators are as before."""
    key = derive(seed, "optimizer", step)
    with _GENERATORS, torch.random.fork_rng():
        numpy, python = np.random.get_state(), random.getstate()
        torch.manual_seed(key)
        np.random.seed(key % 2**32)
        random.seed(key)
        try:
            yield
        finally:
            np.random.set_state(numpy)
            random.setstate(python)
