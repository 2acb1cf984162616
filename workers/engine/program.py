"""A shard's trials, or a chunk of them, as one batched program. T trials, P parameters of a trial, R rows of one optimizer.

Everything that changes while training is in flat tensors `[T, P]`: parameters, gradient, previous gradient, and the rules'
own states. Layers hold views of their columns, rules views of their rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, takewhile
from math import prod
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from workers.contract import cost
from workers.contract.memory import STARTING_SAMPLES
from workers.contract.optimizers import BRIDGED
from workers.contract.plan import Scalar, Shard, Trial
from workers.contract.shapes import ExpandedLayer, Row, rows, walk
from workers.engine.activations import NON_LINEARITIES, NonLinearity
from workers.engine.batches import Batches, Drawn, permutations
from workers.engine.divergence import Watch
from workers.engine.extended import Extended
from workers.engine.losses import LOSSES, LossFunction
from workers.engine.network import (
    HOLDING,
    LAYERS,
    Activation,
    AuxiliaryHead,
    Highway,
    Layer,
    Linear,
    Residual,
    Slots,
    Units,
    Weighted,
)
from workers.engine.network.layer import Remembering
from workers.engine.network.shortcuts import back, through
from workers.engine.network.through_time import Carried
from workers.engine.optimizers import RULES, SIZES, Draws, Hyper, Layout, Rule, State, keys_of
from workers.engine.optimizers.bridge import bridged
from workers.engine.optimizers.wrappers import wrapped
from workers.engine.population import Candidates, at_once
from workers.engine.problems import Data
from workers.engine.regularizers import WeightPenalty, penalties, watch_activations
from workers.engine.seeding import numpy_generator
from workers.engine.statistics import Activity, Samples

DTYPES = {"float32": torch.float32, "float64": torch.float64}

PORTIONS = 16
"""Of a network's layers, that threads start in turns."""
OMITTED_WHERE_ZERO = ("momentum", "weight_decay")


@dataclass(frozen=True)
class Group:
    """The rows that one optimizer of the comparison updates."""

    rows: slice
    rule: Rule
    hyper: Hyper
    flags: dict[str, bool | int]
    state: State
    draws: Draws
    candidates: Candidates | None
    """Where a gradient-free rule's candidates are passed forward."""

    @property
    def free(self) -> bool:
        """Whether the rule's steps do not depend on the gradient's magnitude."""
        return self.rule.degrees is not None


@dataclass(frozen=True)
class Measured:
    """What a row of the statistics is about: a layer of weights, the parameters that belong to it, and its non-linearity."""

    row: Row
    layer: Weighted
    activation: Activation | None
    """The non-linearity that follows it in its block, or else comes before it; None where the pre-activation is the output."""
    stream: Residual | Highway | None
    """The outermost residual or highway layer that it lies in: there δ is that of the residual stream."""

    @property
    def path(self) -> str:
        return self.row.layer.path

    @property
    def depth(self) -> int:
        assert self.row.layer.depth is not None
        return self.row.layer.depth

    @property
    def error_signal(self) -> Tensor:
        return self.stream.error_signal if self.stream else self.layer.error_signal

    @property
    def units(self) -> Activation | Units | None:
        """θ with what goes in and what comes out: the layer's own where it has some, else that of the activation layer."""
        return cast(Units | None, getattr(self.layer, "units", None)) or self.activation

    @property
    def non_linearity(self) -> NonLinearity:
        return self.units.non_linearity if self.units else NON_LINEARITIES["identity"]

    @property
    def activity(self) -> Activity:
        """After a pass forward."""
        if self.units is None:
            return Activity(self.non_linearity, self.layer.output, self.layer.output)
        return Activity(self.non_linearity, self.units.input, self.units.value)

    @property
    def dense(self) -> Linear | None:
        """The layer, where the gradients of single samples are known: linear, on features, all the row's parameters its own."""
        alone = self.row.tensors == self.row.layer.tensors
        known = isinstance(self.layer, Linear) and alone and self.layer.made is None and self.layer.input.dim() == 3
        return cast(Linear, self.layer) if known else None

    @property
    def samples(self) -> Samples | None:
        """After a pass backward; None where the gradients of single samples are not known."""
        linear = self.dense
        return Samples(linear.error_signal, linear.input, linear.bias is not None) if linear is not None else None


