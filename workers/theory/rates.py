"""How much of ‖δ‖² a layer passes on towards the input where normalisation or a shortcut is in the way. z ~ N(0, 1) after a norm."""

from math import inf, log

from workers.theory.meanfield import chi_1, length_map
from workers.theory.tabulated import Tabulated


def batch_norm(theta: Tabulated) -> float:
    """E[θ′²]/Var θ: batch norm before θ, as the batch grows (Yang et al. 2019, corollary 4.1 for B → ∞)."""
    return theta.slope_second(1.0) / (theta.second(1.0) - theta.mean(1.0) ** 2)


def linear_batch_norm(batch_size: int) -> float:
    """(B − 2)/(B − 3): batch norm without a non-linearity explodes in small batches (Yang et al. 2019, section 4).

    Raises:
        ValueError: for B ≤ 3, where it is infinite.
    """
    if batch_size <= 3:
        raise ValueError(f"the rate is infinite for batches of {batch_size}: it needs more than 3 samples")
    return (batch_size - 2) / (batch_size - 3)


def layer_norm(theta: Tabulated) -> float:
    """E[θ′²]/E[θ²]: layer norm or RMS norm before θ, at large width, without biases. Their rates agree: a random W's mean is 0."""
    return theta.slope_second(1.0) / theta.second(1.0)


rms_norm = layer_norm


def residual(theta: Tabulated, q: float, sigma_w: float, sigma_v: float, scale: float = 1.0) -> tuple[float, float]:
    """X + α V θ(Wx): (growth of ‖x‖², of ‖δ‖²) in a block.

    The branch adds its own variance and its own gradient: 1 + α²σv² E[θ²]/x² with q = σw² x², and 1 + α² σv² σw² E[θ′²]
    (Yang & Schoenholz 2017, theorems for full residual networks; De & Smith 2020 for α = 1/√L).

    Args:
        theta, q: the branch's non-linearity and the variance of its pre-activations, above 0.
        sigma_w, sigma_v: of the branch's first and last weights.
        scale: α; 0 for ReZero and SkipInit at the start.
    """
    stream = q / sigma_w**2
    forward = 1 + scale**2 * sigma_v**2 * theta.second(q) / stream
    return forward, 1 + (scale * sigma_v) ** 2 * chi_1(theta, q, sigma_w)


def highway(theta: Tabulated, q: float, sigma_w: float, carry: float) -> float:
    """(1 − t)² + t² χ₁: a highway layer whose transform gate is t everywhere (Srivastava et al. 2015, eq. 3), 1 − t the carry.

    The gate's own gradient is left out: it is of order t² (1 − t)², small for the biases −1 … −10 that are used.
    """
    return carry**2 + (1 - carry) ** 2 * chi_1(theta, q, sigma_w)


def layers_to_fixed_point(theta: Tabulated, sigma_w: float, sigma_b: float, q: float, tolerance: float = 0.01) -> int:
    """Layers until q_l changes by less than `tolerance` a layer, at most 10 000."""
    for layer in range(10_000):
        following = length_map(theta, q, sigma_w, sigma_b)
        if following in (0, inf) or abs(log(following / q)) < tolerance:
            return layer
        q = following
    return 10_000
