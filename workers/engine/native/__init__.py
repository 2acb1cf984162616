"""The fast path on the CPU: steps of dense networks, convolutions, RNNs and LSTMs in compiled code, one trial after the other. K steps,
T trials, L layers.

One switch chooses it (`Execution.path`, see execution.py) and one function is what it offers: `advance`, in place of the portable one of
train.py, which is the definition: same state before, same state and same records after, up to rounding. A rule without a kernel, or with
more than a schedule round it, is run by torch between the steps, on its own rows; a layer without one leaves the whole shard to the
portable path. So nobody who adds a rule or a layer has to know of this folder.

Why it is fast: a trial takes several steps before the next one takes its turn, so that its parameters, states and activations
stay in the core's own cache, and each element is visited once or twice in all, not once for every operation of torch. What outgrows the
cache is fetched while the core multiplies.
"""

import ctypes
from collections.abc import Sequence
from ctypes import Structure, c_double, c_int64, c_void_p
from dataclasses import dataclass
from itertools import takewhile
from math import prod
from typing import Any

import torch
from torch import Tensor

from workers.contract import layers as specs
from workers.contract.activations import ActivationSpec
from workers.contract.compiled import POOLS, compilable
from workers.contract.layers import Shape
from workers.contract.memory import PLACES_AT_ONCE
from workers.contract.nonlinearities import Identity
from workers.contract.plan import Shard, Trial
from workers.contract.shapes import ExpandedLayer
from workers.contract.statistics import PASSES
from workers.engine import train
from workers.engine.evaluation import SAMPLES_AT_ONCE
from workers.engine.native.build import Library, kernels, library
from workers.engine.native.rules import KERNELS, LOSSES, Kernel
from workers.engine.network import Lstm, Rnn
from workers.engine.occasional import alone
from workers.engine.optimizers.wrappers import schedule
from workers.engine.problems import Split
from workers.engine.program import DTYPES, Group, Measured, Program
from workers.engine.recording import Recording
from workers.engine.scaling import norms
from workers.engine.statistics import update_columns

MOST_STEPS = 64
"""Of a trial before the next one's turn: its numbers stay in the cache, and what Python does is shared by so many."""
RECORD_BYTES = 32 * 2**20
"""What these steps may record; fewer steps where there are many trials and layers."""

COLUMNS = (
    *("gradient_norm", "gradient_rms", "gradient_mean", "gradient_std", "gradient_max_abs", "gradient_log10_rms"),
    *("gradient_zero_fraction", "gradient_nonfinite_fraction", "gradient_snr", "sign_flip_rate", "gradient_cosine"),
    *("error_signal_norm", "activation_mean", "activation_std", "activation_sample_std", "saturation_fraction"),
    *("derivative_mean", "dead_fraction", "weight_norm", "update_norm", "update_to_weight_ratio", "effective_lr"),
    "eps_dominance",
)
"""`Column` in columns.h."""
FOR_TORCH = ("weight_norm", "gradient_norm")
"""What the columns of a rule that torch runs are made of."""
WINDOWED = {"conv1d": 0, "conv2d": 0, "max_pool": 1, "average_pool": 2, "average": 2, "max": 3}
"""`Windowed` in windows.h."""


class _Window(Structure):
    _fields_ = [
        *((name, c_int64) for name in ("kind", "channels", "out_channels", "sequence")),
        *((name, c_int64 * 2) for name in ("from_", "to", "side", "margin")),
        *((name, c_int64) for name in ("stride", "dilation")),
    ]


class _Layer(Structure):
    _fields_ = [
        *((name, c_int64) for name in ("steps", "into", "out", "weight", "through", "bias", "count", "last", "gates")),
        ("kernels", c_void_p),
        ("gate_kernels", c_void_p),
        ("steepest", c_double),
        ("windows", c_void_p),
        ("pools", c_int64),
    ]


class _Rule(Structure):
    _fields_ = [
        ("kind", c_int64),
        ("hyper", c_double * 8),
        ("state", c_void_p * 4),
        ("degree", c_int64 * 4),
        ("step", c_void_p),
        ("rates", c_void_p),
    ]


