"""The per-layer statistics of a comparison as a table, filtered, in four formats."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import chain
from typing import Annotated

import pyarrow as pa
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from service.errors import Problem, invalid_parameter, not_found
from service.resources import Here, Resources
from service.tables import FORMATS, Format
from workers.contract.checks import expanded
from workers.contract.comparison import ComparisonSpec
from workers.contract.statistics import COLUMNS, KEYS
from workers.store import artifacts, comparisons, jobs

router = APIRouter(prefix="/v1/comparisons", tags=["results"])

PROBLEM = "problem"
PROBLEM_FIELD = pa.field(PROBLEM, pa.string())
"""Only where there are several."""
MANY = " Repeat it, or separate several by commas."


@router.get(
    "/{comparison_id}/statistics",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The table; NaN and infinity are null in JSON and kept in the other formats",
            "content": {writer.media_type: {"schema": {"type": "string"}} for writer in FORMATS.values()},
        },
        404: {},
        422: {},
    },
)
def statistics(
    comparison_id: str,
    here: Here,
    format: Annotated[
        Format, Query(examples=["parquet"], description='`json` is {"columns": [...], "rows": [[...]]}.')
    ] = "json",
    problem: Annotated[list[str] | None, Query(examples=[["digits"]], description="Problems by name." + MANY)] = None,
    variant: Annotated[list[str] | None, Query(examples=[["base"]], description="Variants." + MANY)] = None,
    optimizer: Annotated[list[str] | None, Query(examples=[["sgd"]], description="Optimizers by name." + MANY)] = None,
    layer: Annotated[list[str] | None, Query(examples=[["output"]], description="Layers by path." + MANY)] = None,
    seed: Annotated[list[str] | None, Query(examples=[["0"]], description="Seeds." + MANY)] = None,
    step: Annotated[list[str] | None, Query(examples=[["0,1000"]], description="Recorded steps." + MANY)] = None,
    columns: Annotated[
        list[str] | None,
        Query(
            examples=[["step,layer,gradient_norm"]],
            description="Columns, in this order; left out, all that were recorded." + MANY,
        ),
    ] = None,
) -> StreamingResponse:
    """One row per trial, recorded step and layer with parameters, ordered by trial, step and depth; partial while running.

    NaN and infinity are null in JSON, which has neither; CSV, Parquet and Arrow keep them apart from null, which says that
    a number does not exist there (the update after the last step). On several problems `problem` is a column, too, the first.
    """
    record = comparisons.find(here.database, comparison_id)
    if record is None:
        raise not_found(comparison_id)
    spec = ComparisonSpec.model_validate(record.spec)
    several = [PROBLEM] if spec.problems else []
    wanted = names("columns", columns, [*several, *COLUMNS]) or [*several, *KEYS, *spec.record.names]
    problems = _problems(here, comparison_id) if several else {}
    chosen = names("problem", problem, list(spec.alone))
    stored = [name for name in wanted if name != PROBLEM]
    batches = artifacts.read_statistics(
        here.settings.artifacts,
        comparison_id,
        jobs.parts(here.database, comparison_id, "statistics"),
        columns=stored if PROBLEM not in wanted else list(dict.fromkeys([*stored, "trial"])),
        trials=[trial for trial, name in problems.items() if name in chosen] if several and chosen else None,
        variants=names("variant", variant, list(spec.networks())),
        optimizers=names("optimizer", optimizer, [optimizer.label for optimizer in spec.optimizers]),
        layers=names("layer", layer, _layers(spec)),
        seeds=_numbers("seed", seed),
        steps=_numbers("step", step),
    )
    writer = FORMATS[format]
    if PROBLEM in wanted:
        batches = (_with_problem(batch, problems, wanted) for batch in batches)
    schema = pa.schema(
        [PROBLEM_FIELD if name == PROBLEM else artifacts.statistics_schema([name]).field(0) for name in wanted]
    )
    return StreamingResponse(
        writer.write(schema, _begun(batches)),
        media_type=writer.media_type,
        headers={} if format == "json" else {"Content-Disposition": _file_name(comparison_id, format)},
    )


def _problems(here: Resources, comparison_id: str) -> dict[int, str]:
    """By trial."""
    return {trial.trial: trial.problem for trial in comparisons.trials(here.database, comparison_id)}


def _with_problem(batch: pa.RecordBatch, problems: dict[int, str], wanted: list[str]) -> pa.RecordBatch:
    """The name of the problem is that of the trial's; rows do not carry it."""
    column = pa.array([problems[trial] for trial in batch.column("trial").to_pylist()], PROBLEM_FIELD.type)
    return pa.RecordBatch.from_arrays(
        [column if name == PROBLEM else batch.column(name) for name in wanted], names=list(wanted)
    )


def _begun(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches, the first already read: what cannot be read fails before an answer has begun."""
    return chain([first for first in [next(batches, None)] if first is not None], batches)


def _file_name(comparison_id: str, format: Format) -> str:
    return f'attachment; filename="{comparison_id}-statistics.{format}"'


def _layers(spec: ComparisonSpec) -> list[str]:
    """Paths of the layers with parameters, over all variants, from the input upwards."""
    each = (layers for own in spec.alone.values() for layers in expanded(own).values())
    paths = (layer.path for layers in each for layer in layers if layer.depth is not None)
    return list(dict.fromkeys(paths))


def _split(given: Sequence[str] | None, known: Sequence[str] = ()) -> list[str]:
    """Repeated and comma separated values; a name that holds a comma itself is taken whole."""
    parts = (([text] if text in known else text.split(",")) for text in given or ())
    return list(dict.fromkeys(part.strip() for part in chain.from_iterable(parts)))


def names(parameter: str, given: Sequence[str] | None, known: Sequence[str]) -> list[str] | None:
    """What a query names of what there is; None if it names nothing. Raises a 422 at what there is not."""
    found = _split(given, known)
    for name in found:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f", did you mean {near[0]!r}?" if near else "."
            listed = ", ".join(known[:100]) + (", …" if len(known) > 100 else "")
            raise invalid_parameter(parameter, f"there is no {name[:80]!r}{hint} There is: {listed}", "unknown_name")
    return found or None


def _numbers(parameter: str, given: Sequence[str] | None) -> list[int] | None:
    try:
        numbers = [int(text) for text in _split(given)]
    except ValueError:
        raise _no_number(parameter, given) from None
    if any(not 0 <= number < 2**63 for number in numbers):
        raise _no_number(parameter, given)
    return numbers or None


def _no_number(parameter: str, given: Sequence[str] | None) -> Problem:
    message = f"{', '.join(given or ())[:80]!r} is not a list of whole numbers from 0 up: write 0 or 0,10,100"
    return invalid_parameter(parameter, message, "wrong_type")