class Shared(NamedTuple):
    """What the chunks of a shard share, by seed: what is so at step 0 under every optimizer, as the first of them finds it; batches."""

    rows: dict[int, list[Tensor]]
    """Of θ, [P], and of what layers remember besides; rows of programs that have not been trained."""
    scores: dict[int, Tensor]
    """Loss and accuracy on the training split, and on the validation split, [4] each."""
    drawn: Drawn

    @staticmethod
    def of(data: Data) -> "Shared":
        return Shared({}, {}, permutations(len(data.training.x)))


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
    remembering: list[Remembering]
    """Layers with running statistics."""
    layout: Layout
    """Of the flat tensors, by measured layer."""
    hidden: list[Layer]
    """All layers but the output layer, those inside others too."""
    heads: list[AuxiliaryHead]
    """Of auxiliary losses: they have to be told the targets."""
    penalties: list[WeightPenalty]
    """On weights and constants: what the rules are given has them, what is measured has not."""
    extended: Extended | None
    """The exponents of the error signal, where the range is extended."""
    shared: Shared
    origin: Tensor | None
    """θ at step 0, [T, P], where a statistic is held against it."""
    trail: dict[str, Tensor]
    """`theta` [T, P] and `exponents` float64 [L, T] of the step before, where a statistic looks back; else empty."""

    @property
    def columns(self) -> tuple[slice, ...]:
        """Of each measured layer in the flat tensors."""
        return self.layout.columns

    def of_layers(self, flat: Tensor) -> list[Tensor]:
        """[T, P] -> [T, n] of each measured layer."""
        return [flat[:, columns] for columns in self.columns]

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """[T, B, F] -> the network's output [T, B, O]."""
        return through(self.layers, x, training)

    def backward(self, delta: Tensor) -> None:
        """∂(mean loss)/∂output [T, B, O] -> `gradient`."""
        if self.extended is None:
            back(self.layers[self.lowest :], delta, wanted=False)
        else:
            self.extended.back(self.layers, self.lowest, delta)


def build(
    shard: Shard,
    trials: list[Trial],
    data: Data,
    shared: Shared | None = None,
    each: Callable[..., Iterator[None]] = map,
) -> Program:
    """The program of these trials at step 0.

    Args:
        data: on the device to train on, in the shard's precision.
        each: in the place of `map` over portions of the layers, to initialise them side by side: drawing takes longer than the rest.
    """
    shared = shared or Shared.of(data)
    device, dtype = data.training.x.device, data.training.x.dtype
    count = sum(layer.parameters for layer in shard.network)
    theta, gradient, previous = (torch.zeros(len(trials), count, device=device, dtype=dtype) for _ in range(3))
    step = torch.zeros((), dtype=torch.int64, device=device)
    seeds = [trial.seed for trial in trials]
    layers = _built(shard.network, _slots(shard.network, theta, gradient, seeds, step))
    everything = list(every(layers))
    places = rows(shard.network)
    measured = [Measured(row, *found) for row, found in zip(places, _measured(shard.network, layers), strict=True)]
    layout = Layout.of(row.tensors for row in places)
    remembering = _remembering(layers)
    held = [theta, *(tensor for layer in remembering for tensor in layer.state.values())]
    unknown = [seed for seed in dict.fromkeys(trial.seed for trial in shard.trials) if seed not in shared.rows]
    shared.rows.update(_starts(shard.network, unknown, data, each))
    for row, seed in enumerate(seeds):
        for tensor, known in zip(held, shared.rows[seed], strict=True):
            tensor[row].copy_(known)
    # from here on the program's own rows, so that nothing is kept twice
    shared.rows.update((seed, [tensor[row] for tensor in held]) for row, seed in enumerate(seeds))
    groups = _groups(shard, trials, theta, layout, step)
    hidden = [layer for layer in everything if layer is not measured[-1].layer]
    watch_activations(shard.regularizers, hidden)
    heads = [layer for layer in everything if isinstance(layer, AuxiliaryHead)]
    for head in heads:
        head.loss = LOSSES[shard.problem.loss]
    return Program(
        shard=shard,
        trials=trials,
        data=data,
        batches=Batches(data.training, shard.batch_size, seeds, shared.drawn),
        loss=LOSSES[shard.problem.loss],
        layers=layers,
        measured=measured,
        lowest=next(index for index, layer in enumerate(shard.network) if layer.parameters),
        groups=groups,
        theta=theta,
        gradient=gradient,
        previous=previous,
        step=step,
        watch=Watch(len(measured), len(trials), device, dtype),
        remembering=remembering,
        layout=layout,
        hidden=hidden,
        heads=heads,
        penalties=penalties(shard.regularizers, hidden),
        extended=_extended(shard, layers, groups, theta, layout) if shard.gradient_range == "extended" else None,
        shared=shared,
        origin=theta.clone() if "distance" in shard.statistics else None,
        trail=_trail(theta, len(measured)) if "alpha" in shard.statistics else {},
    )


