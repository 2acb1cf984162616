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

Occasional = Literal["trajectory", "noise", "histogram", "units", "rank", "jacobian", "curvature"]
"""Groups that may be measured at fewer steps than are recorded."""
Group = Literal["backward", "forward", "update"] | Occasional
"""Statistics that are computed from the same tensors."""
Pass = Literal[
    "gradient",
    "moments",
    "signs",
    "agreement",
    "error_signal",
    "samples",
    "activation",
    "slope",
    "weight",
    "movement",
    "eps",
]
"""What is computed in one go over a layer's tensors, and left out where no recorded statistic needs it."""
Set = Literal["core", "default", "full"]
"""Names for what to record, each with all of those before it."""

OCCASIONAL: tuple[Occasional, ...] = get_args(Occasional)
GROUPS: tuple[Group, ...] = ("backward", "forward", "update", *OCCASIONAL)
PASSES: tuple[Pass, ...] = get_args(Pass)
SETS: tuple[Set, ...] = get_args(Set)


class Statistic(NamedTuple):
    group: Group
    needs: tuple[Pass, ...]
    set: Set
    """The smallest that it is in."""
    description: str


DECADES = 10
"""Bins of the histogram of log₁₀|g|."""


WEIGHT_DECADES = 4
"""Bins of the parameters' magnitudes, over which the gradient is shared out."""


def _weights(place: int) -> str:
    if place == WEIGHT_DECADES - 1:
        return f"share of ‖g‖² in parameters below 1e-{place} of the layer's largest; null where g or the layer is zero"
    return f"share of ‖g‖² in parameters from 1e-{place + 1} to 1e-{place} of the layer's largest"


def _decade(place: int) -> str:
    if place == DECADES - 1:
        return f"share of elements of g, zeros apart, below 1e-{place} of the largest; null where g is exactly zero"
    return f"share of elements of g from 1e-{place + 1} to 1e-{place} of the largest"