class _Extended(Structure):
    _fields_ = [(name, c_void_p) for name in ("free", "reference", "shift")]


class _Task(Structure):
    _fields_ = [
        *(
            (name, c_int64)
            for name in (
                *("trials", "parameters", "layer_count", "samples", "batch", "step_count", "loss", "first_step"),
                *("passes", "moves", "recorded_count"),
            )
        ),
        *(
            (name, c_void_p)
            for name in (
                *("gemm", "layers", "rules", "x", "targets", "rows", "record", "keep", "theta", "gradient", "previous"),
                *("places", "found", "diverged_step", "diverged_layer", "last_loss", "extended"),
            )
        ),
    ]


def supports(shard: Shard) -> bool:
    """Whether this shard can take the fast path, on this machine."""
    layers = shard.network
    return (
        compilable(layers, shard.pattern, shard.regularizers, extended=shard.gradient_range == "extended")
        and library(DTYPES[shard.precision]) is not None
        and None not in [kernels(spec) for layer in layers for spec in _non_linearities(layer)]
    )


def _non_linearities(layer: ExpandedLayer) -> list[ActivationSpec]:
    spec = layer.spec
    if isinstance(spec, specs.Lstm):
        return [spec.activation, spec.gate_activation]
    return [spec.activation] if isinstance(spec, specs.Activation | specs.Rnn) else []


def kernel_of(shard: Shard, trial: Trial) -> Kernel | None:
    """None if the trial is updated by torch, between the steps. What stands round its rule is known here if it is a schedule."""
    kernel = KERNELS.get(trial.kind)
    flags = {name for name, value in trial.hyperparameters.items() if value is True}
    known = kernel is not None and flags <= set(kernel.hyper)
    return kernel if known and shard.wrappers.get(trial.optimizer, {}).keys() <= {"schedule"} else None


