"""What every optimizer may state, and what the catalogue says of it. g is the gradient, θ the parameters, all operations
elementwise unless said.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from workers.contract.base import Spec, Whole

Pattern = Literal["one_gradient", "two_gradients", "curvature"]
GRADIENTS: dict[Pattern, int] = {"one_gradient": 1, "two_gradients": 2, "curvature": 2}
"""What a step takes; a pass backward for the curvature costs no more than a gradient and counts as one."""
Decay = Literal["coupled", "decoupled", "none"]


class Optimizer(Spec):
    """What every optimizer may state beside its hyper-parameters."""

    name: str | None = Field(default=None, min_length=1, max_length=80, examples=["sgd, full batch"])
    """What the result calls it, so that one kind can stand twice; its kind if null."""
    batch_size: Annotated[Whole, Field(ge=1, le=1_000_000)] | Literal["full"] | None = Field(
        default=None, examples=[128, "full"]
    )
    """Its own batch size, instead of the comparison's."""

    pattern: ClassVar[Pattern] = "one_gradient"
    decay: ClassVar[Decay] = "none"
    formula: ClassVar[str]
    source: ClassVar[str]
    family: ClassVar[str]
    full_batch_unless_stated: ClassVar[bool] = False

    @property
    def label(self) -> str:
        kind: str = getattr(self, "kind")  # noqa: B009 - every leaf declares its own Literal
        return self.name or kind

    def hyperparameters(self) -> dict[str, object]:
        """Everything the rule takes, defaults included, grids as lists."""
        return self.model_dump(exclude={"kind", "name", "batch_size"})
