"""The verdict on an arm's signal flow, from the error signal δ at step 0 and at the end."""

from collections.abc import Iterable
from math import isfinite, log10
from typing import NamedTuple

import numpy as np

from workers.analysis.evidence import evidence
from workers.analysis.profile import OUTPUT, Profile, profile
from workers.analysis.signals import Course
from workers.contract.results import Diagnosis, LayerDiagnosis, Stage, Verdict


class Followed(NamedTuple):
    """A trial and what was recorded of it."""

    course: Course
    diverged: bool


def diagnose(trials: Iterable[Followed]) -> Diagnosis | None:
    """The verdict at the last recorded step, that of step 0 beside it; None without trials.

    A trial that diverged has no finite signal at the end, and counts so whatever was recorded before.
    """
    followed = list(trials)
    if not followed:
        return None
    last = max(trial.course.end.step for trial in followed)
    still_there = [trial for trial in followed if trial.course.end.step == last]
    gone = sum(trial.diverged for trial in followed if trial.course.end.step < last)
    starts = [trial.course.start for trial in followed if trial.course.start is not None]
    start = profile(starts, [False] * len(starts)) if starts else None
    end = profile([trial.course.end for trial in still_there], [trial.diverged for trial in still_there], gone)
    diverged = sum(trial.diverged for trial in followed)
    return Diagnosis(
        **dict(stage(end)),
        at_step_0=stage(start) if start else None,
        evidence=evidence(start, end, diverged=diverged, trials=len(followed)),
    )


def verdict(decades: float | None) -> Verdict:
    """Of the decades that the norm of δ gains on its way down (negative: loses)."""
    if decades is None:
        return "unknown"
    if abs(decades) <= 1:
        return "healthy"
    if abs(decades) <= 2:
        return "weakening" if decades < 0 else "growing"
    return "vanishing" if decades < 0 else "exploding"


def stage(at: Profile) -> Stage:
    """What is reported of one moment."""
    defects: dict[str, Verdict] = {"zero": "underflowed", "broken": "exploding"}
    return Stage(
        step=at.step,
        verdict=defects.get(at.state) or verdict(at.decades),
        decades_per_layer=at.decades_per_layer,
        decades=at.decades,
        layers=[_layer(at, place) for place in range(len(at.layers))],
    )


def _layer(at: Profile, place: int) -> LayerDiagnosis:
    norms = at.means["error_signal_norm"]
    return LayerDiagnosis(
        layer=at.layers[place],
        verdict=_layer_verdict(at, place),
        gradient_norm=_told(at.means["gradient_norm"][place]),
        error_signal_norm=_told(norms[place]),
    )


def _layer_verdict(at: Profile, place: int) -> Verdict:
    """From the decades between the top hidden layer and this one. The output layer has lost nothing yet."""
    norms = at.means["error_signal_norm"]
    norm = float(norms[place])
    if norm == 0:
        return "underflowed"
    if not isfinite(norm):
        return "exploding"
    if at.layers[place] == OUTPUT:
        return "healthy"
    top = float(norms[np.flatnonzero(at.hidden)[-1]])
    return verdict(log10(norm) - log10(top)) if top > 0 and isfinite(top) else "unknown"


def _told(value: float) -> float | None:
    return float(value) if isfinite(value) else None
