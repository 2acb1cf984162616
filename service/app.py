"""The HTTP application."""

import gc
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

import fastapi_offline
from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from service import (
    catalogue,
    comparisons,
    datasets,
    errors,
    events,
    fleet,
    health,
    openapi,
    previews,
    queue,
    statistics,
    trials,
)
from service.loop import Loop
from service.report import routes as report
from service.resources import Resources
from workers.settings import Settings
from workers.store.database import Database

DESCRIPTION = """\
Trains a network under many optimizers at once and answers with evidence: what the gradient does in every layer, at
every stage of training, under every optimizer.

`POST /v1/comparisons`, follow its `events`, read the ranking from `GET /v1/comparisons/{id}` and the per-layer
`statistics` as JSON, CSV, Parquet or Arrow. `POST /v1/previews` tells beforehand what a comparison would be, and predicts its
gradient. `GET /v1/catalogue` says what there is to compare. Every error is a problem document (RFC 9457) with a JSON
pointer to what is wrong.
"""


def create_app(settings: Settings, database: Database) -> FastAPI:
    """The application over an open database. Its loop runs from start-up to shutdown; the database stays the caller's."""
    broker = queue.connect(settings.broker_url)
    send = partial(queue.send, broker)
    loop = Loop(database, send, artifacts=settings.artifacts, lease_seconds=settings.lease_seconds)

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        loop.start()
        gc.collect()
        gc.freeze()  # what has been imported stays: looking through it again would hold a request up for a tenth of a second
        try:
            yield
        finally:
            loop.stop()

    app = FastAPI(
        title="Plumbline",
        version=version("plumbline"),
        summary="Measures how deep a gradient reaches.",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=running,
    )
    app.state.resources = Resources(settings, database, broker, loop.wake, threading.Event())
    errors.install(app)
    for part in (comparisons, previews, statistics, trials, report, events, datasets, catalogue, fleet, health):
        app.include_router(part.router)
    _add_manual(app)
    return app


def _add_manual(app: FastAPI) -> None:
    """The OpenAPI page, with its scripts from this host: it works without the internet."""
    app.openapi = partial(openapi.describe, app)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    scripts = Path(fastapi_offline.__file__).parent / "static"
    app.mount("/docs/static", StaticFiles(directory=scripts), name="docs_static")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        return get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=app.title,
            swagger_js_url=f"{root}/docs/static/swagger-ui-bundle.js",
            swagger_css_url=f"{root}/docs/static/swagger-ui.css",
            swagger_favicon_url=f"{root}/docs/static/favicon.png",
        )

    @app.get("/", include_in_schema=False)
    async def root(request: Request) -> RedirectResponse:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")
