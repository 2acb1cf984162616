"""Recurrent layers: rnn, gru and lstm, step by step forward and backward by hand. T trials, B samples, S steps, I inputs, H units, G gates.

What belongs to a step lies together, [T, S, B, ...]. All steps' inputs are weighed in one product before the loop, and all gradients of
weights are one product after it; in between a step is one product and a few elementwise operations.
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
from workers.engine.network.linear import affine
from workers.engine.network.through_time import Carried


@dataclass
class Units:
    """θ of the units at all steps: what the statistics of activations are about."""

    non_linearity: NonLinearity
    input: Tensor
    """[T, B, S, H]"""
    value: Tensor


class _Recurrent:
    """What the three have in common: columns W [G·H, I], U [G·H, H], b [G·H], where biases are, and `extra` behind them."""

    names: Sequence[str]
    """Of the gates, in the order in which their rows lie: each is drawn by itself."""

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        spec = layer.spec
        assert isinstance(spec, specs.Rnn | specs.Gru | specs.Lstm) and layer.init is not None
        self.init, self.recurrent_init, self.path, self.slots = layer.init, spec.recurrent_init, layer.path, slots
        self.sequence, self.size = spec.output == "sequence", spec.hidden_size
        self.theta = non_linearity(spec.activation)
        self.weight, self.recurrent, *self.biases = views(slots.parameters, layer.tensors)
        self.gradients = views(slots.gradient, layer.tensors)
        self.carried = Carried()
        self.pre: Tensor
        """[T, S, B, G·H]: the pre-activations."""
        self.input: Tensor
        self.states: Tensor
        """[T, S + 1, B, H]: h, from before the first step."""
        self.units: Units
        self.output: Tensor
        self.error_signal: Tensor
        """[T, B, S, G·H], ∂L/∂ the pre-activations."""

    def initialise(self) -> None:
        size, into = self.size, self.weight.shape[2]
        for seed, rows in trials_by_seed(self.slots.seeds).items():
            for place, name in enumerate(self.names):
                here, path = slice(place * size, (place + 1) * size), f"{self.path}.{name}"
                self.weight[rows, here] = draw_weight(self.init, size, into, seed, path).to(self.weight)
                drawn = draw_weight(self.recurrent_init, size, size, seed, f"{path}.recurrent")
                self.recurrent[rows, here] = drawn.to(self.weight)
                if self.biases:
                    self.biases[0][rows, here] = draw_bias(self.init, size, into, seed, path).to(self.weight)

    def weighed(self, x: Tensor) -> Tensor:
        """[T, B, S, I] -> W x + b, [T, S, B, G·H]; h before the first step is set to zero."""
        self.input = x.transpose(1, 2).contiguous()
        trials, steps, samples, _ = self.input.shape
        self.states = x.new_zeros(trials, steps + 1, samples, self.size)
        return affine(self.input, self.weight, self.biases[0] if self.biases else None)

    def given(self) -> Tensor:
        self.output = self.states[:, 1:].transpose(1, 2) if self.sequence else self.states[:, -1]
        return self.output

    def deltas(self, delta: Tensor) -> list[Tensor | None]:
        """∂L/∂h [T, B, H] from above, of every step; None where nothing comes."""
        if self.sequence:
            return [delta[:, :, step] for step in range(delta.shape[2])]
        return [None] * (self.input.shape[1] - 1) + [delta]

    def finish(self, at_gates: Tensor, through: Tensor, wanted: bool) -> Tensor | None:
        """The gradients of weights and biases, and ∂L/∂input [T, B, S, I].

        Args:
            at_gates: [T, S, B, G·H], ∂L/∂(W x + b).
            through: likewise ∂L/∂(U h): the same but for a gru's candidate.
        """
        self.carried.settle([at_gates] if through is at_gates else [at_gates, through])
        self.error_signal = at_gates.transpose(1, 2)
        rows, steps = at_gates.flatten(1, 2), self.input.shape[1]
        torch.bmm(rows.mT, self.input.flatten(1, 2), out=self.gradients[0])
        torch.bmm(through.flatten(1, 2).mT, self.states[:, :steps].flatten(1, 2), out=self.gradients[1])
        if self.biases:
            torch.sum(rows, 1, out=self.gradients[2])
        if not wanted:
            return None
        return torch.bmm(rows, self.weight).view(self.input.shape).transpose(1, 2)


class Rnn(_Recurrent):
    """h_t = θ(W x_t + U h_{t−1} + b)."""

    names = ("units",)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        z = self.weighed(x)
        for step in range(z.shape[1]):
            z[:, step].baddbmm_(self.states[:, step], self.recurrent.mT)
            self.states[:, step + 1] = self.theta.value(z[:, step])
        self.pre = z
        self.units = Units(self.theta, z.transpose(1, 2), self.states[:, 1:].transpose(1, 2))
        return self.given()

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        z, a = self.pre, self.states[:, 1:]
        at_gates = torch.empty_like(z)
        above = self.deltas(delta)
        back = self.carried.start(z[:, 0])
        for step in range(z.shape[1] - 1, -1, -1):
            (back,) = self.carried.joined([back], above[step])
            own = self.theta.backward(back, z[:, step], a[:, step])
            at_gates[:, step] = own
            back = torch.bmm(own, self.recurrent)
        return self.finish(at_gates, at_gates, wanted)


class Gru(_Recurrent):
    """h_t = (1 − z) n + z h_{t−1}, n = θ(W_n x_t + b_n + r (U_n h_{t−1} + c)). Rows: r, z, n; c behind b."""

    names = ("reset", "update", "new")

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        super().__init__(layer, slots)
        assert isinstance(layer.spec, specs.Gru)
        self.sigma = non_linearity(layer.spec.gate_activation)
        self.reset: Tensor
        """[T, S, B, H]: r, and likewise z and U_n h + c."""
        self.update: Tensor
        self.recalled: Tensor
        self.new: Tensor

    def forward(self, x: Tensor, training: bool) -> Tensor:
        pre, size = self.weighed(x), self.size
        shape = (*pre.shape[:3], size)
        self.reset, self.update, self.recalled, new = (pre.new_empty(shape) for _ in range(4))
        gates, state = self.recurrent[:, : 2 * size].mT, self.recurrent[:, 2 * size :].mT
        for step in range(pre.shape[1]):
            before, here = self.states[:, step], pre[:, step]
            here[..., : 2 * size].add_(torch.bmm(before, gates))
            recalled = torch.bmm(before, state)
            if self.biases:
                recalled.add_(self.biases[1][:, None])
            self.recalled[:, step] = recalled
            both = self.sigma.value(here[..., : 2 * size])
            self.reset[:, step], self.update[:, step] = both[..., :size], both[..., size:]
            here[..., 2 * size :].addcmul_(self.reset[:, step], recalled)
            new[:, step] = self.theta.value(here[..., 2 * size :])
            self.states[:, step + 1] = torch.lerp(new[:, step], before, self.update[:, step])
        self.pre = pre
        self.new = new
        self.units = Units(self.theta, pre[..., 2 * size :].transpose(1, 2), new.transpose(1, 2))
        return self.given()

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        size, new = self.size, self.new
        at_gates, through = torch.empty_like(self.pre), torch.empty_like(self.pre)
        gates, above = torch.cat([self.reset, self.update], -1), self.deltas(delta)
        back = self.carried.start(new[:, 0])
        for step in range(new.shape[1] - 1, -1, -1):
            (back,) = self.carried.joined([back], above[step])
            update, before, here = self.update[:, step], self.states[:, step], self.pre[:, step]
            own = self.theta.backward(back * (1 - update), here[..., 2 * size :], new[:, step])
            at_both = torch.cat([own * self.recalled[:, step], back * (before - new[:, step])], -1)
            at_both = self.sigma.backward(at_both, here[..., : 2 * size], gates[:, step])
            at_gates[:, step] = torch.cat([at_both, own], -1)
            through[:, step] = torch.cat([at_both, own * self.reset[:, step]], -1)
            back = torch.baddbmm(back * update, through[:, step], self.recurrent)
        below = self.finish(at_gates, through, wanted)
        if self.biases:
            torch.sum(through[..., 2 * size :], (1, 2), out=self.gradients[3])
        return below


class Lstm(_Recurrent):
    """c_t = f c_{t−1} + i g, h_t = o θ(c_t). Rows: i, f, g, o."""

    names = ("input", "forget", "candidate", "output")

    def __init__(self, layer: ExpandedLayer, slots: Slots) -> None:
        super().__init__(layer, slots)
        assert isinstance(layer.spec, specs.Lstm)
        self.sigma, self.forget_bias = non_linearity(layer.spec.gate_activation), layer.spec.forget_bias
        self.gates: Tensor
        """[T, S, B, 4·H]: i, f, g, o."""
        self.cells: Tensor
        """[T, S + 1, B, H]: c, from before the first step."""
        self.shown: Tensor
        """[T, S, B, H]: θ(c)."""

    def initialise(self) -> None:
        super().initialise()
        if self.biases:
            self.biases[0][:, self.size : 2 * self.size] += self.forget_bias

    def forward(self, x: Tensor, training: bool) -> Tensor:
        pre, size = self.weighed(x), self.size
        self.cells = torch.zeros_like(self.states)
        self.gates, self.shown = torch.empty_like(pre), pre.new_empty(*pre.shape[:3], size)
        candidate = slice(2 * size, 3 * size)
        for step in range(pre.shape[1]):
            here, gates = pre[:, step], self.gates[:, step]
            here.baddbmm_(self.states[:, step], self.recurrent.mT)
            gates[..., : 2 * size] = self.sigma.value(here[..., : 2 * size])
            gates[..., candidate] = self.theta.value(here[..., candidate])
            gates[..., 3 * size :] = self.sigma.value(here[..., 3 * size :])
            entering, kept, new, leaving = gates.split(size, -1)
            cell = torch.mul(kept, self.cells[:, step]).addcmul_(entering, new)
            self.cells[:, step + 1] = cell
            self.shown[:, step] = self.theta.value(cell)
            torch.mul(leaving, self.shown[:, step], out=self.states[:, step + 1])
        self.pre = pre
        self.units = Units(self.theta, pre[..., candidate].transpose(1, 2), self.gates[..., candidate].transpose(1, 2))
        return self.given()

    def backward(self, delta: Tensor, wanted: bool) -> Tensor | None:
        size, at_gates, above = self.size, torch.empty_like(self.pre), self.deltas(delta)
        back, at_cell = self.carried.start(self.shown[:, 0]), torch.zeros_like(self.shown[:, 0])
        for step in range(self.pre.shape[1] - 1, -1, -1):
            back, at_cell = self.carried.joined([back, at_cell], above[step])
            entering, kept, new, leaving = self.gates[:, step].split(size, -1)
            cell, shown, here = self.cells[:, step + 1], self.shown[:, step], self.pre[:, step]
            at_cell = at_cell + self.theta.backward(back * leaving, cell, shown)
            own = at_gates[:, step]
            before = self.sigma.backward(
                torch.cat([at_cell * new, at_cell * self.cells[:, step], back * shown], -1),
                torch.cat([here[..., : 2 * size], here[..., 3 * size :]], -1),
                torch.cat([entering, kept, leaving], -1),
            )
            own[..., : 2 * size], own[..., 3 * size :] = before[..., : 2 * size], before[..., 2 * size :]
            candidate = slice(2 * size, 3 * size)
            own[..., candidate] = self.theta.backward(at_cell * entering, here[..., candidate], new)
            back = torch.bmm(own, self.recurrent)
            at_cell = at_cell * kept
        return self.finish(at_gates, at_gates, wanted)
