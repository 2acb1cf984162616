"""What every optimizer may state, and what the catalogue says of it. g is the gradient, θ the parameters, all operations
elementwise unless said.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field, ValidationError

from workers.contract.base import Spec, Whole
from workers.contract.optimizers.wrappers import (
    FIELDS,
    AddedDecay,
    Clip,
    DepthLaw,
    LookaheadForm,
    Schedule,
    Sharpness,
    Wrapper,
)

Pattern = Literal["one_gradient", "two_gradients", "curvature", "own_labels", "population"]
GRADIENTS: dict[Pattern, int] = {
    "one_gradient": 1,
    "two_gradients": 2,
    "curvature": 2,
    "own_labels": 2,
    "population": 0,
}
"""Gradients that a step takes at most; a pass backward for the curvature costs no more than a gradient and counts as one."""
GRADIENT_FREE: frozenset[Pattern] = frozenset({"population"})
"""Patterns whose rules are not given the gradient: backpropagation only measures."""
Decay = Literal["coupled", "decoupled", "none"]


class Evaluations(NamedTuple):
    """What a step asks for, each time on one batch. What is only measured is not counted."""

    functions: float
    """Losses, of passes forward alone."""
    gradients: float

    @property
    def cost(self) -> float:
        """In gradients: a pass forward is one of the three equal passes that a gradient takes."""
        return self.gradients + self.functions / 3


class Optimizer(Spec):
    """What every optimizer may state beside its hyper-parameters."""

    name: str | None = Field(default=None, min_length=1, max_length=80, examples=["sgd, full batch"])
    """What the result calls it, so that one kind can stand twice; its kind if null."""
    batch_size: Annotated[Whole, Field(ge=1, le=1_000_000)] | Literal["full"] | None = Field(
        default=None, examples=[128, "full"]
    )
    """Its own batch size, instead of the comparison's."""

    schedule: Schedule | None = Field(default=None, examples=[{"kind": "cosine", "warmup_steps": 100}])
    """How the learning rate changes with the steps."""
    clip: Clip | None = Field(default=None, examples=[{"kind": "norm", "max_norm": [0.1, 1.0]}])
    """Clips the gradient that the rule is given; `gradient_*` in the statistics are of what it was before."""
    depth_lr: DepthLaw | None = Field(default=None, examples=["auto"])
    """How the learning rate changes with depth."""
    added_decay: AddedDecay | None = Field(default=None, examples=[{"kind": "decoupled", "weight_decay": 0.01}])
    """Weight decay round the rule, for those that have none, or the other kind."""
    sam: Sharpness | None = Field(default=None, examples=[{"kind": "sam", "rho": 0.05}])
    """Takes the gradient a little up the slope."""
    lookahead: LookaheadForm | None = Field(default=None, examples=[{"kind": "lookahead", "k": 5, "alpha": 0.5}])
    """Averages where the rule goes with where it was."""

    pattern: ClassVar[Pattern] = "one_gradient"
    """How the rule by itself evaluates the loss."""
    refuses: ClassVar[Mapping[str, str]] = {}
    """Wrappers that make no sense round this rule: field to reason."""
    decay: ClassVar[Decay] = "none"
    formula: ClassVar[str]
    source: ClassVar[str]
    family: ClassVar[str]
    full_batch_unless_stated: ClassVar[bool] = False
    reads_samples: ClassVar[bool] = False
    """Whether it needs the squared gradients of single samples, which only dense layers on features give."""
    most_parameters: ClassVar[int | None] = None
    """Of a network that it may train, where what it keeps or computes grows faster than they do."""
    instead: ClassVar[str] = ""
    """What larger networks are trained with."""

    @property
    def label(self) -> str:
        kind: str = getattr(self, "kind")  # noqa: B009 - every leaf declares its own Literal
        return self.name or kind

    @property
    def evaluation(self) -> Pattern:
        """How it evaluates the loss with what stands round it."""
        return "two_gradients" if self.sam else self.pattern

    def per_step(self) -> Evaluations:
        """What a step takes on average with what stands round the rule, under the most expensive of its settings."""
        return Evaluations(functions=0, gradients=GRADIENTS[self.evaluation])

    def spent(self, steps: int, setting: Mapping[str, object] | None = None) -> Evaluations:
        """What a training takes until so many steps are made.

        Args:
            setting: its hyper-parameters; the most expensive of those asked for if None.
        """
        each = self.per_step()
        return Evaluations(functions=steps * each.functions, gradients=steps * each.gradients)

    def wrappers(self) -> dict[str, Wrapper]:
        """What stands round the rule, by field, from the rule outwards."""
        found = ((field, getattr(self, field)) for field in FIELDS)
        return {field: wrapper for field, wrapper in found if wrapper is not None and wrapper.changes}

    def wrapper_kinds(self) -> dict[str, str]:
        """Field to kind."""
        return {field: type(wrapper).model_fields["kind"].default for field, wrapper in self.wrappers().items()}

    def hyperparameters(self) -> dict[str, object]:
        """Everything the rule and what stands round it take, defaults included, grids as lists."""
        own = self.model_dump(exclude={"kind", *Optimizer.model_fields})
        around = self.wrappers().items()
        return own | {
            f"{field}.{name}": value for field, wrapper in around for name, value in wrapper.numbers().items()
        }

    def default(self, name: str) -> object:
        """Of a hyper-parameter, as `hyperparameters` calls it."""
        field, _, inner = name.rpartition(".")
        spec = getattr(self, field) if field else self
        return type(spec).model_fields[inner].default

    def admits(self, name: str, value: float) -> bool:
        """Whether a hyper-parameter, as `hyperparameters` calls it, might have been written as this number."""
        field, _, inner = name.rpartition(".")
        spec = getattr(self, field) if field else self
        try:
            type(spec).model_validate({**spec.model_dump(), inner: value})
        except ValidationError:
            return False
        return True
