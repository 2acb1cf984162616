"""Sequences that have to be remembered: N samples of S steps. Inputs are as the papers have them, not standardised.

Symbols come one-hot, (S, symbols); as `tokens` they are whole numbers, (S,), for an embedding.
"""

from typing import ClassVar, Literal

from pydantic import Field

from workers.contract.base import Whole
from workers.contract.problems.problem import Loss, Problem

MAX_LENGTH = 5000


class _Sequences(Problem):
    standardised: ClassVar[bool] = False

    count: Whole = Field(default=5000, ge=50, le=100_000, examples=[5000])
    """Sequences in all splits together."""
    draw: Whole = Field(default=0, ge=0, le=2**31, examples=[0])
    """Seed of the sequences."""

    @property
    def samples(self) -> int:
        return self.count


class _Symbols(_Sequences):
    loss: ClassVar[Loss] = "cross_entropy"
    tokens: bool = Field(default=False, strict=True, examples=[True])
    """Whether symbols are whole numbers, for an embedding as the first layer; else one-hot."""

    @property
    def symbols(self) -> int:
        """How many there are."""
        raise NotImplementedError

    @property
    def steps(self) -> int:
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.steps,) if self.tokens else (self.steps, self.symbols)

    @property
    def vocabulary(self) -> int | None:
        return self.symbols if self.tokens else None


class Adding(_Sequences):
    """The sum of the two numbers that are marked: (S, 2), a number uniform in [0, 1] and a mark, 1 at one step of each half, 0 elsewhere.

    Its targets are standardised, as those of every regression: a loss of 1 is that of the best constant (1/6 in the papers' units).
    """

    kind: Literal["adding"] = "adding"
    source: ClassVar[str] = "Hochreiter & Schmidhuber 1997, experiment 4, as in Le, Jaitly & Hinton 2015, section 4.1"
    loss: ClassVar[Loss] = "mean_squared_error"
    length: Whole = Field(default=50, ge=2, le=MAX_LENGTH, examples=[100])
    """S."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length, 2)

    @property
    def outputs(self) -> int:
        return 1


class Copy(_Symbols):
    """`span` symbols, then `delay` blanks, then a step that asks for one of them by its place: which was it?

    The copy memory problem, asked for one symbol a sequence, whichever: none may be forgotten. A guess is right once in `alphabet` times.
    """

    kind: Literal["copy"] = "copy"
    source: ClassVar[str] = (
        "Hochreiter & Schmidhuber 1997; Arjovsky, Shah & Bengio 2016, section 5.1, which asks for all symbols in turn"
    )
    alphabet: Whole = Field(default=8, ge=2, le=100, examples=[8])
    """Different symbols; the classes."""
    span: Whole = Field(default=5, ge=1, le=100, examples=[10])
    """Symbols to remember."""
    delay: Whole = Field(default=20, ge=0, le=MAX_LENGTH, examples=[100])
    """Blanks before the question."""

    @property
    def steps(self) -> int:
        return self.span + self.delay + 1

    @property
    def symbols(self) -> int:
        """The alphabet, the blank, and a question for each place."""
        return self.alphabet + 1 + self.span

    @property
    def outputs(self) -> int:
        return self.alphabet


class Parity(_Symbols):
    """Whether the number of ones among `length` random bits is odd: every single step decides."""

    kind: Literal["parity"] = "parity"
    source: ClassVar[str] = "Minsky & Papert 1969; Graves 2016, section 3.1"
    length: Whole = Field(default=10, ge=2, le=MAX_LENGTH, examples=[20])
    """S."""

    @property
    def steps(self) -> int:
        return self.length

    @property
    def symbols(self) -> int:
        return 2

    @property
    def outputs(self) -> int:
        return 2


class TemporalOrder(_Symbols):
    """Which of X and Y stood at two steps, from .1 S to .2 S and from .5 S to .6 S, among random distractors: XX, XY, YX or YY.

    A sequence opens with E and ends with B; in between are a, b, c, d.
    """

    kind: Literal["temporal_order"] = "temporal_order"
    source: ClassVar[str] = "Hochreiter & Schmidhuber 1997, experiment 6a; places as in Martens & Sutskever 2011"
    length: Whole = Field(default=50, ge=10, le=MAX_LENGTH, examples=[100])
    """S."""

    @property
    def steps(self) -> int:
        return self.length

    @property
    def symbols(self) -> int:
        return 8

    @property
    def outputs(self) -> int:
        return 4
