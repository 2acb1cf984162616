"""Charts as plotly figures for assets/report.js: plain JSON, but for packed arrays of the maps.

A packed array is `{"packed": base64, "shape": [L, S], "scale": s}`, 16-bit integers, little-endian, value times s: two decimals
of a logarithm and four of a share are what an eye can use, in a tenth of the space of text. Three values are codes.
"""

from base64 import b64encode
from html import escape
from typing import Any

import numpy as np

from service.report import palette
from service.report.charts import Chart, Intervals, Line, Map, Maps, Numbers, Panel, Panels

Figure = dict[str, Any]

ABSENT, ZERO, BROKEN = -32768, -32767, 32767
LARGEST = 32000
FONT = {"family": "system-ui, sans-serif", "size": 12, "color": "#1a1a1a"}
GRID = "#e3e3e3"
TICKS = 6
"""Labels along an axis of a map, about."""


def figures(chart: Chart) -> list[Figure]:
    """One for each panel or map, in order: `title`, `data`, `layout`, `height` in pixels."""
    match chart:
        case Panels():
            return [_panel(panel) for panel in chart.panels]
        case Maps():
            return [_map(chart, one) for one in chart.maps]
        case Intervals():
            return [_intervals(chart)]


def _panel(panel: Panel) -> Figure:
    data = []
    for line in panel.lines:
        if line.low is not None and line.high is not None:
            data += _band(line, line.low, line.high)
        data.append(_line(line))
    layout = _layout(
        {**_axis(panel.x_title), **({"type": "log"} if panel.x_log else {})},
        {**_axis(panel.y_title), **({"type": "log"} if panel.y_log else {})},
    )
    return {"title": panel.title, "data": data, "layout": layout, "height": 300}


def _line(line: Line) -> Figure:
    colour = palette.colour(line.style)
    return {
        "type": "scatter",
        "mode": "lines" if len(line.x) > 30 or line.style < 0 else "lines+markers",
        "name": escape(line.name, quote=False),
        "x": _numbers(line.x),
        "y": _numbers(line.y),
        "line": {"color": colour, "width": 2, "dash": palette.dash(line.style)},
        "marker": {"size": 4},
    }


def _band(line: Line, low: Numbers, high: Numbers) -> list[Figure]:
    """Two lines without width, the second filled down to the first."""
    edge = {
        "type": "scatter",
        "mode": "lines",
        "x": _numbers(line.x),
        "line": {"width": 0, "color": palette.colour(line.style)},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    fill = {"fill": "tonexty", "fillcolor": palette.colour(line.style) + "22"}
    return [{**edge, "y": _numbers(low)}, {**edge, "y": _numbers(high), **fill}]


def _map(chart: Maps, one: Map) -> Figure:
    scale = 10_000 if chart.high - chart.low <= 1 else 100
    side = range(len(one.steps))
    ticks = _spread(len(one.steps))
    rows = _spread(len(one.layers))
    heat = {
        "type": "heatmap",
        "z": _packed(one.values, scale),
        "steps": one.steps,
        "layers": [escape(layer, quote=False) for layer in one.layers],
        "zmin": chart.low,
        "zmax": chart.high,
        "colorscale": [[place / (len(palette.CIVIDIS) - 1), colour] for place, colour in enumerate(palette.CIVIDIS)],
        "showscale": False,
        "unit": chart.unit,
    }
    layout = _layout(
        {**_axis("step"), "tickvals": ticks, "ticktext": [str(one.steps[tick]) for tick in ticks], "showgrid": False},
        {
            **_axis(""),
            "tickvals": rows,
            "ticktext": [_short(one.layers[row]) for row in rows],
            "showgrid": False,
            "range": [-0.5, len(one.layers) - 0.5],
        },
    )
    layout["xaxis"]["range"] = [-0.5, len(side) - 0.5]
    layout["plot_bgcolor"] = palette.ABSENT
    return {"title": one.title, "data": [heat], "layout": layout, "height": 240}


def _intervals(chart: Intervals) -> Figure:
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": escape(row.name, quote=False),
            "x": [row.value],
            "y": [-place],
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [row.high - row.value],
                "arrayminus": [row.value - row.low],
                "color": palette.colour(row.style),
                "thickness": 2,
                "width": 5,
            },
            "marker": {"color": palette.colour(row.style), "size": 9},
            "hovertemplate": f"%{{x:.4g}} [{row.low:.4g}, {row.high:.4g}]",
        }
        for place, row in enumerate(chart.rows)
    ]
    places = [-place for place in range(len(chart.rows))]
    names = [escape(_clipped(row.name), quote=False) for row in chart.rows]
    layout = _layout(
        _axis(chart.x_title),
        {**_axis(""), "tickvals": places, "ticktext": names, "range": [0.5 - len(places), 0.5], "zeroline": False},
    )
    return {"title": chart.title, "data": data, "layout": layout, "height": 90 + 26 * len(places)}


def _layout(x: Figure, y: Figure) -> Figure:
    return {
        "font": FONT,
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "xaxis": x,
        "yaxis": y,
        "showlegend": False,
        "hovermode": "closest",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "dragmode": False,
    }


def _axis(title: str) -> Figure:
    return {
        "title": {"text": escape(title, quote=False), "standoff": 8},
        "automargin": True,
        "gridcolor": GRID,
        "zeroline": False,
        "exponentformat": "power",
    }


def _packed(values: Numbers, scale: int) -> Figure:
    with np.errstate(invalid="ignore"):
        whole = np.nan_to_num(np.clip(np.round(values * scale), -LARGEST, LARGEST))
    codes = np.select([np.isnan(values), values == -np.inf, values == np.inf], [ABSENT, ZERO, BROKEN], whole)
    data = codes.astype("<i2")
    return {"packed": b64encode(data.tobytes()).decode(), "shape": list(values.shape), "scale": scale}


def _numbers(values: Numbers) -> list[float | None]:
    """Four digits, null for what is not a number."""
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values.tolist()]


def _spread(count: int) -> list[int]:
    """At most TICKS places from the first to the last."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, TICKS))})


def _short(layer: str) -> str:
    """`hidden.3` for `hidden.3.linear`: where space is scarce."""
    return escape(_clipped(layer.removesuffix(".linear")), quote=False)


def _clipped(text: str, most: int = 22) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
