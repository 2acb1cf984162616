"""What a comparison would be, before anything is trained: its layers, its size, and what its gradient will do."""

from datetime import UTC, datetime
from functools import partial

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from service.bodies import parse, read_body
from service.datasets import facts
from service.errors import invalid
from service.resources import Here, Resources
from service.validation import over_memory_on_any, read_comparison
from workers.analysis.predicted import predict_with_range
from workers.analysis.protocol import together, totals, trials_by_round
from workers.contract.checks import Limits, over_trials
from workers.contract.comparison import BASE, ComparisonSpec
from workers.contract.cost import bridge_seconds, gradients_worth, step_flops, step_seconds
from workers.contract.layers import Activation
from workers.contract.memory import remembered_by, shard_bytes
from workers.contract.optimizers import Bridged, OptimizerSpec, Pattern
from workers.contract.previews import Estimate, Preview, PreviewedLayer, PreviewedNetwork
from workers.contract.shapes import ExpandedLayer, walk
from workers.store import fleet
from workers.store.fleet import Worker
from workers.theory.resolution import networks

Group = tuple[list[ExpandedLayer], int, Pattern, list[OptimizerSpec]]
"""Layers of a variant, batch size, pattern, and the optimizers that have these: what can train together."""

router = APIRouter(prefix="/v1/previews", tags=["previews"])


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
    groups: list[Group] = []
    most = 0
    for problem, own in spec.alone.items():
        here: list[Group] = [
            (layers, *group, members) for layers in networks[problem].values() for group, members in own.alike().items()
        ]
        most = max(most, *(_bytes(own, *group) for group in here))
        groups += here
    sharing = fastest[: len(groups)]
    flops = sum(_flops(spec, layers, batch, members) for layers, batch, _, members in groups)
    return Estimate(
        trials=trials,
        steps=steps,
        memory_bytes=most,
        flops=flops * spec.steps,
        seconds=_seconds(spec, groups, flops * spec.steps, sharing) if sharing else None,
        workers=len(sharing),
    )


def _flops(spec: ComparisonSpec, layers: list[ExpandedLayer], batch: int, members: list[OptimizerSpec]) -> float:
    """Of one step of all trials of all rounds."""
    trials = [sum(trials_by_round(spec, optimizer)) for optimizer in members]
    gradients = sum(count * gradients_worth(optimizer) for count, optimizer in zip(trials, members, strict=True))
    return step_flops(layers, batch, sum(trials), gradients)


def _bytes(
    spec: ComparisonSpec, layers: list[ExpandedLayer], batch_size: int, pattern: Pattern, members: list[OptimizerSpec]
) -> int:
    counts = together(spec)
    return shard_bytes(
        spec.problem,
        layers,
        sum(counts[optimizer.label] for optimizer in members),
        batch_size=batch_size,
        pattern=pattern,
        precision=spec.precision,
        recorded=len(spec.record.steps(spec.steps)),
        remembered=remembered_by(members),
    )


def _seconds(spec: ComparisonSpec, groups: list[Group], flops: float, sharing: list[Worker]) -> float:
    """What there is to compute at the workers' speed, and what each step of a shard takes however small it is."""
    least = sum(
        max(len(trials_by_round(spec, optimizer)) for optimizer in members)
        * step_seconds(layers, max(map(gradients_worth, members)), sharing[0].device)
        for layers, _, _, members in groups
    )
    objects = sum(
        sum(sum(trials_by_round(spec, optimizer)) for optimizer in members if isinstance(optimizer, Bridged))
        * bridge_seconds(layers)
        for layers, _, _, members in groups
    )
    return flops / sum(worker.matmul_flops_per_second for worker in sharing) + spec.steps * (least + objects) / len(
        sharing
    )
