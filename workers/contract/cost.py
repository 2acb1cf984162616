"""How long training takes, from the shapes alone. T trials, B samples, P parameters of a trial.

What is counted are operations, at the speed of matrix products that a worker publishes, and seconds that do not depend on it. The constants
were fitted to the engine on two CPU cores, in compiled code and in torch, over depths of 2 to 100, widths of 16 to 256 and one network or
two of each further kind: within a third. `benchmarks.step_estimates` prints how far off they are, in processor time, which a shared
machine changes little, and `benchmarks.estimates` of whole examples. What is recorded is counted in recording_cost.py.
"""

from collections.abc import Callable, Sequence
from math import ceil, prod
from typing import NamedTuple

from workers.contract.activations import trained
from workers.contract.compiled import updated_there
from workers.contract.layers import Activation, Attention, Conv1d, Conv2d, Gru, Linear, Lstm, Rnn
from workers.contract.optimizers import GRADIENT_FREE, Bridged, Evaluations, OptimizerSpec
from workers.contract.rule_costs import TIME_OF_A_STEP
from workers.contract.shapes import ExpandedLayer, walk

PASSES = 6.0
"""Operations for each parameter and sample: two forward, four backward."""
FORWARD = 1 / 3
"""Of them …"""
FORWARD_NUMBERS = 0.6
"""… and of what torch takes for the numbers that layers give: non-linearities are dearer than their slopes."""
ELEMENTS_AT_ONCE = 400_000
"""Activations of one layer in all trials of a chunk, in torch: enough that calls cost little, few enough for the caches of a CPU."""
RECURRENT = 4
"""How many times fewer of a recurrent step: an LSTM trains 1.4 times as fast in programs of a quarter of the size."""

COMPILED_PRODUCTS, COMPILED_NUMBER = 1.0, 45.0
"""In compiled code: time of the matrix products over that of the published ones; operations for each number that a layer gives."""
COMPILED_CONVOLVED = 0.8
"""Of the products of convolutions, which padding leaves out where a window goes beyond an image."""
COMPILED_LAYER, COMPILED_STEP = 2e4, 4e5
"""Operations for each layer of weights and for each step of a trial, however small …"""
COMPILED_POSITION = 6.5e4
"""… and for each step that a recurrent layer's gate goes through."""
BY_TORCH_SECONDS = 4e-4
"""What a layer takes more in a step where torch updates it between the compiled passes."""

PRODUCTS, NUMBER = 1.25, 150.0
"""The same in torch; a linear layer and the non-linearity on it are two layers."""
CONVOLVED = 1.0
"""Of the products of convolutions over images."""
NUMBERS = {
    "flatten": 0.0,
    "unflatten": 0.0,
    "residual": 30.0,
    "dense": 70.0,
    "highway": 300.0,
    "normalization": 630.0,
    "conv2d": 800.0,
    "conv1d": 1080.0,
    "dropout": 1400.0,
    "rbf": 2900.0,
}
"""Kinds whose numbers take less or more."""
OVER_SAMPLES = 2200.0
"""Of a normalisation over the batch, in float64."""
REMEMBERED = 90.0
"""Operations for each number that a recurrent layer keeps of its steps, or attention of its pairs."""
ATTENDED = 3.5e5
"""Operations for each sample and head: products of small matrices, one at a time."""
LAYER_SECONDS = 6.5e-5
"""What a layer of a batched program takes in a step, forward and backward, however little there is to compute …"""
LAYERS_SECONDS = {"attention": 5e-4, "rnn": 9e-5, "gru": 2.8e-4, "lstm": 2.8e-4}
"""… and kinds that take more, recurrent ones for each of their steps."""
MADE_SECONDS, LEARNED_SECONDS = 2e-4, 2e-4
"""What weights that are made of others, and a non-linearity whose constants learn, take besides."""
UPDATE = 32.0
"""Operations for each parameter and step: the update."""
SGD_PER_PARAMETER = 1950.0
"""Operations for each parameter in the step of SGD that `rule_costs` measures by: what a rule takes there beyond its gradients grows with
the parameters, not with the batch …"""
SGD_PER_FEW = 3e4
"""… and of the narrow network there, for rules that may train only few."""
MEASURED_SIDE = 64
"""Of the matrices there."""
CUBES: dict[str, Callable[[int, int], float]] = {
    "muon": lambda rows, columns: rows * columns * min(rows, columns) / MEASURED_SIDE,
    "soap": lambda rows, columns: rows * columns * min(rows, columns) / MEASURED_SIDE,
    "shampoo": lambda rows, columns: (rows**3 + columns**3) / (2 * MEASURED_SIDE),
}
"""Rules of matrices: as how many parameters one counts. Products of matrices, and roots of products with themselves."""
RULE_SECONDS = {"muon": 2e-4, "soap": 3e-4, "shampoo": 2e-3}
"""What they take in a program for each layer of weights, however small …"""
CANDIDATES_SECONDS = 3e-4
"""… and rules that draw places of their own, for all of them."""

