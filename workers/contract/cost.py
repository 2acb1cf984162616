"""How long training takes, from the shapes alone. T trials, B samples, P parameters of a trial.

What is counted are operations, at the speed of matrix products that a worker publishes, and seconds that do not depend on it. The constants
were fitted to the engine on two CPU cores, in compiled code and in torch, over depths of 2 to 100, widths of 16 to 256 and one network of
each further kind: within a third. `benchmarks.estimates` prints how far off they are on the examples, and in processor time, which a
shared machine changes little, of a step alone.
"""

from collections.abc import Sequence
from math import ceil, prod
from typing import NamedTuple

from workers.contract.activations import trained
from workers.contract.compiled import updated_there
from workers.contract.layers import Activation, Conv1d, Conv2d, Gru, Linear, Lstm, Rnn
from workers.contract.optimizers import GRADIENT_FREE, Bridged, OptimizerSpec
from workers.contract.rule_costs import TIME_OF_A_STEP
from workers.contract.shapes import ExpandedLayer, walk

PASSES = 6.0
"""Operations for each parameter and sample: two forward, four backward."""
FORWARD = 1 / 3
"""Of them."""
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

PRODUCTS, NUMBER = 1.9, 220.0
"""The same in torch."""
CONVOLVED = 1.0
"""Of the products of convolutions over images."""
NUMBERS = {"normalization": 660.0, "rbf": 3500.0, "conv1d": 1080.0, "conv2d": 800.0}
"""Kinds whose numbers take more."""
REMEMBERED = 90.0
"""Operations for each number that a recurrent layer keeps of its steps."""
LAYER_SECONDS = 9e-5
"""What a layer of a batched program takes in a step, forward and backward, however little there is to compute …"""
LAYERS_SECONDS = {"normalization": 1e-3, "rnn": 1.4e-4, "gru": 2.8e-4, "lstm": 2.8e-4}
"""… and kinds that take more, recurrent ones for each of their steps."""
MADE_SECONDS, LEARNED_SECONDS = 5e-4, 2.5e-4
"""What weights that are made of others, and a non-linearity whose constants learn, take besides."""
UPDATE = 32.0
"""Operations for each parameter and step: the update."""
SGD = 1.1
"""What the rules that these were fitted with take, in the unit of `rule_costs`."""

BRIDGE_SECONDS = 2e-4
"""What an optimizer object takes in a step for each layer of its trial, about; most take less, a few ten times as much."""
SHARD_SECONDS = 0.3
"""From a shard's being due to its first step, and from its last to the record."""
TIMED_SECONDS = 0.06
"""For each optimizer of a shard at its end: a trial alone, for its seconds a step."""


class Work(NamedTuple):
    operations: float
    """Shared by all threads."""
    seconds: float
    """Whatever the machine."""


def gradients_worth(optimizer: OptimizerSpec) -> float:
    """What a step takes, in gradients. Gradient-free rules are looked at where they are, too: another pass forward."""
    glance = FORWARD if optimizer.evaluation in GRADIENT_FREE else 0.0
    return max(optimizer.per_step().cost + glance, TIME_OF_A_STEP.get(optimizer.kind, 0.0) / SGD)


def step(
    network: Sequence[ExpandedLayer],
    batch_size: int,
    trials: Sequence[tuple[OptimizerSpec, int]],
    *,
    compiled: bool,
    threads: int,
) -> Work:
    """Of one step of a shard.

    Args:
        trials: optimizers, with how many trials each has.
        compiled: whether it runs in compiled code; else in torch.
        threads: of the machine.
    """
    per_sample = sample_operations(network, compiled=compiled)
    weights = sum(layer.depth is not None for layer in walk(network))
    parameters = sum(layer.parameters for layer in network)
    objects = sum(count for optimizer, count in trials if isinstance(optimizer, Bridged))
    bridged = BRIDGE_SECONDS * weights * objects / threads
    every = sum(count for _, count in trials)
    if compiled:
        others = sum(not updated_there(optimizer) for optimizer, _ in trials)
        positions = sum(_through(layer) * getattr(layer.spec, "gates", 1) for layer in walk(network))
        least = COMPILED_LAYER * weights + COMPILED_POSITION * positions + COMPILED_STEP
        own = every * (batch_size * per_sample + least)
        return Work(own, BY_TORCH_SECONDS * weights * ceil(others / threads) + bridged)
    worth = sum(count * gradients_worth(optimizer) for optimizer, count in trials)
    least = sum(map(_layer_seconds, walk(network))) * max(gradients_worth(optimizer) for optimizer, _ in trials)
    own = worth * batch_size * per_sample + every * UPDATE * parameters
    return Work(own, turns(every, network, batch_size, threads) * least + bridged)


def turns(trials: int, network: Sequence[ExpandedLayer], batch_size: int, threads: int) -> int:
    """Programs that each thread trains in torch one after another, of as nearly `chunk` trials each as can be."""
    return max(1, round(trials / (threads * chunk(network, batch_size))))


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
    layers = list(walk(network))
    if compiled:
        products = sum(
            (COMPILED_CONVOLVED if _convolves(layer) else COMPILED_PRODUCTS) * _used(layer) for layer in layers
        )
        return PASSES * products + COMPILED_NUMBER * sum(map(_numbers, layers))
    products = sum((CONVOLVED if layer.spec.kind == "conv2d" else PRODUCTS) * _used(layer) for layer in layers)
    numbers = sum(NUMBERS.get(layer.spec.kind, NUMBER) * prod(layer.out_shape) for layer in layers)
    remembered = sum(layer.spec.workspace(layer.in_shape) for layer in layers if layer.spec.kind in LAYERS_SECONDS)
    return PASSES * products + numbers + REMEMBERED * remembered


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
