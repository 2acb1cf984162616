"""The step of train.py as a CUDA graph: hundreds of kernels, statistics included, that the host starts by one call.

A graph repeats the same kernels on the same memory, so whatever changes from step to step is in tensors that stay where they are:
parameters, states, the step's number, and the batch, which is copied into the graph's own input. There is a graph for each
of the ways a step can be recorded. It is captured only where parameters are on a CUDA device.

Source: torch's notes on CUDA graphs (torch.cuda.CUDAGraph, torch.cuda.graph). What a CPU allows of it is tested: same operations and
same shapes in every step, no reading back, no numbers brought from the host, states that stay in place. It has not run on a GPU yet.
"""

from collections import Counter

import torch
from torch import Tensor

from workers.contract.optimizers import BRIDGED
from workers.engine.occasional import alone
from workers.engine.program import Program
from workers.engine.train import Columns, Take, take

WARMING = 3
"""Steps of each kind that are taken as they are, on a side stream: libraries allocate and choose in their first calls."""
FACTORISING = frozenset({"soap", "cma_es", "spectral_bound"})
"""Rules and regularizers with a QR, an eigenvalue or a singular value decomposition: cuSOLVER may report to the host."""


def capturable(program: Program) -> bool:
    """Not with optimizer objects of others' code, nor where the host decides in which steps a second gradient is taken."""
    shard = program.shard
    kinds = {trial.kind for trial in program.trials} | {spec.kind for spec in shard.regularizers}
    return shard.pattern != "own_labels" and not kinds & (BRIDGED.keys() | FACTORISING)


def captured(program: Program) -> Take:
    """`take` of this program, on a CUDA device. The first step, compared with none, the last, which moves nothing, and those of
    statistics that are measured now and then are taken as they are.
    """
    device = program.theta.device
    side = torch.cuda.Stream(device)
    taken: Counter[tuple[bool, bool]] = Counter()
    graphs: dict[tuple[bool, bool], tuple[torch.cuda.CUDAGraph, Columns | None]] = {}
    inputs: list[Tensor] = []

    def step_of(program: Program, x: Tensor, y: Tensor, step: int, recorded: bool, kept: bool) -> Columns | None:
        way = recorded, kept
        if step in (0, program.shard.steps) or alone(program, step):
            return take(program, x, y, step, recorded, kept)
        if taken[way] < WARMING:
            taken[way] += 1
            current = torch.cuda.current_stream(device)
            side.wait_stream(current)
            with torch.cuda.stream(side):
                columns = take(program, x, y, step, recorded, kept)
            current.wait_stream(side)
            return columns
        if not inputs:
            inputs.extend(own_input(given) for given in (x, y))
        fill(inputs, [x, y])
        if way not in graphs:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                columns = take(program, inputs[0], inputs[1], step, recorded, kept)
            graphs[way] = graph, columns
        graph, columns = graphs[way]
        graph.replay()
        return columns and {name: column.clone() for name, column in columns.items()}

    return step_of


def own_input(given: Tensor) -> Tensor:
    """Where a graph reads its batch: the split itself, if that is the batch of every trial."""
    return given if given.stride(0) == 0 else given.clone()


def fill(inputs: list[Tensor], batch: list[Tensor]) -> None:
    for own, given in zip(inputs, batch, strict=True):
        if own.data_ptr() != given.data_ptr():
            own.copy_(given)
