"""Everything that goes wrong is told as a problem document (RFC 9457), with JSON pointers where a body is at fault.

| kind | status |
|---|---|
| the request cannot be understood | 400, 413, 415 |
| the request is understood and wrong | 422 |
| the thing is not there, or not in a state for it | 404, 409 |
| broker or store down | 503 |
| anything else | 500, with an id; the details are in the log only |
"""

import logging
import secrets
from collections.abc import Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from workers.contract.base import Violation
from workers.store.database import StoreError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class Wrong(BaseModel):
    """One thing wrong with a request."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    pointer: str | None = Field(default=None, examples=["/optimizers/1/lr"])
    """JSON pointer (RFC 6901) to the offending place of the body."""
    parameter: str | None = Field(default=None, examples=["limit"])
    """Name of the offending query parameter or header."""
    message: str = Field(examples=["must be above 0, and it is -1"])
    """What was asked, why it cannot be, and what to change."""
    code: str = Field(examples=["out_of_bounds"])
    """A stable word for programs."""


class ProblemDocument(BaseModel):
    """RFC 9457: what every error answers, as application/problem+json."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    type: str = Field(examples=["urn:plumbline:problem:invalid_request"])
    """A stable name of the kind of problem."""
    title: str = Field(examples=["The request cannot be carried out as it is"])
    """The kind of problem in words."""
    status: int = Field(examples=[422], ge=400, le=599)
    """The HTTP status."""
    detail: str = Field(examples=["/optimizers/1/lr: must be above 0, and it is -1"])
    """This occurrence in words."""
    instance: str = Field(examples=["/v1/comparisons"])
    """The path that was asked for; on a fault, an id to find it in the log by."""
    errors: list[Wrong] = Field(default=[], examples=[[]])
    """Everything wrong with the request, as far as it could be read."""


TITLES = {
    "invalid_request": "The request cannot be carried out as it is",
    "not_json": "The body is not JSON",
    "not_found": "There is no such thing here",
    "wrong_state": "The comparison is in no state for this",
    "in_use": "Something still needs it",
    "key_reused": "The Idempotency-Key was used for another request",
    "too_large": "The body is too large",
    "wrong_media_type": "The body is of a kind that is not understood",
    "unavailable": "A part of the service is down",
    "fault": "Something went wrong here",
}


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """Ends a request with a problem document."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        errors: Sequence[Wrong] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.errors, self.headers = status, kind, detail, errors, headers


def invalid(violations: Sequence[Violation]) -> Problem:
    """A body that is wrong in these places."""
    told = [Wrong(pointer=item.pointer, message=item.message, code=item.code) for item in violations]
    first = violations[0]
    rest = f" (and {len(told) - 1} more, see errors)" if len(told) > 1 else ""
    return Problem(422, "invalid_request", f"{first.pointer or 'the body'}: {first.message}{rest}", told)


def invalid_parameter(name: str, message: str, code: str = "invalid") -> Problem:
    """A query parameter or header that is wrong."""
    wrong = Wrong(parameter=name, message=message, code=code)
    return Problem(422, "invalid_request", f"{name}: {message}", [wrong])


def not_found(name: str, noun: str = "comparison", where: str = "/v1/comparisons") -> Problem:
    return Problem(404, "not_found", f"there is no {noun} {name!r}: GET {where} lists what there is")


def install(app: FastAPI) -> None:
    """Makes every error of the application a problem document."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_parameters)
    app.add_exception_handler(StoreError, _on_store)
    app.add_exception_handler(OperationalError, _on_store)
    app.add_exception_handler(PoolTimeout, _on_store)
    app.add_exception_handler(OSError, _on_files)
    app.add_exception_handler(Exception, _on_fault)


def _respond(request: Request, problem: Problem, instance: str | None = None) -> Response:
    title = TITLES.get(problem.kind) or HTTPStatus(problem.status).phrase
    document = ProblemDocument(
        type=f"urn:plumbline:problem:{problem.kind}",
        title=title,
        status=problem.status,
        detail=problem.detail,
        instance=instance or request.url.path,
        errors=list(problem.errors),
    )
    return JSONResponse(
        document.model_dump(exclude_none=True),
        status_code=problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _respond(request, error)


def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    details = {
        404: f"there is nothing at {path}: /docs shows what there is",
        405: f"{request.method} is not something {path} understands: see the Allow header",
    }
    kinds = {404: "not_found", 405: "method_not_allowed"}
    detail = details.get(error.status_code, str(error.detail))
    kind = kinds.get(error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"))
    headers = dict(error.headers) if error.headers else None
    return _respond(request, Problem(error.status_code, kind, detail, headers=headers))


def _on_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    told = [
        Wrong(
            parameter=str(item["loc"][-1]),
            message=f"{item['msg'][:1].lower()}{item['msg'][1:]}, and it is {str(item.get('input'))[:80]!r}",
            code=item["type"],
        )
        for item in error.errors()
    ]
    detail = "; ".join(f"{wrong.parameter}: {wrong.message}" for wrong in told)
    return _respond(request, Problem(422, "invalid_request", detail, told))


def _on_store(request: Request, error: Exception) -> Response:
    log.error("the store failed on %s %s: %s", request.method, request.url.path, error)
    detail = "the database did not answer: try again shortly"
    return _respond(request, Problem(503, "unavailable", detail, headers={"Retry-After": "2"}))


def _on_files(request: Request, error: Exception) -> Response:
    log.error("the artifacts' place failed on %s %s: %s", request.method, request.url.path, error)
    detail = "the place of results did not answer: try again shortly"
    return _respond(request, Problem(503, "unavailable", detail, headers={"Retry-After": "2"}))


def _on_fault(request: Request, error: Exception) -> Response:
    fault = secrets.token_hex(8)
    log.error("fault %s on %s %s", fault, request.method, request.url.path, exc_info=error)
    detail = f"the request failed by a fault of the service; its log says more under {fault}"
    return _respond(request, Problem(500, "fault", detail), instance=f"urn:plumbline:fault:{fault}")
