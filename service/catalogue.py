"""What there is to compare: every optimizer, activation, initialisation, problem, layer and statistic, from the contract."""

from functools import cache
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.schemas import Schema, spec_schema
from workers.contract.activations import ACTIVATIONS
from workers.contract.base import Spec
from workers.contract.initialisers import INITIALISERS
from workers.contract.invariance import MEASURED
from workers.contract.layers import LAYERS
from workers.contract.network import HIDDEN_NORMALIZATIONS, SHORTCUTS, Layers, Mlp
from workers.contract.optimizers import BRIDGED, OPTIMIZERS, REFUSED, Decay, Optimizer, Pattern
from workers.contract.optimizers.bridged import VERSIONS, Bridged, Class
from workers.contract.optimizers.misfits import refusal
from workers.contract.optimizers.wrappers import FIELDS
from workers.contract.problems import PROBLEMS, Dataset, Loss
from workers.contract.regularizers import REGULARIZERS
from workers.contract.results import View
from workers.contract.rule_costs import TIME_OF_A_STEP
from workers.contract.statistics import DEFAULT_INTERVALS, GROUPS, KEYS, STATISTICS, Group, Set
from workers.contract.statistics_costs import TIME_WITH

router = APIRouter(tags=["catalogue"])


class Parameter(View):
    """A field of a spec: a hyper-parameter of an optimizer, a size of a layer."""

    name: str = Field(examples=["lr"])
    """As it is written in the request."""
    description: str = Field(examples=["Learning rate."])
    """What it is."""
    type: str = Field(examples=["number"])
    """`number`, `integer`, `boolean`, `string`, `list` or `object`, for which the name of a kind may stand."""
    grid: bool = Field(examples=[True])
    """True if a list of values may stand for it, all of which run."""
    required: bool = Field(examples=[False])
    """True if there is no default."""
    default: Any = Field(default=None, examples=[0.1])
    """What holds if it is left out."""
    minimum: float | None = Field(default=None, examples=[1])
    """The smallest value allowed."""
    above: float | None = Field(default=None, examples=[0])
    """What the value must be above."""
    maximum: float | None = Field(default=None, examples=[1e12])
    """The largest value allowed."""
    below: float | None = Field(default=None, examples=[1])
    """What the value must be below."""
    example: Any = Field(default=None, examples=[0.01])
    """A value that can stand there."""


class Entry(View):
    """Something that can be named in a request."""

    kind: str = Field(examples=["sigmoid"])
    """Its name."""
    description: str = Field(examples=["Saturates on both sides."])
    """What it is."""
    formula: str | None = Field(default=None, examples=["1/(1+exp(-z))"])
    """What it computes."""
    source: str | None = Field(default=None, examples=["Glorot & Bengio 2010, eq. 12"])
    """Where it comes from, and what it equals."""
    parameters: list[Parameter] = Field(default=[], examples=[[]])
    """What can be said about it."""


