"""What a shard's tensors take, counted on paper: what cannot fit is refused at the door, not killed in training.

T trials, P parameters of a trial, B samples. Scratch is that of the trials which take a step at the same time: all on a GPU, those of a
program for each thread where torch trains on a CPU, one for each thread in compiled code. torch itself comes on top, some hundred MB on
either.
"""

from collections.abc import Collection, Sequence
from math import prod
from typing import NamedTuple

from workers.contract.cost import chunk
from workers.contract.invariance import measured
from workers.contract.layers import Conv1d, Conv2d
from workers.contract.optimizers import GRADIENT_FREE, OptimizerSpec, Pattern
from workers.contract.problems import ProblemSpec
from workers.contract.shapes import ExpandedLayer, walk
from workers.contract.statistics import STATISTICS, Occasional, recorded, samples_of_jacobian

OPTIONS = ("momentum", "centered", "amsgrad")
"""Hyper-parameters that are off by default in some rules; each of them on is a [T, P] tensor more that the rule remembers."""
PARAMETER_TENSORS = 3
"""[T, P] tensors that are always there: θ, its gradient and the one before."""
UPDATE_TENSORS = 2
"""[T, P] tensors while an update is measured: θ before it, and scratch."""
MORE_TENSORS: dict[Pattern, int] = {
    "one_gradient": 0,
    "two_gradients": 10,
    "curvature": 3,
    "own_labels": 3,
    "population": 2,
}
"""[T, P] tensors more: squares, both gradients, the way between, scratch; or squares or both gradients, curvature, scratch; or one
candidate, scratch."""
CANDIDATE_TENSORS = 10
"""[T, P] tensors for each candidate of a gradient-free rule: its random numbers, four times in 64 bits while they are mixed, and
its place."""
MIRRORED = ("openai_es", "pgpe", "spsa", "mezo", "forward_gradient")
"""Gradient-free rules with a random number for two candidates …"""
MIRRORED_TENSORS = 6
"""… and so many [T, P] tensors for each."""
TRIED_AT_ONCE = 400_000
"""Activations of the widest layer, of all candidates that are passed forward together on a CPU."""
WIDEST_TENSORS = 6
"""Scratch of a pass backward and of the statistics, in tensors of the widest layer …"""
FORWARD_TENSORS = 3
"""… and of a pass forward alone."""
HEAP = 1.25
"""What tensors of different sizes, one after another, take of a heap."""
COMPILED_AT_ONCE = 2
"""Trials whose steps of a sequence, or whose images, compiled code keeps, one for each thread; what it keeps of features is little beside
the parameters."""
PLACES_AT_ONCE = 64
"""Samples of a split in one pass of an evaluation there, of sequences and images."""
EVALUATED_AT_ONCE = 256
"""Samples of a split in one pass of an evaluation."""
STARTING_SAMPLES = 1024
"""Training inputs that a layer which starts from data is shown."""
LOOKING_BACK = ("distance", "alpha")
"""Statistics for each of which [T, P] tensors are kept from earlier steps."""
NOISE_TENSORS = 5
"""Of a layer's parameters: means, squares and quotients of its samples' gradients."""
JACOBIANS: dict[Occasional, int] = {"jacobian": 4, "curvature": 4}
"""Copies of the widest layer's Jacobian, in float64, of its samples; of the curvature's products between samples as well."""
BUFFER_BYTES = 128 * 2**20
"""Recorded statistics, beyond which they are written out within a slice."""
BUFFER_COPIES = 4
"""Of the buffer while it is written: stacked, transposed, as columns, sorted."""

DEFAULT = recorded("default")

BYTES = {"float32": 4, "float64": 8}


def remembered_by(trials: Sequence[tuple[OptimizerSpec, int]]) -> float:
    """Numbers for each parameter, of all trials' rules on average.

    Args:
        trials: optimizers, with how many trials each has.
    """
    return sum(count * remembered(optimizer) for optimizer, count in trials) / sum(count for _, count in trials)


def remembered(optimizer: OptimizerSpec) -> float:
    """Numbers that its rule keeps for each parameter of a trial."""
    candidates = optimizer.per_step().functions if optimizer.pattern in GRADIENT_FREE else 0
    fields = type(optimizer).model_fields
    on = sum(bool(getattr(optimizer, name)) for name in OPTIONS if name in fields and not fields[name].default)
    around = len(optimizer.wrapper_kinds())
    each = MIRRORED_TENSORS if optimizer.kind in MIRRORED else CANDIDATE_TENSORS
    return measured(optimizer).remembered_per_parameter + on + around + each * candidates


class Memory(NamedTuple):
    """Bytes, at the worst moments."""

    training: float
    """Of torch's tensors, while programs are built and trained, what is recorded included …"""
    writing: float
    """… and while what is recorded is made into a table and written: of tensors and tables."""
    beside: float
    """Of what compiled code keeps by itself."""

    @property
    def bytes(self) -> int:
        """Of a process, beyond torch itself."""
        return round(HEAP * (max(self.training, self.writing) + self.beside))


