"""A report put together: as a page, as Markdown, as JSON."""

import json
import platform
from datetime import datetime
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any, NamedTuple

import jinja2

from service.report import interactive, palette, words
from service.report.charts import Chart, Maps
from service.report.material import Material
from service.report.plots import charts
from workers.contract.results import Comparison

PACKAGES = ("plumbline", "numpy", "scipy", "pyarrow")
"""Whose versions are told, of the process that wrote the report."""

SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Over all problems", ("profile",)),
    ("Loss curves", ("curves",)),
    ("The gradient, layer by layer", ("error-signal", "weight-gradient")),
    ("Gradient against depth", ("signal-by-depth", "decades", "gradient-by-depth")),
    ("Non-linearities and updates", ("saturation", "update-to-weight", "sign-flips")),
)
"""Headings of the page with the plots beneath them; ranking and tuning have their own."""


class Workers(NamedTuple):
    """Of a worker that was up when the report was written."""

    torch: str
    device: str


class Report(NamedTuple):
    comparison: Comparison
    material: Material
    charts: dict[str, Chart]
    workers: list[Workers]
    written_at: datetime


def report(comparison: Comparison, material: Material, workers: list[Workers], written_at: datetime) -> Report:
    return Report(comparison, material, {chart.name: chart for chart in charts(material)}, workers, written_at)


def as_html(found: Report) -> str:
    """One page: styles, scripts and data are in it, and it loads nothing."""
    figures = {name: interactive.figures(chart) for name, chart in found.charts.items()}
    # in a script, "<" could end it
    data = json.dumps(figures, allow_nan=False, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    assets = {name: _asset(name) for name in ("report.css", "report.js", "plotly-cartesian.min.js")}
    return (
        _templates()
        .get_template("report.html")
        .render(
            **_context(found),
            figures=figures,
            data=data,
            css=assets["report.css"],
            scripts=[assets["plotly-cartesian.min.js"], assets["report.js"]],
            cividis=", ".join(palette.CIVIDIS),
            zero=palette.ZERO,
            broken=palette.BROKEN,
            sections=[(title, [name for name in names if name in figures]) for title, names in SECTIONS],
            is_map={name: isinstance(chart, Maps) for name, chart in found.charts.items()},
            swatches=[
                (arm.name, palette.colour(place), palette.dash(place)) for place, arm in enumerate(found.material.arms)
            ],
        )
    )


def as_markdown(found: Report) -> str:
    return _templates().get_template("report.md").render(**_context(found))


def as_json(found: Report) -> dict[str, Any]:
    """The same for programs; the numbers behind the plots are in `statistics` and `trials`."""
    here = found.comparison.links["self"]
    return {
        "id": found.comparison.id,
        "name": found.comparison.name,
        "status": found.comparison.status,
        "answer": words.answer(found.material.result, _names(found)),
        "result": found.material.result.model_dump(mode="json"),
        "protocol": _protocol(found),
        "plots": {
            name: {format: f"{here}/report/plots/{name}.{format}" for format in ("png", "svg")} for name in found.charts
        },
    }


def _names(found: Report) -> words.Names:
    return {(arm.arm.problem, arm.arm.variant, arm.arm.optimizer): arm.name for arm in found.material.arms}


def _context(found: Report) -> dict[str, Any]:
    return {
        "comparison": found.comparison,
        "title": found.comparison.name or f"Comparison {found.comparison.id}",
        "answer": words.answer(found.material.result, _names(found)),
        "result": found.material.result,
        "checks": words.self_checks(found.material.result, _names(found)),
        "arms": found.material.arms,
        "charts": found.charts,
        "protocol": _protocol(found),
        "words": words,
        "written_at": found.written_at,
        "spec_json": json.dumps(found.comparison.spec, indent=1, ensure_ascii=False),
    }


def _protocol(found: Report) -> dict[str, Any]:
    """What is needed to repeat it."""
    spec = found.material.spec
    tuning = spec.tuning
    return {
        "spec": found.comparison.spec,
        "seeds": [spec.seed + place for place in range(spec.seeds)],
        "seeds_rule": "paired: a seed gives every arm that shares the shapes the same weights, batches and noise",
        "tuning": tuning.model_dump() if tuning else None,
        "selection": "the setting with the lowest mean validation loss at the end; a diverged trial counts as infinite",
        "reported": "test split, on seeds that tuning never saw" if tuning else "test split",
        "intervals": "95 % bootstrap over seeds, stretched for few; of probabilities the score interval",
        "baseline": spec.baseline,
        "target": found.material.result.target,
        "targets": found.material.result.targets,
        "steps": spec.steps,
        "training": words.training(spec),
        "precision": spec.precision,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "workers": [worker._asdict() for worker in found.workers],
    }


@cache
def _templates() -> jinja2.Environment:
    loader = jinja2.PackageLoader("service.report")
    return jinja2.Environment(
        loader=loader,
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _asset(name: str) -> str:
    return (files("service.report") / "assets" / name).read_text(encoding="utf-8")
