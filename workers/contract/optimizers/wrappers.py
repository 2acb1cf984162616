"""What may stand round any rule: learning rates by depth and by step, weight decay, clipping, SAM, look-ahead.

g is the gradient, θ the parameters, k the updates made so far, N those of the whole training, l a layer with parameters, 0 at the input,
L of them. A number given as a list is a grid; results call it by field and name, as in `clip.max_norm`. From the rule outwards they are
stacked in the order of `FIELDS`: SAM's second gradient is clipped, and look-ahead averages what all the others have made.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import (
    ByKind,
    CountGrid,
    ExponentGrid,
    FractionGrid,
    IntervalGrid,
    NonNegativeGrid,
    PositiveGrid,
    ShareGrid,
    Spec,
)


class Wrapper(Spec):
    """What stands round a rule, and what the catalogue says of it."""

    formula: ClassVar[str]
    source: ClassVar[str]
    changes: ClassVar[bool] = True
    """False of the one that leaves the rule as it is."""

    def numbers(self) -> dict[str, object]:
        """What can be tuned, grids as lists."""
        return self.model_dump(exclude={"kind"})


class DepthPower(Wrapper):
    """Layers nearer the input take longer steps, by a power of their distance from the output."""

    kind: Literal["power"] = "power"
    power: ExponentGrid = Field(default=1.0, examples=[1.0, [0.5, 1, 2]])
    """p; negative: shorter steps."""
    formula: ClassVar[str] = "lr_l = lr*(L-l)^power, so that the last layer has lr"
    source: ClassVar[str] = "ours; a law that one has to choose"


class DepthExponential(Wrapper):
    """Layers nearer the input take longer steps, by the same factor from each layer to the next."""

    kind: Literal["exponential"] = "exponential"
    base: PositiveGrid = Field(default=2.0, examples=[4.0, [2, 4, 8]])
    """b; 4 makes up for a sigmoid's largest slope of 1/4."""
    formula: ClassVar[str] = "lr_l = lr*base^(L-1-l)"
    source: ClassVar[str] = "ours; the mean-field theory's constant factor per layer, turned round"


class DepthAuto(Wrapper):
    """The algorithm finds each layer's factor itself, so that all layers move as much as the last one."""

    kind: Literal["auto"] = "auto"
    smoothing: FractionGrid = Field(default=0.9, examples=[0.9])
    """β, what stays of the old factor's logarithm."""
    bound: PositiveGrid = Field(default=1e12, examples=[1e12])
    """Largest factor, and one over the smallest; at least 1."""
    formula: ClassVar[str] = (
        "lr_l = lr*c_l; c_l <- c_l*(u_last/u_l)^(1-smoothing) within [1/bound, bound], u_l = rms of what the step moved in layer l; "
        "c_l <- 10*c_l where rounding left nothing of a step whose gradient is not zero"
    )
    source: ClassVar[str] = "ours; compare LARS (You et al. 2017), which takes the weights' norm for the measure"


DepthLaw = Annotated[DepthPower | DepthExponential | DepthAuto, Field(discriminator="kind"), ByKind]


class Coupled(Wrapper):
    """The square of the weights is part of the loss (L2)."""

    kind: Literal["coupled"] = "coupled"
    weight_decay: NonNegativeGrid = Field(default=1e-2, examples=[1e-2, [1e-4, 1e-3, 1e-2]])
    """λ."""
    formula: ClassVar[str] = "g <- g + weight_decay*theta"
    source: ClassVar[str] = "as weight_decay in torch.optim.SGD and Adam"


class Decoupled(Wrapper):
    """Weights shrink beside the step."""

    kind: Literal["decoupled"] = "decoupled"
    weight_decay: NonNegativeGrid = Field(default=1e-2, examples=[1e-2, [1e-4, 1e-3, 1e-2]])
    """λ."""
    formula: ClassVar[str] = (
        "theta <- (1 - lr*weight_decay)*theta before the step; (1 - weight_decay)*theta where the rule has no learning rate of its own"
    )
    source: ClassVar[str] = "Loshchilov & Hutter 2019 (arXiv:1711.05101); as weight_decay in torch.optim.AdamW"


AddedDecay = Annotated[Coupled | Decoupled, Field(discriminator="kind"), ByKind]


