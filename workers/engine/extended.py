"""The extended range: the pass backward in numbers near one, with the exponent carried beside them. T trials, L rows of the statistics.

Between layers, e = the exponent of max|δ| of each trial, δ ← δ·2^−e, and E = the sum of the e from the loss down: the gradient of a layer
is ĝ·2^E, exactly, since everything on the way down is linear in δ. So nothing underflows or overflows, at any depth.

Rules that do not depend on the gradient's magnitude are given ĝ·2^(E − R). R, a reference for each layer, only moves, with what the rule
remembers, where E has drifted away from it, so that memories of different steps are on one scale. All others are given what the working
precision holds of ĝ·2^E: zero or infinity where it does.

Boundaries lie between the layers of the network, not inside those with a shortcut, whose δ is held up by the shortcut; recurrent layers
have some between their steps (network/through_time.py).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from workers.engine.network import Layer
from workers.engine.network.through_time import Carried
from workers.engine.optimizers import Layout, State
from workers.engine.scaling import in_range, peaks, scale

BETWEEN = 4
"""Layers of weights from one boundary to the next, at least. δ changes by less than the format's range in so many."""
DRIFT = 24
"""Binary orders of magnitude between E and R that are left alone."""


class Extended:
    def __init__(self, weights: list[int], free: Tensor, layout: Layout) -> None:
        """
        Args:
            weights: how many layers of weights each layer of the network is or holds.
            free: bool [T], trials whose rule does not depend on the gradient's magnitude.
        """
        self.weights, self.free, self.layout = weights, free, layout
        rows = len(layout.layers)
        self.exponents = torch.zeros(rows, len(free), dtype=torch.float64, device=free.device)
        """E, [L, T]."""
        self.silent = torch.zeros(rows, len(free), dtype=torch.bool, device=free.device)
        """Where δ is zero: there E means nothing."""
        self.state: State = {"reference": torch.full_like(self.exponents, torch.nan)}
        """R, [L, T]; NaN before the first gradient. Part of a checkpoint."""

    def back(self, layers: list[Layer], lowest: int, delta: Tensor) -> None:
        """∂L/∂output -> the layers' gradients, down to `lowest`; `exponents` beside them."""
        row, passed = len(self.exponents), BETWEEN
        carried = torch.zeros_like(self.exponents[0])
        silent = torch.zeros_like(self.silent[0])
        for index in range(len(layers) - 1, lowest - 1, -1):
            if passed >= BETWEEN:
                passed = 0
                peak = peaks([delta])
                scaled, exponent = in_range([delta], peak)
                delta, carried, silent = next(scaled), carried + exponent[0], peak[0] == 0
            below = layers[index].backward(delta, index > lowest)
            if isinstance(through_time := getattr(layers[index], "carried", None), Carried):
                carried = carried + through_time.raised
            if own := self.weights[index]:
                self.exponents[row - own : row] = carried
                self.silent[row - own : row] = silent
                row, passed = row - own, passed + own
            if below is not None:
                delta = below

    def rebase(self) -> Tensor:
        """Moves R where it has to. Returns R_old − R_new, [L, T]: by how many powers of two what is remembered has grown."""
        reference = self.state["reference"]
        far = ~((self.exponents - reference).abs() <= DRIFT) & ~self.silent
        moved = torch.where(far, self.exponents, reference)
        shift = (reference - moved).nan_to_num_(nan=0.0)
        reference.copy_(moved)
        return shift

    def present(self, gradient: Tensor, degree: int = 1) -> None:
        """ĝ [T, P] -> what the rules are given, in place; squares of gradients with a degree of 2."""
        relative = (self.exponents - self.state["reference"]).nan_to_num_(nan=0.0)
        exponents = torch.where(self.free, relative, self.exponents)
        for own, columns in zip(exponents, self.layout.columns, strict=True):
            scale(gradient[:, columns], degree * own)

    def given(self) -> Tensor:
        """By which power of two what `present` left is smaller than the gradient, float64 [T, L]."""
        return torch.where(self.free, self.state["reference"].nan_to_num(nan=0.0), 0.0).T

    def carry(self, state: State, degrees: Mapping[str, int], rows: slice, shift: Tensor) -> None:
        """What a rule remembers of its rows, to the new references."""
        for name, degree in degrees.items():
            if name in state:
                for own, columns in zip(shift, self.layout.columns, strict=True):
                    scale(state[name][:, columns], degree * own[rows])
