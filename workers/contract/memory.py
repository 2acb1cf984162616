"""What a shard's tensors take, counted on paper: what cannot fit is refused at the door, not killed in training.

T trials, P parameters of a trial, B samples. Counted is a shard trained as one program, as on a GPU. In chunks, as on a CPU, it
takes a third to two thirds of that, since scratch is a chunk's. torch itself comes on top, some hundred MB on either.
"""

from collections.abc import Iterable, Sequence
from math import prod

from workers.contract.invariance import measured
from workers.contract.optimizers import GRADIENT_FREE, Optimizer, Pattern
from workers.contract.problems import ProblemSpec
from workers.contract.shapes import ExpandedLayer, walk
from workers.contract.statistics import STATISTICS

STATE_TENSORS = 5
"""[T, P] tensors that a rule remembers, at least counted."""
PARAMETER_TENSORS = 3 + 4
"""[T, P] tensors beside the rule's: θ, its gradient and the one before; θ before an update that is measured, and scratch."""
MORE_TENSORS: dict[Pattern, int] = {
    "one_gradient": 0,
    "two_gradients": 10,
    "curvature": 3,
    "own_labels": 3,
    "population": 2,
}
"""[T, P] tensors more: squares, both gradients, the way between, scratch; or squares or both gradients, curvature, scratch; or one
candidate, scratch."""
CANDIDATE_TENSORS = 6
"""[T, P] tensors for each candidate of a gradient-free rule: its random numbers, in 64 bits at first, and its place."""
WIDEST_TENSORS = 8
"""Scratch of a pass and of the statistics, in tensors of the widest layer."""
ACTIVATIONS_SCATTERED = 1.5
"""What activations of different sizes, one after another, take of a heap."""
EVALUATED_AT_ONCE = 256
"""Samples of a split in one pass of an evaluation."""
STARTING_SAMPLES = 1024
"""Training inputs that a layer which starts from data is shown."""
BUFFER_BYTES = 128 * 2**20
"""Recorded statistics, beyond which they are written out within a slice."""
BUFFER_COPIES = 4
"""Of the buffer while it is written: stacked, transposed, as columns, sorted."""

BYTES = {"float32": 4, "float64": 8}


def remembered_by(optimizers: Iterable[Optimizer]) -> float:
    """Numbers for each parameter, of the one that keeps most."""
    return max([STATE_TENSORS, *map(_kept, optimizers)])


def _kept(optimizer: Optimizer) -> float:
    candidates = optimizer.per_step().functions if optimizer.pattern in GRADIENT_FREE else 0
    return measured(optimizer).remembered_per_parameter + CANDIDATE_TENSORS * candidates


def shard_bytes(
    problem: ProblemSpec,
    network: Sequence[ExpandedLayer],
    trials: int,
    *,
    batch_size: int,
    pattern: Pattern,
    precision: str,
    recorded: int,
    remembered: float = STATE_TENSORS,
) -> int:
    """Of all tensors at the worst moment.

    Args:
        problem, network, trials, batch_size, pattern, precision: the shard's.
        recorded: number of recorded steps.
        remembered: numbers that a rule keeps for each parameter.
    """
    beside = sum(layer.spec.kept(layer.in_shape) for layer in walk(network))
    parameters = beside + sum(layer.parameters for layer in network) * (
        PARAMETER_TENSORS + remembered + MORE_TENSORS[pattern]
    )
    layers = list(walk(network))
    widths = [prod(layer.out_shape) for layer in layers]
    error_signals = sum(prod(layer.out_shape) for layer in layers if layer.depth is not None)
    inside = sum(layer.spec.workspace(layer.in_shape) for layer in layers)
    kept = problem.features + inside + sum(widths) + error_signals + WIDEST_TENSORS * max(widths)
    if pattern in GRADIENT_FREE:
        kept += sum(widths)  # of the candidates, one at a time at least
    at_once = STARTING_SAMPLES if any(layer.starts_from_data for layer in layers) else EVALUATED_AT_ONCE
    samples = max(batch_size, min(at_once, problem.training_samples))
    rows = trials * recorded * sum(layer.depth is not None for layer in layers)
    buffered = min(8 * len(STATISTICS) * rows, BUFFER_BYTES) * BUFFER_COPIES
    data = 2 * problem.training_samples * problem.features * BYTES[precision]
    activations = round(ACTIVATIONS_SCATTERED * samples * kept)
    return round(trials * (parameters + activations) * BYTES[precision]) + buffered + data
