"""The columns of the statistics table: one row per trial, recorded step and layer with parameters; and which of them are recorded.

The loss is the mean over the batch. g is the layer's gradient over all of its parameters (weights and biases together),
δ = ∂L/∂z at its pre-activation, a = θ(z) the output of the non-linearity that follows (the identity on the output layer),
Δθ what the step moved.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import AfterValidator, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

Occasional = Literal["trajectory"]
"""Groups that may be measured at fewer steps than are recorded."""
Group = Literal["backward", "forward", "update"] | Occasional
"""Statistics that are computed from the same tensors."""
Pass = Literal["gradient", "agreement", "error_signal", "samples", "activation", "slope", "weight", "movement", "eps"]
"""What is computed in one go over a layer's tensors, and left out where no recorded statistic needs it."""
Set = Literal["core", "default", "full"]
"""Names for what to record, each with all of those before it."""

OCCASIONAL: tuple[Occasional, ...] = get_args(Occasional)
GROUPS: tuple[Group, ...] = ("backward", "forward", "update", *OCCASIONAL)
SETS: tuple[Set, ...] = get_args(Set)


class Statistic(NamedTuple):
    group: Group
    needs: tuple[Pass, ...]
    set: Set
    """The smallest that it is in."""
    description: str


STATISTICS: dict[str, Statistic] = {
    "gradient_norm": Statistic("backward", ("gradient",), "core", "‖g‖₂"),
    "gradient_rms": Statistic("backward", ("gradient",), "default", "‖g‖₂/√n over the layer's n parameters"),
    "gradient_mean": Statistic("backward", ("gradient",), "default", "mean of g over the layer's parameters"),
    "gradient_std": Statistic(
        "backward", ("gradient",), "default", "√(mean g² − (mean g)²) over the layer's parameters"
    ),
    "gradient_max_abs": Statistic("backward", (), "default", "max |g|"),
    "gradient_log10_rms": Statistic(
        "backward", ("gradient",), "default", "log₁₀ of gradient_rms; null where g is exactly zero"
    ),
    "gradient_zero_fraction": Statistic(
        "backward", ("gradient",), "core", "share of elements of g that are exactly zero"
    ),
    "gradient_nonfinite_fraction": Statistic(
        "backward", ("gradient",), "default", "share of elements of g that are NaN or infinite"
    ),
    "gradient_snr": Statistic(
        "backward",
        ("gradient", "error_signal", "samples"),
        "default",
        "‖g‖²/(mean over samples of ‖g_b‖² − ‖g‖²): squared mean over total variance of per-sample gradients; null where "
        "that variance may be rounding, as with a batch of one",
    ),
    "sign_flip_rate": Statistic(
        "backward",
        ("agreement",),
        "core",
        "share of elements whose sign is opposite to the previous step's; a zero is opposite to nothing",
    ),
    "gradient_cosine": Statistic(
        "backward", ("gradient", "agreement"), "default", "cosine of g with the previous step's"
    ),
    "error_signal_norm": Statistic("backward", ("error_signal",), "core", "‖δ‖₂ over samples and units"),
    "activation_mean": Statistic("forward", ("activation",), "core", "mean of a over samples and units"),
    "activation_std": Statistic(
        "forward", ("activation",), "core", "standard deviation of a over samples and units together"
    ),
    "activation_sample_std": Statistic(
        "forward", ("activation",), "core", "root mean square over units of a's standard deviation over samples"
    ),
    "saturation_fraction": Statistic(
        "forward", ("slope",), "core", "share of (sample, unit) with |θ′(z)| below a tenth of its maximum"
    ),
    "derivative_mean": Statistic("forward", ("slope",), "default", "mean of |θ′(z)| over samples and units"),
    "dead_fraction": Statistic(
        "forward", ("slope",), "core", "share of units with |θ′(z)| below 1e-6 on every sample of the batch"
    ),
    "weight_norm": Statistic("update", ("weight",), "core", "‖θ‖₂ of the layer before the update"),
    "update_norm": Statistic(
        "update", ("movement",), "default", "‖Δθ‖₂; null at the last step, after which none is made"
    ),
    "update_to_weight_ratio": Statistic("update", ("weight", "movement"), "core", "‖Δθ‖/‖θ‖"),
    "effective_lr": Statistic("update", ("gradient", "movement"), "default", "‖Δθ‖/‖g‖"),
    "eps_dominance": Statistic(
        "update", ("eps",), "core", "share of elements where eps exceeds √v; null for rules without an eps"
    ),
    "estimate_cosine": Statistic(
        "update",
        ("movement",),
        "default",
        "cosine with g of what a gradient-free rule takes it to be, or of −Δθ where it has no estimate; null for rules given g",
    ),
    "clipped_gradient_norm": Statistic(
        "update",
        ("gradient", "movement"),
        "full",
        "‖g‖₂ of what is left of g where the optimizer clips it; null for optimizers that do not. All others are of g itself",
    ),
    "distance": Statistic("trajectory", (), "full", "‖θ − θ₀‖₂, from where training started"),
    "alpha": Statistic(
        "trajectory",
        ("gradient",),
        "full",
        "−s₁/s₀ with sᵢ the slopes of the loss along the last step's Δθ of the layer, at its start and its end: −1 no curvature seen, "
        "0 stepped to the minimum of the parabola, 1 as far beyond as before; null at step 0. Each slope is of its own step's batch",
    ),
}

DEFAULT_INTERVALS: dict[Occasional, int] = {"trajectory": 1}
"""Every how many recorded steps a group is measured."""

KEYS: dict[str, str] = {
    "variant": "name of the variant; `base` is the network as given",
    "optimizer": "name of the optimizer",
    "trial": "0-based index in the comparison's frozen order",
    "lr": "learning rate; null for rules without one",
    "seed": "seed of the trial",
    "step": "updates made so far",
    "layer": "stable path of the layer",
    "depth": "position of the layer, from 0 at the input",
}

COLUMNS: tuple[str, ...] = (*KEYS, *STATISTICS)

NAMED: tuple[str, ...] = (*SETS, *GROUPS, *STATISTICS)
"""What a list of things to record may name."""


def recorded(asked: Set | Iterable[str]) -> tuple[str, ...]:
    """The statistics of a set, or of the sets, groups and names in a list, in the order of the table."""
    names = {asked} if isinstance(asked, str) else set(asked)
    upto = max((SETS.index(one) for one in SETS if one in names), default=-1)
    return tuple(
        name
        for name, statistic in STATISTICS.items()
        if name in names or statistic.group in names or SETS.index(statistic.set) <= upto
    )


def passes(names: Iterable[str]) -> frozenset[Pass]:
    """What has to be computed for these statistics."""
    return frozenset(needed for name in names for needed in STATISTICS[name].needs)


def _known(name: str) -> str:
    if name in NAMED:
        return name
    near = get_close_matches(name, NAMED, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ":"
    listed = "" if near else f" {', '.join((*SETS, *GROUPS))} and the names of statistics in the catalogue are"
    message = f"there is no statistic {name[:80]!r}{hint}{listed}"
    raise PydanticCustomError("unknown_name", "{message}", {"message": message})


def _form(value: object) -> str:
    return "list" if isinstance(value, list | tuple) else "set"


Named = Annotated[str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(NAMED)})]
Recorded = Annotated[
    Annotated[Set, Tag("set")] | Annotated[list[Named], Field(min_length=1, max_length=64), Tag("list")],
    Discriminator(_form),
]
"""A set, or a list of sets, groups and names of statistics."""
