"""What a network may say of its non-linearity: a name, a formula of its own, or either re-parametrised. z is the pre-activation.

`expression_of` gives the one definition of any of them, a tree in z, which theory and engine differentiate and evaluate. Of a `shaped`
one the theory has worked out the constants by then, for the network that it stands in: what trains is a `scaled` one.
"""

import math
from functools import lru_cache
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from workers.contract.base import ByKind, NonNegative, Number, Positive, Spec
from workers.contract.expectations import moments
from workers.contract.expressions import FLOATS, Expression, Z, compiled, derivative, substitute
from workers.contract.formulas import MAX_LENGTH, FormulaError, parse
from workers.contract.nonlinearities import NAMED, LeakyRelu, NamedSpec


class Formula(Spec):
    """A formula of your own in z, parsed against a whitelist and differentiated; it must be finite with a slope near zero."""

    kind: Literal["expression"] = "expression"
    source: ClassVar[str] = "yours"
    formula: str = Field(max_length=MAX_LENGTH, examples=["z*exp(-z**2/2)"])
    """Of z, numbers, pi, e, + - * / ** and parentheses; exp, expm1, log, log1p, sqrt, abs, sign, tanh, sigmoid, softplus, erf,
    arctan, sin, cos, max, min; and where(z > 0, this, that), with any comparison."""

    @field_validator("formula")
    @classmethod
    def _reads_and_carries_a_gradient(cls, formula: str) -> str:
        try:
            _check(parse(formula))
        except FormulaError as error:
            raise _refused(str(error)) from None
        return formula


_Plain = Annotated[
    NamedSpec | Formula,
    Field(discriminator="kind"),
    ByKind,
]


_Constant = Annotated[Number, Field(ge=-1e6, le=1e6)]


CONSTANTS = ("a", "b", "c", "d")
"""Of a re-parametrised non-linearity, in the order of its parameters."""

ConstantName = Literal["a", "b", "c", "d"]


class Scaled(Spec):
    """a·θ(b·z + c) + d: any non-linearity, re-parametrised by constants, which may learn."""

    kind: Literal["scaled"] = "scaled"
    formula: ClassVar[str] = "a*theta(b*z + c) + d"
    source: ClassVar[str] = (
        "LeCun et al. 1998, Efficient BackProp, section 4.4; Martens et al. 2021, section 4; learned: Agostinelli et al. 2015"
    )
    of: _Plain = Field(examples=["tanh"])
    """θ."""
    a: _Constant = Field(default=1.0, examples=[1.7159])
    """Height."""
    b: _Constant = Field(default=1.0, examples=[0.6667])
    """Steepness."""
    c: _Constant = Field(default=0.0, examples=[0.0])
    """Shift of the pre-activation."""
    d: _Constant = Field(default=0.0, examples=[0.0])
    """Shift of the value."""
    trainable: tuple[ConstantName, ...] = Field(default=(), max_length=4, examples=[["a", "b"]])
    """Those that learn, with the network's weights, from the values above; of an activation layer only."""
    per: Literal["layer", "unit"] = Field(default="layer", examples=["unit"])
    """Whether a layer learns one of each, or each of its units does."""
    penalty: NonNegative = Field(default=0.0, le=1e9, examples=[0.01])
    """λ of λ/2·Σ(x − x₀)² over the constants that learn, which pulls them to where they started. Statistics are of the loss without it."""

    @field_validator("trainable")
    @classmethod
    def _each_once(cls, names: tuple[ConstantName, ...]) -> tuple[ConstantName, ...]:
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise _refused(f"{twice!r} stands twice among those that learn: once is enough")
        return tuple(sorted(names))

    @model_validator(mode="after")
    def _carries_a_gradient(self) -> Self:
        _check_composed(self)
        return self

    @model_validator(mode="after")
    def _asks_nothing_of_what_is_fixed(self) -> Self:
        asked = next(
            (name for name in ("per", "penalty") if getattr(self, name) != type(self).model_fields[name].default), None
        )
        if asked and not self.trainable:
            raise _refused(f"{asked!r} is about constants that learn, and none does: name them in `trainable`")
        return self


class Normalised(Spec):
    """(θ(z) − m)/s with mean m and standard deviation s of θ over a standard normal z: zero mean, unit variance."""

    kind: Literal["normalised"] = "normalised"
    formula: ClassVar[str] = "(theta(z) - mean)/std"
    source: ClassVar[str] = "Arpit et al. 2016, section 3, for any non-linearity"
    of: Annotated[
        NamedSpec | Formula | Scaled,
        Field(discriminator="kind"),
        ByKind,
    ] = Field(examples=["sigmoid"])
    """θ."""

    @model_validator(mode="after")
    def _has_moments(self) -> Self:
        if trained(self.of):
            raise _refused("what is learned cannot be normalised beforehand: leave `trainable` out")
        _check_composed(self)
        return self


