"""A part: a file of recorded rows, as the record knows it."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["statistics", "curves"]


@dataclass(frozen=True)
class Part:
    """Only those that a commit has named count."""

    kind: Kind
    path: str
    """Relative to the comparison's folder."""
    first_step: int
    last_step: int
    rows: int
