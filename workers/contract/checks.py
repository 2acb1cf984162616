"""What types cannot say of a request: references, shapes, limits. Everything knowable is refused at the door."""

from math import ceil
from types import UnionType
from typing import Any, NamedTuple

from workers.contract.base import Violation
from workers.contract.comparison import BASE, ComparisonSpec
from workers.contract.layers import Activation, Dropout, Embedding, Flatten, Linear, Rnn
from workers.contract.memory import remembered_by, shard_memory
from workers.contract.network import SHORT_FORM_ONLY, Layers
from workers.contract.optimizers import BRIDGED, Bridged, Optimizer, Rprop, RpropMinus, RpropPlus, Sgd
from workers.contract.optimizers.misfits import misfits, values
from workers.contract.regularizers import ActivationScale, Saturation, VanishingGradient
from workers.contract.shapes import ExpandedLayer, Misfit, walk


class Limits(NamedTuple):
    """What a service is willing to take on; settings of the deployment."""

    trials: int = 5000
    steps: int = 1_000_000
    parameters: int = 20_000_000
    """Of one network."""
    memory_bytes: int = 8 * 2**30
    """Of one shard's tensors, on paper: `memory.shard_memory`. On a CPU, in chunks or compiled, less is used."""


def check(spec: ComparisonSpec, limits: Limits) -> list[Violation]:
    """All that is wrong with a comparison whose types are right; empty if it can run. Trials are counted elsewhere."""
    found = [*_names(spec), *_optimizers(spec), *_networks(spec, limits)]
    longest = max(spec.steps_of(optimizer) for optimizer in spec.optimizers)
    if longest > limits.steps:
        found.append(_over("/steps", "steps", longest, limits.steps))
    return found


def expanded(spec: ComparisonSpec) -> dict[str, list[ExpandedLayer]]:
    """Every variant's layers by name. Raises Misfit where `check` would have told."""
    found = {}
    for name, layers in spec.expansions.items():
        if isinstance(layers, Misfit):
            raise layers
        found[name] = layers
    return found


def _over(pointer: str, what: str, asked: int, limit: int) -> Violation:
    return Violation(
        pointer=pointer, message=f"{asked:,} {what} asked for, the limit here is {limit:,}", code="over_limit"
    )


def over_trials(asked: int, limits: Limits) -> list[Violation]:
    """Refuses more trials than the limit; the caller has counted them."""
    if asked <= limits.trials:
        return []
    message = f"{asked:,} trials asked for, the limit here is {limits.trials:,}: fewer optimizers, grid points, variants or seeds"
    return [Violation(pointer="/optimizers", message=message, code="over_limit")]


def over_memory(spec: ComparisonSpec, together: dict[str, int], limits: Limits) -> list[Violation]:
    """Refuses what would not fit into a worker's memory.

    Args:
        spec: passed by `check`.
        together: most trials of each optimizer, by its label, that train at the same time; the caller has counted them.
        limits: the deployment's.
    """
    found = []
    for name, layers in expanded(spec).items():
        for (batch_size, pattern, steps), members in spec.alike().items():
            counts = [(optimizer, together[optimizer.label]) for optimizer in members]
            trials = sum(count for _, count in counts)
            needed = shard_memory(
                spec.problem,
                layers,
                trials,
                seeds=spec.most_seeds,
                batch_size=batch_size,
                pattern=pattern,
                precision=spec.precision,
                recorded=len(spec.record.steps(steps)),
                remembered=remembered_by(counts),
                statistics=spec.record.names,
            ).bytes
            if needed > limits.memory_bytes:
                message = (
                    f"variant {name!r} would train {trials:,} trials at the same time, in about {needed / 2**30:.1f} GiB of memory; "
                    f"the limit here is {limits.memory_bytes / 2**30:.1f} GiB: fewer seeds or grid points, a smaller batch or network"
                )
                found.append(Violation(pointer=pointer_to(spec, name), message=message, code="over_limit"))
    return list({violation.pointer: violation for violation in found}.values())


def _names(spec: ComparisonSpec) -> list[Violation]:
    found = []
    labels = [optimizer.label for optimizer in spec.optimizers]
    for index, label in enumerate(labels):
        if label in labels[:index]:
            message = f"the name {label!r} stands twice: give one of them a `name` of its own"
            found.append(Violation(pointer=f"/optimizers/{index}/name", message=message, code="duplicate_name"))
    if BASE in spec.variants:
        message = f"{BASE!r} is the network as given and always runs: name the variant otherwise"
        found.append(Violation(pointer=f"/variants/{BASE}", message=message, code="duplicate_name"))
    if spec.baseline not in labels:
        message = f"{spec.baseline!r} is none of the optimizers: {', '.join(labels)}"
        found.append(Violation(pointer="/baseline", message=message, code="unknown_baseline"))
    if spec.target is not None and spec.problem.loss != "cross_entropy" and spec.target.metric.endswith("accuracy"):
        message = "this problem is a regression and has no accuracy: use validation_loss or train_loss"
        found.append(Violation(pointer="/target/metric", message=message, code="no_accuracy"))
    return found