STATISTICS: dict[str, Statistic] = {
    "gradient_norm": Statistic("backward", ("gradient",), "core", "‖g‖₂"),
    "gradient_rms": Statistic("backward", ("gradient",), "default", "‖g‖₂/√n over the layer's n parameters"),
    "gradient_mean": Statistic("backward", ("moments",), "default", "mean of g over the layer's parameters"),
    "gradient_std": Statistic(
        "backward", ("moments",), "default", "√(mean g² − (mean g)²) over the layer's parameters"
    ),
    "gradient_max_abs": Statistic("backward", ("moments",), "default", "max |g|"),
    "gradient_log10_rms": Statistic(
        "backward", ("gradient",), "default", "log₁₀ of gradient_rms; null where g is exactly zero"
    ),
    "gradient_zero_fraction": Statistic(
        "backward", ("gradient",), "core", "share of elements of g that are exactly zero"
    ),
    "gradient_nonfinite_fraction": Statistic(
        "backward", ("moments",), "default", "share of elements of g that are NaN or infinite"
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
        ("signs",),
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
        "update",
        ("eps",),
        "core",
        "share of elements where eps exceeds √v beside it; null for rules that have none there",
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
    "gradient_noise_scale": Statistic(
        "noise",
        ("gradient",),
        "full",
        "tr Σ/‖G‖², unbiased, with Σ the covariance of the samples' gradients and G their expectation: the batch size from which more "
        "samples hardly help; null where ‖G‖² may be zero",
    ),
    "norm_test": Statistic(
        "noise", ("gradient",), "full", "√(tr Σ/(B‖g‖²)): standard error of g's length, relatively (Byrd 2012)"
    ),
    "inner_product_test": Statistic(
        "noise", ("gradient",), "full", "standard error, relative to ‖g‖², of the samples' g_b·g (Bollapragada 2017)"
    ),
    "orthogonality_test": Statistic(
        "noise",
        ("gradient",),
        "full",
        "standard error, relative to ‖g‖, of what is orthogonal to g in the samples' gradients (Bollapragada 2017)",
    ),
    "cabs_batch_size": Statistic(
        "noise",
        ("gradient",),
        "full",
        "lr·tr Σ/loss: the batch size that SGD's lr asks for (Balles 2017); null without an lr",
    ),
    "mean_gsnr": Statistic(
        "noise", ("gradient",), "full", "mean over the parameters of g²/variance of the samples' gradients (Liu 2020)"
    ),
    "early_stopping": Statistic(
        "noise", ("gradient",), "full", "1 − (B − 1)·mean_gsnr: above 0, what is left of g is noise (Mahsereci 2017)"
    ),
    **{
        f"gradient_decade_{place}": Statistic("histogram", ("gradient",), "full", _decade(place))
        for place in range(DECADES)
    },
    **{
        f"gradient_share_of_weights_{place}": Statistic("histogram", ("gradient",), "full", _weights(place))
        for place in range(WEIGHT_DECADES)
    },
    "activation_correlation": Statistic(
        "units",
        (),
        "full",
        "mean correlation, over the units, of two different samples' activations: 1 where all inputs look alike",
    ),
    "saturated_unit_fraction": Statistic(
        "units", (), "full", "share of units with |θ′(z)| below a tenth of its maximum on at least 90 % of the samples"
    ),
    "flat_top_fraction": Statistic(
        "units",
        (),
        "full",
        "share of (sample, unit) saturated between the places where θ is steepest, as on a Gaussian's top; the rest of "
        "saturation_fraction lies in the tails",
    ),
    "effective_rank": Statistic(
        "rank",
        (),
        "full",
        "(Σσ²)²/Σσ⁴ of the activations less their means over the samples: directions that tell samples apart",
    ),
    "gradient_effective_rank": Statistic(
        "rank", ("gradient",), "full", "(Σσ²)²/Σσ⁴ of the gradient of the layer's largest matrix"
    ),
    "jacobian_largest": Statistic(
        "jacobian",
        (),
        "full",
        "largest singular value of ∂output/∂(the layer's input), mean over 4 samples, fewer with more than 64 outputs; in the first layer "
        "that of the whole network. "
        "All of this group and the next: null unless linear layers, non-linearities and dropout are all there is",
    ),
    "jacobian_median": Statistic(
        "jacobian", (), "full", "median singular value of the same; 0 below 1e-7 of the largest"
    ),
    "jacobian_mean_square": Statistic("jacobian", (), "full", "‖∂output/∂(the layer's input)‖²_F/outputs"),
    "layer_jacobian_largest": Statistic(
        "jacobian", (), "full", "largest singular value of ∂z_l/∂z_{l−1}, by Lanczos' method; null in the first layer"
    ),
    "layer_jacobian_mean_square": Statistic(
        "jacobian", (), "full", "‖∂z_l/∂z_{l−1}‖²_F/outputs: what mean-field theory calls χ; null in the first layer"
    ),
    "curvature_trace": Statistic(
        "curvature",
        (),
        "full",
        "trace of the layer's block of the Gauss-Newton matrix of the mean loss, over 16 samples, fewer with more than 16 outputs",
    ),
    "curvature_largest": Statistic("curvature", (), "full", "its largest eigenvalue, by Lanczos' method"),
    "tic_trace": Statistic(
        "curvature",
        ("gradient",),
        "full",
        "mean ‖g_b‖²/curvature_trace over those samples (Takeuchi's criterion, by traces)",
    ),
    "tic_diagonal": Statistic(
        "curvature",
        ("gradient",),
        "full",
        "Σ over the parameters of mean g_b²/the block's diagonal, over those samples",
    ),
}

JACOBIAN_SAMPLES: dict[Occasional, int] = {"jacobian": 4, "curvature": 16}
"""Samples of a batch that a group's Jacobians are means over, at most."""
JACOBIAN_ROWS = 256
"""Samples times outputs, where there are more outputs than that one sample's."""


def samples_of_jacobian(outputs: int, group: Occasional) -> int:
    return min(JACOBIAN_SAMPLES[group], max(1, JACOBIAN_ROWS // outputs))


DEFAULT_INTERVALS: dict[Occasional, int] = {
    "trajectory": 1,
    "noise": 1,
    "histogram": 1,
    "units": 1,
    "rank": 1,
    "jacobian": 4,
    "curvature": 4,
}
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
