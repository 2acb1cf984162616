"""A shard's trials, or a chunk of them, as one batched program. T trials, P parameters of a trial, R rows of one optimizer.

Everything that changes while training is in flat tensors `[T, P]`: parameters, gradient, previous gradient, and the rules'
own states. Layers hold views of their columns, rules views of their rows.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from workers.contract.plan import Scalar, Shard, Trial
from workers.contract.shapes import ExpandedLayer
from workers.engine.activations import NON_LINEARITIES, NonLinearity
from workers.engine.batches import Batches
from workers.engine.divergence import Watch
from workers.engine.losses import LOSSES, LossFunction
from workers.engine.network import LAYERS, Activation, Dropout, Layer, Linear, Slots
from workers.engine.optimizers import RULES, Hyper, Layout, Rule, State
from workers.engine.problems import Data

DTYPES = {"float32": torch.float32, "float64": torch.float64}

OMITTED_WHERE_ZERO = ("momentum", "weight_decay")


@dataclass(frozen=True)
class Group:
    """The rows that one optimizer of the comparison updates."""

    rows: slice
    rule: Rule
    hyper: Hyper
    flags: dict[str, bool]
    state: State


@dataclass(frozen=True)
class Measured:
    """A layer with parameters and the non-linearity that follows it: what a row of the statistics is about."""

    path: str
    depth: int
    linear: Linear
    activation: Activation | None
    """None where the pre-activation is the output."""

    @property
    def non_linearity(self) -> NonLinearity:
        return self.activation.non_linearity if self.activation else NON_LINEARITIES["identity"]


@dataclass(frozen=True)
class Program:
    shard: Shard
    trials: list[Trial]
    data: Data
    batches: Batches
    loss: LossFunction
    layers: list[Layer]
    measured: list[Measured]
    lowest: int
    """Index in `layers` of the first with parameters: nobody needs the error signal below it."""
    groups: list[Group]
    theta: Tensor
    gradient: Tensor
    previous: Tensor
    """The gradient of the step before; up to date only where the next step is recorded."""
    step: Tensor
    """int64 scalar: updates made so far."""
    watch: Watch
    layout: Layout
    """Of the flat tensors, by measured layer."""

    @property
    def columns(self) -> tuple[slice, ...]:
        """Of each measured layer in the flat tensors."""
        return self.layout.columns

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """[T, B, F] -> the network's output [T, B, O]."""
        for layer in self.layers:
            x = layer.forward(x, training)
        return x

    def backward(self, delta: Tensor) -> None:
        """∂(mean loss)/∂output [T, B, O] -> `gradient`."""
        upward: Tensor | None = delta
        for index in range(len(self.layers) - 1, self.lowest - 1, -1):
            assert upward is not None
            upward = self.layers[index].backward(upward, index > self.lowest)


def build(shard: Shard, trials: list[Trial], data: Data) -> Program:
    """The program of these trials at step 0. Data is on the device to train on, in the shard's precision."""
    device, dtype = data.training.x.device, data.training.x.dtype
    count = sum(layer.parameters for layer in shard.network)
    theta, gradient, previous = (torch.zeros(len(trials), count, device=device, dtype=dtype) for _ in range(3))
    step = torch.zeros((), dtype=torch.int64, device=device)
    seeds = [trial.seed for trial in trials]
    layers: list[Layer] = []
    start = 0
    for spec in shard.network:
        own = slice(start, start + spec.parameters)
        layers.append(LAYERS[spec.spec.kind](spec, Slots(theta[:, own], gradient[:, own], seeds, step)))
        start = own.stop
    measured = _measured(shard.network, layers)
    for place in measured:
        place.linear.initialise()
    layout = Layout.of(place.linear.shapes for place in measured)
    return Program(
        shard=shard,
        trials=trials,
        data=data,
        batches=Batches(data.training, shard.batch_size, seeds),
        loss=LOSSES[shard.problem.loss],
        layers=layers,
        measured=measured,
        lowest=next(index for index, layer in enumerate(layers) if isinstance(layer, Linear)),
        groups=_groups(trials, theta, layout),
        theta=theta,
        gradient=gradient,
        previous=previous,
        step=step,
        watch=Watch([place.linear for place in measured], len(trials), device, dtype),
        layout=layout,
    )


def _measured(specs: list[ExpandedLayer], layers: list[Layer]) -> list[Measured]:
    found = []
    for index, (spec, layer) in enumerate(zip(specs, layers, strict=True)):
        if isinstance(layer, Linear):
            above = next((other for other in layers[index + 1 :] if not isinstance(other, Dropout)), None)
            assert spec.depth is not None
            found.append(Measured(spec.path, spec.depth, layer, above if isinstance(above, Activation) else None))
    return found


def _groups(trials: list[Trial], theta: Tensor, layout: Layout) -> list[Group]:
    groups = []
    start = 0
    for (_, kind), members in groupby(trials, key=lambda trial: (trial.optimizer, trial.kind)):
        settings = [trial.hyperparameters for trial in members]
        rows = slice(start, start + len(settings))
        start = rows.stop
        flags = {name: value for name, value in settings[0].items() if isinstance(value, bool)}
        hyper = _hyper(settings, theta.device)
        rule = RULES[kind]
        groups.append(Group(rows, rule, hyper, flags, rule.initial_state(theta[rows], hyper, layout, **flags)))
    return groups


def _hyper(settings: list[dict[str, Scalar]], device: torch.device) -> Hyper:
    """float64 [R, 1] by name; betas as beta1, beta2."""
    flat: list[dict[str, float]] = []
    for setting in settings:
        numbers: dict[str, float] = {}
        for name, value in setting.items():
            if isinstance(value, list):
                numbers |= {f"{name.removesuffix('s')}{place}": part for place, part in enumerate(value, 1)}
            elif not isinstance(value, bool):
                numbers[name] = float(value)
        flat.append(numbers)
    return {
        name: torch.tensor([[numbers[name]] for numbers in flat], dtype=torch.float64, device=device)
        for name in flat[0]
        if name not in OMITTED_WHERE_ZERO or any(numbers[name] for numbers in flat)
    }


def checkpoint(program: Program) -> dict[str, Any]:
    """All that a resumed training needs: tensors, by name."""
    return {
        "theta": program.theta,
        "previous": program.previous,
        "groups": [group.state for group in program.groups],
        "watch": program.watch.state,
    }


def restore(program: Program, saved: dict[str, Any], step: int) -> None:
    """Puts a program just built where the checkpoint was taken, after `step` updates."""
    program.step.fill_(step)
    program.theta.copy_(saved["theta"])
    program.previous.copy_(saved["previous"])
    for mine, state in [
        *zip((g.state for g in program.groups), saved["groups"], strict=True),
        (program.watch.state, saved["watch"]),
    ]:
        for name, tensor in mine.items():
            tensor.copy_(state[name])
