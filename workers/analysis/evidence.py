"""What a diagnosis rests on, in sentences with their numbers. H hidden layers from the input upwards."""

from collections.abc import Callable, Iterator

import numpy as np

from workers.analysis.direction import GONE, KEPT, spread_at_top
from workers.analysis.findings import (
    ALIKE,
    COLLAPSED_DECADES,
    MOST,
    correlation,
    findings,
    fitted,
    of_arm,
    relative_spread,
    spread_decades_lost,
    weight_gradient_spread,
)
from workers.analysis.profile import Profile
from workers.contract.results import Verdict

SOME = 0.1
"""Share of dead units worth a sentence."""


def evidence(start: Profile | None, early: Profile | None, end: Profile, *, diverged: int, trials: int) -> list[str]:
    """Sentences on step 0, then on the end, on the way between them, and on what did not get there."""
    moments = [start] if start is not None else []
    if start is None or end.step != start.step:
        moments.append(end)
    sentences = [sentence for moment in moments for sentence in _at(moment)]
    if (course := _course([moment for moment in (start, early, end) if moment is not None])) is not None:
        sentences.append(course)
    if (direction := _direction(start or end)) is not None:
        sentences.append(direction)
    if diverged:
        what = "the figures at the end are of the others" if end.state == "sound" else "their signal is not finite"
        sentences.append(f"{diverged} of {trials} trials diverged: {what}.")
    return sentences


def _at(moment: Profile) -> Iterator[str]:
    if not moment.hidden.any():
        return
    when = f"At step {moment.step}"
    for sentence in (found for say in SENTENCES if (found := say(moment)) is not None):
        yield f"{when} {sentence}."


def _signal(moment: Profile) -> str | None:
    names, delta = moment.names, moment.of("error_signal_norm")
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


def _concerned(moment: Profile) -> str | None:
    """Where it passes two decades."""
    found = findings(moment)
    told: list[tuple[Verdict, str]] = [
        ("vanishing", "lost more than two decades"),
        ("masked_vanishing", "lost more than two decades"),
        ("exploding", "gained more than two decades"),
    ]
    for name, what in told:
        if name in found and moment.state == "sound":
            places = np.flatnonzero(found[name])
            return f"it has {what} from {moment.names[places[-1]]} on down, in {len(places)} of {len(moment.names)} hidden layers"
    return None


def _masked(moment: Profile) -> str | None:
    if "masked_vanishing" not in findings(moment):
        return None
    spread = weight_gradient_spread(moment)
    return f"this is masked: weight gradients are within {spread:.2f} decades of each other, for the activations shrink on their way up"


def _eps(moment: Profile) -> str | None:
    names, shares = moment.names, moment.of("eps_dominance")
    ruled = np.flatnonzero(shares > MOST)
    if not len(ruled):
        return None
    most = ruled[np.argmax(shares[ruled])]
    return (
        f"eps exceeds √v for most parameters in {len(ruled)} of {len(names)} hidden layers "
        f"({shares[most]:.0%} at {names[most]}): there the rule is SGD with a tiny step"
    )


def _collapsed(moment: Profile) -> str | None:
    if "collapsed" not in findings(moment):
        return None
    names, fall, alike = moment.names, spread_decades_lost(moment), correlation(moment)
    said = []
    if (fall > COLLAPSED_DECADES).any():
        place = int(np.nanargmax(fall))
        by = "to exactly zero" if fall[place] == np.inf else f"by {fall[place]:.1f} decades"
        said.append(f"the activations' spread across samples falls {by} from {names[0]} to {names[place]}")
    if (alike > ALIKE).any():
        first = int(np.flatnonzero(alike > ALIKE)[0])
        gap = relative_spread(moment)[first] ** 2
        said.append(f"two samples correlate by 1 − {gap:.1g} at {names[first]}, the first above {ALIKE}")
    elif np.isfinite(alike[-1]):
        return f"the signal shrinks on its way up: {said[0]}; at {names[-1]} two samples correlate by {alike[-1]:.2f}: smaller, not alike"
    return f"different inputs grow alike on their way up: {' and '.join(said)}"


def _saturated(moment: Profile) -> str | None:
    names, shares = moment.names, moment.of("saturation_fraction")
    found = findings(moment).get("saturated")
    count = int((shares > MOST).sum())
    if not count and found is None:
        return None
    worst = int(np.nanargmax(shares))
    text = f"most of the non-linearities' derivatives are below a tenth of their maximum in {count} of {len(names)} hidden layers"
    text += f" ({shares[worst]:.0%} at {names[worst]})"
    top = moment.of("flat_top_fraction")[worst]
    if np.isfinite(top) and top > 0:
        text += f", {top / shares[worst]:.0%} of them on the flat top"
    if found is not None:
        which = np.flatnonzero(found)
        text += f"; {len(which)} {'is' if len(which) == 1 else 'are'} saturated, {names[which[0]]} first"
    return text


def _dead(moment: Profile) -> str | None:
    names, shares = moment.names, moment.of("dead_fraction")
    if not (shares > SOME).any():
        return None
    worst = int(np.nanargmax(shares))
    return (
        f"{shares[worst]:.0%} of the units of {names[worst]} are dead: their derivative is below 1e-6 on every sample"
    )


def _fitted(moment: Profile) -> str | None:
    """Why there is no verdict on what is flat, or on a signal that is zero."""
    if not fitted(moment):
        return None
    if moment.output_error == 0:
        return "nothing is left of the error at the output: the batch is fitted, and there is no signal to follow"
    if not findings(moment).keys() & {"dead", "saturated"}:
        return None
    left = f"the error at the output is {moment.error_left:.1g} of what it was at step 0"
    return f"{left}: the batch is fitted, and flat units stand in nobody's way"


def _silent(moment: Profile) -> str | None:
    """Why there is none, before training."""
    if not moment.silent or moment.output_error == 0:
        return None
    return "the output layer's weights are all zero: what is below them gets a signal once they have been moved"


SENTENCES: tuple[Callable[[Profile], str | None], ...] = (
    _signal, _concerned, _masked, _eps, _collapsed, _saturated, _dead, _fitted, _silent,
)  # fmt: skip


def _course(moments: list[Profile]) -> str | None:
    """How D went, where it can be told at two moments at least."""
    told = {moment.step: moment.decades for moment in moments if moment.decades is not None}
    if len(told) < 2:
        return None
    steps = [f"{decades:+.1f} at step {step}" for step, decades in told.items()]
    words = dict.fromkeys((of_arm(moment, findings(moment)).replace("_", " ") for moment in moments), None)
    how = " → ".join(words) if len(words) > 1 else f"{next(iter(words))} throughout"
    return f"Between the top and the bottom hidden layer δ changes by {', '.join(steps)} decades: {how}."


def _direction(at: Profile) -> str | None:
    """Whether samples can still be told apart at the top."""
    spread = spread_at_top(at)
    if spread is None or spread >= KEPT:
        return None
    what = "lost" if spread < GONE else "fading"
    return (
        f"At step {at.step} the direction is {what}, not the size alone: activations vary {spread:.1g} times as much between samples "
        "as they do in all, so that the gradients of all samples point the same way."
    )
