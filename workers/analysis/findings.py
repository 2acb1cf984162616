"""What is wrong with an arm's signal at one moment, layer by layer. L layers, H hidden ones, from the input upwards.

D_l is the decades that the norm of δ has gained (negative: lost) from the top hidden layer down to layer l, D that of the bottom one;
s_l the standard deviation of a layer's activations over samples, σ_l that over samples and units together.

| verdict | of a layer | of the arm |
|---|---|---|
| dead | more than half of its units have |θ′| < 1e-6 on every sample (nine of ten where samples are alike) | in any layer, unless fitted |
| underflowed | δ is exactly zero, and neither a dead layer at or above it nor zeros at the output explain that | in any layer |
| exploding | D_l > 2, or δ is not finite | D > 2 |
| saturated | as many of its units have |θ′| below a tenth of its maximum on nine samples of ten | in any layer, unless fitted |
| vanishing | D_l < −2 | D < −2; *saturated* where most of D is lost in saturated layers |
| masked_vanishing | vanishing while the arm is masked | D < −2, and the weight gradients lie within half a decade of each other |
| collapsed | s_l has fallen by more than 2 decades since the first layer, or samples correlate by more than .99 | in any layer |
| weakening, growing | 1 < |D_l| ≤ 2 | 1 < |D| ≤ 2 |

The correlation is `activation_correlation` where it was recorded, else 1 − (s_l/σ_l)², the share of the activations' variance that is
between units rather than between samples. A layer's units are counted by `saturated_unit_fraction` where it was recorded; else a layer is
saturated where nine of ten of all (sample, unit) are. The weight gradients are those of whole layers, `gradient_norm`; or, since biases,
whose gradient is δ itself, may rule those, the product of ‖δ_l‖ and the rms of the activations below, from the second layer up: what
Glorot and Bengio 2010 find flat in equations 13 and 14. Where samples are alike all of them are on the flat side of the same half of
a ReLU layer's units, which is no death.

A network has fitted its batch where the norm of δ at the output has fallen to a hundredth of what it was at step 0. Units that the growing
margins have then driven flat stand in nobody's way: they are told of their layers, and the arm has the verdict of its D. Twenty layers of
2·tanh(z/2) on digits under full-batch iRprop− end with every training sample right and 2e-8 of the error left, D = 0.9, and 42 to 69 % of
the units of the top hidden layer flat on every sample: a healthy arm with a dead layer, not a dead arm.
"""

from collections.abc import Callable

import numpy as np

from workers.analysis.profile import Mask, Profile
from workers.analysis.signals import Numbers
from workers.contract.results import Verdict

HEALTHY_DECADES = 1.0
LOST_DECADES = 2.0
FLAT_DECADES = 0.5
"""Weight gradients within this of each other look healthy."""
COLLAPSED_DECADES = 2.0
"""Fall of the spread across samples, beyond which inputs can no longer be told apart."""
ALIKE = 0.99
"""Correlation between samples, alike."""
MOST = 0.5
"""Share of a layer's units or parameters that makes something true of the layer."""
NEARLY_ALL = 0.9
"""Share of samples on which a saturated unit is."""
FITTED = 0.01
"""Of the error at the output: what is left where the batch has been fitted."""
WHOLLY = 1.0
"""Share of dead units in a layer that lets nothing through."""


def verdict(decades: float | None) -> Verdict:
    """Of the decades that the norm of δ gains on its way down (negative: loses)."""
    if decades is None:
        return "unknown"
    if abs(decades) <= HEALTHY_DECADES:
        return "healthy"
    if abs(decades) <= LOST_DECADES:
        return "weakening" if decades < 0 else "growing"
    return "vanishing" if decades < 0 else "exploding"


def findings(at: Profile) -> dict[Verdict, Mask]:
    """[H] by verdict, the gravest first: in which hidden layers it holds; those that hold in none are left out."""
    hides = _signal(at) == "vanishing" and weight_gradient_spread(at) <= FLAT_DECADES
    told: dict[Verdict, Verdict] = {"vanishing": "masked_vanishing"} if hides else {}
    masks = {told.get(name, name): check(at) for name, check in CHECKS.items()}
    return {name: mask for name, mask in masks.items() if mask.any()}


def of_layer(found: dict[Verdict, Mask], place: int) -> list[Verdict]:
    """All that holds in a hidden layer, the gravest first."""
    return [name for name in found if found[name][place]]


