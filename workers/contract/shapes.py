"""Shape inference: from a network's spec to its layers as they will be built, by integer arithmetic.

The expanded layers are what the engine builds and what a preview shows. Shapes are without the batch axis. Repeats and sequential
blocks are written out; residual, highway and dense layers keep theirs inside.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import prod, sqrt
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from workers.contract.activations import trained
from workers.contract.base import Violation
from workers.contract.initialisers import InitSpec, Zeros
from workers.contract.layers import (
    HOLDING,
    MAX_LAYERS,
    AuxiliaryHead,
    Dense,
    DoesNotFit,
    Flatten,
    LayerSpec,
    Linear,
    NormPropagation,
    Repeat,
    Residual,
    Sequential,
    Shape,
    Weighted,
    words,
)
from workers.contract.network import Layers, Mlp, to_layers
from workers.contract.regularizers import AuxiliaryLoss

OUTPUT = "output"
"""Path of the output layer, whatever its name."""


class ExpandedLayer(BaseModel):
    """One layer of the network as it will be built."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """Stable name: `hidden.3.linear`, `output`."""
    spec: LayerSpec
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    init: InitSpec | None = None
    """Set on layers whose weights start as the network says."""
    tensors: tuple[tuple[int, ...], ...] = ()
    """Shapes of its own parameters, without those of the layers inside."""
    depth: int | None = None
    """Position among the layers of weights, from 0 at the input; null on the others, and on those that are frozen."""
    layers: list["ExpandedLayer"] = []
    """Inside a residual, highway or dense layer."""

    @cached_property
    def own_parameters(self) -> int:
        return sum(map(prod, self.tensors))

    @property
    def starts_from_data(self) -> bool:
        return self.spec.starts_from_data or (self.init is not None and self.init.starts_from_data)

    @property
    def parameters(self) -> int:
        """Those of the layers inside included."""
        return self.own_parameters + sum(layer.parameters for layer in self.layers)


class Row(NamedTuple):
    """What a row of the statistics is about: a layer of weights, with the parameters of what follows it up to the next such layer
    (a normalisation's γ and β, a gate), and for the first of them of what comes before.
    """

    layer: ExpandedLayer
    tensors: tuple[Shape, ...]
    """The parameters' shapes, one after another, layer after layer in the order of `walk`."""


class Misfit(Exception):  # noqa: N818 - it carries a violation, it is not a failure of ours
    """A layer does not fit what it receives."""

    def __init__(self, pointer: str, message: str, code: str = "shape_misfit") -> None:
        super().__init__(message)
        self.violation = Violation(pointer=pointer, message=message, code=code)


def walk(layers: Sequence[ExpandedLayer]) -> Iterator[ExpandedLayer]:
    """All layers in the order of their parameters, those inside a layer before it."""
    for layer in layers:
        if layer.layers:
            yield from walk(layer.layers)
        yield layer


def rows(layers: Sequence[ExpandedLayer]) -> list[Row]:
    """The rows of the statistics, from the input upwards."""
    found: list[Row] = []
    start: ExpandedLayer | None = None
    tensors: list[Shape] = []
    for layer in walk(layers):
        if layer.depth is not None:
            if start is not None:
                found.append(Row(start, tuple(tensors)))
                tensors = []
            start = layer
        tensors += layer.tensors
    assert start is not None, "a network has an output layer"
    return [*found, Row(start, tuple(tensors))]


def expand(network: Mlp | Layers, shape: Shape, output: Shape) -> list[ExpandedLayer]:
    """The layers from the input upwards, the output layer included.

    Args:
        network: the spec.
        shape: of one sample of the problem's input.
        output: the shape that the problem needs at the top.

    Raises:
        Misfit: with a pointer relative to the network, when a layer does not fit.
    """
    long = _long(network, shape)
    count = _count(long.layers)
    if count > MAX_LAYERS:
        raise Misfit(
            "/layers", f"the network has {count} layers after expansion, the limit is {MAX_LAYERS}", "too_large"
        )
    output_init = long.output_init or type(long.init)(
        bias_std=long.init.bias_std, input_mean=long.init.input_mean, gain=1.0
    )
    nodes = list(_unrolled(long.layers, "/layers", ""))
    everything = list(_all(nodes))
    stated = [node for node in everything if isinstance(node.layer, Linear) and node.layer.output]
    if stated and [node.path for node in stated] != [nodes[-1].path]:
        raise Misfit(f"{stated[0].pointer}/output", "only the last layer can be the output layer", "misplaced_output")
    for node in everything:
        if node.path == OUTPUT and node not in stated:
            hint = ', or say "output": true' if isinstance(node.layer, Linear) else ""
            message = f"the name {node.path!r} is the output layer's: give this layer another{hint}"
            raise Misfit(f"{node.pointer}/name", message, "duplicate_name")
    if not stated:
        nodes.append(_Node(OUTPUT, "", Linear(out_features=output[-1], init=output_init, output=True)))
    expanded, top = _Expansion(long.init, output_init, output[-1]).layers(nodes, shape)
    if top != output:
        message = f"layer {OUTPUT!r} is the output layer and gives {words(top)}, the problem needs {words(output)}"
        if stated:
            raise Misfit(f"{nodes[-1].pointer}/out_features", message)
        raise Misfit(
            "/layers", f"{message}: bring what comes before it to {words(output[:-1] or top[-1:])}, by a flatten, say"
        )
    shortcuts = [layer.spec for layer in walk(expanded) if isinstance(layer.spec, Residual)]
    scaled = _scaled(expanded, 1 / sqrt(max(1, len(shortcuts))))
    scaled = _fixed_up(scaled, sum(shortcut.fixup for shortcut in shortcuts))
    for place, regularizer in enumerate(long.regularizers):
        if isinstance(regularizer, AuxiliaryLoss):
            scaled = _with_heads(scaled, regularizer, output[-1], f"auxiliary.{place}" if place else "auxiliary")
    return scaled


@dataclass(frozen=True, eq=False)
class _Node:
    """A layer of the spec at its place, repeats and sequential blocks written out."""

    path: str
    pointer: str
    layer: LayerSpec
    inside: "list[_Node]" = field(default_factory=list)


@dataclass
class _Expansion:
    init: InitSpec
    output_init: InitSpec
    outputs: int
    depth: int = 0
    seen: set[str] = field(default_factory=set)

    def layers(self, nodes: Sequence[_Node], shape: Shape) -> tuple[list[ExpandedLayer], Shape]:
        expanded: list[ExpandedLayer] = []
        for node in nodes:
            expanded += self.layer(node, shape)
            shape = expanded[-1].out_shape
        return expanded, shape

    def layer(self, node: _Node, shape: Shape) -> list[ExpandedLayer]:
        """One layer; or those inside, where a shortcut is left out."""
        if node.path in self.seen:
            message = f"the name {node.path!r} stands twice: give one of them another"
            raise Misfit(f"{node.pointer}/name", message, "duplicate_name")
        self.seen.add(node.path)
        spec, inside = node.layer, list[ExpandedLayer]()
        try:
            if isinstance(spec, HOLDING):
                inside, top = self.layers(node.inside, shape)
                if top != shape and not isinstance(spec, Dense) and spec.where_shapes_change == "leave_out":
                    return inside
                out_shape = spec.joined(shape, top)
                if isinstance(spec, Residual) and spec.fixup:
                    _refuse_fixup(node, inside)
            else:
                out_shape = spec.out_shape(shape)
        except DoesNotFit as reason:
            pointer = f"{node.pointer}/{reason.field}" if reason.field else node.pointer
            raise Misfit(pointer, f"layer {node.path!r} {reason}") from None
        if isinstance(spec, AuxiliaryHead):
            spec = spec.model_copy(update={"outputs": self.outputs})
        init, depth = None, None
        if isinstance(spec, Weighted):
            init = spec.init or (self.output_init if node.path == OUTPUT else self.init)
            if init.starts_from_data and getattr(spec, "weight_normalization", None):
                message = f"layer {node.path!r} normalises its weights, so that lsuv cannot set their scale: choose one of the two"
                raise Misfit(f"{node.pointer}/weight_normalization", message, "inconsistent")
            if self.depth == 0 and init.input_mean:
                init = init.model_copy(update={"input_mean": 0.0})  # inputs are standardised
        tensors = spec.tensors(shape)
        if spec.weighted and tensors:
            depth = self.depth
            self.depth += 1
        return [
            ExpandedLayer(
                path=node.path,
                spec=spec,
                in_shape=shape,
                out_shape=out_shape,
                init=init,
                tensors=tensors,
                depth=depth,
                layers=inside,
            )
        ]


def _refuse_fixup(node: _Node, inside: Sequence[ExpandedLayer]) -> None:
    """Where a branch cannot start by Fixup's rules."""
    inits = [layer.init for layer in walk(inside) if layer.init is not None]
    if len(inits) < 2:
        message = (
            f"layer {node.path!r} starts by Fixup's rules, which are for two layers of weights or more, and holds {len(inits)}: "
            "put another inside, or use a trainable scale of 0 (ReZero)"
        )
        raise Misfit(f"{node.pointer}/fixup", message, "inconsistent")
    if any(init.gain == "critical" or init.starts_from_data for init in inits):
        message = (
            f"layer {node.path!r} starts by Fixup's rules, which scale a gain that is a number, and the layers inside start by one "
            "that is critical or from data: give them a number"
        )
        raise Misfit(f"{node.pointer}/fixup", message, "inconsistent")


def _scaled(layers: list[ExpandedLayer], scale: float) -> list[ExpandedLayer]:
    """The layers with a number for every residual scale that depends on how many blocks there are."""
    found = []
    for layer in layers:
        update: dict[str, object] = {"layers": _scaled(layer.layers, scale)} if layer.layers else {}
        if isinstance(layer.spec, Residual) and layer.spec.scale == "depth":
            update["spec"] = layer.spec.model_copy(update={"scale": scale})
        found.append(layer.model_copy(update=update) if update else layer)
    return found


def _fixed_up(layers: Sequence[ExpandedLayer], blocks: int) -> list[ExpandedLayer]:
    """The layers with the initialisation of every branch that starts by Fixup's rules, `blocks` of them in the network."""
    found = []
    for layer in layers:
        inside = _fixed_up(layer.layers, blocks)
        if isinstance(layer.spec, Residual) and layer.spec.fixup:
            weights = [one.path for one in walk(inside) if one.init is not None]
            starts = dict.fromkeys(weights, blocks ** (-1 / (2 * len(weights) - 2))) | {weights[-1]: 0.0}
            inside = [_started(one, starts) for one in inside]
        found.append(layer.model_copy(update={"layers": inside}) if inside else layer)
    return found


def _started(layer: ExpandedLayer, scales: Mapping[str, float]) -> ExpandedLayer:
    """The layer, and those inside, with initial weights multiplied by their scales."""
    update: dict[str, object] = {}
    if layer.layers:
        update["layers"] = [_started(inside, scales) for inside in layer.layers]
    if layer.init is not None and layer.path in scales:
        scale, init = scales[layer.path], layer.init
        smaller = init.model_copy(update={"gain": init.number() * scale}) if scale else Zeros(bias_std=init.bias_std)
        update["init"] = smaller
    return layer.model_copy(update=update) if update else layer


def _with_heads(layers: Sequence[ExpandedLayer], asked: AuxiliaryLoss, outputs: int, name: str) -> list[ExpandedLayer]:
    """Heads behind every so many layers of weights, with what follows these up to the next; none behind the output layer's."""
    found, below, heads = list[ExpandedLayer](), 0, 0
    for layer, following in pairwise([*layers, layers[-1]]):
        found.append(layer)
        below += _weighted(layer)
        if following is layer or not _weighted(following) or below // asked.every <= heads:
            continue
        heads = below // asked.every
        spec, shape = AuxiliaryHead(weight=asked.weight, outputs=outputs), layer.out_shape
        tensors = spec.tensors(shape)
        found.append(
            ExpandedLayer(path=f"{name}.{below - 1}", spec=spec, in_shape=shape, out_shape=shape, tensors=tensors)
        )
    return found


def _weighted(layer: ExpandedLayer) -> int:
    """Layers of weights that it is, or holds."""
    return sum(inside.depth is not None for inside in walk([layer]))


def _long(network: Mlp | Layers, shape: Shape) -> Layers:
    """The long form; the short one takes an image or a sequence as one vector."""
    if isinstance(network, Layers):
        return network
    if isinstance(network.normalization, NormPropagation) and trained(network.activation):
        message = "propagation divides by a deviation that is known beforehand, and constants that learn change it: fix them, or use weight"
        raise Misfit("/normalization", message, "inconsistent")
    long = to_layers(network)
    return long if len(shape) == 1 else long.model_copy(update={"layers": [Flatten(), *long.layers]})


def _count(layers: Sequence[LayerSpec]) -> int:
    """Layers after expansion: repeats and sequential blocks are none themselves."""
    total = 0
    for layer in layers:
        if isinstance(layer, Repeat):
            total += layer.times * _count(layer.layers)
        elif isinstance(layer, (Sequential, *HOLDING)):
            total += _count(layer.layers) + (not isinstance(layer, Sequential))
        else:
            total += 1
    return total


def _unrolled(layers: Sequence[LayerSpec], pointer: str, prefix: str) -> Iterator[_Node]:
    """Every copy, from the input upwards."""
    kinds = [layer.kind for layer in layers]
    for index, layer in enumerate(layers):
        here = f"{pointer}/{index}"
        default = layer.kind if prefix and kinds.count(layer.kind) == 1 else f"{index}.{layer.kind}"
        path = prefix + (layer.name or (default if prefix else f"layers.{default}"))
        block = prefix + (layer.name or (f"layers.{index}" if not prefix else f"{index}"))
        if isinstance(layer, Repeat):
            for copy in range(layer.times):
                yield from _unrolled(layer.layers, f"{here}/layers", f"{block}.{copy}.")
        elif isinstance(layer, Sequential):
            yield from _unrolled(layer.layers, f"{here}/layers", f"{block}.")
        elif isinstance(layer, HOLDING):
            # alone in its block, it does not lengthen the paths inside: a layer has the same name with the shortcut and without
            within = prefix if prefix and len(layers) == 1 and layer.name is None else f"{block}."
            yield _Node(path, here, layer, list(_unrolled(layer.layers, f"{here}/layers", within)))
        elif isinstance(layer, Linear) and layer.output:
            yield _Node(OUTPUT, here, layer)
        else:
            yield _Node(path, here, layer)


def _all(nodes: Sequence[_Node]) -> Iterator[_Node]:
    for node in nodes:
        yield node
        yield from _all(node.inside)
