"""How much the samples of a batch disagree. L layers, T trials, B samples, O/I outputs/inputs of a layer, n its parameters.

g_b is the gradient of one sample's own loss and ḡ their mean, both over all of a layer's parameters. A sample's gradient is B δ_b x̃ᵀ_b,
δ of the mean loss and x̃ = (x, 1), so with S = mean ‖g_b‖² = B Σ_b ‖δ_b‖²‖x̃_b‖²

    gradient_noise_scale    tr Σ/‖G‖², tr Σ = (S − ‖ḡ‖²)B/(B−1), ‖G‖² = ‖ḡ‖² − tr Σ/B       McCandlish et al. 2018, appendix A.1
    norm_test               √(tr Σ/(B‖ḡ‖²))                                                Byrd et al. 2012, equation 3.9
    inner_product_test      √((Σ_b (g_b·ḡ)²/‖ḡ‖⁴ − B)/(B(B−1)))                            Bollapragada et al. 2017, equation 2.6
    orthogonality_test      √((Σ_b ‖g_b‖²/‖ḡ‖² − Σ_b (g_b·ḡ)²/‖ḡ‖⁴)/(B(B−1)))              there, equation 3.3
    cabs_batch_size         lr (S − ‖ḡ‖²)/loss                                             Balles et al. 2017, equation 22
    mean_gsnr               mean over the parameters of ḡ²/(mean g_b² − ḡ²)                Liu et al. 2020
    early_stopping          1 − (B−1)·mean_gsnr                                            Mahsereci et al. 2017, equation 7

No gradient of a sample is ever in memory: g_b·ḡ = B δ_b·(Ḡ x̃_b), and mean g_b² over all parameters is B (δ²)ᵀ(x̃²). As Cockpit has them
(Schneider et al. 2021), without its 1e-5 beside variances: with gradients of 1e-10 that would decide. Where a variance may be
rounding its quotient is NaN, and a parameter does not count in a mean.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.engine.scaling import dot, in_range, peaks
from workers.engine.statistics.backward import ROUNDING, Samples


def noise(layer: Samples, exponent: Tensor, lr: Tensor, loss: Tensor) -> dict[str, Tensor]:
    """Of one layer, float64 [T] each.

    Args:
        exponent: of two, that belongs to δ beside what it says, float64 [T].
        lr: float64 [T], NaN where there is none.
        loss: float64 [T].
    """
    (scaled, delta_exponent), (inputs, input_exponent) = (
        in_range([one], peaks([one])) for one in (layer.delta, layer.input)
    )
    delta, x = next(scaled), next(inputs)
    batch, biased = delta.shape[1], float(layer.biased)
    reach = torch.exp2(2 * input_exponent[0])  # of the weights, beside the bias
    weights, bias = torch.bmm(delta.mT, x), delta.sum(1)  # ḡ, [T, O, I] and [T, O]
    # ‖g_b‖² and g_b·ḡ, [T, B]
    lengths = dot(delta, delta).double() * (dot(x, x).double() * reach[:, None] + biased) * batch**2
    through_weights = dot(torch.bmm(x, weights.mT), delta).double() * reach[:, None]
    projections = (through_weights + biased * torch.bmm(delta, bias[..., None])[..., 0].double()) * batch
    flat = weights.flatten(1)
    square, everything = dot(flat, flat).double() * reach + biased * dot(bias, bias).double(), lengths.mean(1)
    variance = everything - square
    variance = torch.where(_measurable(variance, everything, delta.dtype), variance, torch.nan)
    aligned = projections.square().sum(1) / square.square()
    total = variance * batch / (batch - 1) if batch > 1 else torch.full_like(variance, torch.nan)
    true_square = square - total / batch
    pairs = batch * (batch - 1) or torch.nan
    squares = delta.square()
    parts = [(weights, torch.bmm(squares.mT, x.square())), (bias, squares.sum(1))][: 1 + layer.biased]
    gsnr = _mean_gsnr([(mean.flatten(1), second.flatten(1).mul_(batch)) for mean, second in parts])
    across = (lengths.sum(1) / square - aligned).clamp_min(0)
    return {
        "gradient_noise_scale": torch.where(true_square > 0, total / true_square, torch.nan),
        "norm_test": (total / (batch * square)).sqrt(),
        "inner_product_test": torch.where(variance > 0, ((aligned - batch).clamp_min(0) / pairs).sqrt(), torch.nan),
        "orthogonality_test": torch.where(variance > 0, (across / pairs).sqrt(), torch.nan),
        "cabs_batch_size": lr * variance * torch.exp2(2 * (delta_exponent[0] + exponent)) / loss,
        "mean_gsnr": gsnr,
        "early_stopping": 1 - (batch - 1) * gsnr,
    }


def _mean_gsnr(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """[T], over the parameters whose variance is known. Weights and biases each have a scale of their own.

    Args:
        parts: (ḡ, mean of g_b²), [T, n] each.
    """
    total, count = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for mean, second in parts:
        signal = mean.square()
        variance = second - signal
        known = _measurable(variance, second, mean.dtype)
        total = total + torch.where(known, signal / variance, 0.0).sum(1, dtype=torch.float64)
        count = count + known.sum(1)
    return total / count


def _measurable(difference: Tensor, of: Tensor, dtype: torch.dtype) -> Tensor:
    """Where it is not rounding of what was subtracted."""
    return difference > ROUNDING * torch.finfo(dtype).eps * of