BRIDGE_SECONDS = 2e-4
"""What an optimizer object takes in a step for each layer of its trial, about; most take less, a few ten times as much."""
CONTENDED = 1.6
"""Times as long for all that does not depend on the trials, where several threads call torch: they wait for each other's Python."""
OF_A_CORE = 7e10
"""Operations in a second, as the split into programs takes it: what is planned does not depend on what a worker measured."""
SHARD_SECONDS = 0.3
"""From a shard's being due to its first step, and from its last to the record."""
TIMED_SECONDS = 0.06
"""For each optimizer of a shard at its end: a trial alone, for its seconds a step."""


class Work(NamedTuple):
    operations: float
    """Shared by all threads."""
    seconds: float
    """Whatever the machine."""


def own_work(optimizer: OptimizerSpec, network: Sequence[ExpandedLayer]) -> Work:
    """What a step takes beside its gradients and losses, the update and candidates that are drawn: operations of a trial, and seconds of
    a program, whatever its trials.
    """
    parameters = sum(layer.parameters for layer in network)
    if isinstance(optimizer, Bridged):
        return Work(UPDATE * parameters, 0.0)
    measured = _evaluations(type(optimizer)())
    beyond = max(0.0, TIME_OF_A_STEP[optimizer.kind] / TIME_OF_A_STEP["sgd"] - measured.cost)
    larger = _evaluations(optimizer).functions / measured.functions if measured.functions else 1.0
    each = SGD_PER_PARAMETER if optimizer.most_parameters is None else SGD_PER_FEW
    layers = [layer for layer in walk(network) if layer.depth is not None]
    cubes, counted = CUBES.get(optimizer.kind), float(parameters)
    if cubes:
        matrices = [tensor for layer in layers for tensor in layer.tensors if len(tensor) > 1]
        counted = sum(cubes(first, prod(others)) for first, *others in matrices)
    seconds = RULE_SECONDS.get(optimizer.kind, 0.0) * len(layers)
    seconds += CANDIDATES_SECONDS if optimizer.evaluation in GRADIENT_FREE else 0.0
    return Work(UPDATE * parameters + beyond * larger * each * counted, seconds)


def _own_works(trials: Sequence[tuple[OptimizerSpec, int]], network: Sequence[ExpandedLayer]) -> Work:
    """`own_work` of several rules: operations of all their trials, and seconds of a program that has trials of each."""
    works = [(count, own_work(optimizer, network)) for optimizer, count in trials]
    return Work(sum(count * work.operations for count, work in works), sum(work.seconds for _, work in works))


def _evaluations(optimizer: OptimizerSpec) -> Evaluations:
    """Of a step. Gradient-free rules are looked at where they are, too: another pass forward."""
    found = optimizer.per_step()
    return found._replace(functions=found.functions + (optimizer.evaluation in GRADIENT_FREE))


