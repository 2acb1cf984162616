"""Formulas in one variable, z, as trees: one definition of a non-linearity for theory and training.

A tree has its derivative, another tree, and is evaluated with a table of functions: the standard library's here, numpy's in the
theory, torch's in the engine. `workers.contract.formulas` reads trees from text.

Trees share their parts, and every walk visits a part once: a derivative of a derivative stays small.
"""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Functions = Mapping[str, Callable[..., Any]]
"""Elementwise functions by name. Of those in NAMED and `where`, an argument may be a plain number, but not all of them;
`constant(z, number)` is an array like z."""


@dataclass(frozen=True, eq=False)
class Expression:
    """A number, z, or an operation on other expressions. The operators simplify on the way."""

    operation: str
    """`number`, `z`, or a name in ARITHMETIC, NAMED or `where`."""
    arguments: tuple["Expression", ...] = ()
    number: float = 0.0
    """The value of a `number`, the exponent of a `power`."""

    def __add__(self, other: "Expression | float") -> "Expression":
        return _add(self, as_expression(other))

    def __radd__(self, other: float) -> "Expression":
        return _add(as_expression(other), self)

    def __sub__(self, other: "Expression | float") -> "Expression":
        return _subtract(self, as_expression(other))

    def __rsub__(self, other: float) -> "Expression":
        return _subtract(as_expression(other), self)

    def __mul__(self, other: "Expression | float") -> "Expression":
        return _multiply(self, as_expression(other))

    def __rmul__(self, other: float) -> "Expression":
        return _multiply(as_expression(other), self)

    def __truediv__(self, other: "Expression | float") -> "Expression":
        return _divide(self, as_expression(other))

    def __rtruediv__(self, other: float) -> "Expression":
        return _divide(as_expression(other), self)

    def __neg__(self) -> "Expression":
        return _multiply(as_expression(-1.0), self)

    def __pow__(self, exponent: float) -> "Expression":
        if exponent in (0, 1):
            return self if exponent else as_expression(1)
        if self.operation == "number":
            return as_expression(_finite("power", self.number, exponent))
        return Expression("power", (self,), float(exponent))


Z = Expression("z")


def as_expression(value: Expression | float) -> Expression:
    """A number as a tree; trees as they are."""
    return value if isinstance(value, Expression) else Expression("number", number=float(value))


def apply(name: str, *arguments: Expression) -> Expression:
    """A function of NAMED, a comparison, or `where(condition, a, b)`.

    Raises:
        ArithmeticError: of numbers alone, if the result is not a finite number.
    """
    if name == "where":
        return _where(*arguments)
    if all(argument.operation == "number" for argument in arguments):
        return as_expression(_finite(name, *(argument.number for argument in arguments)))
    if name in ("max", "min") and arguments[0].operation == "number":
        arguments = arguments[::-1]
    inner = arguments[0]
    if name == "log" and inner.operation == "add" and (power := _exponent_beside_one(inner)):
        return apply("softplus", power)
    return Expression(name, arguments)


def substitute(expression: Expression, inner: Expression) -> Expression:
    """The expression with `inner` in the place of z."""
    done: dict[Expression, Expression] = {}

    def visit(node: Expression) -> Expression:
        if node.operation == "z":
            return inner
        if node not in done:
            arguments = tuple(visit(argument) for argument in node.arguments)
            done[node] = Expression(node.operation, arguments, node.number)
        return done[node]

    return visit(expression)


def size(expression: Expression) -> int:
    """How many different parts there are, numbers and z among them."""
    seen: set[Expression] = set()
    waiting = [expression]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += node.arguments
    return len(seen)


def derivative(expression: Expression) -> Expression:
    """∂/∂z. At a kink of `max`, `min`, `abs` and at a `where`, the slope of one side or the mean of both; at the vertical slope of
    a root, zero, so that √|z| does not make 0·∞ of it.

    Both sides of a `where` are evaluated but only one is taken, so what is not a number on the other does no harm.
    """
    done: dict[Expression, Expression] = {}

    def visit(node: Expression) -> Expression:
        if node not in done:
            done[node] = _slope(node, visit)
        return done[node]

    return visit(expression)