@torch.no_grad()
def advance(program: Program, recording: Recording, start: int, until: int) -> None:
    """As train.advance."""
    native = _prepare(program)
    step, last = start, program.shard.steps
    step_bytes = 8 * len(native.names) * len(program.trials) * len(program.measured)
    longest = max(1, min(MOST_STEPS, RECORD_BYTES // step_bytes))
    while step < min(until, last):
        if step in recording.evaluated:
            recording.evaluation(step, *_scores(program, native, step))
        if alone(program, step):
            train.advance_once(program, recording, step, train.take)
            step += 1
            continue
        end = min(until, last, step + (1 if native.by_torch else longest))
        breaks = (other for other in range(step + 1, end) if other in recording.evaluated or alone(program, other))
        end = next(breaks, end)
        _block(program, recording, native, step, end)
        step = end
    if until == last:
        if last in recording.evaluated:
            recording.evaluation(last, *_scores(program, native, last))
        if alone(program, last):
            train.advance_once(program, recording, last, train.take)
        else:
            _block(program, recording, native, last, last + 1, moves=False)
        recording.test(evaluate(program, native, program.data.test))


@dataclass(frozen=True)
class _Native:
    """A program as the compiled code sees it: addresses of its tensors, which stay where they are while it lives."""

    library: Library
    layers: Any
    windows: list[Any]
    """Of convolutions and the pooling above them: `layers` has their addresses."""
    rules: Any
    by_torch: list[Group]
    """Groups whose rule has no kernel."""
    scheduled: list[Group]
    """Groups whose rule has one, with learning rates that change."""
    names: list[str]
    """Of the columns that are recorded, and those that torch's rules need besides."""
    places: Tensor
    """Of COLUMNS among them, int64; -1: it is none of them."""


def _prepare(program: Program) -> _Native:
    found = library(program.theta.dtype)
    assert found is not None
    layers = (_Layer * len(program.measured))()
    windows = []
    for slot, place, columns in zip(layers, program.measured, program.columns, strict=True):
        _lay_down(program, slot, place, columns)
        if isinstance(place.row.layer.spec, specs.Conv1d | specs.Conv2d):
            own = _windows(program.shard.network, place.row.layer)
            slot.windows, slot.pools = ctypes.addressof(own), len(own) - 1
            windows.append(own)
    rules = (_Rule * len(program.trials))()
    by_torch = [group for group in program.groups if not _lay_out(program, group, rules)]
    scheduled = [group for group in program.groups if schedule.COUNT in group.state and group not in by_torch]
    names = list(dict.fromkeys([*program.shard.statistics, *(FOR_TORCH if by_torch else ())]))
    places = torch.tensor([names.index(name) if name in names else -1 for name in COLUMNS])
    return _Native(found, layers, windows, rules, by_torch, scheduled, names, places)


def _lay_down(program: Program, slot: _Layer, place: Measured, columns: slice) -> None:
    """Fills in a layer of weights; its parameters lie in the order W, U, b."""
    spec, tensors, dtype = place.row.layer.spec, place.row.tensors, program.theta.dtype
    recurrent = spec if isinstance(spec, specs.Rnn | specs.Lstm) else None
    slot.steps, slot.into, slot.out = _steps(place), _inputs(place), _units(place)
    slot.gates, slot.last = (recurrent.gates, recurrent.output == "last") if recurrent else (1, False)
    slot.weight, slot.count = columns.start, columns.stop - columns.start
    slot.through = columns.start + prod(tensors[0]) if recurrent else -1
    slot.bias = columns.stop - tensors[0][0] if len(tensors) > (2 if recurrent else 1) else -1
    theta = place.layer.theta if isinstance(place.layer, Rnn | Lstm) else place.non_linearity
    slot.kernels, slot.steepest = _kernels(_spec(program, place), dtype), theta.steepest
    if isinstance(spec, specs.Lstm):
        slot.gate_kernels = _kernels(spec.gate_activation, dtype)


def _kernels(spec: ActivationSpec, dtype: torch.dtype) -> int:
    """Of a non-linearity that can be compiled."""
    found = kernels(spec)
    assert found is not None
    return found[dtype]


def _windows(network: Sequence[ExpandedLayer], layer: ExpandedLayer) -> Any:
    """Of a convolution, and of the pooling between it and the next layer of weights, upwards."""
    above = network[network.index(layer) + 1 :]
    pools = [pool for pool in takewhile(lambda other: other.depth is None, above) if isinstance(pool.spec, POOLS)]
    return (_Window * (1 + len(pools)))(*map(_window, [layer, *pools]))


def _window(layer: ExpandedLayer) -> _Window:
    spec = layer.spec
    (channels, places), (out_channels, out_places) = map(_parted, (layer.in_shape, layer.out_shape))
    sequence = len(layer.in_shape) == 2
    if isinstance(spec, specs.GlobalPool):
        return _Window(WINDOWED[spec.of], channels, channels, sequence, places, (1, 1), places, (0, 0), 1, 1)
    assert isinstance(spec, specs.Conv1d | specs.Conv2d | specs.MaxPool | specs.AveragePool)
    side, margin, stride, dilation = spec.kernel_size, 0, spec.stride or spec.kernel_size, 1
    if isinstance(spec, specs.Conv1d | specs.Conv2d):
        margin, dilation = spec.margin, spec.dilation
    sides, margins = ((side, 1), (margin, 0)) if sequence else ((side, side), (margin, margin))
    kind = WINDOWED[spec.kind]
    return _Window(kind, channels, out_channels, sequence, places, out_places, sides, margins, stride, dilation)


def _parted(shape: Shape) -> tuple[int, tuple[int, int]]:
    """Channels, and places in two directions: a sequence is one place wide. After a global pool there is one place."""
    if len(shape) == 1:
        return shape[0], (1, 1)
    return (shape[1], (shape[0], 1)) if len(shape) == 2 else (shape[0], (shape[1], shape[2]))


def _steps(place: Measured) -> int:
    """Of the sequence that a layer of weights goes over; 1 of features, and of places, which a convolution sees all at once."""
    layer = place.row.layer
    through_time = isinstance(layer.spec, specs.Linear | specs.Rnn | specs.Lstm)
    return layer.spec.positions(layer.in_shape) if through_time else 1


def _inputs(place: Measured) -> int:
    """At each step."""
    layer = place.row.layer
    return prod(layer.in_shape) // _steps(place)


def _units(place: Measured) -> int:
    """At each step."""
    layer = place.row.layer
    if isinstance(layer.spec, specs.Rnn | specs.Lstm):
        return layer.spec.hidden_size
    return prod(layer.out_shape) // _steps(place)


def _spec(program: Program, place: Measured) -> ActivationSpec:
    """The non-linearity above a linear layer, or of a recurrent one."""
    layer = place.row.layer
    if isinstance(layer.spec, specs.Rnn | specs.Lstm):
        return layer.spec.activation
    if place.activation is None:
        return Identity()
    spec = program.shard.network[program.layers.index(place.activation)].spec
    assert isinstance(spec, specs.Activation)
    return spec.activation


def _lay_out(program: Program, group: Group, rules: Any) -> bool:
    """Fills in the rows of a group; False if its rule has no kernel."""
    rows = range(group.rows.start, group.rows.stop)
    first = program.trials[group.rows.start]
    kind, kernel = first.kind, kernel_of(program.shard, first)
    if kernel is None:
        for row in rows:
            rules[row].kind = -1
        return False
    for place, row in enumerate(rows):
        slot = rules[row]
        slot.kind = list(KERNELS).index(kind)
        for index, name in enumerate(kernel.hyper):
            slot.hyper[index] = float(group.hyper[name][place]) if name in group.hyper else group.flags.get(name, 0.0)
        for index, name in enumerate(kernel.state):
            slot.state[index] = group.state[name][place].data_ptr() if name in group.state else None
            slot.degree[index] = (group.rule.degrees or {}).get(name, 0)
        slot.step = group.state["step"][place].data_ptr() if "step" in group.state else None
    return True


def _scores(program: Program, native: _Native, step: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """On the training and on the validation split. Before the first update those of a seed are everybody's: they are taken once."""
    seeds, known = [trial.seed for trial in program.trials], program.shared.scores
    if step or not known.keys() >= set(seeds):
        training, validation = (
            evaluate(program, native, split) for split in (program.data.training, program.data.validation)
        )
        if step:
            return training, validation
        known.update(zip(seeds, torch.stack([*training, *validation]).T, strict=True))
    loss, correct, loss_beside, correct_beside = torch.stack([known[seed] for seed in seeds], 1)
    return (loss, correct), (loss_beside, correct_beside)


def evaluate(program: Program, native: _Native, split: Split) -> tuple[Tensor, Tensor]:
    """As evaluation.evaluate."""
    found = torch.empty(len(program.trials), 2, dtype=torch.float64)
    places = any(len(layer.in_shape) > 1 for layer in program.shard.network)
    at_once = PLACES_AT_ONCE if places else SAMPLES_AT_ONCE
    task = _task(program, native, split, batch=min(at_once, len(split.x)), found=found.data_ptr())
    native.library.evaluate(ctypes.addressof(task))
    loss, correct = found.unbind(1)
    known = ~loss.isnan() if program.loss.correct else torch.zeros_like(loss, dtype=torch.bool)
    return loss / len(split.x), torch.where(known, correct / len(split.x), torch.nan)


def _task(program: Program, native: _Native, split: Split, **more: Any) -> _Task:
    return _Task(
        trials=len(program.trials),
        parameters=program.theta.shape[1],
        layer_count=len(program.measured),
        samples=len(split.x),
        loss=LOSSES.index(program.shard.problem.loss),
        gemm=native.library.gemm,
        layers=ctypes.addressof(native.layers),
        rules=ctypes.addressof(native.rules),
        x=split.x.data_ptr(),
        targets=split.y.data_ptr(),
        theta=program.theta.data_ptr(),
        gradient=program.gradient.data_ptr(),
        previous=program.previous.data_ptr(),
        **more,
    )


def _block(
    program: Program, recording: Recording, native: _Native, start: int, end: int, *, moves: bool = True
) -> None:
    """Updates `start` to `end` of every trial, with what is recorded of them; the last step of all, which is no update, `moves` nothing."""
    steps = range(start, end)
    recorded = [step for step in steps if step in recording.steps]
    trials, layers = len(program.trials), len(program.measured)
    found = torch.full((len(native.names), trials, len(recorded), layers), torch.nan, dtype=torch.float64)
    rows = program.batches.rows(start, end)
    split, watch = program.data.training, program.watch.state
    flags = (torch.tensor([step + ahead in recording.steps for step in steps], dtype=torch.uint8) for ahead in (0, 1))
    record, keep = flags
    before = program.theta.clone() if recorded and native.by_torch and moves else None
    shift = torch.empty(layers, trials, dtype=torch.float64)
    exponents = _exponents(program, shift)
    rates = [_set_rates(program, native, group, len(steps) if moves else 0) for group in native.scheduled]
    task = _task(
        program,
        native,
        split,
        batch=program.shard.batch_size,
        step_count=len(steps),
        first_step=start,
        moves=moves,
        passes=sum(1 << place for place, name in enumerate(PASSES) if name in program.shard.passes),
        rows=rows.data_ptr() if rows is not None else None,
        record=record.data_ptr(),
        keep=keep.data_ptr(),
        recorded_count=len(recorded),
        places=native.places.data_ptr(),
        found=found.data_ptr(),
        diverged_step=watch["step"].data_ptr(),
        diverged_layer=watch["layer"].data_ptr(),
        last_loss=watch["loss"].data_ptr(),
        extended=ctypes.addressof(exponents) if exponents else None,
    )
    native.library.train(ctypes.addressof(task))
    del rates  # until here the compiled code reads them
    gradients = train.the_gradient(program)
    for group in native.by_torch:
        if program.extended:
            program.extended.carry(group.state, group.rule.degrees or {}, group.rows, shift)
        if moves:
            own = train.of_rows(gradients, group.rows)
            group.rule.update(program.theta[group.rows], own, group.state, group.hyper, **group.flags)
    if recorded:
        if native.by_torch:
            _measure_groups(program, native, before, found)
        recording.statistics(recorded, found[: len(recording.names)])


def _exponents(program: Program, shift: Tensor) -> _Extended | None:
    """None in the standard range."""
    extended = program.extended
    if extended is None:
        return None
    return _Extended(extended.free.data_ptr(), extended.state["reference"].data_ptr(), shift.data_ptr())


def _set_rates(program: Program, native: _Native, group: Group, steps: int) -> Tensor:
    """The learning rates of so many steps, float64 [R, K], where the kernels find them while the tensor lives; the steps are counted."""
    kind = program.shard.wrappers[program.trials[group.rows.start].optimizer]["schedule"]
    counted = group.state[schedule.COUNT]
    k = counted + torch.arange(steps, dtype=torch.float64)
    rates = (group.hyper["lr"] * schedule.FACTORS[kind](k, group.hyper, program.shard.steps)).contiguous()
    counted.add_(steps)
    for place, row in enumerate(range(group.rows.start, group.rows.stop)):
        native.rules[row].rates = rates[place].data_ptr()
    return rates


def _measure_groups(program: Program, native: _Native, before: Tensor | None, found: Tensor) -> None:
    """What torch's rules moved, into the columns of the one step that they made; `before` is None where they made none."""
    columns = {name: own[:, 0].T for name, own in zip(native.names, found, strict=True)}  # [L, T]
    moved = left = torch.full_like(columns["weight_norm"], torch.nan)
    if before is not None:
        moved = norms([program.theta[:, own] - before[:, own] for own in program.columns])
        left = train.left_by_clipping(program)
    eps = train.eps_dominance(program)
    for name, column in update_columns(columns["weight_norm"], moved, columns["gradient_norm"], eps, left).items():
        for group in native.by_torch if name in columns else ():
            columns[name][:, group.rows] = column[:, group.rows]
