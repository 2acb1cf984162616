"""How much memory torch's tensors take at the worst moment: the bytes of all storages that are alive, counted as operations make them."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from workers.contract.plan import Execution, Shard
from workers.engine.problems import load
from workers.engine.program import DTYPES
from workers.engine.shard import ADVANCE, Training


class LiveTensors(TorchDispatchMode):
    """What the operations within the block make, in this thread; what is there before counts once it is touched."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types there
        self.bytes: int = 0
        self.most: int = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for value in tree_iter((args, kwargs, made)):
            if isinstance(value, torch.Tensor):
                self._meet(value.untyped_storage())
        return made

    def _meet(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
        if address in self._known or size == 0:
            return
        self._known.add(address)
        self.bytes += size
        self.most = max(self.most, self.bytes)
        weakref.finalize(storage, self._forget, address, size)

    def _forget(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.bytes -= size


def peak_bytes(shard: Shard, execution: Execution) -> int:
    """While a shard is built and trained through as many steps as it records, one chunk after the other in this thread."""
    steps = len(shard.recorded) - 1
    load(shard.problem, DTYPES[shard.precision], torch.device(execution.device))  # kept for whoever asks next
    every = shard.model_copy(update={"recorded": list(range(steps + 1)), "steps": steps})
    with LiveTensors() as live:
        training = Training(every, execution)
        for program, recording in zip(training.programs, training.recordings, strict=True):
            ADVANCE[training.path](program, recording, 0, steps)
    most: int = live.most
    return most