def compiled(expression: Expression, functions: Functions) -> Callable[[Any], Any]:
    """Z -> the expression's value, elementwise; equal parts are computed once, and let go after their last use.

    Args:
        expression: the tree.
        functions: NAMED, `where` and `constant` for whatever z is; anything in ARITHMETIC may be overridden.
    """
    table = {**ARITHMETIC, **functions}
    steps: list[tuple[Callable[..., Any], tuple[int | float, ...]]] = []
    places: dict[Expression, int | float] = {}
    known: dict[tuple[object, ...], int] = {}

    def place(node: Expression) -> int | float:
        """A number as it is, or the register that holds the value: 0 is z."""
        if node not in places:
            places[node] = node.number if node.operation == "number" else 0 if node.operation == "z" else step_for(node)
        return places[node]

    def step(name: str, *arguments: int | float) -> int:
        # the types belong to the key: register 1 is not the number 1.0
        key = (name, *((type(argument), argument) for argument in arguments))
        if key not in known:
            steps.append((table[name], arguments))
            known[key] = len(steps)
        return known[key]

    def step_for(node: Expression) -> int:
        arguments = tuple(place(argument) for argument in node.arguments)
        if node.operation == "where" and all(isinstance(argument, float) for argument in arguments[1:]):
            arguments = (arguments[0], step("constant", 0, arguments[1]), arguments[2])
        return step(node.operation, *arguments, *([node.number] if node.operation == "power" else []))

    result = place(expression)
    if isinstance(result, float):
        result = step("constant", 0, result)
    last_use = {
        argument: index for index, (_, arguments) in enumerate(steps) for argument in arguments if type(argument) is int
    }
    spent = [[register for register, last in last_use.items() if last == index] for index in range(len(steps))]
    program = [(*step, [r for r in free if r != result]) for step, free in zip(steps, spent, strict=True)]

    def evaluate(z: Any) -> Any:
        registers = [z]
        for function, arguments, free in program:
            registers.append(function(*(registers[a] if type(a) is int else a for a in arguments)))
            for register in free:
                registers[register] = None
        return registers[result]

    return evaluate


def _total(function: Callable[..., float]) -> Callable[..., float]:
    """`math` raises where arrays have infinity or NaN."""

    def guarded(*arguments: float) -> float:
        try:
            return function(*arguments)
        except OverflowError:
            return math.inf
        except (ValueError, ZeroDivisionError):
            return math.nan

    return guarded


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z > 0 else math.exp(z) / (1 + math.exp(z))


ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": operator.pow,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}

NAMED: dict[str, Callable[..., float]] = {
    "exp": math.exp,
    "expm1": math.expm1,
    "log": math.log,
    "log1p": math.log1p,
    "sqrt": math.sqrt,
    "abs": abs,
    "sign": lambda z: math.copysign(1, z) if z else 0.0,
    "tanh": math.tanh,
    "sigmoid": _sigmoid,
    "softplus": lambda z: max(z, 0.0) + math.log1p(math.exp(-abs(z))),
    "erf": math.erf,
    "arctan": math.atan,
    "sin": math.sin,
    "cos": math.cos,
    "max": max,
    "min": min,
}
"""The functions a formula may name, of floats."""

FLOATS: Functions = {
    **{name: _total(function) for name, function in {**ARITHMETIC, **NAMED, "power": math.pow}.items()},
    "where": lambda condition, a, b: a if condition else b,
    "constant": lambda z, number: number,
}
"""The table for one float at a time, where overflow is infinity and what does not exist is NaN."""

_RULES: dict[str, Callable[[Expression, Expression], Expression | float]] = {
    "exp": lambda u, y: y,
    "expm1": lambda u, y: y + 1,
    "log": lambda u, y: 1 / u,
    "log1p": lambda u, y: 1 / (1 + u),
    "sqrt": lambda u, y: apply("where", apply("==", u, as_expression(0)), as_expression(0), 0.5 / y),
    "abs": lambda u, y: apply("sign", u),
    "sign": lambda u, y: 0.0,
    "tanh": lambda u, y: 1 - y * y,
    "sigmoid": lambda u, y: y * (1 - y),
    "softplus": lambda u, y: apply("sigmoid", u),
    "erf": lambda u, y: 2 / math.sqrt(math.pi) * apply("exp", -(u * u)),
    "arctan": lambda u, y: 1 / (1 + u * u),
    "sin": lambda u, y: apply("cos", u),
    "cos": lambda u, y: -apply("sin", u),
}
"""(u, y) -> f′(u) where y = f(u)."""


