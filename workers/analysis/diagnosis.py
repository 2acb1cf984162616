"""The verdict on an arm's signal flow at step 0, early and at the end, and how it went from one to the other. H hidden layers."""

from collections.abc import Iterable
from math import isfinite
from typing import NamedTuple

import numpy as np

from workers.analysis.direction import lost, rescue
from workers.analysis.evidence import evidence
from workers.analysis.findings import correlation, findings, of_arm, of_layer, verdict
from workers.analysis.profile import OUTPUT, Mask, Profile, profile
from workers.analysis.signals import Course, Moment, Numbers
from workers.contract.results import Diagnosis, Finding, LayerDiagnosis, Stage, Trend, Verdict

STEADY_DECADES = 0.5
"""Change of |D| that is no trend."""
FORWARD: tuple[Verdict, ...] = ("dead", "saturated", "collapsed")
"""What a signal meets on its way up."""


class Followed(NamedTuple):
    """A trial and what was recorded of it."""

    course: Course
    diverged: bool


def diagnose(trials: Iterable[Followed]) -> Diagnosis | None:
    """The verdict at the last recorded step, those of step 0 and of an early step beside it; None without trials.

    A trial that diverged has no finite signal at the end, and counts so whatever was recorded before; an arm has diverged if most of its
    trials have.
    """
    followed = list(trials)
    if not followed:
        return None
    last = max(trial.course.end.step for trial in followed)
    still_there = [trial for trial in followed if trial.course.end.step == last]
    gone = sum(trial.diverged for trial in followed if trial.course.end.step < last)
    diverged = sum(trial.diverged for trial in followed)
    start = _moment([trial.course.start for trial in followed])
    early = _moment([trial.course.early for trial in followed])
    early = early.since(start) if early else None
    end = profile([trial.course.end for trial in still_there], [trial.diverged for trial in still_there], gone).since(
        start
    )
    at_end = stage(end)
    if diverged and end.state == "broken":
        at_end = at_end.model_copy(update={"verdict": "diverged"})
    return Diagnosis(
        **dict(at_end),
        at_step_0=stage(start) if start else None,
        early=stage(early) if early else None,
        trend=_trend(start, end),
        magnitude_independent_optimizer=rescue(start or end),
        evidence=evidence(start, early, end, diverged=diverged, trials=len(followed)),
    )


def stage(at: Profile) -> Stage:
    """What is reported of one moment."""
    found = findings(at)
    return Stage(
        step=at.step,
        verdict=of_arm(at, found),
        decades_per_layer=at.decades_per_layer,
        decades=at.decades,
        lost=lost(at),
        findings=[_finding(at, name, mask) for name, mask in found.items()],
        layers=_layers(at, found),
    )


def _moment(moments: Iterable[Moment | None]) -> Profile | None:
    there = [moment for moment in moments if moment is not None]
    return profile(there, [False] * len(there)) if there else None


def _trend(start: Profile | None, end: Profile) -> Trend | None:
    if start is None or start.decades is None or end.decades is None or start.step == end.step:
        return None
    change = abs(end.decades) - abs(start.decades)
    if abs(change) <= STEADY_DECADES:
        return "steady"
    return "recovering" if change < 0 else "worsening"


def _finding(at: Profile, name: Verdict, mask: Mask) -> Finding:
    places = np.flatnonzero(mask)
    first = places[0] if name in FORWARD else places[-1]
    return Finding(verdict=name, layers=len(places), first_layer=at.names[first])


def _layers(at: Profile, found: dict[Verdict, Mask]) -> list[LayerDiagnosis]:
    """From the input upwards. The output layer has lost nothing yet."""
    norms, gradients = at.means["error_signal_norm"], at.means["gradient_norm"]
    alike, saturation, dead, eps = (
        correlation(at),
        *(at.of(name) for name in ("saturation_fraction", "dead_fraction", "eps_dominance")),
    )
    chi, where = _chi(at.of("error_signal_norm")), np.cumsum(at.hidden) - 1
    layers = []
    for place, layer in enumerate(at.layers):
        numbers = {"gradient_norm": _told(gradients[place]), "error_signal_norm": _told(norms[place])}
        if layer == OUTPUT:
            layers.append(LayerDiagnosis(layer=layer, verdict=_of_output(float(norms[place])), **numbers))
            continue
        own = where[place]
        holds = of_layer(found, own) or [_if_nothing(at)]
        layers.append(
            LayerDiagnosis(
                layer=layer,
                verdict=holds[0],
                also=holds[1:],
                chi=_told(chi[own]),
                correlation=_told(alike[own]),
                saturation=_told(saturation[own]),
                dead=_told(dead[own]),
                eps_dominance=_told(eps[own]),
                **numbers,
            )
        )
    return layers


def _of_output(norm: float) -> Verdict:
    if norm == 0:
        return "unknown"  # no error comes in: that is none of the network's doing
    return "healthy" if isfinite(norm) else "exploding"


def _if_nothing(at: Profile) -> Verdict:
    """Of a layer about which nothing was found: healthy, unless the top hidden layer has no signal to hold it against."""
    top = float(at.of("error_signal_norm")[-1])
    return "healthy" if top > 0 and isfinite(top) else "unknown"


def _chi(delta: Numbers) -> Numbers:
    """[H], NaN for the top one."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratios = (delta[:-1] / delta[1:]) ** 2
    return np.append(ratios, np.nan)


def _told(value: float) -> float | None:
    return float(value) if isfinite(value) else None


__all__ = ["Followed", "diagnose", "stage", "verdict"]