class Constant(Wrapper):
    """The learning rate stays as it is."""

    kind: Literal["constant"] = "constant"
    changes: ClassVar[bool] = False
    formula: ClassVar[str] = "lr_k = lr"
    source: ClassVar[str] = "the definition"


class LinearWarmup(Wrapper):
    """The learning rate rises to its full size in equal steps, and stays there."""

    kind: Literal["linear_warmup"] = "linear_warmup"
    warmup_steps: CountGrid = Field(default=100, examples=[100])
    """W, updates until the full learning rate; the first is made with lr/W."""
    formula: ClassVar[str] = "lr_k = lr*min(1, (k+1)/W)"
    source: ClassVar[str] = (
        "Goyal et al. 2017 (arXiv:1706.02677), section 2.2; as torch's LinearLR(1/W, total_iters=W-1)"
    )


class Linear(Wrapper):
    """The learning rate falls in equal steps from the end of the warm-up to the end of training."""

    kind: Literal["linear"] = "linear"
    warmup_steps: CountGrid = Field(default=0, examples=[100])
    """W, updates of a linear warm-up before; 0 is none."""
    final_factor: FractionGrid = Field(default=0.0, examples=[0.0, 0.1])
    """f, what it falls towards, as a share of lr."""
    formula: ClassVar[str] = "lr_k = lr*(k+1)/W for k < W, then lr*(1 - (1-f)*(k-W)/(N-W))"
    source: ClassVar[str] = "as torch's LinearLR(1, f, total_iters=N-W), after LinearLR(1/W, total_iters=W-1)"


class Cosine(Wrapper):
    """The learning rate falls along half a cosine from the end of the warm-up to the end of training."""

    kind: Literal["cosine"] = "cosine"
    warmup_steps: CountGrid = Field(default=0, examples=[100])
    """W, updates of a linear warm-up before; 0 is none."""
    final_factor: FractionGrid = Field(default=0.0, examples=[0.0, 0.1])
    """f, what it falls towards, as a share of lr."""
    formula: ClassVar[str] = "lr_k = lr*(k+1)/W for k < W, then lr*(f + (1-f)*(1 + cos(pi*(k-W)/(N-W)))/2)"
    source: ClassVar[str] = (
        "Loshchilov & Hutter 2017 (arXiv:1608.03983), equation 5, one period; as torch's CosineAnnealingLR(T_max=N-W, eta_min=f*lr)"
    )


class Step(Wrapper):
    """The learning rate falls by a factor at equal distances."""

    kind: Literal["step"] = "step"
    step_size: IntervalGrid = Field(default=300, examples=[300])
    """S, updates between two falls."""
    gamma: FractionGrid = Field(default=0.1, examples=[0.1, 0.5])
    """γ, what each fall multiplies it by."""
    warmup_steps: CountGrid = Field(default=0, examples=[100])
    """W, updates of a linear warm-up before; 0 is none."""
    formula: ClassVar[str] = "lr_k = lr*(k+1)/W for k < W, then lr*gamma^floor((k-W)/S)"
    source: ClassVar[str] = "as torch's StepLR(S, gamma)"


Schedule = Annotated[Constant | LinearWarmup | Linear | Cosine | Step, Field(discriminator="kind"), ByKind]


class ClipValue(Wrapper):
    """Every element of the gradient is kept within bounds."""

    kind: Literal["value"] = "value"
    clip_value: PositiveGrid = Field(default=1.0, examples=[1.0, [0.01, 0.1, 1.0]])
    """v."""
    formula: ClassVar[str] = "g <- min(max(g, -clip_value), clip_value)"
    source: ClassVar[str] = "as torch.nn.utils.clip_grad_value_"


class ClipNorm(Wrapper):
    """The gradient of all layers, as one vector, is shortened where it is longer."""

    kind: Literal["norm"] = "norm"
    max_norm: PositiveGrid = Field(default=1.0, examples=[1.0, [0.1, 1.0, 10.0]])
    """The longest gradient."""
    formula: ClassVar[str] = "g <- g*min(1, max_norm/(|g| + 1e-6))"
    source: ClassVar[str] = "Pascanu et al. 2013 (arXiv:1211.5063), algorithm 1; as torch.nn.utils.clip_grad_norm_"


