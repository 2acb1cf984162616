"""Methods that contain others as special cases: what a fair comparison checks itself by.

A tuned method cannot lose to one that it contains, since it might have been set to be that one: where it does lose, beyond what seeds
explain, its search was too small (Choi et al. 2019, On Empirical Comparisons of Optimizers for Deep Learning, arXiv:1910.05446,
section 3, who call these inclusion relations). Learning rates are free in all of them.
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, cast

from workers.analysis.selection import Setting
from workers.contract.optimizers import OptimizerSpec
from workers.contract.plan import Scalar

LARGE = 1e10
"""An eps beside which √v is nothing."""
SMALL = 1e-30
"""An eps that is nothing beside √v."""


class Inclusion(NamedTuple):
    """One kind in another."""

    general: str
    special: str
    where: Mapping[str, Scalar]
    """What the special one's hyper-parameters have to be."""
    at: Callable[[Setting], Setting]
    """The special one's setting -> what makes the general one take the same steps; its other hyper-parameters do not matter then."""
    words: str


class Contained(NamedTuple):
    """How one method of a comparison contains another."""

    words: str
    unsearched: list[str]
    """Hyper-parameters by which it does that were not searched."""


def _number(setting: Setting, name: str) -> float:
    value = setting[name]
    assert isinstance(value, int | float)
    return float(value)


def _flooded(setting: Setting) -> Setting:
    """lr/(√v + eps) is the special one's lr."""
    return {"lr": LARGE * _number(setting, "lr"), "eps": LARGE, "weight_decay": 0.0}


PLAIN: dict[str, Scalar] = {"dampening": 0.0, "nesterov": False, "weight_decay": 0.0}
STILL: dict[str, Scalar] = PLAIN | {"momentum": 0.0}
UNDECAYED: dict[str, Scalar] = {"weight_decay": 0.0}
FLOODED = "eps → ∞ with lr/eps fixed"

INCLUSIONS: tuple[Inclusion, ...] = (
    Inclusion(
        "sgdw",
        "sgd",
        PLAIN,
        lambda s: {"lr": s["lr"], "momentum": s["momentum"], "weight_decay": 0.0},
        "weight_decay = 0",
    ),
    Inclusion("rmsprop", "sgd", PLAIN, lambda s: _flooded(s) | {"momentum": s["momentum"]}, FLOODED),
    Inclusion("adagrad", "sgd", STILL, _flooded, FLOODED),
    Inclusion("adam", "sgd", STILL, lambda s: _flooded(s) | {"betas": [0.0, 0.999]}, f"β₁ = 0, {FLOODED}"),
    Inclusion("adamw", "sgd", STILL, lambda s: _flooded(s) | {"betas": [0.0, 0.999]}, f"β₁ = 0, {FLOODED}"),
    Inclusion("nadam", "sgd", STILL, lambda s: _flooded(s) | {"betas": [0.0, 0.999]}, f"β₁ = 0, {FLOODED}"),
    Inclusion("yogi", "sgd", STILL, lambda s: _flooded(s) | {"betas": [0.0, 0.999]}, f"β₁ = 0, {FLOODED}"),
    Inclusion(
        "adamw",
        "adam",
        UNDECAYED,
        lambda s: {name: s[name] for name in ("lr", "betas", "eps", "amsgrad")} | {"weight_decay": 0.0},
        "weight_decay = 0",
    ),
    Inclusion(
        "signum", "signsgd", UNDECAYED, lambda s: {"lr": s["lr"], "momentum": 0.0, "weight_decay": 0.0}, "momentum = 0"
    ),
    Inclusion(
        "lion", "signsgd", UNDECAYED, lambda s: {"lr": s["lr"], "betas": [0.0, 0.99], "weight_decay": 0.0}, "β₁ = 0"
    ),
    Inclusion(
        "lion",
        "signum",
        UNDECAYED,
        lambda s: {"lr": s["lr"], "betas": [_number(s, "momentum")] * 2, "weight_decay": 0.0},
        "β₁ = β₂ = momentum",
    ),
    Inclusion(
        "tiger",
        "signsgd",
        UNDECAYED,
        lambda s: {"lr": s["lr"], "beta": 0.0, "weight_decay": 0.0},
        "β = 0, weight_decay = 0",
    ),
    Inclusion(
        "tiger",
        "signum",
        UNDECAYED,
        lambda s: {"lr": s["lr"], "beta": s["momentum"], "weight_decay": 0.0},
        "β = momentum, weight_decay = 0",
    ),
    Inclusion(
        "rmsprop",
        "signsgd",
        UNDECAYED,
        lambda s: {"lr": s["lr"], "alpha": 0.0, "eps": SMALL, "momentum": 0.0, "centered": False, "weight_decay": 0.0},
        "α = 0, eps → 0",
    ),
    Inclusion(
        "adam",
        "signsgd",
        UNDECAYED,
        lambda s: {"lr": s["lr"], "betas": [0.0, 0.0], "eps": SMALL, "weight_decay": 0.0},
        "β₁ = β₂ = 0, eps → 0",
    ),
)