def shard_memory(
    problem: ProblemSpec,
    network: Sequence[ExpandedLayer],
    trials: int,
    *,
    seeds: int,
    batch_size: int,
    pattern: Pattern,
    precision: str,
    recorded: int,
    remembered: float,
    statistics: Collection[str] = DEFAULT,
    at_once: int | None = None,
    compiled: bool = False,
) -> Memory:
    """At the worst moment: in a recorded step, in a pass over a split, while layers start from data, or while what is recorded is written.

    Args:
        problem, network, trials, batch_size, pattern, precision: the shard's.
        seeds: different ones among the trials.
        recorded: number of recorded steps.
        remembered: numbers that a rule keeps for each parameter, on average over the trials.
        statistics: what is recorded.
        at_once: trials of the programs that take a step at the same time; None where all do, as on a GPU.
        compiled: whether it trains in compiled code, which keeps the activations of `COMPILED_AT_ONCE` trials.
    """
    layers = list(walk(network))
    parameters = sum(layer.parameters for layer in network)
    started_at_once = seeds if at_once is None else min(seeds, chunk(network, STARTING_SAMPLES))
    at_once = trials if at_once is None else at_once
    kept = sum(name in statistics for name in LOOKING_BACK)
    beside = sum(layer.spec.kept(layer.in_shape) for layer in layers)
    always = beside + parameters * (PARAMETER_TENSORS + remembered + kept)
    widths = [prod(layer.out_shape) for layer in layers]
    inside = [layer.spec.workspace(layer.in_shape) for layer in layers]
    staying = sum(own for own, layer in zip(inside, layers, strict=True) if layer.spec.workspace_stays)
    passing = sum(inside) - staying
    kept_forward = problem.features + sum(widths) + staying
    backward = sum(
        max(width, own // 2)
        for width, own, layer in zip(widths, inside, layers, strict=True)
        if layer.depth is not None
    )
    largest = max(max(width, own) for width, own in zip(widths, inside, strict=True))
    candidates = 0
    if pattern in GRADIENT_FREE:
        passed = TRIED_AT_ONCE // (at_once * batch_size * max(widths))
        candidates = max(1, min(passed, int(remembered) // CANDIDATE_TENSORS)) * (sum(widths) + sum(inside))
    occasional = _occasional(statistics, layers, 8 // BYTES[precision])
    in_torch = occasional > 0 or not compiled
    # layers keep what they were given until they are given more, those of programs whose turn it is not as well
    held = trials * batch_size * (kept_forward + backward + candidates) if in_torch else 0
    scratch = at_once * batch_size * (passing + largest + WIDEST_TENSORS * max(widths))
    updating = at_once * parameters * (UPDATE_TENSORS + MORE_TENSORS[pattern])
    evaluated = min(EVALUATED_AT_ONCE, problem.training_samples)
    look = at_once * evaluated * (kept_forward + passing + largest + FORWARD_TENSORS * max(widths))
    look -= at_once * min(evaluated, batch_size) * kept_forward  # in the place of what was held
    moments = [held + at_once * (batch_size * passing + occasional)] if in_torch else [0]
    if not compiled:
        moments += [held + scratch + updating, held + look]
    # before all programs but the first are built, and rules remember anything
    starting = parameters * (seeds + at_once * PARAMETER_TENSORS)
    if any(layer.starts_from_data for layer in layers):
        shown = min(STARTING_SAMPLES, problem.training_samples)
        starting += started_at_once * shown * (kept_forward + passing + FORWARD_TENSORS * max(widths))
    rows = trials * recorded * sum(layer.depth is not None for layer in layers)
    buffered = min(8 * len(statistics) * rows, BUFFER_BYTES)
    size = BYTES[precision]
    data = size * problem.samples * problem.features
    orders = 8 * problem.training_samples * (trials + seeds)  # of an epoch
    resting = data + orders + size * trials * always
    return Memory(
        training=max(data + size * starting, resting + size * max(moments) + buffered),
        writing=resting + size * held + BUFFER_COPIES * buffered,
        beside=size * beside_tensors(network, batch_size) if compiled else 0,
    )


def beside_tensors(network: Sequence[ExpandedLayer], batch_size: int) -> int:
    """Numbers that compiled code keeps of the steps of sequences, and of images what every layer gives, with δ and scratch beside it."""
    layers = list(walk(network))
    kept = sum(layer.spec.workspace(layer.in_shape) for layer in layers)
    if any(isinstance(layer.spec, Conv1d | Conv2d) for layer in layers):
        widths = [prod(layer.in_shape) for layer in layers]
        kept += sum(widths) + 2 * max(widths)
    return COMPILED_AT_ONCE * max(batch_size, PLACES_AT_ONCE) * kept


def _occasional(statistics: Collection[str], layers: Sequence[ExpandedLayer], doubles: int) -> int:
    """Numbers of a trial while the groups of statistics are measured that need more than those of every step.

    Args:
        doubles: numbers that one of float64 takes.
    """
    groups = {STATISTICS[name].group for name in statistics}
    scratch = [0]
    if "noise" in groups:
        scratch.append(NOISE_TENSORS * max(layer.parameters for layer in layers))
    outputs, widest = prod(layers[-1].out_shape), max(prod(layer.out_shape) for layer in layers)
    for group, copies in JACOBIANS.items():
        if group in groups:
            together = samples_of_jacobian(outputs, group) * outputs
            gram = together**2 if group == "curvature" else 0
            scratch.append(copies * doubles * (together * widest + gram))
    return max(scratch)
