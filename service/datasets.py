"""The user's own data: upload, look, list, delete. `{"kind": "dataset", "id": …}` trains on it."""

import tempfile
import threading
from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from service import reading
from service.bodies import save_body
from service.errors import Problem, invalid_parameter, not_found
from service.resources import Here, Resources
from workers.contract.problems import DatasetFacts, Loss, split_sizes
from workers.contract.results import View
from workers.store import datasets
from workers.store.database import Database
from workers.store.datasets import About, DatasetRecord, InUse

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

MEDIA_TYPES = ("text/csv", "application/vnd.apache.parquet", "application/zip", "application/octet-stream")
"""Which of the formats a body is in, its first bytes say."""
BINARY = {"schema": {"type": "string", "format": "binary"}}

_one_at_a_time = threading.Lock()
"""What is read takes a few times its size of memory, which a service has once."""

Target = Annotated[
    list[str] | None,
    Query(
        max_length=1000,
        examples=[["species"]],
        description="Of a table, the column to predict, or several of numbers; `target` if it is left out. An npz has x and y.",
    ),
]


class DatasetClass(View):
    """A class of a data set."""

    name: str = Field(examples=["setosa"])
    """As it was written."""
    samples: int = Field(examples=[50])
    """Rows of it."""


class Dataset(View):
    """A data set: what a comparison can train on."""

    id: str = Field(examples=["9f2c" * 16])
    """A digest of what it says: the same data have the same id."""
    name: str = Field(examples=["irises"])
    """For people."""
    loss: Loss = Field(examples=["cross_entropy"])
    """`cross_entropy` is for classes, `mean_squared_error` for quantities."""
    shape: list[int] = Field(examples=[[4]])
    """Of one sample: [F] features, [S, F] a sequence, [C, H, W] an image."""
    outputs: int = Field(examples=[3])
    """Classes, or target columns."""
    samples: int = Field(examples=[150])
    """Rows of all splits together."""
    training_samples: int = Field(examples=[90])
    """Rows of the training split: the largest batch."""
    classes: list[DatasetClass] | None = Field(examples=[[{"name": "setosa", "samples": 50}]])
    """In the order of the network's outputs; null where quantities are predicted."""
    columns: list[str] | None = Field(examples=[["sepal length", "sepal width", "petal length", "petal width"]])
    """Names of a table's features; null for an npz."""
    targets: list[str] | None = Field(examples=[["species"]])
    """Names of a table's columns that are predicted; null for an npz."""
    notes: list[str] = Field(examples=[["constant, so that they say nothing and are only centred: petal width"]])
    """What is no error and worth knowing."""
    size_bytes: int = Field(examples=[4800])
    """Of its numbers."""
    created_at: datetime = Field(examples=["2026-01-02T03:04:05Z"])
    """When it was first uploaded."""
    links: dict[str, str] = Field(examples=[{"self": "/v1/datasets/" + "9f2c" * 16}])
    """Where it is."""


class Datasets(View):
    """A page of data sets."""

    items: list[Dataset] = Field(examples=[[]])
    """Newest first."""
    next: str | None = Field(default=None, examples=["MDE5OWMwZGU3ZDJhN2MxZQ"])
    """The `cursor` of the next page; null on the last."""


@router.post(
    "",
    status_code=201,
    response_description="Kept, and ready to be trained on",
    responses={
        200: {"model": Dataset, "description": "The same data are here already"},
        413: {},
        415: {},
        422: {},
        503: {},
    },
    openapi_extra={"requestBody": {"required": True, "content": dict.fromkeys(MEDIA_TYPES, BINARY)}},
)
async def upload(
    request: Request,
    response: Response,
    here: Here,
    target: Target = None,
    loss: Annotated[
        Loss | None,
        Query(
            examples=["cross_entropy"],
            description="`cross_entropy` for classes, `mean_squared_error` for quantities. Left out, text, true and false are "
            "classes, and so are whole numbers of at most 50 different values in five rows each on average.",
        ),
    ] = None,
    name: Annotated[str, Query(max_length=200, examples=["irises"], description="For people.")] = "",
) -> Dataset:
    """Takes a data set: an npz with arrays x [N, …] and y, CSV in UTF-8 with a line of names, or Parquet, as the body itself. It is read
    whole before this answers; what is missing, is text or cannot be trained on is told by column and row. Nothing is ever unpickled.
    The same data sent again are kept once.
    """
    if "\x00" in name:
        raise invalid_parameter("name", "it holds a null character: leave it out", "bad_characters")
    with tempfile.TemporaryDirectory(prefix="plumbline-") as folder:
        path = Path(folder, "body")
        with path.open("wb") as file:
            await save_body(request, file, here.settings.max_dataset_bytes, MEDIA_TYPES)
        record, created = await run_in_threadpool(_keep, here, path, target, loss, name)
    response.status_code = 201 if created else 200
    response.headers["Location"] = address(record.id)
    return _view(record)


