"""The columns of the statistics table: one row per trial, recorded step and layer with parameters.

The loss is the mean over the batch. g is the layer's gradient over all of its parameters (weights and biases together),
δ = ∂L/∂z at its pre-activation, a = θ(z) the output of the non-linearity that follows (the identity on the output layer),
Δθ what the step moved.
"""

from typing import Literal, NamedTuple

Group = Literal["backward", "forward", "update"]


class Statistic(NamedTuple):
    group: Group
    description: str


STATISTICS: dict[str, Statistic] = {
    "gradient_norm": Statistic("backward", "‖g‖₂"),
    "gradient_rms": Statistic("backward", "‖g‖₂/√n over the layer's n parameters"),
    "gradient_mean": Statistic("backward", "mean of g over the layer's parameters"),
    "gradient_std": Statistic("backward", "√(mean g² − (mean g)²) over the layer's parameters"),
    "gradient_max_abs": Statistic("backward", "max |g|"),
    "gradient_log10_rms": Statistic("backward", "log₁₀ of gradient_rms; null where g is exactly zero"),
    "gradient_zero_fraction": Statistic("backward", "share of elements of g that are exactly zero"),
    "gradient_nonfinite_fraction": Statistic("backward", "share of elements of g that are NaN or infinite"),
    "gradient_snr": Statistic(
        "backward",
        "‖g‖²/(mean over samples of ‖g_b‖² − ‖g‖²): squared mean over total variance of per-sample gradients; null where "
        "that variance may be rounding, as with a batch of one",
    ),
    "sign_flip_rate": Statistic(
        "backward", "share of elements whose sign is opposite to the previous step's; a zero is opposite to nothing"
    ),
    "gradient_cosine": Statistic("backward", "cosine of g with the previous step's"),
    "error_signal_norm": Statistic("backward", "‖δ‖₂ over samples and units"),
    "activation_mean": Statistic("forward", "mean of a over samples and units"),
    "activation_std": Statistic("forward", "standard deviation of a over samples and units together"),
    "activation_sample_std": Statistic("forward", "root mean square over units of a's standard deviation over samples"),
    "saturation_fraction": Statistic("forward", "share of (sample, unit) with |θ′(z)| below a tenth of its maximum"),
    "derivative_mean": Statistic("forward", "mean of |θ′(z)| over samples and units"),
    "dead_fraction": Statistic("forward", "share of units with |θ′(z)| below 1e-6 on every sample of the batch"),
    "weight_norm": Statistic("update", "‖θ‖₂ of the layer before the update"),
    "update_norm": Statistic("update", "‖Δθ‖₂; null at the last step, after which none is made"),
    "update_to_weight_ratio": Statistic("update", "‖Δθ‖/‖θ‖"),
    "effective_lr": Statistic("update", "‖Δθ‖/‖g‖"),
    "eps_dominance": Statistic("update", "share of elements where eps exceeds √v; null for rules without an eps"),
    "estimate_cosine": Statistic(
        "update",
        "cosine with g of what a gradient-free rule takes it to be, or of −Δθ where it makes no such estimate; null for rules that are given g",
    ),
}

KEYS: dict[str, str] = {
    "variant": "name of the variant; `base` is the network as given",
    "optimizer": "name of the optimizer",
    "trial": "0-based index in the comparison's frozen order",
    "lr": "learning rate; null for rules without one",
    "seed": "seed of the trial",
    "step": "updates made so far",
    "layer": "stable path of the layer",
    "depth": "position of the layer, from 0 at the input",
}

COLUMNS: tuple[str, ...] = (*KEYS, *STATISTICS)
