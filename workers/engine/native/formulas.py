"""C++ of a non-linearity, written from the same formula that theory and the portable path evaluate."""

from collections.abc import Callable

from workers.contract.expressions import ARITHMETIC, NAMED, Expression, Functions, compiled, derivative

SOURCE = """#include "units.h"

namespace {{
struct Theta {{
    static constexpr bool from_value = {from_value};
    template <class T> static inline T value([[maybe_unused]] T z) {{{value}}}
    template <class T> static inline T slope([[maybe_unused]] T z, [[maybe_unused]] T a) {{{slope}}}
}};
}}

extern "C" {{
extern const NonLinearity<float> float32;
extern const NonLinearity<double> float64;
const NonLinearity<float> float32 = entry<float, Theta>();
const NonLinearity<double> float64 = entry<double, Theta>();
}}
"""

MULTIPLIED_OUT = 4
"""Whole powers up to it are products."""


def source(theta: Expression) -> str:
    """A unit to compile: value and slope of θ. Where θ stands in its derivative, as in 1 − tanh², the value is read instead."""
    slope = _with_the_value(derivative(theta), theta)
    from_value = not _mentions_z(slope)
    return SOURCE.format(from_value=str(from_value).lower(), value=_body(theta), slope=_body(slope))


def _with_the_value(expression: Expression, theta: Expression) -> Expression:
    done: dict[Expression, Expression] = {theta: Expression("value")} if theta.arguments else {}

    def visit(node: Expression) -> Expression:
        if node not in done:
            done[node] = Expression(node.operation, tuple(visit(each) for each in node.arguments), node.number)
        return done[node]

    return visit(expression)


def _mentions_z(expression: Expression) -> bool:
    waiting, seen = [expression], set[Expression]()
    while waiting:
        node = waiting.pop()
        if node.operation == "z":
            return True
        if node not in seen:
            seen.add(node)
            waiting += node.arguments
    return False


def _body(expression: Expression) -> str:
    """Statements, one for each part of the tree: evaluated with functions that write down what they would compute."""
    lines: list[str] = []

    def named(kind: str, text: str) -> str:
        lines.append(f"const {kind} v{len(lines)} = {text};")
        return f"v{len(lines) - 1}"

    def infix(sign: str, kind: str = "T") -> Callable[..., str]:
        return lambda left, right: named(kind, f"{_text(left)} {sign} {_text(right)}")

    def call(name: str) -> Callable[..., str]:
        return lambda *arguments: named("T", f"formula::{name}({', '.join(map(_text, arguments))})")

    def power(base: str, exponent: float) -> str:
        if 2 <= exponent <= MULTIPLIED_OUT and exponent == int(exponent):
            return named("T", " * ".join([base] * int(exponent)))
        return named("T", f"formula::power({base}, {_text(exponent)})")

    signs = dict(zip(("add", "subtract", "multiply", "divide"), "+-*/", strict=True))
    functions: Functions = {
        **{name: infix(sign) for name, sign in signs.items()},
        **{name: infix(name, "bool") for name in ARITHMETIC if name not in (*signs, "power")},
        **{name: call(name) for name in NAMED},
        "power": power,
        "where": lambda condition, a, b: named("T", f"{condition} ? {_text(a)} : {_text(b)}"),
        "constant": lambda z, number: _text(number),
        "value": lambda: "a",
    }
    result = compiled(expression, functions)("z")
    return " ".join([*lines, f"return {result};"])


def _text(argument: str | float) -> str:
    return argument if isinstance(argument, str) else f"T({argument!r})"
