"""An arm's signal at one step, averaged over its trials. T trials, L layers, H hidden ones of them, from the input upwards.

Averages of norms are of logarithms, so that means, slopes and differences of decades agree with each other.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workers.analysis.signals import GEOMETRIC, NUMBERS, Moment, Numbers

Mask = NDArray[np.bool_]

OUTPUT = "output"
"""Path of the layer that is not hidden: the signal starts there."""

State = Literal["sound", "zero", "broken"]
"""Of a trial's error signal over the hidden layers: finite and positive in all, exactly zero in some, or non-finite in some."""


class Profile(NamedTuple):
    step: int
    state: State
    """That of the trials: sound if at least half of them are, else the more frequent defect."""
    layers: tuple[str, ...]
    hidden: Mask
    """[L]"""
    means: dict[str, Numbers]
    """[L] by name, over the trials of that state; NaN where a statistic does not apply."""
    decades_per_layer: float | None
    """Minus the least-squares slope of log₁₀‖δ‖ against depth over hidden layers with a signal; None if fewer than two."""
    decades: float | None
    """log₁₀ of ‖δ‖ at the bottom hidden layer over that at the top one; None unless sound and two layers or more."""
    error_left: float | None = None
    """‖δ‖ at the output over that at step 0; None at step 0, and where either cannot be told."""

    @property
    def names(self) -> list[str]:
        """[H]"""
        return [name for name, hidden in zip(self.layers, self.hidden, strict=True) if hidden]

    @property
    def output_error(self) -> float:
        """‖δ‖ of the output layer; NaN without one."""
        output = self.means["error_signal_norm"][~self.hidden]
        return float(output[-1]) if len(output) else float("nan")

    @property
    def silent(self) -> bool:
        """Whether nothing comes in at the top: no error at the output, or an output layer whose weights are all still zero."""
        return self.output_error == 0 or bool((self.means["weight_norm"][~self.hidden] == 0).any())

    def since(self, start: "Profile | None") -> "Profile":
        """The same, held against step 0."""
        if start is None or start.step == self.step or not start.output_error > 0 or not self.output_error >= 0:
            return self
        return self._replace(error_left=self.output_error / start.output_error)

    def of(self, name: str) -> Numbers:
        """[H] of one statistic."""
        return self.means[name][self.hidden]


def profile(moments: Sequence[Moment], diverged: Sequence[bool], gone: int = 0) -> Profile:
    """What the trials of an arm have in common at a step.

    Args:
        moments: one a trial, at least one, all of the same step and layers.
        diverged: [T] those that count as non-finite, whatever was recorded last.
        gone: trials beside these that had diverged by then.
    """
    layers, depths = moments[0].layers, moments[0].depths
    hidden = np.array([layer != OUTPUT for layer in layers])
    delta = np.stack([moment.values["error_signal_norm"] for moment in moments])  # [T, L]
    broken: Mask = ~np.isfinite(delta[:, hidden]).all(1) | np.array(diverged)
    zero: Mask = (delta[:, hidden] == 0).any(1) & ~broken
    state, members = _prevailing(~(broken | zero), zero, broken, gone)
    means = {name: _mean(moments, members, name) for name in (*GEOMETRIC, *NUMBERS)}
    with np.errstate(divide="ignore"):
        log_norm = np.log10(means["error_signal_norm"])[hidden]
    drop = float(log_norm[0] - log_norm[-1]) if state == "sound" and len(log_norm) > 1 else None
    rising = None if state == "broken" else slope(depths[hidden], log_norm)
    return Profile(moments[0].step, state, layers, hidden, means, None if rising is None else -rising, drop)


def _prevailing(sound: Mask, zero: Mask, broken: Mask, gone: int) -> tuple[State, Mask]:
    """The state of an arm, and which of its trials [T] to average; those that are left where all broken ones are gone."""
    if 2 * sound.sum() >= len(sound) + gone:
        return "sound", sound
    if zero.sum() >= broken.sum() + gone:
        return "zero", zero
    return "broken", broken if broken.any() else ~broken


def _mean(moments: Sequence[Moment], members: Mask, name: str) -> Numbers:
    """[L] over the chosen trials; geometric means are zero where one of the values is."""
    values = np.stack([moment.values[name] for moment in moments])[members]  # [T, L]
    if name in NUMBERS:
        return np.asarray(values.mean(0), np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):  # zeros, and zeros beside infinities
        return np.asarray(10 ** np.log10(values).mean(0), np.float64)


def slope(depths: Numbers, log_norm: Numbers) -> float | None:
    """Least squares, over the layers that have a signal."""
    with_signal = np.isfinite(log_norm)
    if with_signal.sum() < 2:
        return None
    x, y = depths[with_signal], log_norm[with_signal]
    x = x - x.mean()
    return float(x @ y / (x @ x))
