"""A step on the portable path never waits for its device: no number is read back, no shape depends on values. On a GPU each would cost more
than the step, and none could be part of a captured graph.
"""  # fmt: skip

from typing import Any

import pytest
import torch
from engine_samples import DROPPING, Optimizer, layers, program, shard
from test_engine_layers import NETWORKS
from torch.utils._python_dispatch import TorchDispatchMode

from workers.contract.optimizers import OPTIMIZERS
from workers.engine.recording import Recording
from workers.engine.train import advance

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
