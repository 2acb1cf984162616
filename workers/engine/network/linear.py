"""z = W x + b, a batched product over trials. T trials, B samples, O/I out/in features."""

from functools import cached_property

import torch
from torch import Tensor

from workers.contract import layers as specs
from workers.contract.shapes import ExpandedLayer
from workers.engine.initialisers import draw_bias, draw_weight
from workers.engine.network.layer import Slots, trials_by_seed, views
from workers.engine.network.made_weights import made_weights
from workers.engine.network.unit_variance import to_unit_variance


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[T, ..., I] -> W x + b, [T, ..., O]."""
    rows = x.flatten(1, -2)
    found = torch.bmm(rows, weight.mT) if bias is None else torch.baddbmm(bias[:, None, :], rows, weight.mT)
    return found.view(*x.shape[:-1], weight.shape[1])


class Linear:
    """Columns of the flat parameters: W row by row [O·I], then b [O] if there is one, then what W is made with besides.

    Steps of a sequence count as samples. Views are made when they are first asked for, since compiled code needs none.
    """

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        assert isinstance(layer.spec, specs.Linear)
        self.layer = layer
        self.slots = slots
        self.out, self.into = layer.spec.out_features, layer.in_shape[-1]
        self.made = made_weights(layer, slots)
        if self.made and self.made.state:
            self.state = self.made.state
        self.starting = False
        self.recentring: float | None = None
        """A deviation that W x is to have in the next pass forward, and from there."""
        self.input: Tensor
        self.output: Tensor
        self.error_signal: Tensor

    @cached_property
    def weight(self) -> Tensor:
        return self._parts(self.slots.parameters)[0]

    @cached_property
    def bias(self) -> Tensor | None:
        return self._parts(self.slots.parameters)[1]

    @cached_property
    def weight_gradient(self) -> Tensor:
        return self._parts(self.slots.gradient)[0]

    @cached_property
    def bias_gradient(self) -> Tensor | None:
        return self._parts(self.slots.gradient)[1]

    @cached_property
    def matrix(self) -> Tensor:
        """[T, O, I]: W as it weighs, where it is made of what is learned."""
        return self.weight

    def _parts(self, flat: Tensor) -> tuple[Tensor, Tensor | None]:
        weight, *others = views(flat, self.layer.tensors)
        assert isinstance(self.layer.spec, specs.Linear)
        return weight, others[0] if self.layer.spec.bias else None

    def initialise(self) -> None:
        init = self.layer.init
        assert init is not None
        for seed, rows in trials_by_seed(self.slots.seeds).items():
            weight = draw_weight(init, self.out, self.into, seed, self.layer.path)
            bias = draw_bias(init, weight, seed, self.layer.path)
            for row in rows:  # one by one: torch takes longer over a list of rows than over drawing them
                self.weight[row].copy_(weight)
                if self.bias is not None:
                    self.bias[row].copy_(bias)
        self.starting = init.starts_from_data
        if self.made:
            self.made.initialise(self.layer.path)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self.input = x
        if self.starting or self.recentring:
            init = self.layer.init
            assert init is not None
            gain, given = self.recentring or init.number(), affine(x, self.weight, None)
            to_unit_variance(self.weight, self.bias, given, gain, 0.0 if self.recentring else init.input_mean)
            self.starting, self.recentring = False, None
        if self.made:
            self.matrix = self.made.value(training)
        self.output = affine(x, self.matrix, self.bias)
        return self.output

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        self.error_signal = delta
        rows = delta.flatten(1, -2)
        if self.made:
            self.made.pull(torch.bmm(rows.mT, self.input.flatten(1, -2)))
        else:
            torch.bmm(rows.mT, self.input.flatten(1, -2), out=self.weight_gradient)
        if self.bias_gradient is not None:
            torch.sum(rows, 1, out=self.bias_gradient)
        return torch.bmm(rows, self.matrix).view(self.input.shape) if wanted else None

    def sample_squares(self, out: Tensor) -> None:
        """Mean over samples of the squared per-sample gradients, elementwise, into out [T, n]; of features, not of sequences.

        A sample's gradient is B δ_b x_bᵀ where the loss is a mean over B samples, so the mean of squares is
        B (δ²)ᵀ(x²): one product, and no per-sample gradient in memory.
        """
        self.curvature(self.error_signal.square(), out)
        out.mul_(self.error_signal.shape[1])

    def curvature(self, above: Tensor, out: Tensor) -> None:
        """Second derivatives of the mean loss by the parameters, elementwise, into out [T, n]; likewise of features only.

        Args:
            above: those by the output, [T, B, O].
        """
        weight, bias = self._parts(out)
        torch.bmm(above.mT, self.input.square(), out=weight)
        if bias is not None:
            torch.sum(above, 1, out=bias)
