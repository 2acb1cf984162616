"""What a rule is. R rows (one trial each), P parameters of a trial (all its layers, flat).

A rule updates all rows at once, each with its own hyper-parameters. Four promises make that safe and fast:
no row reads another; nothing waits for the device (no `.item()`, no branch on a tensor's value), so that the update can be
captured as a CUDA graph; everything remembered is a tensor in `State`, so that a checkpoint is a dictionary of tensors;
numbers of a whole row (bias corrections, 1 − β) are computed in float64 on [R, 1] and rounded once to θ's precision.
Call rules under `torch.no_grad()`.

A NaN gradient makes θ NaN in its row, except under rules that use only signs: torch's sign(NaN) is 0, and θ stays.
So divergence is to be read off the loss and the gradient, not off θ.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Hyper = Mapping[str, Tensor]
"""Every float hyper-parameter by torch's name, float64 [R, 1]; `betas` arrives as beta1 and beta2.

`momentum` and `weight_decay` may be left out where they are 0 in every row: the same numbers, one pass over memory less.
Leave them out of `initial_state` and of every `update`, or of none.
"""

State = dict[str, Tensor]
"""What a rule remembers: tensors of [R, P] or [R, 1], updated in place."""


class Shape(NamedTuple):
    """A layer's parameters: the weight, [out, into] row by row, and after it the bias, [out]."""

    out: int
    into: int
    bias: bool


@dataclass(frozen=True)
class Gradients:
    """What one step knows of the gradient. The loss is a mean over the batch's samples."""

    mean: Tensor
    """[R, P] gradient of the mean loss over the batch."""
    batch_size: int
    """Samples in the batch, n."""
    layers: tuple[slice, ...]
    """Columns of each layer's parameters."""
    at_probe: Tensor | None = None
    """[R, P] gradient of the same samples at θ + probe; two-gradient rules need it."""
    displacement: Tensor | None = None
    """[R, P] the probe as the floating-point format applied it: (θ + probe) − θ."""
    sample_squares: Tensor | None = None
    """[R, P] mean over samples of the squared gradient of each sample's own loss."""
    shapes: tuple[Shape, ...] = ()
    """Of each layer; rules on units and matrices need them."""

    def parts(self) -> Iterator[tuple[slice, tuple[int, ...]]]:
        """Columns and shape of every layer's weight, (out, into), and bias, (out,), from the input upwards."""
        for layer, shape in zip(self.layers, self.shapes, strict=True):
            middle = layer.start + shape.out * shape.into
            yield slice(layer.start, middle), (shape.out, shape.into)
            if shape.bias:
                yield slice(middle, layer.stop), (shape.out,)


@dataclass(frozen=True)
class Rule:
    """An optimizer's arithmetic. Flags (nesterov, centered, amsgrad) are keyword-only and hold for all rows of a call."""

    initial_state: Callable[..., State]
    """(theta [R, P], hyper, **flags) -> state."""
    update: Callable[..., None]
    """(theta, gradients, state, hyper, **flags): one step, θ and state in place."""
    eps_dominated: Callable[[State, Hyper], Tensor] | None = None
    """[R, P] bool after an update: eps decided this element's denominator, so its step shrank with its gradient."""
    probe: Callable[..., Tensor] | None = None
    """(theta, gradients, state, hyper, **flags) -> [R, P]: where a two-gradient rule wants its second gradient, relative to θ.
    Reads `gradients.mean` and `gradients.layers` only, and changes nothing."""


def decayed(theta: Tensor, gradient: Tensor, hyper: Hyper) -> Tensor:
    """Coupled (L2) weight decay: g + weight_decay·θ, a new tensor; g itself where there is no decay."""
    if "weight_decay" not in hyper:
        return gradient
    return torch.addcmul(gradient, theta, hyper["weight_decay"].to(theta.dtype))


def shrink(theta: Tensor, hyper: Hyper) -> None:
    """Decoupled weight decay, in place: θ ← (1 − lr·weight_decay)·θ."""
    if "weight_decay" in hyper:
        theta.mul_((1 - hyper["lr"] * hyper["weight_decay"]).to(theta.dtype))


def nonzero(eps: Tensor, dtype: torch.dtype) -> Tensor:
    """Eps in the working precision, at least the smallest normal number: eps = 0 must not turn a zero gradient into 0/0."""
    return eps.clamp_min(torch.finfo(dtype).tiny).to(dtype)
