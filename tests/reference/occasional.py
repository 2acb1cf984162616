"""The statistics of the occasional groups, from the descriptions in the contract: one trial at a time, every sample's gradient by autograd.

Where Cockpit (Schneider et al. 2021) has the quantity, its formula, with individual gradients as rows of a matrix and eps = 0.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reference.networks import flat
from reference.statistics import Row, Seen, largest_slope, layer_gradients, layer_parameters, pre_activation

Numbers = NDArray[np.float64]


def individual(seen: Seen) -> list[Numbers]:
    """[B, n] of each layer: the gradients of the samples' own losses."""
    each = [layer_gradients(seen, slice(b, b + 1)) for b in range(len(seen.x))]
    return [np.array(rows) for rows in zip(*each, strict=True)]


def noise(seen: Seen, lr: float, loss: float) -> list[Row]:
    found = []
    for g in individual(seen):
        batch, mean = len(g), g.mean(0)
        squared_length = mean @ mean
        covariance = float(g.var(0, ddof=1).sum())
        true_square = squared_length - covariance / batch
        dot = g @ g.T
        projections = g @ mean
        norm_variance = ((g**2).sum() - batch * squared_length) / (batch - 1)
        inner_variance = ((projections**2).sum() - batch * squared_length**2) / (batch - 1)
        orthogonal_variance = (np.diag(dot).sum() - (projections**2 / squared_length).sum()) / (batch - 1)
        variance = (g**2).mean(0) - mean**2
        known = variance > 1e-12 * (g**2).mean(0)
        gsnr = float((mean[known] ** 2 / variance[known]).mean())
        found.append(
            {
                "gradient_noise_scale": covariance / true_square if true_square > 0 else math.nan,
                "norm_test": math.sqrt(norm_variance / batch / squared_length),
                "inner_product_test": math.sqrt(max(0, inner_variance) / batch / squared_length**2),
                "orthogonality_test": math.sqrt(max(0, orthogonal_variance) / batch / squared_length),
                "cabs_batch_size": lr * ((g**2).sum() - batch * squared_length) / (batch * loss),
                "mean_gsnr": gsnr,
                "early_stopping": 1
                - batch * float((mean[known] ** 2 / (variance[known] * batch / (batch - 1))).mean()),
            }
        )
    return found


def histogram(seen: Seen) -> list[Row]:
    found = []
    for gradient, parameters in zip(layer_gradients(seen), layer_parameters(seen), strict=True):
        sizes = np.abs(gradient)
        below = np.full(len(sizes), np.inf)
        below[sizes > 0] = -np.log10(sizes[sizes > 0] / sizes.max())
        edges = [0, *(place + 1e-12 for place in range(1, 10)), 1e9]
        counts, _ = np.histogram(below[np.isfinite(below)], edges)
        row = {f"gradient_decade_{place}": count / len(sizes) for place, count in enumerate(counts)}
        weight = np.abs(parameters)
        bins = np.clip(np.floor(-np.log10(np.maximum(weight / weight.max(), 1e-300)) - 1e-12), 0, 3)
        energy = sizes**2 / np.sum(sizes**2)
        found.append(row | {f"gradient_share_of_weights_{k}": float(energy[bins == k].sum()) for k in range(4)})
    return found


def _activity(seen: Seen) -> list[tuple[Tensor, Tensor, Tensor, nn.Module]]:
    """(z, a, |θ′|, θ) of each linear layer."""
    modules, here, found = list(seen.network), seen.x, []
    for index, module in enumerate(modules):
        here = module(here)
        if isinstance(module, nn.Linear):
            z, theta = pre_activation(here, modules[index + 1 :])
            z = z.detach().requires_grad_()
            a = theta(z)
            (slope,) = torch.autograd.grad(a.sum(), z)
            found.append((z.detach(), a.detach(), slope.abs(), theta))
    return found


def units(seen: Seen) -> list[Row]:
    found = []
    for z, a, slope, theta in _activity(seen):
        samples, width = a.shape
        correlations = np.corrcoef(a.numpy()) if width > 1 else np.full((samples, samples), math.nan)
        flat_here = slope < largest_slope(theta) / 10
        grid = torch.linspace(-10, 10, 20001, dtype=torch.float64, requires_grad=True)
        (steepness,) = torch.autograd.grad(theta(grid).sum(), grid)
        steep = grid.detach()[steepness.abs() > 0.999999 * steepness.abs().max()]
        on_top = flat_here & (z > steep.min()) & (z < steep.max())
        found.append(
            {
                "activation_correlation": float((correlations.sum() - samples) / (samples * (samples - 1))),
                "saturated_unit_fraction": float((flat_here.double().mean(0) >= 0.9).double().mean()),
                "flat_top_fraction": float(on_top.double().mean()),
            }
        )
    return found


