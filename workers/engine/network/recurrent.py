"""Recurrent layers: rnn, gru and lstm, step by step forward and backward by hand. T trials, B samples, S steps, I inputs, H units.

What a step sees lies together, [S + 1, T, B, K]: h of the step before, x, and a one where there are biases, K = H + I + 1. So all that a
step weighs is one product with [U, W, b], and everything of a step is next to each other in memory. G are the products' blocks of H rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.contract import layers as specs
from workers.contract.shapes import ExpandedLayer
from workers.engine.activations import NonLinearity, non_linearity
from workers.engine.initialisers import draw_bias, draw_weight
from workers.engine.network.layer import Slots, trials_by_seed, views
from workers.engine.network.through_time import Carried


@dataclass
class Units:
    """θ of the units at all steps: what the statistics of activations are about."""

    non_linearity: NonLinearity
    input: Tensor
    """[T, B, S, H]"""
    value: Tensor


class _Recurrent:
    """What the three have in common: columns W [·, I], U [·, H], b where biases are, and what else a kind has behind them."""

    names: Sequence[str]
    """Of the gates, in the order in which their rows lie: each is drawn by itself."""

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        spec = layer.spec
        assert isinstance(spec, specs.Rnn | specs.Gru | specs.Lstm) and layer.init is not None
        self.init, self.recurrent_init, self.path, self.slots = layer.init, spec.recurrent_init, layer.path, slots
        self.sequence, self.size, self.inputs = spec.output == "sequence", spec.hidden_size, layer.in_shape[-1]
        self.theta = non_linearity(spec.activation)
        self.weight, self.recurrent, *self.biases = views(slots.parameters, layer.tensors)
        self.gradients = views(slots.gradient, layer.tensors)
        self.carried = Carried()
        self.seen: Tensor
        """[S + 1, T, B, K]"""
        self.whole: Tensor
        """[T, G·H, K]: what that is weighed with."""
        self.pre: Tensor
        """[S, T, B, G·H]: the products."""
        self.units: Units
        self.output: Tensor
        self.error_signal: Tensor
        """[T, B, S, ·], ∂L/∂ the pre-activations."""

    def initialise(self) -> None:
        size, into = self.size, self.inputs
        for seed, rows in trials_by_seed(self.slots.seeds).items():
            for place, name in enumerate(self.names):
                here, path = slice(place * size, (place + 1) * size), f"{self.path}.{name}"
                weight = draw_weight(self.init, size, into, seed, path)
                self.weight[rows, here] = weight.to(self.weight)
                drawn = draw_weight(self.recurrent_init, size, size, seed, f"{path}.recurrent")
                self.recurrent[rows, here] = drawn.to(self.weight)
                if self.biases:
                    self.biases[0][rows, here] = draw_bias(self.init, weight, seed, path).to(self.weight)

    def weights(self) -> Tensor:
        """[T, G·H, K]"""
        return torch.cat([self.recurrent, self.weight, *(bias[..., None] for bias in self.biases)], 2)

    def split(self, gradient: Tensor) -> None:
        """∂L/∂ `weights()` [T, G·H, K] -> the gradients of the parameters."""
        parts = gradient.split([self.size, self.inputs, *(1 for _ in self.biases)], 2)
        self.gradients[1].copy_(parts[0])
        self.gradients[0].copy_(parts[1])
        if self.biases:
            self.gradients[2].copy_(parts[2][..., 0])

    def start(self, x: Tensor) -> None:
        """Lays out what comes in, [T, B, S, I]; h before the first step is zero."""
        trials, samples, steps, _ = x.shape
        self.whole = self.weights()
        self.seen = x.new_empty(steps + 1, trials, samples, self.whole.shape[2])
        self.seen[0, ..., : self.size].zero_()
        self.seen[:-1, ..., self.size : self.size + self.inputs] = x.permute(2, 0, 1, 3)
        if self.biases:
            self.seen[..., -1].fill_(1)
        self.pre = x.new_empty(steps, trials, samples, self.whole.shape[1])

    def weigh(self, step: int) -> Tensor:
        """[T, B, G·H]: U h + W x + b."""
        return torch.bmm(self.seen[step], self.whole.mT, out=self.pre[step])

    def given(self) -> Tensor:
        states = self.seen[1:, ..., : self.size]
        self.output = samples_first(states) if self.sequence else states[-1]
        return self.output

    def above(self, delta: Tensor) -> list[Tensor | None]:
        """∂L/∂h [T, B, H] from above, of every step; None where nothing comes."""
        if self.sequence:
            return list(delta.unbind(2))
        return [None] * (len(self.pre) - 1) + [delta]

    def pulled(self, step: int, at_products: Tensor, below: Tensor | None) -> Tensor:
        """∂L/∂ h of the step before, from that of the products [T, B, G·H]; what comes down to x goes into `below` [S, T, B, I]."""
        if below is None:
            return torch.bmm(at_products, self.whole[..., : self.size])
        pulled = torch.bmm(at_products, self.whole)
        below[step] = pulled[..., self.size : self.size + self.inputs]
        return pulled[..., : self.size]

    def below(self, wanted: bool) -> Tensor | None:
        return self.pre.new_empty(*self.pre.shape[:3], self.inputs) if wanted else None

    def finish(self, at_products: Tensor, below: Tensor | None) -> Tensor | None:
        """The gradients of the parameters from ∂L/∂ the products, [S, T, B, G·H]. Returns ∂L/∂input [T, B, S, I]."""
        self.carried.settle(at_products, below)
        gradient = torch.zeros_like(self.whole)
        for step in range(len(at_products)):
            gradient.baddbmm_(at_products[step].mT, self.seen[step])
        self.split(gradient)
        return None if below is None else samples_first(below)


def samples_first(x: Tensor) -> Tensor:
    """[S, T, B, ·] -> [T, B, S, ·]"""
    return x.permute(1, 2, 0, 3)


class Rnn(_Recurrent):
    """h_t = θ(W x_t + U h_{t−1} + b)."""

    names = ("units",)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self.start(x)
        for step in range(len(self.pre)):
            self.seen[step + 1, ..., : self.size] = self.theta.value(self.weigh(step))
        self.units = Units(self.theta, samples_first(self.pre), samples_first(self.seen[1:, ..., : self.size]))
        return self.given()

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        at_gates, below, above = torch.empty_like(self.pre), self.below(wanted), self.above(delta)
        back = self.carried.start(self.seen[0, ..., : self.size])
        for step in range(len(self.pre) - 1, -1, -1):
            (back,) = self.carried.joined([back], above[step])
            at_gates[step] = self.theta.backward(back, self.pre[step], self.seen[step + 1, ..., : self.size])
            back = self.pulled(step, at_gates[step], below)
        found = self.finish(at_gates, below)
        self.error_signal = samples_first(at_gates)
        return found


class Gru(_Recurrent):
    """h_t = (1 − z) n + z h_{t−1}, n = θ(W_n x_t + b_n + r (U_n h_{t−1} + c)). Rows: r, z, n; c behind b.

    r needs the two halves of n's pre-activation apart: four blocks are weighed, r, z, W_n x + b_n and U_n h + c.
    """

    names = ("reset", "update", "new")

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        super().__init__(layer, slots)
        assert isinstance(layer.spec, specs.Gru)
        self.sigma = non_linearity(layer.spec.gate_activation)
        self.gates: Tensor
        """[S, T, B, 2·H]: r and z."""
        self.at_new: Tensor
        """[S, T, B, H]: the pre-activation of n, and n."""
        self.new: Tensor

    def weights(self) -> Tensor:
        size, zeros = self.size, torch.zeros_like
        of_state, of_input = self.recurrent.split([2 * size, size], 1), self.weight.split([2 * size, size], 1)
        columns = [
            torch.cat([of_state[0], zeros(of_state[1]), of_state[1]], 1),
            torch.cat([of_input[0], of_input[1], zeros(of_input[1])], 1),
        ]
        if self.biases:
            columns.append(torch.cat(self.biases, 1)[..., None])
        return torch.cat(columns, 2)

    def split(self, gradient: Tensor) -> None:
        size, inputs = self.size, slice(self.size, self.size + self.inputs)
        both, of_input, of_state = gradient.split([2 * size, size, size], 1)
        torch.cat([both[..., :size], of_state[..., :size]], 1, out=self.gradients[1])
        torch.cat([both[..., inputs], of_input[..., inputs]], 1, out=self.gradients[0])
        if self.biases:
            torch.cat([both[..., -1], of_input[..., -1]], 1, out=self.gradients[2])
            self.gradients[3].copy_(of_state[..., -1])

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self.start(x)
        size = self.size
        self.gates = self.pre.new_empty(*self.pre.shape[:3], 2 * size)
        self.at_new, self.new = (self.pre.new_empty(*self.pre.shape[:3], size) for _ in range(2))
        for step in range(len(self.pre)):
            both, of_input, of_state = self.weigh(step).split([2 * size, size, size], -1)
            self.gates[step] = self.sigma.value(both)
            reset, update = self.gates[step].split(size, -1)
            torch.addcmul(of_input, reset, of_state, out=self.at_new[step])
            self.new[step] = self.theta.value(self.at_new[step])
            torch.lerp(self.new[step], self.seen[step, ..., :size], update, out=self.seen[step + 1, ..., :size])
        self.units = Units(self.theta, samples_first(self.at_new), samples_first(self.new))
        return self.given()

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        size, at_products, below = self.size, torch.empty_like(self.pre), self.below(wanted)
        above, back = self.above(delta), self.carried.start(self.new[0])
        for step in range(len(self.pre) - 1, -1, -1):
            (back,) = self.carried.joined([back], above[step])
            both, _, of_state = self.pre[step].split([2 * size, size, size], -1)
            reset, update = self.gates[step].split(size, -1)
            own = self.theta.backward(back * (1 - update), self.at_new[step], self.new[step])
            at_both = torch.cat([own * of_state, back * (self.seen[step, ..., :size] - self.new[step])], -1)
            at_both = self.sigma.backward(at_both, both, self.gates[step])
            torch.cat([at_both, own, own * reset], -1, out=at_products[step])
            back = torch.addcmul(self.pulled(step, at_products[step], below), back, update)
        found = self.finish(at_products, below)
        self.error_signal = samples_first(at_products[..., : 3 * size])
        return found


class Lstm(_Recurrent):
    """c_t = f c_{t−1} + i g, h_t = o θ(c_t). Rows: i, f, g, o."""

    names = ("input", "forget", "candidate", "output")

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        super().__init__(layer, slots)
        assert isinstance(layer.spec, specs.Lstm)
        self.sigma, self.forget_bias = non_linearity(layer.spec.gate_activation), layer.spec.forget_bias
        self.candidate = slice(2 * self.size, 3 * self.size)
        # in place of one call for all four blocks: a non-linearity costs more than the calls
        self.parts = (
            (slice(2 * self.size), self.sigma),
            (self.candidate, self.theta),
            (slice(3 * self.size, None), self.sigma),
        )
        self.gates: Tensor
        """[S, T, B, 4·H]: i, f, g, o."""
        self.cells: Tensor
        """[S + 1, T, B, H]: c, from before the first step."""
        self.shown: Tensor
        """[S, T, B, H]: θ(c)."""

    def initialise(self) -> None:
        super().initialise()
        if self.biases:
            self.biases[0][:, self.size : 2 * self.size] += self.forget_bias

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self.start(x)
        steps, *places = self.pre.shape[:3]
        self.gates = torch.empty_like(self.pre)
        self.cells, self.shown = (self.pre.new_empty(more, *places, self.size) for more in (steps + 1, steps))
        self.cells[0].zero_()
        for step in range(steps):
            z, gates = self.weigh(step), self.gates[step]
            for place, theta in self.parts:
                gates[..., place] = theta.value(z[..., place])
            entering, kept, new, leaving = gates.split(self.size, -1)
            cell = torch.mul(kept, self.cells[step], out=self.cells[step + 1]).addcmul_(entering, new)
            self.shown[step] = self.theta.value(cell)
            torch.mul(leaving, self.shown[step], out=self.seen[step + 1, ..., : self.size])
        candidates = (samples_first(x[..., self.candidate]) for x in (self.pre, self.gates))
        self.units = Units(self.theta, *candidates)
        return self.given()

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        at_gates, below, above = torch.empty_like(self.pre), self.below(wanted), self.above(delta)
        back, at_cell = self.carried.start(self.shown[0]), torch.zeros_like(self.shown[0])
        for step in range(len(self.pre) - 1, -1, -1):
            back, at_cell = self.carried.joined([back, at_cell], above[step])
            z, gates, shown = self.pre[step], self.gates[step], self.shown[step]
            entering, kept, new, leaving = gates.split(self.size, -1)
            at_cell = at_cell + self.theta.backward(back * leaving, self.cells[step + 1], shown)
            here = at_gates[step]
            at_values = zip((at_cell, at_cell, at_cell, back), (new, self.cells[step], entering, shown), strict=True)
            for own, (outer, inner) in zip(here.split(self.size, -1), at_values, strict=True):
                torch.mul(outer, inner, out=own)
            for place, theta in self.parts:
                here[..., place] = theta.backward(here[..., place], z[..., place], gates[..., place])
            back, at_cell = self.pulled(step, here, below), at_cell * kept
        found = self.finish(at_gates, below)
        self.error_signal = samples_first(at_gates)
        return found
