"""Charts as PNG and SVG, for papers. matplotlib without pyplot: no global state, so threads may draw at once."""

import io
from collections.abc import Sequence
from math import ceil
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from service.report import palette
from service.report.charts import Chart, Intervals, Map, Maps, Panel, Panels

Format = Literal["png", "svg"]

DPI = 200
LINESTYLES: dict[str, Any] = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
CIVIDIS = LinearSegmentedColormap.from_list("plumbline", palette.CIVIDIS)
ACROSS = 4
"""Maps in a row, at most."""
STYLE: Any = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "1",
}
mpl.rcParams.update(STYLE)  # once: changed while drawing, they would leak between threads


def draw(chart: Chart, format: Format) -> bytes:
    """The whole chart in one picture; the same bytes for the same chart."""
    match chart:
        case Panels():
            figure = _panels(chart)
        case Maps():
            figure = _maps(chart)
        case Intervals():
            figure = _intervals(chart)
    figure.suptitle(_plain(chart.title), fontsize=10)
    out = io.BytesIO()
    figure.savefig(out, format=format, dpi=DPI, metadata={"Date": None} if format == "svg" else {"Software": None})
    return out.getvalue()


def _panels(chart: Panels) -> Figure:
    count = len(chart.panels)
    names = {(line.name, line.style): None for panel in chart.panels for line in panel.lines}
    width = max(3.4 * count, 4.5)
    columns = legend_columns(width, [name for name, _ in names])
    figure = Figure(figsize=(width, 3.0 + 0.17 * ceil(len(names) / columns)), layout="constrained")
    for panel, axes in zip(chart.panels, np.ravel(figure.subplots(1, count, squeeze=False)), strict=True):
        _panel(axes, panel)
    handles = [
        Line2D([], [], color=palette.colour(style), linestyle=_dash(style), label=_plain(name)) for name, style in names
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=7)
    return figure


def legend_columns(width: float, names: Sequence[str]) -> int:
    """How many names of 7 points fit beside each other into so many inches: four at most."""
    longest = max((len(name) for name in names), default=0)
    return max(1, min(4, int(72 * width / (3.9 * longest + 36))))


def _panel(axes: Axes, panel: Panel) -> None:
    for line in panel.lines:
        colour = palette.colour(line.style)
        if line.low is not None and line.high is not None:
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.13, linewidth=0)
        marker = "" if len(line.x) > 30 or line.style < 0 else "o"
        axes.plot(
            line.x, line.y, color=colour, linestyle=_dash(line.style), linewidth=1.4, marker=marker, markersize=2.5
        )
    axes.set_title(_plain(panel.title), fontsize=9)
    axes.set_xlabel(panel.x_title)
    axes.set_ylabel(panel.y_title)
    if panel.x_log:
        axes.set_xscale("log")
    if panel.y_log:
        axes.set_yscale("log")
    axes.grid(color="#e3e3e3", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _maps(chart: Maps) -> Figure:
    across = min(ACROSS, len(chart.maps))
    down = ceil(len(chart.maps) / across)
    figure = Figure(figsize=(2.5 * across + 1.2, 2.1 * down + 0.5), layout="constrained")
    grid = np.ravel(figure.subplots(down, across, squeeze=False))
    for one, axes in zip(chart.maps, grid, strict=False):
        _map(axes, chart, one)
    for axes in grid[len(chart.maps) :]:
        axes.set_axis_off()
    scale = ScalarMappable(Normalize(chart.low, chart.high), CIVIDIS)
    figure.colorbar(scale, ax=grid.tolist(), label=chart.unit, shrink=0.8)
    return figure


def _map(axes: Axes, chart: Maps, one: Map) -> None:
    finite = np.where(np.isfinite(one.values), one.values, np.nan)
    look = {"aspect": "auto", "origin": "lower", "interpolation": "nearest"}
    axes.imshow(finite, cmap=CIVIDIS, vmin=chart.low, vmax=chart.high, **look)  # type: ignore[arg-type]
    for value, colour in ((-np.inf, palette.ZERO), (np.inf, palette.BROKEN)):
        if (one.values == value).any():
            marked = np.where(one.values == value, 1.0, np.nan)
            axes.imshow(marked, cmap=ListedColormap([colour]), vmin=0, vmax=1, **look)  # type: ignore[arg-type]
    columns, rows = _spread(len(one.steps), 4), _spread(len(one.layers), 6)
    axes.set_xticks(columns, [str(one.steps[column]) for column in columns])
    axes.set_yticks(rows, [_plain(one.layers[row].removesuffix(".linear")) for row in rows])
    axes.set_title(_plain(one.title), fontsize=8)
    axes.set_xlabel("step")
    axes.tick_params(labelsize=6)


def _intervals(chart: Intervals) -> Figure:
    figure = Figure(figsize=(5.5, 0.9 + 0.26 * len(chart.rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(chart.rows):
        error = [[row.value - row.low], [row.high - row.value]]
        axes.errorbar(row.value, -place, xerr=error, fmt="o", color=palette.colour(row.style), capsize=3, markersize=5)
    axes.set_yticks([-place for place in range(len(chart.rows))], [_plain(row.name) for row in chart.rows])
    axes.set_xlabel(chart.x_title)
    axes.grid(axis="x", color="#e3e3e3", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _dash(style: int) -> Any:
    return LINESTYLES[palette.dash(style)]


def _spread(count: int, most: int) -> list[int]:
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))})


def _plain(text: str) -> str:
    """A dollar in a user's name starts no formula."""
    return text.replace("$", r"\$")
