"""Any optimizer class of torch.optim or pytorch_optimizer by name. What their constructors take is a table, signatures.json, written by
`python -m benchmarks.bridge --write` from what is installed, and compared with it by a test.

A class that can run has arguments and what was measured of it; one that cannot has the reason.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, create_model, model_validator

from workers.contract.base import Spec, strict_number, value_or_grid
from workers.contract.optimizers.base import Optimizer

Value = bool | int | float | str | list[float] | None

FURTHEST = 1e12
MOST_VALUES = 64
"""Of a grid, as everywhere."""


class Argument(NamedTuple):
    """Of a constructor. Its bounds are those that the constructor enforces, found by trying: it says them nowhere else."""

    type: Literal["number", "integer", "boolean", "string", "numbers"]
    """`numbers` is a list of fixed length, such as betas; for a `number` a list may stand, too: a grid."""
    default: Value = None
    """None, where it is not required: left to the class."""
    description: str = ""
    """From the class's own docstring."""
    required: bool = False
    choices: tuple[str, ...] = ()
    length: int = 0
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    below: float | None = None


class Class(NamedTuple):
    """An optimizer class that can run."""

    description: str
    """The first sentence of its own docstring."""
    arguments: dict[str, Argument]
    random: bool = False
    """It draws at random."""
    grouped: bool = False
    """It wants hidden weights and the rest as groups that say `use_muon`."""
    averaged: bool = False
    """It has an evaluation mode, at an average of its iterates, which is not used: losses are taken where gradients are."""
    float32_only: bool = False
    """It fails on parameters in float64."""
    remembered_per_parameter: float = 0.0
    """Numbers kept for each parameter of a small network."""
    down_to: float | None = None
    up_to: float | None = None
    """Range of the gradient's scales within which its steps are the same: see invariance.py."""


def _read(known: dict[str, Any]) -> Class:
    arguments = {
        name: Argument(**own | {"choices": tuple(own.get("choices", ()))}) for name, own in known["arguments"].items()
    }
    return Class(**known | {"arguments": arguments})


_table = json.loads(Path(__file__).with_name("signatures.json").read_text(encoding="utf-8"))

VERSIONS: dict[str, str] = _table["versions"]
"""Of the packages that the table was made from."""
BRIDGED: dict[str, Class] = {kind: _read(known) for kind, known in _table["classes"].items()}
"""By kind, torch.optim/Adam."""
REFUSED: dict[str, str] = _table["refused"]
"""Classes that cannot run here, and why not."""

if TYPE_CHECKING:
    Kind = str
else:
    Kind = Literal[tuple(BRIDGED)]


class Bridged(Optimizer):
    """Any class of torch.optim or pytorch_optimizer that trains from gradients alone, run as it is: slower than a rule of ours, one
    object for each trial. Its constructor's arguments stand beside `kind`; the catalogue lists them under `bridged`, and under `refused`
    the classes that cannot run here. A float argument given as a list is a grid.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"kind": "pytorch_optimizer/ADOPT", "lr": 1e-3, "betas": [0.9, 0.99]}]},
    )
    __pydantic_extra__: dict[str, Value] = Field(init=False)

    kind: Kind = Field(examples=["pytorch_optimizer/ADOPT"])
    """Package and class."""
    family: ClassVar[str] = "bridge"
    refuses: ClassVar[Mapping[str, str]] = {"depth_lr": "its object has one learning rate for all layers"}

    @model_validator(mode="before")
    @classmethod
    def _arguments(cls, body: Any) -> Any:
        """Checks them by the constructor's own model and fills in its defaults."""
        if not isinstance(body, dict) or body.get("kind") not in BRIDGED:
            return body
        own = {name: value for name, value in body.items() if name in cls.model_fields}
        given = {name: value for name, value in body.items() if name not in cls.model_fields}
        return own | arguments_of(body["kind"]).model_validate(given).model_dump(exclude_none=True)

    def default(self, name: str) -> object:
        return super().default(name) if "." in name else BRIDGED[self.kind].arguments[name].default


@cache
def arguments_of(kind: str) -> type[Spec]:
    """The constructor's arguments as a model; those without a value are left to the class."""
    fields: dict[str, Any] = {name: _field(argument) for name, argument in BRIDGED[kind].arguments.items()}
    return create_model(kind.replace("/", "."), __base__=Spec, **fields)


def _field(argument: Argument) -> tuple[Any, Any]:
    """Type and default as pydantic wants them."""
    reals = argument.type in ("number", "numbers")
    bounds = Field(
        gt=argument.above,
        ge=-FURTHEST if argument.minimum is None and argument.above is None else argument.minimum,
        lt=argument.below,
        le=FURTHEST if argument.maximum is None and argument.below is None else argument.maximum,
    )
    number: Any = Annotated[float if reals else int, BeforeValidator(strict_number), bounds]
    grid: Any = Annotated[list[number], Field(min_length=1, max_length=MOST_VALUES), Tag("grid")]
    types: dict[str, Any] = {
        "number": Annotated[Annotated[number, Tag("value")] | grid, Discriminator(value_or_grid)],
        "integer": number,
        "boolean": Annotated[bool, Field(strict=True)],
        "string": Literal[argument.choices or ("",)],
        "numbers": Annotated[list[number], Field(min_length=argument.length, max_length=argument.length)],
    }
    if argument.required:
        return types[argument.type], Field(description=argument.description)
    if argument.default is None:
        single = number if argument.type == "number" else types[argument.type]
        return single | None, Field(default=None, description=argument.description)
    return types[argument.type], Field(default=argument.default, description=argument.description)
