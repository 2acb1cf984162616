"""Statistics of the gradient. L layers, T trials, n parameters of a layer, B samples, O units. The loss is a mean over B.

Sums are of elements brought into range by a power of two, so that nothing underflows on the way; results are float64 [L, T].
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from workers.contract.statistics import Pass
from workers.engine.scaling import dot, in_range, peaks, squares
from workers.engine.statistics.counting import count, numbers, stacked

RAW = (
    *("square", "mean", "centred_square", "zeros", "nonfinite", "flips", "product", "square_before"),
    *("delta_exponent", "delta_square", "sample_square"),
)
ROUNDING = 32
"""In units of the format's resolution: a variance of the samples' gradients below it may be rounding (of one sample, it is)."""


class Samples(NamedTuple):
    """Of a dense layer on features: what the gradients of single samples are made of."""

    delta: Tensor
    """[T, B, O], at its pre-activation."""
    input: Tensor
    """[T, B, I]"""
    biased: bool


class Signal(NamedTuple):
    """What came down to a layer."""

    gradient: Tensor
    """[T, n], of all its parameters."""
    delta: Tensor
    """[T, B, ...], its error signal."""
    samples: Samples | None
    """None where the gradients of single samples are not known."""


def backward(
    signals: Sequence[Signal],
    previous: Sequence[Tensor] | None,
    carried: Tensor | None,
    passes: Collection[Pass],
) -> dict[str, Tensor]:
    """All columns of the group `backward`; those that need other passes are NaN.

    Args:
        signals: of each layer, after a pass backward.
        previous: [T, n] gradient of each layer of the step before, None at step 0.
        carried: exponents of two that belong to gradient and δ, float64 [L, T]; None where they are as they are.
        passes: what is computed.
    """
    gradients = [signal.gradient for signal in signals]
    peak = peaks(gradients)
    scaled, exponent = in_range(gradients, peak)
    compared = previous if {"signs", "agreement"} & set(passes) else None
    scaled_before, _ = in_range(compared, peaks(compared)) if compared is not None else (None, None)
    found = []
    for gradient, g in zip(gradients, scaled, strict=True):
        sums = _sums(gradient, g) if "gradient" in passes else {}
        sums |= _moments(gradient, g) if "moments" in passes else {}
        sums |= _compared(g, next(scaled_before), passes) if scaled_before is not None else {}
        found.append(sums)
    raw = dict.fromkeys(RAW, torch.full_like(exponent, torch.nan)) | stacked(found)
    raw |= {"peak": peak.double(), "exponent": exponent}
    raw |= _error_signals(signals, with_inputs="samples" in passes) if "error_signal" in passes else {}
    if carried is not None:
        raw |= {"peak": raw["peak"] * torch.exp2(carried)}
        raw |= {name: raw[name] + carried for name in ("exponent", "delta_exponent")}
    return backward_columns(raw, [g.shape[1] for g in gradients], gradients[0].dtype)


def backward_columns(raw: Mapping[str, Tensor], counts: Sequence[int], dtype: torch.dtype) -> dict[str, Tensor]:
    """The columns from sums over each layer's parameters and samples.

    Args:
        raw: float64 [L, T]. Of the gradient: `peak` as it is, then, of g·2^−`exponent`, `square`, `mean`, `centred_square`,
            `zeros`, `nonfinite`; against the step before `flips`, `product`, `square_before` (NaN at step 0). Of the samples,
            on the scale of δ·2^−`delta_exponent`: `delta_square` Σ_b ‖δ_b‖² and `sample_square`, the mean of ‖g_b‖².
        counts: parameters of each layer.
        dtype: of the gradient.
    """
    n = numbers(counts, raw["square"].device)
    square, exponent = raw["square"], raw["exponent"]
    unit, rms = torch.exp2(exponent), (square / n).sqrt()
    # per-sample gradients carry δ's scale, the mean gradient its own: compare them on δ's
    signal = square * torch.exp2(2 * (exponent - raw["delta_exponent"]))
    noise = raw["sample_square"] - signal
    measurable = noise > ROUNDING * torch.finfo(dtype).eps * raw["sample_square"]
    return {
        "gradient_norm": square.sqrt() * unit,
        "gradient_rms": rms * unit,
        "gradient_mean": raw["mean"] * unit,
        "gradient_std": (raw["centred_square"] / n).sqrt() * unit,
        "gradient_max_abs": raw["peak"],
        "gradient_log10_rms": torch.where(rms == 0, torch.nan, rms.log10() + exponent * math.log10(2)),
        "gradient_zero_fraction": raw["zeros"] / n,
        "gradient_nonfinite_fraction": raw["nonfinite"] / n,
        "sign_flip_rate": raw["flips"] / n,
        "gradient_cosine": _ratio(raw["product"], (square * raw["square_before"]).sqrt()),
        "gradient_snr": torch.where(measurable, signal / noise, torch.nan),
        "error_signal_norm": raw["delta_square"].sqrt() * torch.exp2(raw["delta_exponent"]),
    }


def _sums(gradient: Tensor, g: Tensor) -> dict[str, Tensor]:
    """[T] each, of one layer's gradient and the same in range."""
    return {"square": dot(g, g), "zeros": count(torch.eq, gradient, 0)}


