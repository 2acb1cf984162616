"""What an initialisation means for the theory: σw² = fan_in·Var W and σb² = Var b of one layer, with its own shape."""

from collections.abc import Callable
from math import sqrt

from workers.contract.initialisers import InitSpec
from workers.contract.layers import SpectralNorm, WeightNormalizationSpec, WeightStandardization
from workers.theory.tabulated import Unpredictable

UNIT_VARIANCE: dict[str, Callable[[int, int, int], float]] = {
    "xavier_uniform": lambda out, into, places: 2 / (into + out * places),
    "xavier_normal": lambda out, into, places: 2 / (into + out * places),
    "lecun_uniform": lambda out, into, places: 1 / into,
    "lecun_normal": lambda out, into, places: 1 / into,
    "kaiming_uniform": lambda out, into, places: 1 / into,
    "kaiming_normal": lambda out, into, places: 1 / into,
    # orthonormal rows or columns, whichever are fewer: the squares add up to min(out, into)
    "orthogonal": lambda out, into, places: 1 / max(out, into),
    "delta_orthogonal": lambda out, into, places: 1 / (places * max(out, into // places)),
    "scaled_uniform_orthogonal": lambda out, into, places: 1 / into,
    "torch": lambda out, into, places: 1 / (3 * into),
    "zeros": lambda out, into, places: 0.0,
}
"""(out-features, in-features, places of a kernel) -> Var W at gain 1; in-features are those of all places, as in torch's fan_in."""


ISOMETRIC = {"orthogonal", "scaled_uniform_orthogonal", "delta_orthogonal", "lsuv"}
"""Initialisations whose weights keep norms, so that nothing scatters."""


def sigma_w(init: InitSpec, out: int, into: int) -> float:
    """σw = g √(fan_in·Var W) of a layer with weights [out, into].

    Raises:
        Unpredictable: for weights that are not drawn at random.
    """
    if init.kind not in UNIT_VARIANCE:
        raise Unpredictable(f"there is no theory here for weights that start as {init.kind}: they mix nothing")
    return init.number() * _unit(init, out, into)


def sigma_w_made(norm: WeightNormalizationSpec, init: InitSpec, out: int, into: int) -> float:
    """σw of weights made of those that the init says: rows are long, and the largest singular value is that of wide matrices."""
    start = sigma_w(init, out, into)
    if isinstance(norm, WeightStandardization):
        return norm.gain
    if isinstance(norm, SpectralNorm):
        # of independent entries √O + √I deviations; of orthogonal matrices the gain, as far as their rows or columns go
        largest = init.number() if init.kind in ISOMETRIC else start * (1 + sqrt(out / into))
        if init.kind == "scaled_uniform_orthogonal":
            largest *= sqrt(max(out / into, 1))
        return norm.bound * start / largest
    return 1.0 if norm.start == "unit" else start


def sigma_b(init: InitSpec, into: int) -> float:
    """Standard deviation of the biases: what was asked for, else 0, but for torch's own ±g/√fan_in."""
    if init.bias_std is not None:
        return init.bias_std
    return init.number() / sqrt(3 * into) if init.kind == "torch" else 0.0


def gain_for(init: InitSpec, wanted: float, out: int, into: int, places: int = 1) -> float:
    """The gain that gives σw = wanted."""
    return wanted / _unit(init, out, into, places)


def _unit(init: InitSpec, out: int, into: int, places: int = 1) -> float:
    return sqrt(into * UNIT_VARIANCE[init.kind](out, into, places))