class OptimizerEntry(View):
    """An update rule."""

    kind: str = Field(examples=["rmsprop"])
    """Its name."""
    description: str = Field(examples=["Divides by a running root mean square of the gradient."])
    """What it does."""
    formula: str = Field(examples=["theta <- theta - lr*sign(g)"])
    """The rule."""
    source: str = Field(examples=["Bernstein et al. 2018, algorithm 1"])
    """Where it comes from, and what it equals."""
    family: str = Field(examples=["sign-based"])
    """What it is akin to."""
    pattern: Pattern = Field(examples=["one_gradient"])
    """How it evaluates the loss."""
    weight_decay: Decay = Field(examples=["coupled"])
    """Coupled adds it to the gradient (L2), decoupled shrinks the weights."""
    gradients_per_step: float = Field(examples=[1])
    """How many gradients of a batch a step takes on average, at the defaults."""
    functions_per_step: float = Field(examples=[0])
    """How many losses of a batch it takes besides, at the defaults: passes forward alone."""
    cost_per_step: float = Field(examples=[1.0])
    """Both together in gradients, a loss as a third of one: by which `"equal": "evaluations"` divides the steps."""
    time_per_step: float = Field(examples=[1.2])
    """Measured: time of a whole training step over that of SGD, at the defaults, of six dense layers of 64 on one core."""
    remembered_per_parameter: float = Field(examples=[2])
    """Numbers that it keeps for each parameter, at its defaults, of a weight of 64 by 64 and its bias, or of as many as it may train."""
    most_parameters: int | None = Field(default=None, examples=[500])
    """Networks with more are refused: what it keeps or computes grows faster than they do. null: no such bound."""
    invariant_down_to: float | None = Field(examples=[1e-6])
    """Measured in float32 at the defaults: all gradients times this number still give the same steps, within a tenth. 1e-30 is the
    smallest that was tried; null if a tenth already gives others."""
    invariant_up_to: float | None = Field(examples=[1e10])
    """The same upwards; 1e10 is the largest that was tried, null if ten times already gives other steps."""
    full_batch_unless_stated: bool = Field(examples=[False])
    """True if it takes the whole training split as its batch unless the request says otherwise."""
    hyperparameters: list[Parameter] = Field(examples=[[]])
    """What can be tuned."""
    refuses: dict[str, str] = Field(default={}, examples=[{"schedule": "it has no learning rate"}])
    """Wrappers' fields that it cannot have, and why."""


class WrapperEntry(Entry):
    """Something that can stand round an update rule."""

    field: str = Field(examples=["clip"])
    """The optimizer's field that it is written in; results call its numbers by field and name, as in `clip.max_norm`."""


class BridgedEntry(View):
    """An optimizer class of torch.optim or pytorch_optimizer, run as it is."""

    kind: str = Field(examples=["pytorch_optimizer/ADOPT"])
    """Package and class."""
    description: str = Field(examples=["ADOPT optimizer."])
    """In its own words."""
    version: str = Field(examples=["4.1.0"])
    """Of the package that all this was found in."""
    remembered_per_parameter: float = Field(examples=[2])
    """Numbers that it keeps for each parameter of a small network."""
    invariant_down_to: float | None = Field(examples=[1e-6])
    """As with the rules above: all gradients times this number still give the same steps, within a tenth; null if a tenth does not."""
    invariant_up_to: float | None = Field(examples=[1e10])
    """The same upwards."""
    float32_only: bool = Field(examples=[False])
    """True if it fails on parameters in float64."""
    averaged: bool = Field(examples=[False])
    """True if it has an evaluation mode, at an average of its iterates: that is not used, losses are taken where gradients are."""
    hyperparameters: list[Parameter] = Field(examples=[[]])
    """Its constructor's arguments, with the bounds that it enforces; one without a default is left to the class."""
    refuses: dict[str, str] = Field(
        default={}, examples=[{"depth_lr": "its object has one learning rate for all layers"}]
    )
    """As with the rules above."""


class Refused(View):
    """A class that cannot run here."""

    kind: str = Field(examples=["torch.optim/LBFGS"])
    """Package and class."""
    reason: str = Field(examples=["its step evaluates the loss again by itself, through a closure"])
    """Why not."""


class ProblemEntry(Entry):
    """Data and loss; sizes are those of its defaults, null where a data set of yours says them."""

    loss: Loss | None = Field(examples=["cross_entropy"])
    """Mean over samples (and targets)."""
    features: int | None = Field(examples=[64])
    """Inputs of the network."""
    outputs: int | None = Field(examples=[10])
    """Outputs of the network."""
    samples: int | None = Field(examples=[1797])
    """Rows of all splits together."""
    training_samples: int | None = Field(examples=[1078])
    """Rows of the training split: the largest batch."""


class Column(View):
    """A column of the statistics table."""

    name: str = Field(examples=["gradient_norm"])
    """As in `columns`."""
    description: str = Field(examples=["‖g‖₂"])
    """What it measures, with g the layer's gradient of the mean loss."""
    group: Group | None = Field(default=None, examples=["backward"])
    """null for the columns that say what a row is about."""
    set: Set | None = Field(default=None, examples=["default"])
    """The smallest set of `record.statistics` that it is in."""


