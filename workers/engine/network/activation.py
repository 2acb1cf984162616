"""a = θ(z), elementwise."""

from collections.abc import Callable

from torch import Tensor

from workers.contract import layers as specs
from workers.contract.shapes import ExpandedLayer
from workers.engine.activations import non_linearity
from workers.engine.network.layer import Slots


class Activation:
    """Keeps z and a: the backward pass and the forward statistics need them."""

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        spec = layer.spec
        assert isinstance(spec, specs.Activation)
        self.non_linearity = non_linearity(spec.activation)
        self.penalties: list[tuple[Callable[..., Tensor], object]] = []
        """On what it gives: functions of (θ, z, a, spec), ∂penalty/∂z each."""
        self.input: Tensor
        self.value: Tensor

    def initialise(self) -> None: ...

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self.input = x
        self.value = self.non_linearity.value(x)
        return self.value

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        if not wanted:
            return None
        below = self.non_linearity.backward(delta, self.input, self.value)
        for penalty, spec in self.penalties:
            below = below + penalty(self.non_linearity, self.input, self.value, spec)
        return below