def step(
    network: Sequence[ExpandedLayer],
    batch_size: int,
    trials: Sequence[tuple[OptimizerSpec, int]],
    *,
    compiled: bool,
    threads: int,
) -> Work:
    """Of one step of a shard at which nothing is recorded.

    Args:
        trials: optimizers, with how many trials each has.
        compiled: whether it runs in compiled code; else in torch.
        threads: of the machine.
    """
    per_sample, forward = (of(network, compiled=compiled) for of in (sample_operations, forward_operations))
    weights = sum(layer.depth is not None for layer in walk(network))
    objects = sum(count for optimizer, count in trials if isinstance(optimizer, Bridged))
    bridged = BRIDGE_SECONDS * weights * objects
    every = sum(count for _, count in trials)
    if compiled:
        others = [(optimizer, count) for optimizer, count in trials if not updated_there(optimizer)]
        positions = sum(_through(layer) * getattr(layer.spec, "gates", 1) for layer in walk(network))
        least = COMPILED_LAYER * weights + COMPILED_POSITION * positions + COMPILED_STEP
        own = every * (batch_size * per_sample + least)
        beside = _own_works(others, network)
        calls = BY_TORCH_SECONDS * weights * ceil(len(others) / threads) + beside.seconds / threads
        return Work(own + beside.operations, calls + bridged / threads)
    asked = [(optimizer, count, _evaluations(optimizer)) for optimizer, count in trials]
    own = batch_size * sum(count * (per_sample * e.gradients + forward * e.functions) for _, count, e in asked)
    rules = _own_works(trials, network)
    programs = in_torch(every, network, batch_size, threads)
    # gradients are taken of all trials of a program together, losses of candidates rule by rule
    passes = max(e.gradients for _, _, e in asked)
    for _, count, e in asked:
        together = max(1, chunk(network, batch_size) // max(1, round(count / programs.number)))
        passes += FORWARD * ceil(e.functions / together)
    of_program = passes * sum(map(_layer_seconds, walk(network))) + rules.seconds
    return programs.work(own + rules.operations, of_program + bridged / programs.number, threads)


def torch_step(network: Sequence[ExpandedLayer], batch_size: int) -> Work:
    """One gradient and update in torch: operations of a trial, and seconds of a program, whatever its trials."""
    operations = batch_size * sample_operations(network, compiled=False)
    parameters = sum(layer.parameters for layer in network)
    return Work(operations + UPDATE * parameters, sum(map(_layer_seconds, walk(network))))


class Programs(NamedTuple):
    """How torch trains the trials of a shard on a CPU."""

    number: int
    threads: int
    """On which they are trained, one on each at a time."""
    trials: int

    @property
    def at_once(self) -> int:
        """Trials of the programs that take a step at the same time."""
        return min(self.trials, self.threads * ceil(self.trials / self.number))

    def work(self, operations: float, seconds: float, threads: int) -> Work:
        """Of operations on all trials, and seconds in each program, with so many threads to choose from."""
        contended = CONTENDED if self.threads > 1 else 1.0
        return Work(operations * threads / self.threads, self.number * contended * seconds)


def in_torch(trials: int, network: Sequence[ExpandedLayer], batch_size: int, threads: int) -> Programs:
    """As many programs at a time as make a step shortest, of as nearly `chunk` trials each as can be. What calls torch shares Python's
    lock: where there is little to compute one thread is faster than several.
    """
    step = torch_step(network, batch_size)

    def seconds(programs: Programs) -> float:
        took = programs.work(trials * step.operations, step.seconds, threads)
        return took.operations / (threads * OF_A_CORE) + took.seconds

    ways = (programs_of(trials, network, batch_size, count) for count in range(1, min(threads, trials) + 1))
    return min(ways, key=seconds)


def programs_of(trials: int, network: Sequence[ExpandedLayer], batch_size: int, threads: int) -> Programs:
    """On so many threads, which train as many one after another, of as nearly `chunk` trials each as can be."""
    turns = max(1, round(trials / (threads * chunk(network, batch_size))))
    return Programs(min(trials, threads * turns), min(threads, trials), trials)


def chunk(network: Sequence[ExpandedLayer], batch_size: int) -> int:
    """Trials that torch trains at a time on a CPU, about."""
    widest = max(map(_at_once, walk(network)))
    return max(1, ELEMENTS_AT_ONCE // (widest * batch_size))


def _at_once(layer: ExpandedLayer) -> int:
    """Numbers of one sample that an operation writes: of a recurrent layer those of a step, which have to stay for the next one."""
    spec = layer.spec
    return RECURRENT * spec.gates * spec.hidden_size if isinstance(spec, Rnn | Gru | Lstm) else prod(layer.out_shape)


def sample_operations(network: Sequence[ExpandedLayer], *, compiled: bool) -> float:
    """Of one sample's gradient."""
    products, numbers = _products_and_numbers(network, compiled=compiled)
    return products + numbers


def forward_operations(network: Sequence[ExpandedLayer], *, compiled: bool) -> float:
    """Of one sample's loss alone."""
    products, numbers = _products_and_numbers(network, compiled=compiled)
    return FORWARD * products + (FORWARD if compiled else FORWARD_NUMBERS) * numbers


def _products_and_numbers(network: Sequence[ExpandedLayer], *, compiled: bool) -> tuple[float, float]:
    """Operations of one sample's gradient: of products of matrices, and of all that is done to what layers give."""
    layers = list(walk(network))
    if compiled:
        products = sum(
            (COMPILED_CONVOLVED if _convolves(layer) else COMPILED_PRODUCTS) * _used(layer) for layer in layers
        )
        return PASSES * products, COMPILED_NUMBER * sum(map(_numbers, layers))
    products = sum((CONVOLVED if layer.spec.kind == "conv2d" else PRODUCTS) * _used(layer) for layer in layers)
    return PASSES * products, sum(map(_on_numbers, layers))


def _on_numbers(layer: ExpandedLayer) -> float:
    """Operations of torch on what a layer gives of one sample, and on what it keeps."""
    spec = layer.spec
    each = OVER_SAMPLES if spec.kind == "normalization" and spec.mixes_samples else NUMBERS.get(spec.kind, NUMBER)
    kept = REMEMBERED * spec.workspace(layer.in_shape) if spec.kind in LAYERS_SECONDS else 0.0
    return each * prod(layer.out_shape) + kept + (ATTENDED * spec.heads if isinstance(spec, Attention) else 0.0)


def _used(layer: ExpandedLayer) -> int:
    """Parameters, as often as one sample meets them."""
    return (layer.own_parameters + layer.spec.kept(layer.in_shape)) * layer.spec.positions(layer.in_shape)


def _numbers(layer: ExpandedLayer) -> int:
    """That a layer gives of one sample; a recurrent one at every step, whatever goes up, and its gates as well."""
    spec = layer.spec
    return _through(layer) * spec.gates * spec.hidden_size if isinstance(spec, Rnn | Lstm) else prod(layer.out_shape)


def _convolves(layer: ExpandedLayer) -> bool:
    return isinstance(layer.spec, Conv1d | Conv2d)


def _through(layer: ExpandedLayer) -> int:
    """Steps that a layer goes through one after another."""
    return layer.spec.positions(layer.in_shape) if isinstance(layer.spec, Rnn | Gru | Lstm) else 0


def _layer_seconds(layer: ExpandedLayer) -> float:
    spec = layer.spec
    found = (_through(layer) or 1) * LAYERS_SECONDS.get(spec.kind, LAYER_SECONDS)
    if isinstance(spec, Linear | Conv1d | Conv2d) and spec.weight_normalization:
        found += MADE_SECONDS
    return found + (LEARNED_SECONDS if isinstance(spec, Activation) and trained(spec.activation) else 0.0)
