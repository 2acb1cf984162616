"""z = W x + b, a batched product over trials. T trials, B samples, O/I out/in features."""

import torch
from torch import Tensor

from workers.contract import network as specs
from workers.contract.shapes import ExpandedLayer
from workers.engine.initialisers import draw_bias, draw_weight
from workers.engine.network.layer import Slots
from workers.engine.optimizers import Shape


class Linear:
    """Columns of the flat parameters: W row by row [O·I], then b [O] if there is one."""

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        spec = layer.spec
        assert isinstance(spec, specs.Linear)
        self.layer = layer
        self.slots = slots
        self.out, self.into = spec.out_features, layer.in_shape[0]
        self.shapes: list[Shape] = [(self.out, self.into), *([(self.out,)] if spec.bias else [])]
        self.weight = self._weight(slots.parameters)
        self.weight_gradient = self._weight(slots.gradient)
        self.bias = self._bias(slots.parameters) if spec.bias else None
        self.bias_gradient = self._bias(slots.gradient) if spec.bias else None
        self.input: Tensor
        self.output: Tensor
        self.error_signal: Tensor

    def _weight(self, flat: Tensor) -> Tensor:
        weight: Tensor = flat[:, : self.out * self.into].unflatten(1, (self.out, self.into))
        return weight

    def _bias(self, flat: Tensor) -> Tensor:
        return flat[:, self.out * self.into :]

    def initialise(self) -> None:
        """Draws each distinct seed's parameters once and gives them to its trials."""
        init = self.layer.init
        assert init is not None
        for seed in dict.fromkeys(self.slots.seeds):
            rows = [row for row, own in enumerate(self.slots.seeds) if own == seed]
            self.weight[rows] = draw_weight(init, self.out, self.into, seed, self.layer.path).to(self.weight)
            if self.bias is not None:
                self.bias[rows] = draw_bias(init, self.out, self.into, seed, self.layer.path).to(self.weight)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self.input = x
        if self.bias is None:
            self.output = torch.bmm(x, self.weight.mT)
        else:
            self.output = torch.baddbmm(self.bias[:, None, :], x, self.weight.mT)
        return self.output

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        self.error_signal = delta
        torch.bmm(delta.mT, self.input, out=self.weight_gradient)
        if self.bias_gradient is not None:
            torch.sum(delta, 1, out=self.bias_gradient)
        return torch.bmm(delta, self.weight) if wanted else None

    def sample_squares(self, out: Tensor) -> None:
        """Mean over samples of the squared per-sample gradients, elementwise, into out [T, n].

        A sample's gradient is B δ_b x_bᵀ where the loss is a mean over B samples, so the mean of squares is
        B (δ²)ᵀ(x²): one product, and no per-sample gradient in memory.
        """
        squares = self.error_signal.square()
        batch = squares.shape[1]
        weight = self._weight(out)
        torch.bmm(squares.mT, self.input.square(), out=weight)
        weight.mul_(batch)
        if self.bias is not None:
            torch.sum(squares, 1, out=self._bias(out)).mul_(batch)