def _trail(theta: Tensor, layers: int) -> dict[str, Tensor]:
    exponents = torch.zeros(layers, len(theta), dtype=torch.float64, device=theta.device)
    return {"theta": theta.clone(), "exponents": exponents}


def _starts(
    network: Sequence[ExpandedLayer], seeds: list[int], data: Data, each: Callable[..., Iterator[None]]
) -> Iterator[tuple[int, list[Tensor]]]:
    """θ [P] and what layers remember besides, of each seed at step 0: found once, whatever trials have the seed, by layers of their own,
    as many seeds at a time as torch trains trials where training inputs are passed forward.
    """
    x = data.training.x
    from_data = any(layer.starts_from_data for layer in walk(network))
    together = cost.chunk(network, STARTING_SAMPLES) if from_data and x.device.type == "cpu" else len(seeds)
    for first in range(0, len(seeds), max(1, together)):
        own = seeds[first : first + together]
        theta = x.new_zeros(len(own), sum(layer.parameters for layer in network))
        step = torch.zeros((), dtype=torch.int64, device=x.device)
        layers = _built(network, _slots(network, theta, theta, own, step))
        everything = list(every(layers))
        list(each(_initialise, [everything[part::PORTIONS] for part in range(PORTIONS)]))
        _start_from_data(layers, everything, own, x)
        held = [theta, *(tensor for layer in _remembering(layers) for tensor in layer.state.values())]
        yield from ((seed, [tensor[row] for tensor in held]) for row, seed in enumerate(own))


def _initialise(layers: Sequence[Layer]) -> None:
    for layer in layers:
        layer.initialise()


def _start_from_data(layers: Sequence[Layer], everything: Sequence[Layer], seeds: list[int], x: Tensor) -> None:
    """Shows training inputs, of each seed its own, to the layers that wait for them; running statistics of the others stay as they were."""
    if not any(getattr(layer, "starting", False) for layer in everything):
        return
    others = [layer.state for layer in everything if hasattr(layer, "state") and not getattr(layer, "starting", False)]
    running = [(tensor, tensor.clone()) for state in others for tensor in state.values()]
    shown = [
        x[torch.from_numpy(numpy_generator(seed, "start").permutation(len(x))[:STARTING_SAMPLES]).to(x.device)]
        for seed in seeds
    ]
    through(layers, torch.stack(shown), training=True)
    for tensor, before in running:
        tensor.copy_(before)


def _slots(
    network: Sequence[ExpandedLayer], theta: Tensor, gradient: Tensor, seeds: list[int], step: Tensor
) -> Iterator[Slots]:
    """Of each layer, in the order of `walk`."""
    sizes = [layer.own_parameters for layer in walk(network)]
    for parameters, own_gradient in zip(theta.split(sizes, 1), gradient.split(sizes, 1), strict=True):
        yield Slots(parameters, own_gradient, seeds, step)


def _built(specs: Sequence[ExpandedLayer], columns: Iterator[Slots]) -> list[Layer]:
    """The layers, those inside others first, as their columns come."""
    made = []
    for spec in specs:
        inside = _built(spec.layers, columns)
        own = next(columns)
        made.append(LAYERS[spec.spec.kind](spec, replace(own, inside=inside) if inside else own))
    return made


def every(layers: Sequence[Layer]) -> Iterator[Layer]:
    """All layers, in the order of `walk`."""
    for layer in layers:
        if isinstance(layer, HOLDING):
            yield from every(layer.inside)
        yield layer


def _measured(
    specs: Sequence[ExpandedLayer],
    layers: Sequence[Layer],
    stream: Residual | Highway | None = None,
    held: bool = False,
) -> Iterator[tuple[Weighted, Activation | None, Residual | Highway | None]]:
    """Layers of weights, each with its non-linearity and the outermost residual or highway layer round it."""
    weighted = [spec.depth is not None for spec in specs]
    opening = list(takewhile(lambda place: not weighted[place], range(len(specs))))
    before = held and any(isinstance(layers[place], Activation) for place in opening)
    for place, (spec, layer) in enumerate(zip(specs, layers, strict=True)):
        if isinstance(layer, HOLDING):
            added_to = layer if isinstance(layer, Residual | Highway) else None
            yield from _measured(spec.layers, layer.inside, stream or added_to, held=True)
        elif weighted[place]:
            others = range(place - 1, -1, -1) if before else range(place + 1, len(specs))
            near = (layers[other] for other in takewhile(lambda other: not weighted[other], others))
            yield cast(Weighted, layer), next((one for one in near if isinstance(one, Activation)), None), stream


