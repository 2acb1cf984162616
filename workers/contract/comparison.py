"""The request: what is compared, how it is tuned, how long it trains and what is recorded."""

from functools import cached_property
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from workers.contract.activations import Scaled, refuse_too_many
from workers.contract.base import Number, Positive, Spec, Whole
from workers.contract.layers import Activation, AuxiliaryHead
from workers.contract.network import Layers, Mlp, NetworkSpec, Variant, vary
from workers.contract.optimizers import OptimizerSpec, Pattern
from workers.contract.problems import ProblemSpec
from workers.contract.shapes import ExpandedLayer, Misfit, expand, walk
from workers.contract.statistics import OCCASIONAL, Occasional, Recorded, recorded

BASE = "base"
"""The variant that always runs: the network as given."""

ROUNDING = 1e-6
"""Of a step: thirds of a gradient are no whole numbers of float64, and a budget of 1,000 losses must hold 500 pairs of them."""

Metric = Literal["validation_loss", "train_loss", "validation_accuracy", "train_accuracy"]


class Tuning(Spec):
    """How learning rates are searched: optimizers without a list get a logarithmic grid around their default."""

    points: Annotated[Whole, Field(ge=2, le=64)] = Field(default=5, examples=[5])
    """Learning rates in a grid."""
    decades: Annotated[Positive, Field(le=12)] = Field(default=2.0, examples=[2])
    """Width of the whole grid, centred on the default."""
    seeds: Annotated[Whole, Field(ge=1, le=100)] = Field(default=2, examples=[2])
    """Seeds of the tuning rounds; they are none of those reported."""
    widen: Annotated[Whole, Field(ge=0, le=10)] = Field(default=0, examples=[2])
    """Further tuning rounds, at most, for arms whose best value lies at the edge of its grid: each adds half as many values as the grid
    began with beyond that edge, in the grid's own steps."""


class Record(Spec):
    """When statistics and losses are recorded, and which. Step 0 and the last step always are."""

    points: Annotated[Whole, Field(ge=2, le=100_000)] = Field(default=64, examples=[64])
    """Recorded steps, at most."""
    spacing: Literal["log", "linear"] = Field(default="log", examples=["log"])
    """Logarithmic (dense early, where regimes change) or linear."""
    statistics: Recorded = Field(default="default", examples=["core"])
    """What is recorded of each layer. A set: `core`, what a diagnosis and a report read; `default`, all that costs little at every step;
    `full`, everything. Or a list of sets, groups and names from the catalogue. What is not recorded is not computed, and is null."""

    @property
    def names(self) -> tuple[str, ...]:
        """The recorded statistics, in the order of the table."""
        return recorded(self.statistics)

    intervals: dict[Occasional, Annotated[Whole, Field(ge=1, le=100_000)]] = Field(
        default={}, max_length=len(OCCASIONAL), examples=[{"trajectory": 4}]
    )
    """Groups that are measured at every so many recorded steps only, from step 0, and at the last; at the others they are null. The
    catalogue says what each costs, and how often it is measured if nothing is said."""

    backpropagation: bool = Field(default=True, examples=[True])
    """Whether the gradient of gradient-free rules is taken on recorded steps, only to measure it. If not, their `gradient_*`,
    `error_signal_norm`, `effective_lr` and `estimate_cosine` are null."""

    def steps(self, total: int) -> list[int]:
        """The recorded steps of a training of `total` updates, increasing, 0 and `total` among them."""
        if total < self.points:
            return list(range(total + 1))
        if self.spacing == "linear":
            return sorted({round(i * total / (self.points - 1)) for i in range(self.points)})
        between = self.points - 2  # from 1 upwards: 0 and `total` are there anyway
        return sorted({0, total} | {round(total ** (i / between)) for i in range(between)})


class Target(Spec):
    """What counts as trained, for `steps_to_target`."""

    metric: Metric = Field(default="validation_loss", examples=["validation_loss"])
    """Losses are reached from above, accuracies from below."""
    value: Number = Field(ge=-1e12, le=1e12, examples=[0.5])
    """The value to reach."""


class Alike(NamedTuple):
    """What optimizers have in common that can share a batched program."""

    batch_size: int
    pattern: Pattern
    steps: int


