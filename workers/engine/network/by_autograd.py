"""Derivatives of what is not worth deriving by hand: torch's own, for a layer at a time."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Recorded:
    """A function's value and what its derivative needs."""

    def __init__(self, function: Callable[..., Tensor], *inputs: Tensor) -> None:
        with torch.enable_grad():
            self.inputs = [x.detach().requires_grad_() for x in inputs]
            self.value = function(*self.inputs)

    def pull(self, delta: Tensor) -> Sequence[Tensor]:
        """∂L/∂value -> ∂L/∂input, of each input. Once."""
        return torch.autograd.grad(self.value, self.inputs, delta)
