"""What a rule is. R rows (one trial each), P parameters of a trial (all its layers, flat).

A rule updates all rows at once, each with its own hyper-parameters. Four promises make that safe and fast:
no row reads another; nothing waits for the device (no `.item()`, no branch on a tensor's value), so that the update can be
captured as a CUDA graph; everything remembered is a tensor in `State`, so that a checkpoint is a dictionary of tensors;
numbers of a whole row (bias corrections, 1 − β) are computed in float64 on [R, 1] and rounded once to θ's precision.
Call rules under `torch.no_grad()`.

A NaN gradient makes θ NaN in its row, except under rules that use only signs: torch's sign(NaN) is 0, and θ stays.
So divergence is to be read off the loss and the gradient, not off θ.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from math import prod
from typing import Any, Self

import torch
from torch import Tensor

Hyper = Mapping[str, Tensor]
"""Every float hyper-parameter by torch's name, float64 [R, 1]; `betas` arrives as beta1 and beta2.

`momentum` and `weight_decay` may be left out where they are 0 in every row: the same numbers, one pass over memory less.
Leave them out of `initial_state` and of every `update`, or of none. `lr` may be [R, P] in an `update`, the same throughout a layer
(wrappers/depth.py): rules that go by layer take it by `at`.
"""

State = dict[str, Tensor]
"""What a rule remembers: tensors whose first axis is R, updated in place. Mostly [R, P] or [R, 1]."""

Shape = tuple[int, ...]
"""Of a parameter tensor: (n,), or (out, into) with a unit's incoming weights as a row, of a convolution's kernel those of a channel."""

Part = tuple[slice, Shape]
"""A parameter tensor: its columns in θ, and its shape, filled row by row."""


@dataclass(frozen=True)
class LayerParameters:
    """A layer's parameter tensors, one after another: a weight and its bias, several matrices, a normalisation's γ and β."""

    start: int
    """The first column."""
    shapes: tuple[Shape, ...]

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        stops = [*accumulate(map(prod, self.shapes), initial=self.start)]
        return tuple((slice(*ends), shape) for ends, shape in zip(pairwise(stops), self.shapes, strict=True))

    @cached_property
    def matrices(self) -> tuple[Part, ...]:
        """The same, with a convolution's kernels as matrices, a row for each channel that comes out."""
        return tuple(
            (columns, (shape[0], prod(shape[1:])) if len(shape) > 1 else shape) for columns, shape in self.parts
        )

    @cached_property
    def columns(self) -> slice:
        return slice(self.start, self.start + sum(map(prod, self.shapes)))


@dataclass(frozen=True)
class Layout:
    """Where everything lies in a row of θ: layers with parameters from the input upwards, without gaps."""

    layers: tuple[LayerParameters, ...]

    @classmethod
    def of(cls, shapes: Iterable[Sequence[Shape]]) -> Self:
        """From the shapes of each layer's tensors."""
        own = [tuple(each) for each in shapes]
        starts = accumulate((sum(map(prod, each)) for each in own[:-1]), initial=0)
        return cls(tuple(LayerParameters(start, each) for start, each in zip(starts, own, strict=True)))

    @cached_property
    def columns(self) -> tuple[slice, ...]:
        """Of each layer."""
        return tuple(layer.columns for layer in self.layers)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Every parameter tensor."""
        return tuple(part for layer in self.layers for part in layer.parts)

    @cached_property
    def matrices(self) -> tuple[Part, ...]:
        """Every parameter tensor, as a matrix or a vector."""
        return tuple(part for layer in self.layers for part in layer.matrices)


@dataclass(frozen=True)
class Gradients:
    """What one step knows of the gradient. The loss is a mean over the batch's samples."""

    mean: Tensor
    """[R, P] gradient of the mean loss over the batch."""
    batch_size: int
    """Samples in the batch, n."""
    layout: Layout
    loss: Tensor
    """float64 [R, 1], the mean loss over the batch; of a diverged trial the last finite one."""
    exponents: Tensor | None = None
    """float64 [R, L]: the gradient of layer l is mean·2^exponents[:, l]; None where it is mean. Zero for rules without `degrees`."""
    at_probe: Tensor | None = None
    """[R, P] gradient of the same samples at θ + probe; two-gradient rules need it."""
    displacement: Tensor | None = None
    """[R, P] the probe as the floating-point format applied it: (θ + probe) − θ."""
    sample_squares: Tensor | None = None
    """[R, P] mean over samples of the squared gradient of each sample's own loss."""
    curvature: Tensor | None = None
    """[R, P] diagonal of the mean loss's Gauss-Newton matrix: by bbprop, which rules of the pattern `curvature` need, or from labels that
    the network draws, which those of `own_labels` are given in some steps."""
    tried: Tensor | None = None
    """[R, N, P] where the candidates of a gradient-free rule stood, relative to θ: what its `ask` gave."""
    losses: Tensor | None = None
    """float64 [R, N], their mean losses over the batch. What is given of the gradient then means nothing."""

    def exponent(self, layer: int) -> Tensor:
        """Of one layer, float64 [R, 1]."""
        if self.exponents is None:
            return torch.zeros(len(self.mean), 1, dtype=torch.float64, device=self.mean.device)
        return self.exponents[:, layer : layer + 1]


@dataclass(frozen=True)
class Rule:
    """An optimizer's arithmetic. Flags (nesterov, centered, amsgrad) and `SIZES` are keyword-only and hold for all rows of a call."""

    initial_state: Callable[..., State]
    """(theta [R, P], hyper, layout, **flags) -> state."""
    update: Callable[..., None]
    """(theta, gradients, state, hyper, **flags): one step, θ and state in place."""
    eps_dominated: Callable[[State, Hyper, Layout], Tensor] | None = None
    """[R, P] bool after an update: eps decided this element's denominator, so its step shrank with its gradient."""
    probe: Callable[..., Tensor] | None = None
    """(theta, gradients, state, hyper, **flags) -> [R, P]: where a two-gradient rule wants its second gradient, relative to θ.
    Reads `gradients.mean` and `gradients.layout` only, and changes nothing."""
    ask: Callable[..., Tensor] | None = None
    """(theta, state, hyper, draws, **flags) -> [R, N, P]: where a gradient-free rule wants to know the loss, from θ. Changes nothing."""
    estimate: Callable[..., Tensor] | None = None
    """(gradients, state, hyper, **flags) -> [R, P]: what a gradient-free rule takes the gradient to be, in direction, before its update.
    None where it makes no such estimate: then −Δθ stands for it."""
    degrees: Mapping[str, int] | None = None
    """Of a rule whose steps stay the same, whatever each layer's gradient is multiplied by, where it is told (`Gradients.exponents`): for
    its state of [R, P], by which power of that factor it grows. None: the magnitude matters, if only beside an eps or another layer's."""
    save: Callable[[], Any] | None = None
    """What a checkpoint must hold beside the state: tensors, numbers, strings, lists and dictionaries."""
    load: Callable[[Any], None] | None = None
    """Takes back what `save` gave."""


SIZES = ("population",)
"""Whole numbers that shapes depend on: the same in all rows of a call, keyword-only like a flag."""


def found(gradients: Gradients) -> tuple[Tensor, Tensor]:
    """(tried, losses) of a gradient-free rule's candidates."""
    assert gradients.tried is not None and gradients.losses is not None
    return gradients.tried, gradients.losses


def at(number: Tensor, columns: slice) -> Tensor:
    """A hyper-parameter in one layer, or a part of it, [R, 1]."""
    return number if number.shape[1] == 1 else number[:, columns.start : columns.start + 1]


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