class GroupEntry(View):
    """Statistics that are computed together."""

    group: Group = Field(examples=["noise"])
    """Its name, as in `record.statistics` and `record.intervals`."""
    interval: int | None = Field(examples=[1])
    """Every how many recorded steps it is measured unless the request says otherwise; null for groups that always are."""
    time_with: float = Field(examples=[2.3])
    """Measured: time of a training step with it over that of one without statistics, of six dense layers of 64 on one core."""


class Catalogue(View):
    """Everything a request can name, and everything that is measured."""

    optimizers: list[OptimizerEntry] = Field(examples=[[]])
    """What trains a network."""
    bridged: list[BridgedEntry] = Field(examples=[[]])
    """Any other optimizer class of torch.optim or pytorch_optimizer: slower, one object for each trial."""
    refused: list[Refused] = Field(examples=[[]])
    """Those among them that cannot run here."""
    wrappers: list[WrapperEntry] = Field(examples=[[]])
    """What can stand round an optimizer's rule, in the order in which it is stacked, from the rule outwards."""
    activations: list[Entry] = Field(examples=[[]])
    """Non-linearities."""
    initialisers: list[Entry] = Field(examples=[[]])
    """How weights start."""
    problems: list[ProblemEntry] = Field(examples=[[]])
    """Data and loss."""
    networks: list[Entry] = Field(examples=[[]])
    """Forms of writing a network."""
    layers: list[Entry] = Field(examples=[[]])
    """What a network of kind `layers` is made of."""
    normalizations: list[Entry] = Field(examples=[[]])
    """What a normalisation can be."""
    shortcuts: list[Entry] = Field(examples=[[]])
    """What can go round each hidden layer of an `mlp`."""
    regularizers: list[Entry] = Field(examples=[[]])
    """What keeps the signal while it trains."""
    statistics: list[Column] = Field(examples=[[]])
    """What is measured per trial, recorded step and layer."""
    groups: list[GroupEntry] = Field(examples=[[]])
    """How statistics are computed together, how often, and what that takes."""
    keys: list[Column] = Field(examples=[[]])
    """The columns that say what a row of statistics is about."""


@router.get("/v1/catalogue")
def catalogue() -> Catalogue:
    """All optimizers, activations, initialisations, problems, layers and statistics, with formulas, sources and bounds."""
    return build()


INTERVALS: dict[str, int] = {str(group): interval for group, interval in DEFAULT_INTERVALS.items()}


@cache
def build() -> Catalogue:
    """The catalogue; it changes with the code only."""
    return Catalogue(
        optimizers=[_optimizer(model) for model in OPTIMIZERS],
        bridged=[_bridged(kind, found) for kind, found in BRIDGED.items()],
        refused=[Refused(kind=kind, reason=reason) for kind, reason in REFUSED.items()],
        wrappers=[
            WrapperEntry(field=field, **_entry(model).model_dump())
            for field, models in FIELDS.items()
            for model in models
        ],
        activations=[_entry(model) for model in ACTIVATIONS],
        initialisers=[_entry(model) for model in INITIALISERS],
        problems=[_problem(model) for model in PROBLEMS],
        networks=[_entry(model) for model in (Mlp, Layers)],
        layers=[_entry(model) for model in LAYERS],
        normalizations=[_entry(model) for model in HIDDEN_NORMALIZATIONS],
        shortcuts=[_entry(model) for model in SHORTCUTS],
        regularizers=[_entry(model) for model in REGULARIZERS],
        statistics=[
            Column(name=name, description=found.description, group=found.group, set=found.set)
            for name, found in STATISTICS.items()
        ],
        groups=[GroupEntry(group=group, interval=INTERVALS.get(group), time_with=TIME_WITH[group]) for group in GROUPS],
        keys=[Column(name=name, description=description) for name, description in KEYS.items()],
    )