def _optimizers(spec: ComparisonSpec) -> list[Violation]:
    found = []
    available = spec.problem.training_samples
    if isinstance(spec.batch_size, int) and spec.batch_size > available:
        found.append(_batch("/batch_size", spec.batch_size, available))
    for index, optimizer in enumerate(spec.optimizers):
        here = f"/optimizers/{index}"
        if isinstance(optimizer.batch_size, int) and optimizer.batch_size > available:
            found.append(_batch(f"{here}/batch_size", optimizer.batch_size, available))
        if (
            isinstance(optimizer, Sgd)
            and optimizer.nesterov
            and (0 in values(optimizer.momentum) or any(values(optimizer.dampening)))
        ):
            found.append(_nesterov(here))
        if isinstance(optimizer, Bridged) and optimizer.kind.endswith("/SGD"):
            given: dict[str, Any] = optimizer.hyperparameters()
            if given["nesterov"] and (0 in values(given["momentum"]) or any(values(given["dampening"]))):
                found.append(_nesterov(here))
        if isinstance(optimizer, Bridged) and BRIDGED[optimizer.kind].float32_only and spec.precision == "float64":
            message = f'{optimizer.label!r} computes in float32 only: set `precision` to "float32"'
            found.append(Violation(pointer=here, message=message, code="inconsistent"))
        if isinstance(optimizer, Rprop | RpropMinus | RpropPlus) and optimizer.step_min > optimizer.step_max:
            message = f"step_min is {optimizer.step_min:g}, above step_max, {optimizer.step_max:g}"
            found.append(Violation(pointer=f"{here}/step_min", message=message, code="inconsistent"))
        if (steps := spec.steps_of(optimizer)) == 0:
            found.append(_no_step(here, spec, optimizer))
            continue
        for field, message in misfits(optimizer, steps):
            found.append(Violation(pointer=f"{here}/{field}", message=message, code="inconsistent"))
    return found


def _no_step(here: str, spec: ComparisonSpec, optimizer: Optimizer) -> Violation:
    cost = optimizer.spent(1).cost
    message = (
        f"on equal evaluations {optimizer.label!r} makes no step: one takes {cost:.4g} gradients, and `steps` pays for {spec.steps:,}; "
        f"set it to {ceil(cost)} or more"
    )
    return Violation(pointer=here, message=message, code="too_few_evaluations")


def _nesterov(here: str) -> Violation:
    message = "Nesterov's look-ahead needs momentum above zero and dampening of zero"
    return Violation(pointer=f"{here}/nesterov", message=message, code="inconsistent")


def _batch(pointer: str, asked: int, available: int) -> Violation:
    message = (
        f'a batch of {asked:,} was asked for and the training split has {available:,} samples: at most that, or "full"'
    )
    return Violation(pointer=pointer, message=message, code="batch_too_large")


def _networks(spec: ComparisonSpec, limits: Limits) -> list[Violation]:
    found: dict[str, Violation] = {}
    for name, variant in spec.variants.items():
        for field in SHORT_FORM_ONLY:
            if getattr(variant, field) is not None and isinstance(variant.network or spec.network, Layers):
                pointer = f"/variants/{escape(name)}/{field}"
                message = f"the network is a list of layers, where a {field} is a layer: give the variant a `network` that has it"
                found[pointer] = Violation(pointer=pointer, message=message, code="inconsistent")
    for name, layers in spec.expansions.items():
        where = pointer_to(spec, name)
        if isinstance(layers, Misfit):
            pointer = where + layers.violation.pointer
            found.setdefault(pointer, layers.violation.model_copy(update={"pointer": pointer}))
            continue
        learned = sum(layer.own_parameters for layer in walk(layers))
        for index, optimizer in enumerate(spec.optimizers):
            if optimizer.most_parameters is not None and learned > optimizer.most_parameters:
                pointer = f"/optimizers/{index}"
                message = (
                    f"{optimizer.label!r} trains at most {optimizer.most_parameters:,} parameters, and variant {name!r} has {learned:,}: "
                    f"a smaller network, or {optimizer.instead}"
                )
                found.setdefault(pointer, Violation(pointer=pointer, message=message, code="over_limit"))
            if optimizer.reads_samples and (odd := _without_sample_gradients(layers)):
                pointer = f"/optimizers/{index}"
                message = (
                    f"{optimizer.label!r} reads the gradients of single samples, which {odd.path!r} in variant {name!r} does not "
                    "give: only linear layers on features do, without parameters of normalisations, gates or non-linearities beside them"
                )
                found.setdefault(pointer, Violation(pointer=pointer, message=message, code="no_sample_gradients"))
            if optimizer.pattern == "curvature" and (odd := _without_curvature(layers)):
                pointer = f"/optimizers/{index}"
                message = (
                    f"{optimizer.label!r} passes curvature backwards, which {odd.path!r} in variant {name!r} does not: only linear "
                    "layers on features, activations, dropout and flatten do; vsgd_fd measures it by a second gradient instead"
                )
                found.setdefault(pointer, Violation(pointer=pointer, message=message, code="no_curvature"))
        if (misread := _symbols(spec.problem.vocabulary, layers)) is not None:
            found.setdefault(where, Violation(pointer=where, message=misread, code="symbols"))
        if name in spec.regularized:
            found |= {wrong.pointer: wrong for wrong in _regularized(spec, name)}
        parameters = sum(layer.own_parameters + layer.spec.kept(layer.in_shape) for layer in walk(layers))
        if parameters > limits.parameters:
            found.setdefault(where, _over(where, f"parameters in variant {name!r}", parameters, limits.parameters))
    return list(found.values())


