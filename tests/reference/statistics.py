"""The statistics, from the descriptions in the contract: one trial at a time, one sample at a time, by autograd in float64.

Every function returns a value for each layer with parameters, by statistic; NaN where the contract says null.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reference.networks import Masked, flat

Row = dict[str, float]


@dataclass
class Seen:
    """What one trial knows at one step. L layers with parameters."""

    network: nn.Sequential
    loss: nn.Module
    x: Tensor
    """[B, F]"""
    y: Tensor


def layer_gradients(seen: Seen, samples: slice = slice(None)) -> list[list[float]]:
    """All elements of each layer's gradient of the mean loss over these samples."""
    loss = seen.loss(seen.network(seen.x)[samples], seen.y[samples])
    return [
        flat(list(torch.autograd.grad(loss, list(module.parameters()), retain_graph=True))).tolist()
        for module in seen.network
        if isinstance(module, nn.Linear)
    ]


def layer_parameters(seen: Seen) -> list[list[float]]:
    """All elements of each layer's weights and biases."""
    return [
        flat([parameter.detach() for parameter in module.parameters()]).tolist()
        for module in seen.network
        if isinstance(module, nn.Linear)
    ]


def length(values: list[float]) -> float:
    return math.sqrt(sum(value * value for value in values))


def sign(value: float) -> int:
    return (value > 0) - (value < 0)


def backward(seen: Seen, previous: list[list[float]] | None) -> list[Row]:
    """The group `backward`; `previous` are the layers' gradients at the step before."""
    samples = [layer_gradients(seen, slice(b, b + 1)) for b in range(len(seen.x))]
    signals = error_signals(seen)
    found = []
    for index, g in enumerate(layer_gradients(seen)):
        n, norm = len(g), length(g)
        mean = sum(g) / n
        noise = sum(length(own[index]) ** 2 for own in samples) / len(samples) - norm**2
        row = {
            "gradient_norm": norm,
            "gradient_rms": norm / math.sqrt(n),
            "gradient_mean": mean,
            "gradient_std": math.sqrt(sum((value - mean) ** 2 for value in g) / n),
            "gradient_max_abs": max(abs(value) for value in g),
            "gradient_log10_rms": math.log10(norm / math.sqrt(n)) if norm else math.nan,
            "gradient_zero_fraction": sum(value == 0 for value in g) / n,
            "gradient_nonfinite_fraction": sum(not math.isfinite(value) for value in g) / n,
            "gradient_snr": norm**2 / noise if norm else math.nan,
            "sign_flip_rate": math.nan,
            "gradient_cosine": math.nan,
            "error_signal_norm": length(signals[index].flatten().tolist()),
        }
        if previous is not None:
            p = previous[index]
            row["sign_flip_rate"] = sum(sign(a) * sign(b) == -1 for a, b in zip(g, p, strict=True)) / n
            if norm and length(p):
                row["gradient_cosine"] = sum(a * b for a, b in zip(g, p, strict=True)) / (norm * length(p))
        found.append(row)
    return found


def error_signals(seen: Seen) -> list[Tensor]:
    """δ of each layer with parameters, [B, U]."""
    here, kept = seen.x, []
    for module in seen.network:
        here = module(here)
        if isinstance(module, nn.Linear):
            kept.append(here)
    return list(torch.autograd.grad(seen.loss(here, seen.y), kept))


def forward(seen: Seen) -> list[Row]:
    """The group `forward`."""
    found = []
    modules = list(seen.network)
    here = seen.x
    for index, module in enumerate(modules):
        here = module(here)
        if not isinstance(module, nn.Linear):
            continue
        z, theta = pre_activation(here, modules[index + 1 :])
        z = z.detach().requires_grad_()
        a = theta(z)
        (slope,) = torch.autograd.grad(a.sum(), z)
        steepest = largest_slope(theta)
        units = [column.tolist() for column in a.detach().T]
        everything = [value for unit in units for value in unit]
        slopes = [abs(value) for value in slope.flatten().tolist()]
        found.append(
            {
                "activation_mean": average(everything),
                "activation_std": math.sqrt(variance(everything)),
                "activation_sample_std": math.sqrt(average([variance(unit) for unit in units])),
                "saturation_fraction": average([value < steepest / 10 for value in slopes]),
                "derivative_mean": average(slopes),
                "dead_fraction": average([all(abs(v) < 1e-6 for v in unit) for unit in slope.T.tolist()]),
            }
        )
    return found


def pre_activation(output: Tensor, above: list[nn.Module]) -> tuple[Tensor, nn.Module]:
    """What the non-linearity after a layer receives, and the non-linearity: the identity where none follows."""
    z = output
    for module in above:
        if isinstance(module, nn.Linear):
            break
        if not isinstance(module, Masked):
            return z, module
        z = module(z)
    return output, nn.Identity()


def largest_slope(theta: nn.Module) -> float:
    z = torch.linspace(-20, 20, 40_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(theta(z).sum(), z)
    largest: float = slope.abs().max().item()
    return largest


def average(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def variance(values: list[float]) -> float:
    mean = average(values)
    return average([(value - mean) ** 2 for value in values])


def update(before: list[list[float]], after: list[list[float]] | None, gradients: list[list[float]]) -> list[Row]:
    """The group `update` but for `eps_dominance`, from the layers' parameters on both sides of a step."""
    found = []
    for index, theta in enumerate(before):
        moved = math.nan
        if after is not None:
            moved = length([b - a for a, b in zip(theta, after[index], strict=True)])
        found.append(
            {
                "weight_norm": length(theta),
                "update_norm": moved,
                "update_to_weight_ratio": moved / length(theta) if length(theta) else math.nan,
                "effective_lr": moved / length(gradients[index]) if length(gradients[index]) else math.nan,
            }
        )
    return found
