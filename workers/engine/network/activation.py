"""a = θ(z), elementwise; and a·θ(b·z + c) + d where constants learn. T trials, B samples, U units."""

from collections.abc import Callable

from torch import Tensor

from workers.contract import layers as specs
from workers.contract.activations import CONSTANTS, Scaled, trained
from workers.contract.shapes import ExpandedLayer
from workers.engine.activations import NonLinearity, non_linearity
from workers.engine.network.layer import Slots, views


class Constants:
    """Of a·θ(b·z + c) + d: those that learn are columns of the parameters, [T, 1] or [T, U], the others numbers."""

    def __init__(self, spec: Scaled, layer: ExpandedLayer, slots: Slots) -> None:
        self.spec, self.of = spec, non_linearity(spec.of)
        names = trained(spec)
        self.parameters = dict(zip(names, views(slots.parameters, layer.tensors), strict=True))
        self.gradients = dict(zip(names, views(slots.gradient, layer.tensors), strict=True))
        fixed = {name: slots.parameters.new_full((1, 1), getattr(spec, name)) for name in CONSTANTS}
        self.all = fixed | self.parameters

    def initialise(self) -> None:
        for name, tensor in self.parameters.items():
            tensor.fill_(getattr(self.spec, name))

    def along(self, z: Tensor) -> list[Tensor]:
        """a, b, c and d, as they broadcast over z: [T, B, U], or of any more dimensions where they are a layer's."""
        return [self.all[name].view(-1, *[1] * (z.dim() - 2), self.all[name].shape[1]) for name in CONSTANTS]

    def non_linearity(self) -> NonLinearity:
        """As the constants are now."""
        return NonLinearity(
            self._value, self._derivative, (self.all["a"] * self.all["b"]).abs()[:, None] * self.of.steepest
        )

    def differentiate(self, delta: Tensor, z: Tensor) -> Tensor:
        """∂L/∂value -> ∂L/∂z; the gradients of the constants are sums of δ·θ, δ·aθ′·z, δ·aθ′ and δ."""
        a, b, c, _ = self.along(z)
        inner = b * z + c
        value = self.of.value(inner)
        at_inner = self.of.backward(delta * a, inner, value)
        parts = {"a": (delta, value), "b": (at_inner, z), "c": (at_inner, None), "d": (delta, None)}
        for name, gradient in self.gradients.items():
            one, other = parts[name]
            each = one if other is None else one * other
            over = list(range(1, each.dim() if gradient.shape[1] == 1 else each.dim() - 1))
            gradient.copy_(each.sum(over).view(gradient.shape))
        return at_inner * b

    def _value(self, z: Tensor) -> Tensor:
        a, b, c, d = self.along(z)
        return a * self.of.value(b * z + c) + d

    def _derivative(self, z: Tensor, _: Tensor) -> Tensor:
        a, b, c, _d = self.along(z)
        inner = b * z + c
        return a * b * self.of.derivative(inner, self.of.value(inner))


class Activation:
    """Keeps z and a: the backward pass and the forward statistics need them."""

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        assert isinstance(layer.spec, specs.Activation)
        spec = layer.spec.activation
        self.constants = Constants(spec, layer, slots) if isinstance(spec, Scaled) and spec.trainable else None
        self.fixed = non_linearity(spec)
        self.penalties: list[tuple[Callable[..., Tensor], object]] = []
        """On what it gives: functions of (θ, z, a, spec), ∂penalty/∂z each."""
        self.input: Tensor
        self.value: Tensor

    @property
    def non_linearity(self) -> NonLinearity:
        return self.constants.non_linearity() if self.constants else self.fixed

    def initialise(self) -> None:
        if self.constants:
            self.constants.initialise()

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self.input = x
        self.value = self.non_linearity.value(x)
        return self.value

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        if self.constants:
            return self.constants.differentiate(delta, self.input)
        if not wanted:
            return None
        below = self.fixed.backward(delta, self.input, self.value)
        for penalty, spec in self.penalties:
            below = below + penalty(self.fixed, self.input, self.value, spec)
        return below