class ClipLayerNorm(Wrapper):
    """Each layer's gradient, weights and bias as one vector, is shortened where it is longer."""

    kind: Literal["norm_per_layer"] = "norm_per_layer"
    max_norm: PositiveGrid = Field(default=1.0, examples=[1.0, [0.1, 1.0, 10.0]])
    """The longest gradient of a layer."""
    formula: ClassVar[str] = "g_l <- g_l*min(1, max_norm/(|g_l| + 1e-6))"
    source: ClassVar[str] = "as torch.nn.utils.clip_grad_norm_, called for each layer"


class ClipAdaptive(Wrapper):
    """Adaptive gradient clipping (AGC): a unit's gradient is shortened where it is long beside its weights; not in the last layer."""

    kind: Literal["adaptive"] = "adaptive"
    clip_factor: PositiveGrid = Field(default=0.01, examples=[0.01, [0.01, 0.04, 0.16]])
    """λ, the longest gradient as a share of the weights."""
    eps: PositiveGrid = Field(default=1e-3, examples=[1e-3])
    """Stands for |W_i| where it is shorter, so that what starts at zero can move."""
    formula: ClassVar[str] = (
        "G_i <- G_i*min(1, clip_factor*max(|W_i|, eps)/|G_i|), i a row of a weight, or a whole bias"
    )
    source: ClassVar[str] = "Brock et al. 2021 (arXiv:2102.06171), equation 3; as pytorch_optimizer's agc"


Clip = Annotated[ClipValue | ClipNorm | ClipLayerNorm | ClipAdaptive, Field(discriminator="kind"), ByKind]


class Sam(Wrapper):
    """Sharpness-aware minimisation: the gradient is taken where a step of fixed length up the slope leads. Two gradients a step."""

    kind: Literal["sam"] = "sam"
    rho: PositiveGrid = Field(default=0.05, examples=[0.05, [0.01, 0.05, 0.2]])
    """ρ, how far up."""
    formula: ClassVar[str] = "g <- grad(theta + rho*g/|g|), |g| over all layers"
    source: ClassVar[str] = "Foret et al. 2021 (arXiv:2010.01412), equations 2 and 3; as pytorch_optimizer's SAM"


class AdaptiveSam(Wrapper):
    """SAM whose step up the slope is measured beside the weights, so that scaling them changes nothing. Two gradients a step."""

    kind: Literal["asam"] = "asam"
    rho: PositiveGrid = Field(default=0.5, examples=[0.5, [0.5, 1.0, 2.0]])
    """ρ, how far up, as a share of the weights."""
    formula: ClassVar[str] = "g <- grad(theta + rho*theta^2*g/|theta*g|)"
    source: ClassVar[str] = (
        "Kwon et al. 2021 (arXiv:2102.11600), with eta = 0; as pytorch_optimizer's SAM(adaptive=True)"
    )


Sharpness = Annotated[Sam | AdaptiveSam, Field(discriminator="kind"), ByKind]


class Lookahead(Wrapper):
    """Every k steps the weights go back to a share of the way that they came since; the rule remembers what it did."""

    kind: Literal["lookahead"] = "lookahead"
    k: IntervalGrid = Field(default=5, examples=[5])
    """Steps between two returns."""
    alpha: ShareGrid = Field(default=0.5, examples=[0.5])
    """α, the share of the way that is kept; 1 leaves the rule as it is."""
    formula: ClassVar[str] = "every k steps: phi <- phi + alpha*(theta - phi); theta <- phi"
    source: ClassVar[str] = (
        "Zhang et al. 2019 (arXiv:1907.08610), algorithm 1; as pytorch_optimizer's Lookahead(pullback_momentum='none')"
    )


LookaheadForm = Annotated[Lookahead, ByKind]

FIELDS: dict[str, tuple[type[Wrapper], ...]] = {
    "depth_lr": (DepthPower, DepthExponential, DepthAuto),
    "added_decay": (Coupled, Decoupled),
    "schedule": (Constant, LinearWarmup, Linear, Cosine, Step),
    "clip": (ClipValue, ClipNorm, ClipLayerNorm, ClipAdaptive),
    "sam": (Sam, AdaptiveSam),
    "lookahead": (Lookahead,),
}
"""Field of an optimizer to what may stand there, from the rule outwards."""
