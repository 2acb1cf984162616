"""Whether only the size of the signal is lost, or its direction too; and so, whether an optimizer that ignores size can help.

What tells the samples apart reaches the top as s/σ, the activations' standard deviation over samples relative to that over samples and
units. Where it is small the gradients of all samples point the same way, and no rule can take from their sign what is not there. Measured
on digits, width 64, Xavier, 800 steps, two seeds and two rates of Signum, beside iRprop−, test accuracy:

| s/σ at the top hidden layer | network | Signum | iRprop− |
|---|---|---|---|
| 1e-3 | 6 sigmoids | .87 to .94 | .84 |
| 7e-4 | 13 softplus | .88 to .94 | .85 |
| 4e-4 | 10 Gaussians exp(−z²/2) | .81 to .86, .19 to .39 | .40 |
| 3e-5 | 13 Gaussians | .09 to .45 | .42 |
| 3e-6 | 10 sigmoids | .09 to .65 | .21 to .65 |
| 2e-7 | 13 sigmoids | .09 to .17 | .30 to .53 |
| 2e-6 to 2e-7 | 16 and 20 Gaussians | .09 | .21 to .33 |

In float64 it is the same, so it is not rounding that loses it. Above D = 1 the images of like samples are torn apart instead: 20 tanh
at σw = 3 (D = 2.6) reach .28 to .63 under Signum and .61 under SGD, 10 sines at σw = 3 (D = 2.9) stay at chance under both.
"""

import numpy as np

from workers.analysis.findings import HEALTHY_DECADES, WHOLLY, findings, relative_spread
from workers.analysis.profile import Profile
from workers.contract.results import Lost, Rescue

KEPT = 1e-4
"""s/σ from which on the direction is there."""
GONE = 1e-6
"""s/σ below which it is not."""


def spread_at_top(at: Profile) -> float | None:
    """The smallest s/σ of the hidden layers; None where none can be told."""
    spread = relative_spread(at)
    told = spread[np.isfinite(spread)]
    return float(told.min()) if len(told) else None


def lost(at: Profile) -> Lost | None:
    """What is lost at a moment; None where the signal itself cannot be told."""
    spread = spread_at_top(at)
    direction = spread is not None and spread < KEPT
    if not direction and (at.silent or (at.state == "sound" and at.decades is None)):
        return None
    magnitude = at.state != "sound" or (at.decades is not None and abs(at.decades) > HEALTHY_DECADES)
    if magnitude:
        return "magnitude_and_direction" if direction else "magnitude"
    return "direction" if direction else "nothing"


def rescue(at: Profile) -> Rescue | None:
    """Whether steps that do not depend on the gradient's size can train from here."""
    found = lost(at)
    if found is None:
        return None
    if at.state != "sound" or (at.of("dead_fraction") >= WHOLLY).any() or "underflowed" in findings(at):
        return "cannot_help"  # the sign of zero is zero, and a number that is not finite has none
    if at.decades is not None and at.decades > HEALTHY_DECADES:
        return "may_help"
    if found == "nothing":
        return "not_needed"
    if found == "magnitude":
        return "helps"
    spread = spread_at_top(at)
    return "cannot_help" if spread is not None and spread < GONE else "may_help"