def _participation(matrix: Tensor) -> float:
    values = torch.linalg.svdvals(matrix) ** 2
    return float(values.sum() ** 2 / values.square().sum()) if values.sum() > 0 else math.nan


def ranks(seen: Seen) -> list[Row]:
    weights = [module.weight for module in seen.network if isinstance(module, nn.Linear)]
    gradients = torch.autograd.grad(seen.loss(seen.network(seen.x), seen.y), weights)
    return [
        {"effective_rank": _participation(a - a.mean(0)), "gradient_effective_rank": _participation(gradient)}
        for (_, a, _, _), gradient in zip(_activity(seen), gradients, strict=True)
    ]


def jacobians(seen: Seen, samples: int) -> list[Row]:
    """Of networks without dropout."""
    modules = list(seen.network)
    places = [place for place, module in enumerate(modules) if isinstance(module, nn.Linear)]
    found = []
    for order, place in enumerate(places):
        into, above = nn.Sequential(*modules[:place]), nn.Sequential(*modules[place:])
        whole, one = [], []
        for x in seen.x[:samples]:
            whole.append(torch.func.jacrev(above)(into(x).detach()).detach())
            if order:
                below = places[order - 1]
                z = nn.Sequential(*modules[: below + 1])(x).detach()
                one.append(torch.func.jacrev(nn.Sequential(*modules[below + 1 : place + 1]))(z).detach())
        values = [torch.linalg.svdvals(matrix) for matrix in whole]
        row = {
            "jacobian_largest": _mean([float(value[0]) for value in values]),
            "jacobian_median": _mean([float(value.median()) for value in values]),
            "jacobian_mean_square": _mean([float(matrix.square().sum()) / len(matrix) for matrix in whole]),
            "layer_jacobian_largest": _mean([float(torch.linalg.matrix_norm(matrix, 2)) for matrix in one]),
            "layer_jacobian_mean_square": _mean([float(matrix.square().sum()) / len(matrix) for matrix in one]),
        }
        found.append(row)
    return found


def curvature(seen: Seen, samples: int) -> list[Row]:
    """Of networks without dropout: the whole block of the Gauss-Newton matrix."""
    found = []
    gradients = individual(seen)
    layers = [module for module in seen.network if isinstance(module, nn.Linear)]
    for g, module in zip(gradients, layers, strict=True):
        parameters = list(module.parameters())
        block = torch.zeros(g.shape[1], g.shape[1], dtype=torch.float64)
        count = min(samples, len(seen.x))
        for b in range(count):
            output, target = seen.network(seen.x[b : b + 1]), seen.y[b : b + 1]
            inner = torch.autograd.functional.hessian(lambda z, target=target: seen.loss(z, target), output.detach())[
                0, :, 0
            ]
            rows = [flat(list(torch.autograd.grad(one, parameters, retain_graph=True))) for one in output[0]]
            jacobian = torch.stack(rows)
            block += jacobian.T @ inner @ jacobian / count
        second = (g[:count] ** 2).mean(0)
        diagonal = block.diagonal().numpy()
        found.append(
            {
                "curvature_trace": float(block.trace()),
                "curvature_largest": float(torch.linalg.eigvalsh(block)[-1]),
                "tic_trace": second.sum() / float(block.trace()),
                "tic_diagonal": float((second[second > 0] / diagonal[second > 0]).sum()),
            }
        )
    return found


def trajectory(seen: Seen, before: Seen | None, start: Seen) -> list[Row]:
    """`alpha` is that of Cockpit's parabola through both losses and slopes where loss and slopes are of one: see the test."""
    found = []
    now, first = layer_parameters(seen), layer_parameters(start)
    slopes_now = layer_gradients(seen)
    for index, theta in enumerate(now):
        row = {"distance": float(np.linalg.norm(np.subtract(theta, first[index]))), "alpha": math.nan}
        if before is not None:
            way = np.subtract(theta, layer_parameters(before)[index])
            begin, end = way @ np.array(layer_gradients(before)[index]), way @ np.array(slopes_now[index])
            row["alpha"] = -end / begin
        found.append(row)
    return found


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan
