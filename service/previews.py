"""What a comparison would be, before anything is trained: its layers, its size, and what its gradient will do."""

from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from service.bodies import parse, read_body
from service.datasets import facts
from service.errors import invalid
from service.resources import Here, Resources
from service.validation import over_memory_on_any, read_comparison
from workers.analysis.predicted import predict_with_range
from workers.analysis.protocol import together, totals, trials_by_round
from workers.contract import cost
from workers.contract.checks import Limits, over_trials
from workers.contract.comparison import BASE, ComparisonSpec
from workers.contract.compiled import compilable
from workers.contract.layers import Activation
from workers.contract.memory import remembered_by, shard_memory
from workers.contract.optimizers import OptimizerSpec, Pattern
from workers.contract.previews import Estimate, Preview, PreviewedLayer, PreviewedNetwork
from workers.contract.problems import split_sizes
from workers.contract.recording_cost import recording
from workers.contract.regularizers import Regularizers
from workers.contract.shapes import ExpandedLayer, walk
from workers.store import fleet
from workers.store.fleet import Worker
from workers.theory.resolution import networks

router = APIRouter(prefix="/v1/previews", tags=["previews"])


class Group(NamedTuple):
    """What can train together: a variant on a problem, and the optimizers of one batch size, pattern and number of steps."""

    spec: ComparisonSpec
    """With this problem alone."""
    layers: list[ExpandedLayer]
    regularizers: Regularizers
    batch_size: int
    pattern: Pattern
    steps: int
    members: list[OptimizerSpec]


@router.post(
    "",
    response_model=Preview,
    response_description="What it would be",
    responses={400: {}, 413: {}, 415: {}, 422: {}, 503: {}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ComparisonSpec"}}},
        }
    },
)
async def submit(request: Request, here: Here) -> Response:
    """Tells what a comparison would be, and predicts its gradient, without training: it takes the body of a comparison, refuses what
    that would refuse, records nothing and needs no worker.
    """
    body = await read_body(request, here.settings.max_body_bytes)
    return await run_in_threadpool(_answer, here, body)


def _answer(here: Resources, body: bytes) -> Response:
    """A response already written: FastAPI would validate each of a hundred layers again."""
    spec = read_comparison(parse(body), here.settings.limits, partial(facts, here.database))
    up = fleet.present(here.database, now=datetime.now(UTC), lease_seconds=here.settings.lease_seconds)
    found = preview(spec, here.settings.limits, [one.worker for one in up])
    return Response(found.model_dump_json(), media_type="application/json")


def preview(spec: ComparisonSpec, limits: Limits, workers: list[Worker]) -> Preview:
    """The preview of a checked comparison.

    Args:
        workers: those that are up; only the estimate of time depends on them.

    Raises:
        Problem: 422 where it has too many trials or needs too much memory.
    """
    if wrong := over_trials(totals(spec)[0], limits) or over_memory_on_any(spec, limits):
        raise invalid(wrong)
    expanded = {problem: networks(own) for problem, own in spec.alone.items()}
    views = {
        problem: {name: _network(own, layers) for name, layers in expanded[problem].items()}
        for problem, own in spec.alone.items()
    }
    problems = views if spec.problems else {}
    first = dict(next(iter(views.values())))
    base = first.pop(BASE)
    return Preview(
        **dict(base),
        variants=first,
        problems=problems,
        estimate=_estimate(spec, expanded, workers),
        spec=spec.model_dump(mode="json"),
    )


def _network(spec: ComparisonSpec, layers: list[ExpandedLayer]) -> PreviewedNetwork:
    baseline = next(optimizer for optimizer in spec.optimizers if optimizer.label == spec.baseline)
    prediction, gradient_range = predict_with_range(spec, layers, spec.batch_of(baseline))
    return PreviewedNetwork(
        parameters=sum(layer.parameters for layer in layers),
        layers=[_layer(layer) for layer in walk(layers)],
        prediction=prediction,
        gradient_range=gradient_range,
    )


def _layer(layer: ExpandedLayer) -> PreviewedLayer:
    activation = layer.spec.activation if isinstance(layer.spec, Activation) else None
    return PreviewedLayer(
        layer=layer.path,
        kind=layer.spec.kind,
        in_shape=list(layer.in_shape),
        out_shape=list(layer.out_shape),
        parameters=layer.own_parameters,
        activation=activation.model_dump() if activation else None,
        init=layer.init.model_dump() if layer.init else None,
    )


def _estimate(
    spec: ComparisonSpec, networks: dict[str, dict[str, list[ExpandedLayer]]], workers: list[Worker]
) -> Estimate:
    """Of all rounds. The fastest workers do the work, as many as there are shards to share."""
    trials, steps = totals(spec)
    fitting = [worker for worker in workers if spec.device != "cuda" or worker.device == "cuda"]
    fastest = sorted(fitting, key=lambda worker: -worker.matmul_flops_per_second)
    groups = [
        Group(own, layers, own.networks()[variant].regularizers, *key, members)
        for problem, own in spec.alone.items()
        for variant, layers in networks[problem].items()
        for key, members in own.alike().items()
    ]
    sharing = fastest[: len(groups)]
    device, threads = (sharing[0].device, sharing[0].cores) if sharing else ("cpu", 1)
    work = [_work(group, device, threads) for group in groups]
    operations, seconds = (float(sum(part)) for part in zip(*work, strict=True))
    speed = sum(worker.matmul_flops_per_second for worker in sharing)
    return Estimate(
        trials=trials,
        steps=steps,
        memory_bytes=max(_bytes(group, device, threads) for group in groups),
        flops=operations,
        seconds=operations / speed + seconds / len(sharing) if sharing else None,
        workers=len(sharing),
    )


def _work(group: Group, device: str, threads: int) -> cost.Work:
    """Of all rounds."""
    spec = group.spec
    rounds: dict[int, list[tuple[OptimizerSpec, int]]] = {}
    for optimizer in group.members:
        for number, count in enumerate(reversed(trials_by_round(spec, optimizer))):  # the last is everybody's
            rounds.setdefault(number, []).append((optimizer, count))
    compiled = _compiled(group, device)
    threads = threads if device == "cpu" else 1
    operations = seconds = 0.0
    for trials in rounds.values():
        step = cost.step(group.layers, group.batch_size, trials, compiled=compiled, threads=threads)
        beside = recording(
            group.layers,
            group.batch_size,
            sum(count for _, count in trials),
            recorded=len(spec.record.steps(group.steps)),
            evaluated=sum(split_sizes(spec.problem.samples)[:2]),
            statistics=spec.record.names,
            intervals=spec.record.intervals,
            compiled=compiled,
            threads=threads,
        )
        operations += group.steps * step.operations + beside.operations
        seconds += group.steps * step.seconds + beside.seconds + cost.SHARD_SECONDS
    return cost.Work(operations, seconds + cost.TIMED_SECONDS * len(group.members))


def _bytes(group: Group, device: str, threads: int) -> int:
    spec, counts = group.spec, together(group.spec)
    trials = [(optimizer, counts[optimizer.label]) for optimizer in group.members]
    count = sum(count for _, count in trials)
    return shard_memory(
        spec.problem,
        group.layers,
        count,
        seeds=spec.most_seeds,
        batch_size=group.batch_size,
        pattern=group.pattern,
        precision=spec.precision,
        recorded=len(spec.record.steps(group.steps)),
        remembered=remembered_by(trials),
        statistics=spec.record.names,
        at_once=cost.in_torch(count, group.layers, group.batch_size, threads).at_once if device == "cpu" else None,
        compiled=_compiled(group, device),
    ).bytes


def _compiled(group: Group, device: str) -> bool:
    # what `auto` comes to matters for recurrent layers alone, which are not forecast
    extended = group.spec.gradient_range == "extended"
    return device == "cpu" and compilable(group.layers, group.pattern, group.regularizers, extended=extended)
