"""The error signal on its way back through the steps of a sequence, kept in range where the gradient's range is extended. T trials.

As between layers (extended.py): δ ← δ·2^−e with e the exponent of max|δ| of each trial, and E the sum of the e so far. What every step
leaves at the pre-activations is then on a scale of its own, and is brought to the largest of them in the end: what that makes vanish is
below the rounding of the sums over steps that it goes into.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.engine.scaling import exponents, peaks, scale

EVERY = 4
"""Steps from one rescaling to the next where nothing comes from above: δ changes by less than the format's range in so many."""


class Carried:
    """Of one layer."""

    def __init__(self) -> None:
        self.extended = False
        """Whether anything is rescaled; set for layers at whose boundaries it is."""
        self.raised: Tensor
        """float64 [T] E of the layer: its gradients and what it hands down are ĝ·2^E. Zero where nothing is rescaled."""
        self._exponents: list[Tensor] = []
        """E of every step, from the last to the first."""

    def start(self, like: Tensor) -> Tensor:
        """δ before the last step: zeros [T, B, H]."""
        self._exponents = []
        self.raised = torch.zeros(len(like), dtype=torch.float64, device=like.device)
        return torch.zeros_like(like)

    def joined(self, back: Sequence[Tensor], above: Tensor | None) -> list[Tensor]:
        """What comes back from the step after, [T, B, H] each, and to the first of them what comes from above at this one."""
        first, *others = back
        if not self.extended:
            return [first if above is None else first + above, *others]
        exponent = self._exponents[-1] if self._exponents else self.raised
        if above is not None or len(self._exponents) % EVERY == 0:
            common = exponent + exponents(peaks(back).amax(0))
            if above is not None:  # whichever is larger sets the scale: neither may overflow on the other's
                common = torch.maximum(common, exponents(peaks([above])[0]))
            common = torch.where(common > -torch.inf, common, exponent)
            first, *others = (scale(one.clone(), exponent - common) for one in back)
            if above is not None:
                first += scale(above.clone(), -common)
            exponent = common
        self._exponents.append(exponent)
        return [first, *others]

    def settle(self, at_products: Tensor, below: Tensor | None) -> None:
        """Brings what all steps left, [S, T, B, ·], and what came down from it to one scale, in place, and tells it by `raised`."""
        if not self.extended:
            return
        each = torch.stack(self._exponents[::-1])
        silent = at_products.flatten(2).abs().amax(2) == 0
        highest = torch.where(silent, -torch.inf, each).amax(0)
        self.raised = torch.where(highest > -torch.inf, highest, 0.0)
        for x in (at_products, below):
            if x is not None:
                scale(x.flatten(0, 1), (each - self.raised).flatten())