def _slope(node: Expression, of: Callable[[Expression], Expression]) -> Expression:
    """The derivative of a node from those of its arguments, `of(argument)`."""
    name, arguments = node.operation, node.arguments
    if name in ("number", "z"):
        return as_expression(float(name == "z"))
    if name == "where":
        return apply("where", arguments[0], of(arguments[1]), of(arguments[2]))
    u, du = arguments[0], of(arguments[0])
    if name in _RULES:
        return du * _RULES[name](u, node)
    if name == "power":
        slope = node.number * u ** (node.number - 1)
        if 0 < node.number < 1:
            slope = apply("where", apply("==", u, as_expression(0)), as_expression(0), slope)
        return du * slope
    v, dv = arguments[1], of(arguments[1])
    if name == "add":
        return du + dv
    if name == "subtract":
        return du - dv
    if name == "multiply":
        return du * v + u * dv
    if name == "divide":
        return (du - node * dv) / v
    # max and min: the side that is taken
    return apply("where", apply(">" if name == "max" else "<", u, v), du, dv)


def _finite(name: str, *numbers: float) -> float:
    value = float(FLOATS[name](*numbers))
    if not math.isfinite(value):
        raise ArithmeticError("this is not a finite number")
    return value


def _is(node: Expression, number: float) -> bool:
    return node.operation == "number" and node.number == number


def _both_numbers(a: Expression, b: Expression) -> bool:
    return a.operation == b.operation == "number"


def _add(a: Expression, b: Expression) -> Expression:
    if _both_numbers(a, b):
        return as_expression(_finite("add", a.number, b.number))
    if _is(a, 0) or _is(b, 0):
        return b if _is(a, 0) else a
    return Expression("add", (a, b))


def _subtract(a: Expression, b: Expression) -> Expression:
    if _both_numbers(a, b):
        return as_expression(_finite("subtract", a.number, b.number))
    if _is(a, 0) or _is(b, 0):
        return -b if _is(a, 0) else a
    return Expression("subtract", (a, b))


def _multiply(a: Expression, b: Expression) -> Expression:
    """Numbers go to the left and are multiplied there."""
    if _both_numbers(a, b):
        return as_expression(_finite("multiply", a.number, b.number))
    if b.operation == "number":
        a, b = b, a
    if _is(a, 0):
        return a
    if _is(a, 1):
        return b
    if b.operation == "multiply" and b.arguments[0].operation == "number":
        if a.operation == "number":
            return (a * b.arguments[0]) * b.arguments[1]
        return b.arguments[0] * (a * b.arguments[1])
    return Expression("multiply", (a, b))


def _divide(a: Expression, b: Expression) -> Expression:
    if _is(b, 0):
        raise ArithmeticError("this divides by zero")
    if _both_numbers(a, b):
        return as_expression(_finite("divide", a.number, b.number))
    if _is(a, 0) or _is(b, 1):
        return a
    if b.operation == "add" and (power := _exponent_beside_one(b)):
        return a * apply("sigmoid", -power)  # whose derivative is not ∞/∞ where exp overflows
    return Expression("divide", (a, b))


def _where(condition: Expression, a: Expression, b: Expression) -> Expression:
    if condition.operation == "number":
        return a if condition.number else b
    if a is b or (_both_numbers(a, b) and a.number == b.number):
        return a
    return Expression("where", (condition, a, b))


def _exponent_beside_one(total: Expression) -> Expression | None:
    """U of 1 + exp(u)."""
    one, power = total.arguments if total.arguments[0].operation == "number" else total.arguments[::-1]
    return power.arguments[0] if _is(one, 1) and power.operation == "exp" else None