def _keep(
    here: Resources, path: Path, target: list[str] | None, loss: Loss | None, name: str
) -> tuple[DatasetRecord, bool]:
    with _one_at_a_time:
        data = reading.read(path, target=target, loss=loss, limit=here.settings.max_dataset_bytes)
        classes = None
        if data.classes is not None:
            counts = np.bincount(data.y, minlength=len(data.classes)).tolist()
            classes = dict(zip(data.classes, counts, strict=True))
        about = About(
            loss=data.loss,
            shape=list(data.shape),
            outputs=data.outputs,
            samples=len(data.x),
            classes=classes,
            columns=data.columns,
            targets=data.targets,
            notes=data.notes,
        )
        return datasets.add(here.database, here.settings.artifacts, name, about, data.x, data.y)


@router.get("", responses={422: {}})
def list_datasets(
    here: Here,
    limit: Annotated[int, Query(ge=1, le=200, examples=[50], description="Data sets on a page.")] = 50,
    cursor: Annotated[
        str | None,
        Query(max_length=200, examples=["MDE5OWMwZGU3ZDJhN2MxZQ"], description="`next` of the page before."),
    ] = None,
) -> Datasets:
    """The data sets that are here, newest first."""
    try:
        records, following = datasets.page(here.database, limit=limit, cursor=cursor)
    except ValueError:
        raise invalid_parameter("cursor", f"{cursor!r} is none of ours: take `next` of a page as it is") from None
    return Datasets(items=[_view(record) for record in records], next=following)


@router.get("/{dataset_id}", responses={404: {}})
def read(dataset_id: str, here: Here) -> Dataset:
    """What a data set is. Its numbers are not given out again."""
    record = datasets.find(here.database, dataset_id)
    if record is None:
        raise _not_found(dataset_id)
    return _view(record)


@router.delete("/{dataset_id}", status_code=204, responses={404: {}, 409: {}})
def delete(dataset_id: str, here: Here) -> None:
    """Forgets a data set that no comparison trains on. The results of those that have ended stay."""
    try:
        if not datasets.remove(here.database, here.settings.artifacts, dataset_id):
            raise _not_found(dataset_id)
    except InUse as user:
        detail = (
            f"comparison {user} trains on it: wait until that has ended, or POST /v1/comparisons/{user}/cancel first"
        )
        raise Problem(409, "in_use", detail) from None


def facts(database: Database, dataset_id: str) -> DatasetFacts | None:
    """What a comparison has to know of a data set; None if there is none of this id."""
    record = datasets.find(database, dataset_id)
    if record is None:
        return None
    about = record.about
    return DatasetFacts(loss=about.loss, shape=tuple(about.shape), outputs=about.outputs, samples=about.samples)


def address(dataset_id: str) -> str:
    return f"/v1/datasets/{dataset_id}"


def _not_found(dataset_id: str) -> Problem:
    return not_found(dataset_id, "data set", "/v1/datasets")


def _view(record: DatasetRecord) -> Dataset:
    about = vars(record.about) | {"shape": list(record.about.shape)}
    classes = about.pop("classes")
    return Dataset(
        **about,
        id=record.id,
        name=record.name,
        training_samples=split_sizes(record.about.samples)[0],
        classes=None
        if classes is None
        else [DatasetClass(name=name, samples=count) for name, count in classes.items()],
        size_bytes=record.size_bytes,
        created_at=record.created_at,
        links={"self": address(record.id)},
    )
