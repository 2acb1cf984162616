"""What every spec shares: strictness, the short form of a kind, grids, and how a violated rule is told."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag


class Spec(BaseModel):
    """Immutable, refuses unknown fields and non-finite numbers; attribute docstrings are the OpenAPI descriptions."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, use_attribute_docstrings=True)


class Violation(BaseModel):
    """One thing wrong with a request: where (a JSON pointer), what, and what to change."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    pointer: str = Field(examples=["/network/layers/2/in_features"])
    """JSON pointer (RFC 6901) to the offending field of the request's body."""
    message: str = Field(
        examples=["in_features is 32, but the layer receives 64 features: set it to 64 or leave it out"]
    )
    """What was asked, why it cannot be, and what to change."""
    code: str = Field(examples=["shape_misfit"])
    """A stable word for programs."""


def strict_number(value: object) -> object:
    """Refuses what JSON does not call a number (pydantic alone would read true as 1 and "0.1" as 0.1)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number is needed here")
    return value


def kind_of(value: object) -> object:
    """A bare string is short for {"kind": string}."""
    return {"kind": value} if isinstance(value, str) else value


def value_or_grid(value: object) -> str:
    return "grid" if isinstance(value, list | tuple) else "value"


ByKind = BeforeValidator(kind_of)
"""Annotates a union discriminated on `kind`, so that a bare string may stand for it."""

Number = Annotated[float, BeforeValidator(strict_number)]
Whole = Annotated[int, BeforeValidator(strict_number)]
Positive = Annotated[Number, Field(gt=0, le=1e12)]
NonNegative = Annotated[Number, Field(ge=0, le=1e12)]
Fraction = Annotated[Number, Field(ge=0, lt=1)]
Exponent = Annotated[Number, Field(ge=-100, le=100)]
Share = Annotated[Number, Field(gt=0, le=1)]
Count = Annotated[Whole, Field(ge=0, le=10_000_000)]
Interval = Annotated[Whole, Field(ge=1, le=10_000_000)]

PositiveGrid = Annotated[
    Annotated[Positive, Tag("value")] | Annotated[list[Positive], Field(min_length=1, max_length=64), Tag("grid")],
    Discriminator(value_or_grid),
]
"""A positive number, or a list of them: a grid, which always runs."""
NonNegativeGrid = Annotated[
    Annotated[NonNegative, Tag("value")]
    | Annotated[list[NonNegative], Field(min_length=1, max_length=64), Tag("grid")],
    Discriminator(value_or_grid),
]
FractionGrid = Annotated[
    Annotated[Fraction, Tag("value")] | Annotated[list[Fraction], Field(min_length=1, max_length=64), Tag("grid")],
    Discriminator(value_or_grid),
]
ExponentGrid = Annotated[
    Annotated[Exponent, Tag("value")] | Annotated[list[Exponent], Field(min_length=1, max_length=64), Tag("grid")],
    Discriminator(value_or_grid),
]
"""A number of either sign, small enough to be an exponent, or a list of them."""
ShareGrid = Annotated[
    Annotated[Share, Tag("value")] | Annotated[list[Share], Field(min_length=1, max_length=64), Tag("grid")],
    Discriminator(value_or_grid),
]
CountGrid = Annotated[
    Annotated[Count, Tag("value")] | Annotated[list[Count], Field(min_length=1, max_length=64), Tag("grid")],
    Discriminator(value_or_grid),
]
"""A number of steps, or a list of them."""
IntervalGrid = Annotated[
    Annotated[Interval, Tag("value")] | Annotated[list[Interval], Field(min_length=1, max_length=64), Tag("grid")],
    Discriminator(value_or_grid),
]
"""A distance in steps, or a list of them."""
Betas = Annotated[list[Fraction], Field(min_length=2, max_length=2)]
