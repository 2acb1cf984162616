"""What a plot shows, whoever draws it. S steps, L layers, P points."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


class Line(NamedTuple):
    name: str
    style: int
    """Place in the palette; −1 is the theory's."""
    x: Numbers
    """[P]"""
    y: Numbers
    """[P], NaN where there is none."""
    low: Numbers | None = None
    """[P]"""
    high: Numbers | None = None
    """[P]"""


class Panel(NamedTuple):
    """Lines over one pair of axes."""

    title: str
    x_title: str
    y_title: str
    lines: list[Line]
    x_log: bool = False
    y_log: bool = False


class Panels(NamedTuple):
    name: str
    """In addresses."""
    title: str
    caption: str
    panels: list[Panel]
    """Side by side where there is room."""


class Row(NamedTuple):
    name: str
    style: int
    value: float
    low: float
    high: float


class Intervals(NamedTuple):
    name: str
    title: str
    caption: str
    x_title: str
    rows: list[Row]
    """From the top down; those without a finite value are left out."""


class Map(NamedTuple):
    title: str
    steps: list[int]
    """[S]"""
    layers: list[str]
    """[L] from the input upwards."""
    values: Numbers
    """[L, S]; NaN where nothing was recorded, −∞ for an exact zero under a logarithm, +∞ for what is not finite."""


class Maps(NamedTuple):
    name: str
    title: str
    caption: str
    unit: str
    low: float
    high: float
    """Ends of the scale that all maps share."""
    maps: list[Map]


Chart = Panels | Intervals | Maps
