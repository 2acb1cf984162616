"""Reads a formula in z into a tree, against a whitelist and in bounded time. Nothing is evaluated but numbers.

The text is cut into tokens first, so that only numbers, known names and signs of arithmetic reach Python's parser, which knows
precedence; the parser's tree is then rebuilt from the few node types that are allowed.
"""

import ast
import difflib
import math
import re
from collections.abc import Mapping

from workers.contract.expressions import NAMED, Expression, Z, apply, as_expression

MAX_LENGTH = 500
"""Characters of a formula."""
MAX_NODES = 150
"""Numbers, z's, operations and functions of a formula."""
MAX_DEPTH = 32
"""Parentheses and operations inside one another."""
MAX_EXPONENT = 64
"""Of `**`, in size."""
MAX_NUMBER = 1e12
"""Of a number that is written down, in size."""

CONSTANTS = {"pi": math.pi, "e": math.e}
ARGUMENTS = dict.fromkeys(NAMED, 1) | {"max": 2, "min": 2, "where": 3}
"""How many arguments a function takes."""

TOKEN = re.compile(
    r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][A-Za-z_0-9]*)|(?P<sign>\*\*|[<>=!]=|[-+*/(),<>])| +",
    re.ASCII,
)
BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
HINTS = {
    "x": "the pre-activation is called z",
    "relu": "write max(0, z)",
    "atan": "write arctan",
    "ln": "write log",
    "pow": "write **",
    "if": "write where(z > 0, a, b)",
    "and": "put one where inside another",
    "or": "put one where inside another",
    "^": "a power is written **",
    ".": "a point stands in numbers only",
    "−": "the minus sign is -",
    "²": "a square is written z**2",
    "·": "a product is written *",
}


class FormulaError(ValueError):
    """Why a formula cannot be, where, and what to change."""

    def __init__(self, reason: str, position: int | None = None) -> None:
        super().__init__(reason if position is None else f"{reason}, at character {position + 1}")
        self.position = position
        """Of the first character in question, counted from 0."""


def parse(formula: str, constants: Mapping[str, float] | None = None) -> Expression:
    """The tree of a formula such as `z*exp(-z**2/2)` or `where(z > 0, z, 0.1*z)`.

    Args:
        formula: numbers, z, pi, e, + - * / ** (with a fixed exponent, or a fixed positive base), parentheses, the functions
            of `expressions.NAMED`, and where(a < b, this, that).
        constants: names that stand for numbers in this formula.

    Raises:
        FormulaError: with the place, the reason and what to change.
    """
    if len(formula) > MAX_LENGTH:
        raise FormulaError(f"the formula has {len(formula):,} characters, at most {MAX_LENGTH} are allowed: shorten it")
    numbers = {**CONSTANTS, **(constants or {})}
    _check_tokens(formula, {"z", *numbers, *ARGUMENTS})
    start = len(formula) - len(formula.lstrip(" "))
    try:
        tree = ast.parse(formula.strip(" "), mode="eval").body
    except SyntaxError as error:
        position = start + max(0, (error.offset or 1) - 1)
        raise FormulaError(
            "this does not read as a formula: a sign, an argument or a parenthesis is missing", position
        ) from None
    return _Reader(start, numbers).read(tree, 0)


def _check_tokens(formula: str, names: set[str]) -> None:
    if not formula.strip(" "):
        raise FormulaError("the formula is empty: write one in z, such as tanh(z) + 0.1*z")
    position, opened = 0, list[int]()
    while position < len(formula):
        found = TOKEN.match(formula, position)
        if found is None:
            sign = formula[position]
            hint = HINTS.get(sign, "numbers, z, + - * / **, parentheses, comparisons and functions are")
            raise FormulaError(f"{sign!r} is not allowed here: {hint}", position)
        name, sign = found["name"], found["sign"]
        if name and name not in names:
            raise FormulaError(f"{_short(name)} is no function or constant: {_instead(name, names)}", position)
        if sign == "(":
            opened.append(position)
            if len(opened) > MAX_DEPTH:
                raise FormulaError(f"more than {MAX_DEPTH} parentheses inside one another: simplify", position)
        if sign == ")" and (not opened or opened.pop() < 0):
            raise FormulaError("this parenthesis closes nothing: remove it", position)
        position = found.end()
    if opened:
        raise FormulaError("this parenthesis is never closed: add )", opened[-1])


