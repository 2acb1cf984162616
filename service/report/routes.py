"""A comparison's report, and its plots one by one."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from service import views
from service.errors import Problem, invalid_parameter, not_found
from service.report import document
from service.report.material import COLUMNS, gather
from service.resources import Here, Resources
from service.statistics import MANY, names
from workers.contract.comparison import ComparisonSpec
from workers.store import artifacts, comparisons, fleet, jobs

router = APIRouter(prefix="/v1/comparisons", tags=["results"])

MEDIA_TYPES = {"png": "image/png", "svg": "image/svg+xml"}
NO_RESULT = "comparison {} has no result yet: look again once a round has ended"


@router.get(
    "/{comparison_id}/report",
    response_class=HTMLResponse,
    responses={
        200: {
            "description": "The report",
            "content": {
                kind: {"schema": {"type": "string"}} for kind in ("text/html", "text/markdown", "application/json")
            },
        },
        404: {},
        409: {},
        422: {},
    },
)
def report(
    comparison_id: str,
    here: Here,
    format: Annotated[
        Literal["html", "json", "md"],
        Query(
            examples=["html"],
            description="`html` is one page that needs no network; `md` and `json` say the same without plots.",
        ),
    ] = "html",
) -> Response:
    """The answer in words, the ranking, what the gradient did, the diagnosis and how to repeat it; partial while running."""
    found = _report(here, comparison_id)
    match format:
        case "html":
            return HTMLResponse(document.as_html(found))
        case "md":
            return PlainTextResponse(document.as_markdown(found), media_type="text/markdown")
        case "json":
            return JSONResponse(document.as_json(found))


@router.get(
    "/{comparison_id}/report/plots/{name}.{format}",
    response_class=Response,
    responses={
        200: {
            "description": "The picture",
            "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES.values()},
        },
        404: {},
        409: {},
        422: {},
    },
)
def plot(
    comparison_id: str,
    name: str,
    format: Literal["png", "svg"],
    here: Here,
    problem: Annotated[list[str] | None, Query(examples=[["digits"]], description="Problems by name." + MANY)] = None,
    variant: Annotated[list[str] | None, Query(examples=[["base"]], description="Variants." + MANY)] = None,
    optimizer: Annotated[list[str] | None, Query(examples=[["sgd"]], description="Optimizers by name." + MANY)] = None,
) -> Response:
    """One of the report's plots, drawn for print: `ranking`, `curves`, `error-signal` and so on; the JSON report lists them."""
    from service.report import paper  # matplotlib takes a second and 50 MB, and few processes are asked for pictures

    found = _report(here, comparison_id, problem, variant, optimizer)
    chart = found.charts.get(name)
    if chart is None:
        raise invalid_parameter(
            "name", f"there is no plot {name[:80]!r}. There is: {', '.join(found.charts)}", "unknown_name"
        )
    return Response(paper.draw(chart, format), media_type=MEDIA_TYPES[format])


def _report(
    here: Resources,
    comparison_id: str,
    problems: list[str] | None = None,
    variants: list[str] | None = None,
    optimizers: list[str] | None = None,
) -> document.Report:
    """Of the whole comparison, or of these arms only."""
    record = comparisons.find(here.database, comparison_id)
    if record is None:
        raise not_found(comparison_id)
    comparison = views.comparison(record)
    if comparison.result is None:
        raise Problem(409, "wrong_state", NO_RESULT.format(comparison_id))
    spec = ComparisonSpec.model_validate(record.spec)
    root = here.settings.artifacts
    wanted_problems = names("problem", problems, list(spec.alone))
    wanted_variants = names("variant", variants, list(spec.networks()))
    wanted_optimizers = names("optimizer", optimizers, [optimizer.label for optimizer in spec.optimizers])
    arms = [
        arm
        for arm in comparison.result.arms
        if (wanted_problems is None or not spec.problems or arm.problem in wanted_problems)
        and (wanted_variants is None or arm.variant in wanted_variants)
        and (wanted_optimizers is None or arm.optimizer in wanted_optimizers)
    ]
    material = gather(
        spec,
        comparison.result.model_copy(update={"arms": arms}),
        comparisons.trials(here.database, comparison_id),
        artifacts.read_curves(root, comparison_id, jobs.parts(here.database, comparison_id, "curves")),
        artifacts.read_statistics(
            root, comparison_id, jobs.parts(here.database, comparison_id, "statistics"), columns=COLUMNS
        ),
    )
    now = datetime.now(UTC)
    up = fleet.present(here.database, now=now, lease_seconds=here.settings.lease_seconds)
    return document.report(comparison, material, _workers(up), now)


def _workers(up: list[fleet.Present]) -> list[document.Workers]:
    return sorted({document.Workers(one.worker.torch, one.worker.device_name) for one in up})
