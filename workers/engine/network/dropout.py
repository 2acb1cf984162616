"""Dropout (Srivastava et al. 2014), inverted: what stays is divided by 1 − p."""

from torch import Tensor, tensor

from workers.contract import layers as specs
from workers.contract.shapes import ExpandedLayer
from workers.engine.network.layer import Slots
from workers.engine.seeding import derive, uniform


class Dropout:
    """The mask is a function of (seed, layer, step, element): the same in every arm, and after a restart."""

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        spec = layer.spec
        assert isinstance(spec, specs.Dropout)
        self.p = spec.p
        self.step = slots.step
        self.keys = tensor([derive(seed, "dropout", layer.path) for seed in slots.seeds], device=slots.step.device)
        self.mask: Tensor | None = None

    def initialise(self) -> None: ...

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self.mask = None
        if not training or self.p == 0:
            return x
        kept = uniform(self.keys, self.step, x[0].numel()) >= self.p
        self.mask = kept.view(x.shape).to(x.dtype).div_(1 - self.p)
        return x * self.mask

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        if not wanted or self.mask is None:
            return delta if wanted else None
        return delta * self.mask