def _moments(gradient: Tensor, g: Tensor) -> dict[str, Tensor]:
    """[T] each, of the same."""
    mean = g.mean(1)
    return {
        "mean": mean,
        "centred_square": (g - mean[:, None]).square_().sum(1),
        "nonfinite": (gradient * 0).nan_to_num_(nan=1.0).sum(1),
    }


def _compared(g: Tensor, before: Tensor, passes: Collection[Pass]) -> dict[str, Tensor]:
    """[T] each, of one layer's gradient and the step's before, both in range."""
    found = {"flips": g.sign().mul_(before).lt_(0).sum(1)} if "signs" in passes else {}
    if "agreement" in passes:
        found |= {"product": dot(g, before), "square_before": dot(before, before)}
    return found


def _error_signals(signals: Sequence[Signal], with_inputs: bool) -> dict[str, Tensor]:
    """δ's norm, and with the layers' inputs the mean square of single samples' gradients on the same scale."""
    deltas = [signal.delta for signal in signals]
    square, exponent = squares(deltas, kept=2)  # [L, T, B]
    of_samples = torch.full_like(exponent, torch.nan)
    known = {place: signal.samples for place, signal in enumerate(signals) if signal.samples is not None}
    if known and with_inputs:
        if all(layer.delta is deltas[place] for place, layer in known.items()):
            own_square, own_exponent = (torch.stack([each[place] for place in known]) for each in (square, exponent))
        else:  # of some that of a residual stream is measured, not the layer's own
            own_square, own_exponent = squares([layer.delta for layer in known.values()], kept=2)
        for place, found, own in zip(known, _samples([*known.values()], own_square), own_exponent, strict=True):
            of_samples[place] = found * torch.exp2(2 * (own - exponent[place]))
    return {"delta_exponent": exponent, "delta_square": square.sum(2), "sample_square": of_samples}


def _samples(layers: Sequence[Samples], delta_squares: Tensor) -> Tensor:
    """Mean over samples of ‖g_b‖², [L, T], on the scale of the ‖δ_b‖² that are given, [L, T, B].

    A sample's gradient is B δ_b x_bᵀ (and B δ_b for the bias), so the mean of ‖g_b‖² is B Σ_b ‖δ_b‖² (‖x_b‖² + 1): no gradient of
    a sample is ever in memory.
    """
    reach, exponent = squares([layer.input for layer in layers], kept=2)
    biased = numbers([float(layer.biased) for layer in layers], reach.device)[..., None]
    return (delta_squares * (reach * torch.exp2(2 * exponent)[..., None] + biased)).sum(2) * reach.shape[2]


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """NaN where the denominator is not positive: a zero gradient has nothing to compare with."""
    return torch.where(denominator > 0, numerator / denominator, torch.nan)
