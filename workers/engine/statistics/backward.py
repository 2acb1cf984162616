"""Statistics of the gradient. T trials, n parameters of a layer, B samples, O units. The loss is a mean over B.

Sums are of elements brought into range by a power of two, so that nothing underflows on the way; results are float64.
"""

import torch
from torch import Tensor

from workers.engine.network import Linear
from workers.engine.scaling import dot, in_range

ROUNDING = 32
"""In units of the format's resolution: a variance of the samples' gradients below it may be rounding (of one sample, it is)."""


def backward(layer: Linear, previous: Tensor | None) -> dict[str, Tensor]:
    """All columns of the group `backward`.

    Args:
        layer: after a pass backward.
        previous: [T, n] gradient of the step before, None at step 0.
    """
    gradient = layer.slots.gradient
    count = gradient.shape[1]
    g, exponent = in_range(gradient)
    unit = torch.exp2(exponent)
    square = dot(g, g)
    mean = g.sum(1).double() / count
    centred = g - mean[:, None].to(g)
    rms = (square / count).sqrt()
    signs = torch.sign(g)
    delta, delta_exponent = in_range(layer.error_signal)
    # per-sample gradients carry δ's scale, the mean gradient its own: compare them on δ's
    samples = layer.sample_norms(delta)
    signal = square * torch.exp2(2 * (exponent - delta_exponent))
    noise = samples - signal
    measurable = noise > ROUNDING * torch.finfo(g.dtype).eps * samples
    columns = {
        "gradient_norm": square.sqrt() * unit,
        "gradient_rms": rms * unit,
        "gradient_mean": mean * unit,
        "gradient_std": (dot(centred, centred) / count).sqrt() * unit,
        "gradient_max_abs": g.abs().amax(1).double() * unit,
        "gradient_log10_rms": torch.where(
            rms == 0, torch.nan, rms.log10() + exponent * torch.log10(torch.tensor(2.0).double())
        ),
        "gradient_zero_fraction": (gradient == 0).sum(1).double() / count,
        "gradient_nonfinite_fraction": (~torch.isfinite(gradient)).sum(1).double() / count,
        "gradient_snr": torch.where(measurable, signal / noise, torch.nan),
        "error_signal_norm": dot(delta, delta).sqrt() * torch.exp2(delta_exponent),
    }
    if previous is None:
        return columns | dict.fromkeys(("sign_flip_rate", "gradient_cosine"), torch.full_like(square, torch.nan))
    p, _ = in_range(previous)
    agreement = signs * torch.sign(p)
    return columns | {
        "sign_flip_rate": (agreement < 0).sum(1).double() / count,
        "gradient_cosine": _ratio(dot(g, p), (square * dot(p, p)).sqrt()),
    }


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """NaN where the denominator is not positive: a zero gradient has nothing to compare with."""
    return torch.where(denominator > 0, numerator / denominator, torch.nan)