class ComparisonSpec(Spec):
    """A comparison: every optimizer on every variant of the network, tuned alike, on the same seeds."""

    name: str = Field(default="", max_length=200, examples=["six sigmoid layers on digits"])
    """For people."""
    problem: ProblemSpec = Field(examples=["digits"])
    """Data and loss. With `problems` it is the first of them, and need not be written."""
    problems: list[ProblemSpec] = Field(default=[], max_length=16, examples=[["digits", "wine"]])
    """Several, instead of `problem`: every arm is tuned and reported on each, ranked on each and over all."""
    network: NetworkSpec = Field(
        examples=[{"kind": "mlp", "depth": 6, "width": 64, "activation": "sigmoid", "init": "xavier_normal"}]
    )
    """The network to train."""
    variants: dict[Annotated[str, Field(min_length=1, max_length=80)], Variant] = Field(
        default={}, max_length=32, examples=[{"orthogonal": {"init": "orthogonal"}}]
    )
    """Named changes to the network, compared beside it."""
    optimizers: list[OptimizerSpec] = Field(
        min_length=1, max_length=64, examples=[["sgd", {"kind": "rmsprop", "lr": [0.001, 0.01]}, "rprop", "vsgd_fd"]]
    )
    """What trains it."""
    baseline: str | None = Field(default=None, max_length=80, examples=["sgd"])
    """Name of the optimizer the others are held against; `sgd` if it is there, else the first."""
    tuning: Tuning | None = Field(default=Tuning(), examples=[{"points": 5, "decades": 2, "seeds": 2}])
    """How learning rates are searched; null adds no grids and no tuning seeds: what is written runs on all seeds."""
    seeds: Annotated[Whole, Field(ge=1, le=1000)] = Field(default=5, examples=[5])
    """Trials of each arm that is reported."""
    seed: Annotated[Whole, Field(ge=0, le=2**31)] = Field(default=0, examples=[0])
    """The first seed; the others count up from it."""
    steps: Annotated[Whole, Field(ge=1, le=10_000_000)] = Field(default=1000, examples=[1000])
    """Parameter updates of a trial; with `equal` evaluations, of one that takes a gradient in each."""
    equal: Literal["steps", "evaluations"] = Field(default="steps", examples=["evaluations"])
    """What optimizers have alike: `steps`, or `evaluations`, by which each makes as many steps as `steps` gradients pay for, a loss alone
    for a third of one: half as many where a step takes two gradients, three for two where it takes two losses. Each is of one batch,
    whatever its size. The catalogue has `cost_per_step`."""
    batch_size: Annotated[Whole, Field(ge=1, le=1_000_000)] | Literal["full"] = Field(default=128, examples=[128])
    """Samples in a batch, at most the training split, or all of it. The default, too, is at most the training split."""
    record: Record = Field(default=Record(), examples=[{"points": 64, "spacing": "log"}])
    """When statistics are taken."""
    target: Target | None = Field(default=None, examples=[{"metric": "validation_accuracy", "value": 0.9}])
    """What `steps_to_target` counts to; the baseline's own final validation loss if null."""
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", examples=["auto"])
    """Where to train: `cuda` on a card, `cpu` on a processor, `auto` on whatever the worker has that is free first."""
    precision: Literal["float32", "float64"] = Field(default="float32", examples=["float32"])
    """Format of parameters and activations."""
    gradient_range: Literal["auto", "standard", "extended"] = Field(default="auto", examples=["auto"])
    """`extended` carries powers of two beside the error signal: nothing underflows or overflows on its way down, statistics are those of
    the true gradient, and optimizers that do not depend on its magnitude see it. `standard`: what the precision holds. `auto` extends
    where the theory says that the precision will not hold the gradient at the start."""
    priority: Annotated[Whole, Field(ge=-10, le=10)] = Field(default=0, examples=[0])
    """Higher runs first."""
    labels: dict[Annotated[str, Field(min_length=1, max_length=80)], Annotated[str, Field(max_length=200)]] = Field(
        default={}, max_length=32, examples=[{"team": "vision"}]
    )
    """Whatever you want to find it by."""

    @model_validator(mode="before")
    @classmethod
    def _can_be_checked_in_time(cls, body: object) -> object:
        return refuse_too_many(body)

    @model_validator(mode="before")
    @classmethod
    def _first_of_several(cls, body: object) -> object:
        if isinstance(body, dict) and "problem" not in body:
            problems = body.get("problems")
            if isinstance(problems, list) and problems:
                return {**body, "problem": problems[0]}
        return body

    @model_validator(mode="after")
    def _defaults_that_depend_on_others(self) -> Self:
        if self.baseline is None:
            names = [optimizer.label for optimizer in self.optimizers]
            object.__setattr__(self, "baseline", "sgd" if "sgd" in names else names[0])
        if "batch_size" not in self.model_fields_set and isinstance(self.batch_size, int):
            smallest = min(problem.training_samples for problem in self.problems or [self.problem])
            object.__setattr__(self, "batch_size", min(self.batch_size, smallest))
        return self

    @cached_property
    def alone(self) -> dict[str, "ComparisonSpec"]:
        """The comparison on each of its problems, by the problem's name: its kind, numbered where that stands more than once."""
        if not self.problems:
            return {self.problem.kind: self}
        kinds = [problem.kind for problem in self.problems]
        names = [kind if (nth := kinds[:i].count(kind)) == 0 else f"{kind} {nth + 1}" for i, kind in enumerate(kinds)]
        given = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            # all of it has been validated
            name: ComparisonSpec.model_construct(**{**given, "problem": problem, "problems": []})
            for name, problem in zip(names, self.problems, strict=True)
        }

    def networks(self) -> dict[str, Mlp | Layers]:
        """Every variant's network by name, `base` first."""
        return {BASE: self.network} | {name: vary(self.network, variant) for name, variant in self.variants.items()}

    @cached_property
    def regularized(self) -> list[str]:
        """Variants that train more than the problem's loss: with regularizers, auxiliary heads or penalised constants."""
        inside = {
            name
            for name, layers in self.expansions.items()
            if not isinstance(layers, Misfit) and any(_adds_to_the_loss(layer) for layer in walk(layers))
        }
        return [name for name, network in self.networks().items() if network.regularizers or name in inside]

    @cached_property
    def expansions(self) -> dict[str, list[ExpandedLayer] | Misfit]:
        """Every variant's layers by name, or why there are none. Once for all that asks: it takes milliseconds."""
        found: dict[str, list[ExpandedLayer] | Misfit] = {}
        for name, network in self.networks().items():
            try:
                found[name] = expand(network, self.problem.shape, self.problem.output_shape)
            except Misfit as misfit:
                found[name] = misfit
        return found

    @property
    def most_seeds(self) -> int:
        """Different ones among the trials of a round."""
        return max(self.seeds, self.tuning.seeds if self.tuning else 0)

    def batch_of(self, optimizer: OptimizerSpec) -> int:
        """Samples in a batch of this optimizer."""
        full = self.problem.training_samples
        own = optimizer.batch_size or ("full" if optimizer.full_batch_unless_stated else self.batch_size)
        return full if own == "full" else own

    def steps_of(self, optimizer: OptimizerSpec) -> int:
        """Parameter updates of a trial of this optimizer: on equal evaluations as many as the budget holds, 0 where it holds none."""
        if self.equal == "steps":
            return self.steps
        found = int(self.steps / optimizer.per_step().cost + ROUNDING)
        # a rule's average is not what the first steps take, where some take more than others
        while found and optimizer.spent(found).cost > self.steps + ROUNDING:
            found -= 1
        return found

    def alike(self) -> dict[Alike, list[OptimizerSpec]]:
        """Optimizers that can share a batched program, each group in the order of the request."""
        groups: dict[Alike, list[OptimizerSpec]] = {}
        for optimizer in self.optimizers:
            alike = Alike(self.batch_of(optimizer), optimizer.evaluation, self.steps_of(optimizer))
            groups.setdefault(alike, []).append(optimizer)
        return groups


def _adds_to_the_loss(layer: ExpandedLayer) -> bool:
    penalised = (
        isinstance(layer.spec, Activation)
        and isinstance(layer.spec.activation, Scaled)
        and layer.spec.activation.penalty
    )
    return bool(penalised) or isinstance(layer.spec, AuxiliaryHead)