class Shaped(Spec):
    """γ(θ(αz + β) + δ): any non-linearity, with the constants that keep a deep network's signal, worked out for the network at hand.

    The network as a whole gets a kernel that is neither flat nor chaotic, whatever its depth; it needs weights that keep mean squares,
    as of `scaled_uniform_orthogonal` or `lecun_normal`, and biases of zero. What the constants are, a preview shows.
    """

    kind: Literal["shaped"] = "shaped"
    formula: ClassVar[str] = "gamma*(theta(alpha*z + beta) + delta)"
    source: ClassVar[str] = (
        "Martens et al. 2021, section 5 (dks); Zhang et al. 2022, section 4 (tat); google-deepmind/dks"
    )
    of: _Plain = Field(examples=["gaussian"])
    """θ. A leaky ReLU's slope below zero is chosen, too, and its α and β are 1 and 0."""
    method: Literal["dks", "tat"] = Field(default="dks", examples=["dks"])
    """dks, deep kernel shaping: Q(1) = Q′(1) = 1, C(0) = 0, C′(1) = `target` over the network. tat, tailored activations, for smooth
    θ: Q(1) = Q′(1) = C′(1) = 1, C″(1) = `target` over the network; for a leaky ReLU: Q(1) = C′(1) = 1, C(0) = `target`."""
    target: Positive | None = Field(default=None, examples=[1.5])
    """Of the whole network: C′(1), above 1, under dks (1.5 if null); C″(1), above 0, under tat (0.3 if null), and C(0), below 1, of a
    leaky ReLU (0.9 if null)."""

    @model_validator(mode="after")
    def _aims_at_what_there_is(self) -> Self:
        above, below = 1.0 if self.method == "dks" else 0.0, self.below
        if self.target is not None and not above < self.target < below:
            raise _refused(
                f"the target of {self.method} is above {above:g} and below {below:g} here, not {self.target:g}"
            )
        return self

    @property
    def below(self) -> float:
        """What the target must be below."""
        return 1.0 if self.method == "tat" and isinstance(self.of, LeakyRelu) else 1e6


ACTIVATIONS = (*NAMED, Formula, Scaled, Normalised, Shaped)

ActivationSpec = Annotated[
    NamedSpec | Formula | Scaled | Normalised | Shaped,
    Field(discriminator="kind"),
    ByKind,
]


def _refuse_trainable(spec: NamedSpec | Formula | Scaled | Normalised) -> NamedSpec | Formula | Scaled | Normalised:
    if trained(spec):
        raise _refused("constants learn in activation layers only: leave `trainable` out here")
    return spec


FixedActivationSpec = Annotated[
    NamedSpec | Formula | Scaled | Normalised,
    Field(discriminator="kind"),
    ByKind,
    AfterValidator(_refuse_trainable),
]
"""Those that neither depend on the network round them nor learn."""


def trained(spec: ActivationSpec) -> tuple[ConstantName, ...]:
    """Its constants that learn, in the order of its parameters."""
    return spec.trainable if isinstance(spec, Scaled) else ()


def held(spec: ActivationSpec) -> ActivationSpec:
    """The same, with constants that stay where they start."""
    return spec.model_copy(update={"trainable": (), "per": "layer", "penalty": 0.0}) if trained(spec) else spec


@lru_cache(maxsize=4096)
def expression_of(spec: ActivationSpec) -> Expression:
    """θ as a tree in z, constants filled in: those that learn where they start.

    Raises:
        ArithmeticError: where θ has no variance for a normal z, so that it cannot be normalised.
    """
    if isinstance(spec, Formula):
        return parse(spec.formula)
    if isinstance(spec, Scaled):
        return spec.a * substitute(expression_of(spec.of), spec.b * Z + spec.c) + spec.d
    if isinstance(spec, Normalised):
        theta = expression_of(spec.of)
        mean, std = moments(theta)
        return (theta - mean) / std
    assert not isinstance(spec, Shaped), "the theory works its constants out before anything is computed"
    return parse(spec.formula, spec.model_dump(exclude={"kind"}))


MAX_COMPOSED = 64
"""Different formulas, scalings and normalisations in one request: each takes up to a tenth of a second to check, a shaping some."""


def refuse_too_many(body: object) -> object:
    """Passes a request's body on before anything in it is checked, unless it would take long to check."""
    composed: dict[str, int] = {}
    waiting = [body]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if (kind := part.get("kind")) in ("expression", "scaled", "normalised", "shaped"):
                composed[repr(part)] = 4 if kind == "shaped" else 1
            waiting += part.values()
        elif isinstance(part, list | tuple):
            waiting += part
        if sum(composed.values()) > MAX_COMPOSED:
            raise _refused(
                f"more than {MAX_COMPOSED} different formulas, scalings and normalisations, a shaped one counted four times: use fewer"
            )
    return body


PROBES = tuple(step / 4 + 1 / 8 for step in range(-16, 16, 2))
"""Pre-activations where a formula must be finite: from −4 to 4, away from 0 and ±1, where a pole or a kink is one's own affair."""


def _check(theta: Expression) -> None:
    """Refuses what no network could train with.

    Raises:
        FormulaError: where θ is not finite, or nowhere has a slope.
    """
    try:
        slope = derivative(theta)
    except ArithmeticError as error:
        raise FormulaError(f"of the derivative, {error}: use smaller numbers") from None
    of_value, of_slope = compiled(theta, FLOATS), compiled(slope, FLOATS)
    for z in PROBES:
        if not (math.isfinite(of_value(z)) and math.isfinite(of_slope(z))):
            raise FormulaError(
                f"at z = {z:g} the value or its slope is no finite number, and a pre-activation may be anything: "
                "use abs, max or where to say what holds there"
            )
    if not any(of_slope(step / 64 + 1 / 128) for step in range(-256, 256)):
        raise FormulaError("the slope is zero from z = -4 to 4, so that no gradient would pass: make it depend on z")


def _check_composed(spec: Scaled | Normalised) -> None:
    try:
        _check(expression_of(spec))
    except (ArithmeticError, FormulaError) as error:
        raise _refused(str(error)) from None


def _refused(reason: str) -> PydanticCustomError:
    return PydanticCustomError("bad_formula", "{reason}", {"reason": reason})
