"""Losses: the mean over the batch, and its gradient at the network's output. T trials, B samples, O outputs."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class LossFunction(NamedTuple):
    value: Callable[[Tensor, Tensor], Tensor]
    """(output [T, B, O], target) -> loss of each sample [T, B]."""
    gradient: Callable[[Tensor, Tensor], Tensor]
    """(output, target) -> ∂(mean loss)/∂output [T, B, O]."""
    curvature: Callable[[Tensor], Tensor]
    """output -> ∂²(mean loss)/∂output², its diagonal [T, B, O]; it does not depend on the target."""
    draw: Callable[[Tensor, Tensor], Tensor]
    """(output, uniform numbers [T, B, O]) -> a target as the network predicts it, where the loss is minus the logarithm of its density."""
    correct: Callable[[Tensor, Tensor], Tensor] | None
    """(output, target) -> bool [T, B]; None on regressions."""


def _cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """The logarithm of Σ exp(z − max z) − (z_target − max z). torch's log_softmax takes three times as long over so few outputs."""
    shifted = output - output.amax(2, keepdim=True)
    own = shifted.gather(2, target[..., None]).squeeze(2)
    return shifted.exp_().sum(2).log_().sub_(own)


def _cross_entropy_gradient(output: Tensor, target: Tensor) -> Tensor:
    """(softmax − one-hot)/B."""
    delta = (output - output.amax(2, keepdim=True)).exp_()
    delta.div_(delta.sum(2, keepdim=True))
    delta.scatter_add_(2, target[..., None], output.new_full((), -1.0).expand(*target.shape, 1))
    return delta.div_(target.shape[1])


def _cross_entropy_curvature(output: Tensor) -> Tensor:
    """p(1 − p)/B of the softmax's p. Of the largest, 1 − p is the sum of the others: the difference is 0 where p rounds to 1."""
    p = output.softmax(2)
    top = p.argmax(2, keepdim=True)
    others = (1 - p).scatter_(2, top, p.scatter(2, top, 0.0).sum(2, keepdim=True))
    return p.mul_(others).div_(output.shape[1])


def _drawn_class(output: Tensor, uniform: Tensor) -> Tensor:
    """The first class at which the sum of the probabilities so far exceeds a uniform number."""
    so_far = output.softmax(2).cumsum(2)
    passed = so_far <= uniform[..., :1] * so_far[..., -1:]
    return passed.sum(2).clamp_max_(output.shape[2] - 1)


def _squared_error(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().mean(2)


def _squared_error_gradient(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).mul_(2 / (output.shape[1] * output.shape[2]))


def _squared_error_curvature(output: Tensor) -> Tensor:
    return torch.full_like(output, 2 / (output.shape[1] * output.shape[2]))


def _drawn_target(output: Tensor, uniform: Tensor) -> Tensor:
    """A mean of squares over O targets is that of normal ones with variance O/2: one standard deviation up or down."""
    deviation = math.sqrt(output.shape[2] / 2)
    return output + torch.where(uniform < 0.5, deviation, -deviation).to(output.dtype)


LOSSES: dict[str, LossFunction] = {
    "cross_entropy": LossFunction(
        _cross_entropy,
        _cross_entropy_gradient,
        _cross_entropy_curvature,
        _drawn_class,
        lambda output, target: output.argmax(2) == target,
    ),
    "mean_squared_error": LossFunction(
        _squared_error, _squared_error_gradient, _squared_error_curvature, _drawn_target, None
    ),
}