def _extended(shard: Shard, layers: Sequence[Layer], groups: list[Group], theta: Tensor, layout: Layout) -> Extended:
    weights = [sum(inside.depth is not None for inside in walk([layer])) for layer in shard.network]
    free = torch.zeros(len(theta), dtype=torch.bool, device=theta.device)
    for group in groups:
        free[group.rows] = group.free
    for layer in layers:
        if isinstance(through_time := getattr(layer, "carried", None), Carried):
            through_time.extended = True
    return Extended(weights, free, layout)


def _groups(shard: Shard, trials: list[Trial], theta: Tensor, layout: Layout, step: Tensor) -> list[Group]:
    groups = []
    start = 0
    for (name, kind), members in groupby(trials, key=lambda trial: (trial.optimizer, trial.kind)):
        own = list(members)
        settings = [trial.hyperparameters for trial in own]
        rows = slice(start, start + len(settings))
        start = rows.stop
        flags: dict[str, bool | int] = {}
        if kind in BRIDGED:
            rule = bridged(
                kind, BRIDGED[kind], [_arguments(setting) for setting in settings], [trial.seed for trial in own]
            )
            hyper = _hyper([_heard(setting) for setting in settings], theta.device)
        else:
            rule = RULES[kind]
            flags = {
                name: value
                for name, value in settings[0].items()
                if isinstance(value, bool) or (isinstance(value, int) and name in SIZES)
            }
            hyper = _hyper(settings, theta.device)
        rule = wrapped(rule, shard.wrappers.get(name, {}), shard.steps)
        state = rule.initial_state(theta[rows], hyper, layout, **flags)
        seeds = [trial.seed for trial in own]
        draws = Draws(keys_of(seeds, theta.device), step)
        candidates = _candidates(shard, seeds, flags.get("population", 2), theta, step) if rule.ask else None
        groups.append(Group(rows, rule, hyper, flags, state, draws, candidates))
    return groups


def _candidates(shard: Shard, seeds: list[int], population: int, theta: Tensor, step: Tensor) -> Candidates:
    """Layers for the candidates of one rule's trials, each with its trial's seed. They are never passed backward."""
    widest = shard.batch_size * max(prod(layer.out_shape) for layer in walk(shard.network))
    together = at_once(population, len(seeds), widest, theta.device.type)
    places = theta.new_zeros(len(seeds) * together, theta.shape[1])
    each = [seed for seed in seeds for _ in range(together)]
    layers = _built(shard.network, _slots(shard.network, places, places, each, step))
    return Candidates(places, layers, _remembering(layers), len(seeds))


def _remembering(layers: Sequence[Layer]) -> list[Remembering]:
    return [cast(Remembering, layer) for layer in every(layers) if hasattr(layer, "state")]


def _arguments(setting: dict[str, Scalar]) -> dict[str, Scalar]:
    """What a bridged class's constructor is given."""
    return {name: value for name, value in setting.items() if "." not in name}


def _heard(setting: dict[str, Scalar]) -> dict[str, Scalar]:
    """What a bridged rule and its wrappers hear of while it trains: the learning rate, where there is one, and the wrappers' numbers."""
    return {name: value for name, value in setting.items() if name == "lr" or "." in name}


def _hyper(settings: list[dict[str, Scalar]], device: torch.device) -> Hyper:
    """float64 [R, 1] by name; betas as beta1, beta2."""
    flat: list[dict[str, float]] = []
    for setting in settings:
        numbers: dict[str, float] = {}
        for name, value in setting.items():
            if isinstance(value, list):
                numbers |= {f"{name.removesuffix('s')}{place}": part for place, part in enumerate(value, 1)}
            elif not isinstance(value, bool | str) and name not in SIZES:
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
        "objects": [group.rule.save() if group.rule.save else None for group in program.groups],
        "watch": program.watch.state,
        "layers": [layer.state for layer in program.remembering],
        "extended": program.extended.state if program.extended else {},
        "trail": program.trail,
    }


def restore(program: Program, saved: dict[str, Any], step: int) -> None:
    """Puts a program just built where the checkpoint was taken, after `step` updates."""
    program.step.fill_(step)
    program.theta.copy_(saved["theta"])
    program.previous.copy_(saved["previous"])
    for mine, state in [
        *zip((g.state for g in program.groups), saved["groups"], strict=True),
        (program.watch.state, saved["watch"]),
        (program.extended.state if program.extended else {}, saved["extended"]),
        (program.trail, saved["trail"]),
        *zip((layer.state for layer in program.remembering), saved["layers"], strict=True),
    ]:
        for name, tensor in mine.items():
            tensor.copy_(state[name])
    for group, kept in zip(program.groups, saved["objects"], strict=True):
        if group.rule.load:
            group.rule.load(kept)
