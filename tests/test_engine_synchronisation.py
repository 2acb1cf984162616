"""A step on the portable path never waits for its device: no number is read back, no shape depends on values. On a GPU each would cost more
than the step, and none could be part of a captured graph.
"""  # fmt: skip

from typing import Any

import pytest
import torch
from engine_samples import DROPPING, Optimizer, layers, mlp, program, shard
from test_engine_layers import NETWORKS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from workers.contract.optimizers import OPTIMIZERS
from workers.engine.graph import FACTORISING, capturable, fill, own_input
from workers.engine.program import Program, checkpoint
from workers.engine.recording import Recording
from workers.engine.train import Columns, advance, take

READING = {"_local_scalar_dense", "is_nonzero", "equal", "item"}
"""Operations of torch that hand a value to Python."""
OF_UNKNOWN_SIZE = {
    "nonzero",
    "masked_select",
    "unique",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "repeat_interleave",
}
"""Operations whose result's shape has to be read back."""

BY_PATTERN: dict[str, list[Optimizer]] = {}
for spec in OPTIMIZERS:
    BY_PATTERN.setdefault(spec.pattern, []).append(spec.model_fields["kind"].default)


class NoWaiting(TorchDispatchMode):
    """Fails where the host would wait for a value. Copies to the host it cannot see on a CPU: there they are none."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name in READING | OF_UNKNOWN_SIZE:
            raise AssertionError(f"{name} waits for the device")
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
            if masks:
                raise AssertionError(f"{name} by a mask waits for the device")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("gradient_range", ["standard", "extended"])
@pytest.mark.parametrize("pattern", BY_PATTERN)
def test_a_step_does_not_wait(pattern: str, gradient_range: Any) -> None:
    """Every rule, recorded and evaluated steps and epochs among them."""
    planned = shard(layers(*DROPPING), *BY_PATTERN[pattern], seeds=(0, 1), steps=12, recorded=[0, 1, 5, 12])
    running = program(planned.model_copy(update={"gradient_range": gradient_range}))
    recording = Recording(running)
    with NoWaiting():  # type: ignore[no-untyped-call]  # of torch
        advance(running, recording, 0, 12)
    assert recording.statistics_table() is not None


@pytest.mark.parametrize("network", NETWORKS)
def test_no_layer_waits(network: str) -> None:
    """Layers of every kind, with what is recorded of them."""
    running = program(shard(NETWORKS[network], "adam", steps=2))
    recording = Recording(running)
    with NoWaiting():  # type: ignore[no-untyped-call]  # of torch
        advance(running, recording, 0, 2)
    assert recording.statistics_table() is not None


class Calls(TorchDispatchMode):
    """What is called, and the shapes of the tensors that it is given."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of torch
        self.calls: list[tuple[str, list[torch.Size]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        shapes = [value.shape for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        self.calls.append((func._schema.name.removeprefix("aten::"), shapes))
        return func(*args, **(kwargs or {}))


def assert_a_graph_can_hold(running: Program) -> None:
    """Every step after the first calls the same with the same shapes, brings nothing from the host, and leaves what lasts in its place."""
    steps: list[list[tuple[str, list[torch.Size]]]] = []

    def traced(program: Program, x: Any, y: Any, step: int, recorded: bool, kept: bool) -> Columns | None:
        with Calls() as seen:
            columns = take(program, x, y, step, recorded, kept)
        steps.append(seen.calls)
        return columns

    places = [value.data_ptr() for value in lasting(running)]
    advance(running, Recording(running), 0, 4, traced)
    assert places == [value.data_ptr() for value in lasting(running)]
    _, first, *others = steps
    for other in others:
        assert other == first
    assert "lift_fresh" not in {name for name, _ in first}


def lasting(running: Program) -> list[torch.Tensor]:
    saved = checkpoint(running)
    return [running.gradient, *(value for value in tree_leaves(saved) if isinstance(value, torch.Tensor))]


CAPTURED = {
    pattern: [each for each in rules if each not in FACTORISING]
    for pattern, rules in BY_PATTERN.items()
    if pattern != "own_labels"
}


@pytest.mark.parametrize("gradient_range", ["standard", "extended"])
@pytest.mark.parametrize("pattern", CAPTURED)
def test_a_graph_can_hold_a_step_of_every_rule(pattern: str, gradient_range: Any) -> None:
    planned = shard(layers(*DROPPING), *CAPTURED[pattern], seeds=(0, 1), steps=6)
    running = program(planned.model_copy(update={"gradient_range": gradient_range}))
    assert capturable(running)
    assert_a_graph_can_hold(running)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_graph_can_hold_a_step_of_every_layer(network: str) -> None:
    assert_a_graph_can_hold(program(shard(NETWORKS[network], "adam", steps=6)))


def test_what_no_graph_can_hold() -> None:
    """The host has a say in these steps."""
    assert not capturable(program(shard(mlp(), "sophia")))
    assert not capturable(program(shard(mlp(), "sgd", "soap")))
    assert not capturable(program(shard(mlp(), {"kind": "torch.optim/Adam"})))


def test_a_graph_reads_its_batch_where_it_was_captured() -> None:
    """A batch is copied there; the whole split lies there."""
    for size in (16, 106):
        running = program(shard(mlp(), seeds=(0, 1), batch_size=size))
        inputs = [own_input(given) for given in running.batches.at(0)]
        places = [own.data_ptr() for own in inputs]
        batch = running.batches.at(1)
        fill(inputs, [*batch])
        assert all(torch.equal(own, given) for own, given in zip(inputs, batch, strict=True))
        assert places == [own.data_ptr() for own in inputs]


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.equal(x, x),
    ],
    ids=["item", "branch", "mask", "nonzero", "equal"],
)
def test_the_check_sees_what_waits(wait: Any) -> None:
    with NoWaiting(), pytest.raises(AssertionError, match="waits for the device"):  # type: ignore[no-untyped-call]  # of torch
        wait(torch.ones(3))