NEUTRAL: dict[tuple[str, str], tuple[str, float]] = {
    ("added_decay", "coupled"): ("weight_decay", 0.0),
    ("added_decay", "decoupled"): ("weight_decay", 0.0),
    ("schedule", "linear_warmup"): ("warmup_steps", 0),
    ("lookahead", "lookahead"): ("alpha", 1.0),
}
"""Field and kind of what stands round a rule -> the hyper-parameter and value at which it changes nothing."""


def contained(
    general: OptimizerSpec,
    grids: Mapping[str, list[float]],
    special: OptimizerSpec,
    setting: Setting,
    searched: Collection[str] = (),
) -> Contained | None:
    """How the one contains the other; None where it does not.

    Args:
        grids: what was searched of the general one.
        setting: of the special one.
        searched: hyper-parameters of the special one that were; a learning rate among them should have been of the general one, too.
    """
    found = _contained(general, grids, special, setting)
    if found is None or "lr" not in searched or "lr" in grids or "lr" not in general.hyperparameters():
        return found
    return found._replace(unsearched=["lr", *found.unsearched])


def _contained(
    general: OptimizerSpec, grids: Mapping[str, list[float]], special: OptimizerSpec, setting: Setting
) -> Contained | None:
    if general.kind == special.kind:
        return _by_grids(general, grids, special, setting)
    if general.wrappers() or special.wrappers():
        return None
    for one in INCLUSIONS:
        if (one.general, one.special) == (general.kind, special.kind) and all(
            setting[name] == value for name, value in one.where.items()
        ):
            written = general.hyperparameters()
            needed = [name for name, value in one.at(setting).items() if name != "lr" and written[name] != value]
            return Contained(one.words, [name for name in needed if name not in grids])
    return None


def values(written: object) -> list[float]:
    """Of a number or of a list of them."""
    return written if isinstance(written, list) else [cast(float, written)]


def _by_grids(
    general: OptimizerSpec, grids: Mapping[str, list[float]], special: OptimizerSpec, setting: Setting
) -> Contained | None:
    """Of the same rule: a grid contains each of its values, and what stands round it where a value switches that off."""
    round_special, round_general = special.wrapper_kinds().items(), general.wrapper_kinds().items()
    if not round_special <= round_general:
        return None
    words = []
    extra = dict(round_general - round_special)
    for field, kind in extra.items():
        name, value = NEUTRAL.get((field, kind), ("", 0.0))
        if value not in grids.get(f"{field}.{name}", []):
            return None
        words.append(f"{field}.{name} = {value:g}")
    written, free = general.hyperparameters(), special.hyperparameters()
    for name in setting.keys() - {"lr"}:
        if setting[name] not in grids.get(name, [written[name]]):
            return None
        if name in grids and written[name] != free[name]:
            if not set(values(free[name])) <= set(grids[name]):
                return None
            words.append(f"{name} = {setting[name]}")
    return Contained(", ".join(sorted(words)), []) if words else None