def _regularized(spec: ComparisonSpec, name: str) -> list[Violation]:
    """What cannot be had where more than the loss is trained."""
    found = []
    for index, optimizer in enumerate(spec.optimizers):
        if optimizer.pattern not in ("one_gradient", "two_gradients") or optimizer.reads_samples:
            message = (
                f"{optimizer.label!r} looks at more than the gradient, and would not see the regularizers of variant {name!r} there: "
                "leave one of them out"
            )
            found.append(Violation(pointer=f"/optimizers/{index}", message=message, code="regularized"))
    layers = spec.expansions[name]
    assert not isinstance(layers, Misfit)
    if not any(isinstance(layer.spec, Rnn) for layer in walk(layers)):
        message = (
            f"vanishing_gradient is about what an rnn layer does from step to step, and variant {name!r} has none "
            "(gates of gru and lstm carry the signal by themselves): leave it out, or put an rnn layer in"
        )
        asked = _asked(spec, name, VanishingGradient)
        found += [Violation(pointer=pointer, message=message, code="inconsistent") for pointer in asked]
    if learned := next((layer for layer in walk(layers) if isinstance(layer.spec, Activation) and layer.tensors), None):
        message = (
            f"penalties on activations are about pre-activations alone, and the constants of {learned.path!r} in variant {name!r} learn, "
            "which would evade them: leave out one or the other"
        )
        asked = _asked(spec, name, ActivationScale | Saturation)
        found += [Violation(pointer=pointer, message=message, code="inconsistent") for pointer in asked]
    if spec.gradient_range == "extended":
        message = (
            f"the extended range carries the exponents of the loss alone, and variant {name!r} has regularizers: "
            'use "standard", or "auto", which is standard there'
        )
        found.append(Violation(pointer="/gradient_range", message=message, code="regularized"))
    return found


def _asked(spec: ComparisonSpec, name: str, kind: type | UnionType) -> list[str]:
    """Pointers to a variant's regularizers of a kind."""
    own = name != BASE and spec.variants[name].regularizers is not None
    where = f"/variants/{escape(name)}" if own else pointer_to(spec, name)
    asked = enumerate(spec.networks()[name].regularizers)
    return [f"{where}/regularizers/{place}" for place, one in asked if isinstance(one, kind)]


def _symbols(vocabulary: int | None, layers: list[ExpandedLayer]) -> str | None:
    """Why symbols and embeddings do not fit each other here."""
    first, *others = walk(layers)
    own = first.spec.num_embeddings if isinstance(first.spec, Embedding) else None
    if vocabulary is not None and own is None:
        return f"the inputs are tokens: start with an embedding of {vocabulary} symbols, or leave out the problem's `tokens`"
    if vocabulary is not None and own is not None and own < vocabulary:
        return f"layer {first.path!r} has vectors for {own} symbols and the problem has {vocabulary}: set num_embeddings to that"
    if vocabulary is None and own is not None:
        return (
            f"layer {first.path!r} reads symbols, and this problem's inputs are quantities: a linear layer takes these; "
            "copy, parity and temporal_order have `tokens`"
        )
    if late := next((layer for layer in others if isinstance(layer.spec, Embedding)), None):
        return f"layer {late.path!r} reads symbols, which are there at the input only: make it the first layer"
    return None


def _without_sample_gradients(layers: list[ExpandedLayer]) -> ExpandedLayer | None:
    for layer in walk(layers):
        dense = isinstance(layer.spec, Linear) and len(layer.in_shape) == 1 and not layer.spec.weight_normalization
        if (layer.tensors and not dense) or layer.spec.mixes_samples:
            return layer
    return None


def _without_curvature(layers: list[ExpandedLayer]) -> ExpandedLayer | None:
    for layer in layers:
        made = isinstance(layer.spec, Linear) and layer.spec.weight_normalization is not None
        if made or not isinstance(layer.spec, Linear | Activation | Dropout | Flatten):
            return layer
    return None


def pointer_to(spec: ComparisonSpec, variant: str) -> str:
    """To the network that a variant trains."""
    own = variant != BASE and spec.variants[variant].network is not None
    return f"/variants/{escape(variant)}/network" if own else "/network"


def escape(part: str) -> str:
    """A part of a JSON pointer, RFC 6901."""
    return part.replace("~", "~0").replace("/", "~1")