def of_arm(at: Profile, found: dict[Verdict, Mask]) -> Verdict:
    """The one word for a moment, as in the table above."""
    if at.state == "broken":
        return "exploding"
    signal, obstructs = _signal(at), not fitted(at)
    if "dead" in found and obstructs:
        return "dead"
    if "underflowed" in found:
        return "underflowed"
    if signal == "exploding":
        return signal
    if signal == "vanishing":
        if obstructs and _lost_in(at, found.get("saturated")) > MOST:
            return "saturated"
        return "masked_vanishing" if "masked_vanishing" in found else signal
    if "saturated" in found and obstructs:
        return "saturated"
    return "collapsed" if "collapsed" in found else signal


def fitted(at: Profile) -> bool:
    """Whether next to nothing is left of the error that training began with."""
    return at.error_left is not None and at.error_left < FITTED


def decades_from_top(at: Profile) -> Numbers:
    """D_l, [H]; −∞ where δ is zero, NaN where it cannot be told."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(at.of("error_signal_norm"))
        return np.asarray(logs - logs[-1] if len(logs) else logs, np.float64)


def relative_spread(at: Profile) -> Numbers:
    """s_l/σ_l, [H]: 1 where units differ by sample alone, near 0 where all samples have the same image, 0 if it is exactly the same."""
    between = at.of("activation_sample_std")
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(between == 0, 0.0, between / at.of("activation_std"))


def correlation(at: Profile) -> Numbers:
    """Between samples, [H]."""
    measured = at.of("activation_correlation")
    return np.where(np.isnan(measured), 1 - relative_spread(at) ** 2, measured)


def spread_decades_lost(at: Profile) -> Numbers:
    """How far s has fallen since the first hidden layer, [H] in decades; +∞ where it is exactly zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(at.of("activation_sample_std"))
        return np.asarray(logs[0] - logs if len(logs) else logs, np.float64)


def weight_gradient_spread(at: Profile) -> float:
    """Decades between the largest and the smallest weight gradient, the smaller of both ways to tell; NaN where neither can."""
    below = np.hypot(at.of("activation_mean"), at.of("activation_std"))[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        told = [np.log10(at.of("gradient_norm")), np.log10(at.of("error_signal_norm")[1:] * below)]
    spreads = [float(np.ptp(one)) for one in told if len(one) > 1 and np.isfinite(one).all()]
    return min(spreads, default=float("nan"))


def _signal(at: Profile) -> Verdict:
    return verdict(at.decades)


def _dead(at: Profile) -> Mask:
    return at.of("dead_fraction") > _most(at)


def _most(at: Profile) -> Numbers:
    """Share of a layer's units, [H]."""
    return np.where(correlation(at) > ALIKE, NEARLY_ALL, MOST)


def _underflowed(at: Profile) -> Mask:
    """Zeros, unless the topmost layer that has them, or one above it, lets nothing through, or nothing comes in."""
    zero: Mask = at.of("error_signal_norm") == 0
    if not zero.any() or at.silent:
        return zero & False
    top = np.flatnonzero(zero)[-1]
    return zero & (not (at.of("dead_fraction")[top:] >= WHOLLY).any())


def _exploding(at: Profile) -> Mask:
    return ~np.isfinite(at.of("error_signal_norm")) | (decades_from_top(at) > LOST_DECADES)


def _vanishing(at: Profile) -> Mask:
    """An exact zero, too, where a dead layer is to blame."""
    return (decades_from_top(at) < -LOST_DECADES) & ~_underflowed(at)


def _saturated(at: Profile) -> Mask:
    units, share = at.of("saturated_unit_fraction"), at.of("saturation_fraction")
    return np.where(np.isnan(units), share > NEARLY_ALL, units > _most(at))


def _collapsed(at: Profile) -> Mask:
    return (correlation(at) > ALIKE) | (spread_decades_lost(at) > COLLAPSED_DECADES)


def _weakening(at: Profile) -> Mask:
    decades = decades_from_top(at)
    return (decades >= -LOST_DECADES) & (decades < -HEALTHY_DECADES)


def _growing(at: Profile) -> Mask:
    decades = decades_from_top(at)
    return (decades > HEALTHY_DECADES) & (decades <= LOST_DECADES)


def _lost_in(at: Profile, layers: Mask | None) -> float:
    """Share of D that is lost where δ enters one of these layers from the one above."""
    if layers is None:
        return 0.0
    gained = -np.diff(decades_from_top(at))  # by layer, but for the top one
    return float(gained[layers[:-1]].sum() / gained.sum())


CHECKS: dict[Verdict, Callable[[Profile], Mask]] = {
    "dead": _dead,
    "underflowed": _underflowed,
    "exploding": _exploding,
    "saturated": _saturated,
    "vanishing": _vanishing,
    "collapsed": _collapsed,
    "growing": _growing,
    "weakening": _weakening,
}
"""Gravest first."""
