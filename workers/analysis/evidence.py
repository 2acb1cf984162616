"""What a diagnosis rests on, in sentences with their numbers. H hidden layers from the input upwards."""

from collections.abc import Iterator

import numpy as np

from workers.analysis.profile import Profile
from workers.analysis.signals import Numbers

FLAT_DECADES = 0.5
"""Weight gradients within this of each other look healthy."""
VANISHED_DECADES = -2.0
COLLAPSED_DECADES = 2.0
"""Fall of the spread across samples, beyond which inputs can no longer be told apart."""
MOST = 0.5
"""Share of a layer's units or parameters that makes something true of the layer."""


def evidence(start: Profile | None, end: Profile, *, diverged: int, trials: int) -> list[str]:
    """Sentences on step 0, then on the end, then on what did not get there."""
    moments = [start] if start is not None else []
    if start is None or end.step != start.step:
        moments.append(end)
    sentences = [sentence for moment in moments for sentence in _at(moment)]
    if diverged:
        what = "the figures at the end are of the others" if end.state == "sound" else "their signal is not finite"
        sentences.append(f"{diverged} of {trials} trials diverged: {what}.")
    return sentences


def _at(moment: Profile) -> Iterator[str]:
    if not moment.hidden.any():
        return
    when = f"At step {moment.step}"
    for sentence in (_signal(moment), _masked(moment), _eps(moment), _collapsed(moment), _saturated(moment)):
        if sentence is not None:
            yield f"{when} {sentence}."


def _signal(moment: Profile) -> str | None:
    names, delta = _hidden(moment), _means(moment, "error_signal_norm")
    if moment.state == "zero":
        zeros = delta == 0
        found = f"the error signal is exactly zero in {zeros.sum()} of {len(names)} hidden layers"
        alive = np.flatnonzero(~zeros)
        return found + (f"; its norm is {delta[alive[0]]:.2g} at {names[alive[0]]}" if len(alive) else "")
    if not np.isfinite(delta).all():
        return f"the error signal is not finite in {(~np.isfinite(delta)).sum()} of {len(names)} hidden layers"
    rate = moment.decades_per_layer
    if rate is None:
        return None
    pace = f"{abs(rate):.2f}"
    moves = "keeps its size" if pace == "0.00" else f"{'falls' if rate < 0 else 'grows'} by {pace} decades per layer"
    return f"the error signal {moves}: its norm is {delta[-1]:.2g} at {names[-1]} and {delta[0]:.2g} at {names[0]}"


def _masked(moment: Profile) -> str | None:
    gradient = _means(moment, "gradient_norm")
    if moment.decades is None or moment.decades >= VANISHED_DECADES or not (gradient > 0).all():
        return None
    spread = float(np.ptp(np.log10(gradient)))
    if not spread <= FLAT_DECADES:
        return None
    return f"this is masked: weight gradients are within {spread:.2f} decades of each other in all hidden layers"


def _eps(moment: Profile) -> str | None:
    names, shares = _hidden(moment), _means(moment, "eps_dominance")
    ruled = np.flatnonzero(shares > MOST)
    if not len(ruled):
        return None
    most = ruled[np.argmax(shares[ruled])]
    return (
        f"eps exceeds √v for most parameters in {len(ruled)} of {len(names)} hidden layers "
        f"({shares[most]:.0%} at {names[most]}): there the rule is SGD with a tiny step"
    )


def _collapsed(moment: Profile) -> str | None:
    names, spread = _hidden(moment), _means(moment, "activation_sample_std")
    if not np.isfinite(spread).all() or spread[0] == 0:
        return None
    lost = np.inf if spread[-1] == 0 else np.log10(spread[0]) - np.log10(spread[-1])
    if lost <= COLLAPSED_DECADES:
        return None
    fall = "to exactly zero" if lost == np.inf else f"by {lost:.1f} decades"
    return (
        f"different inputs grow alike on their way up: the activations' spread across samples falls {fall} "
        f"from {names[0]} to {names[-1]}"
    )


def _saturated(moment: Profile) -> str | None:
    names, shares = _hidden(moment), _means(moment, "saturation_fraction")
    count = int((shares > MOST).sum())
    if not count:
        return None
    return f"most of the non-linearities' derivatives are below a tenth of their maximum in {count} of {len(names)} hidden layers"


def _hidden(moment: Profile) -> list[str]:
    return [name for name, hidden in zip(moment.layers, moment.hidden, strict=True) if hidden]


def _means(moment: Profile, name: str) -> Numbers:
    """[H]"""
    return moment.means[name][moment.hidden]