def _kind(model: type[BaseModel]) -> str:
    kind: str = model.model_fields["kind"].default
    return kind


def _entry(model: type[Spec]) -> Entry:
    return Entry(
        kind=_kind(model),
        description=model.__doc__ or "",
        formula=getattr(model, "formula", None),
        source=getattr(model, "source", None),
        parameters=_parameters(model),
    )


def _optimizer(model: type[Optimizer]) -> OptimizerEntry:
    measured, evaluations = MEASURED[_kind(model)], model().per_step()
    return OptimizerEntry(
        kind=_kind(model),
        description=model.__doc__ or "",
        formula=model.formula,
        source=model.source,
        family=model.family,
        pattern=model.pattern,
        weight_decay=model.decay,
        gradients_per_step=evaluations.gradients,
        functions_per_step=evaluations.functions,
        cost_per_step=evaluations.cost,
        time_per_step=TIME_OF_A_STEP[_kind(model)],
        remembered_per_parameter=measured.remembered_per_parameter,
        most_parameters=model.most_parameters,
        invariant_down_to=measured.down_to,
        invariant_up_to=measured.up_to,
        full_batch_unless_stated=model.full_batch_unless_stated,
        hyperparameters=[item for item in _parameters(model) if item.name not in Optimizer.model_fields],
        refuses={field: reason for field in FIELDS if (reason := refusal(model, field, "lr" in model.model_fields))},
    )


def _bridged(kind: str, found: Class) -> BridgedEntry:
    return BridgedEntry(
        kind=kind,
        description=found.description,
        version=VERSIONS[kind.partition(".")[0].partition("/")[0]],
        remembered_per_parameter=found.remembered_per_parameter,
        invariant_down_to=found.down_to,
        invariant_up_to=found.up_to,
        float32_only=found.float32_only,
        averaged=found.averaged,
        hyperparameters=[
            Parameter(
                name=name,
                description=argument.description,
                type="list" if argument.type == "numbers" else argument.type,
                grid=argument.type == "number" and argument.default is not None,
                required=argument.required,
                default=argument.default,
                minimum=argument.minimum,
                above=argument.above,
                maximum=argument.maximum,
                below=argument.below,
                example=argument.choices[0] if argument.choices else argument.default,
            )
            for name, argument in found.arguments.items()
        ],
        refuses={field: reason for field in FIELDS if (reason := refusal(Bridged, field, "lr" in found.arguments))},
    )


def _problem(model: type[Spec]) -> ProblemEntry:
    sizes = ("loss", "features", "outputs", "samples", "training_samples")
    problem = None if model is Dataset else model()
    return ProblemEntry(**_entry(model).model_dump(), **{name: getattr(problem, name, None) for name in sizes})


def _parameters(model: type[BaseModel]) -> list[Parameter]:
    schema = spec_schema(model)
    # A model that holds itself (a block of layers) is a reference into its own definitions.
    schema = schema.get("$defs", {}).get(schema.get("$ref", "").rpartition("/")[2], schema)
    required = schema.get("required", [])
    return [_parameter(name, found, name in required) for name, found in schema["properties"].items() if name != "kind"]


def _parameter(name: str, schema: Schema, required: bool) -> Parameter:
    options: list[Schema] = schema.get("oneOf") or schema.get("anyOf") or [schema]
    alternatives = [one for one in options if one.get("type") != "null"]
    grid = any(one.get("type") == "array" for one in alternatives[1:])
    value: Schema = {} if any("oneOf" in one or "anyOf" in one for one in alternatives) else alternatives[0]
    kind = value.get("type", "object")
    return Parameter(
        name=name,
        description=schema.get("description", ""),
        type="list" if kind == "array" else kind,
        grid=grid,
        required=required,
        default=schema.get("default"),
        minimum=value.get("minimum"),
        above=value.get("exclusiveMinimum"),
        maximum=value.get("maximum"),
        below=value.get("exclusiveMaximum"),
        example=next(iter(schema.get("examples", [])), None),
    )