def _instead(name: str, names: set[str]) -> str:
    if name in HINTS:
        return HINTS[name]
    close = difflib.get_close_matches(name[:20], sorted(names), 1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(names))}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 20 else text[:20] + "…")


class _Reader:
    """Rebuilds a tree of Python's from what is allowed in a formula."""

    def __init__(self, start: int, numbers: Mapping[str, float]) -> None:
        self.start = start
        self.numbers = numbers
        self.nodes = 0

    def read(self, node: ast.expr, depth: int) -> Expression:
        position = self.start + node.col_offset
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise FormulaError(f"the formula has more than {MAX_NODES} parts: simplify it", position)
        if depth > MAX_DEPTH:
            raise FormulaError(f"more than {MAX_DEPTH} operations inside one another: simplify", position)
        try:
            return self._node(node, depth + 1, position)
        except ArithmeticError as error:
            raise FormulaError(f"{error}: change the numbers", position) from None

    def _node(self, node: ast.expr, depth: int, position: int) -> Expression:
        match node:
            case ast.Constant():
                return self._number(node, position)
            case ast.Name(id=name):
                if name in ARGUMENTS:
                    raise FormulaError(f"{name} is a function: write {name}(…)", position)
                return Z if name == "z" else as_expression(self.numbers[name])
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
                value = self.read(operand, depth)
                return -value if isinstance(sign, ast.USub) else value
            case ast.BinOp(op=sign) if type(sign) in BINARY:
                return self._binary(node, depth)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in ARGUMENTS:
                return self._call(name, arguments, depth, position)
            case ast.Compare():
                raise FormulaError("a comparison stands in a where only: where(z > 0, this, that)", position)
            case ast.Call(func=ast.Name(id=name)):
                raise FormulaError(f"{name} is no function: a product is written {name}*(…)", position)
        raise FormulaError("this is not allowed in a formula: write it with + - * / ** and functions", position)

    def _number(self, node: ast.Constant, position: int) -> Expression:
        try:
            value = float(node.value)  # type: ignore[arg-type]
        except (OverflowError, TypeError, ValueError):
            value = math.inf
        if not abs(value) <= MAX_NUMBER:
            raise FormulaError(f"numbers go up to {MAX_NUMBER:g}: write a smaller one", position)
        return as_expression(value)

    def _binary(self, node: ast.BinOp, depth: int) -> Expression:
        left, right = self.read(node.left, depth), self.read(node.right, depth)
        match node.op:
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Mult():
                return left * right
            case ast.Div():
                return left / right
        return self._power(left, right, self.start + node.right.col_offset)

    def _power(self, base: Expression, exponent: Expression, position: int) -> Expression:
        if exponent.operation == "number":
            if abs(exponent.number) > MAX_EXPONENT:
                raise FormulaError(
                    f"exponents go from -{MAX_EXPONENT} to {MAX_EXPONENT}: write a smaller one", position
                )
            return base**exponent.number
        if base.operation == "number" and base.number > 0:
            return apply("exp", math.log(base.number) * exponent)
        raise FormulaError("the exponent varies, and so does its base: write exp(exponent*log(base))", position)

    def _call(self, name: str, arguments: list[ast.expr], depth: int, position: int) -> Expression:
        needed = ARGUMENTS[name]
        if len(arguments) != needed:
            raise FormulaError(f"{name} takes {needed} argument{'s' * (needed > 1)}, not {len(arguments)}", position)
        if name == "where":
            return apply(name, self._condition(arguments[0], depth), *(self.read(one, depth) for one in arguments[1:]))
        return apply(name, *(self.read(one, depth) for one in arguments))

    def _condition(self, node: ast.expr, depth: int) -> Expression:
        position = self.start + node.col_offset
        match node:
            case ast.Compare(left=left, ops=[sign], comparators=[right]) if type(sign) in COMPARISONS:
                return apply(COMPARISONS[type(sign)], self.read(left, depth), self.read(right, depth))
            case ast.Compare():
                raise FormulaError("one comparison at a time: put one where inside another", position)
        raise FormulaError("where begins with a comparison: where(z > 0, this, that)", position)
