"""Shape inference: from a network's spec to the flat list of its layers, by integer arithmetic.

The expanded list is what the engine builds and what a preview shows. Shapes are without the batch axis.
"""

from collections.abc import Iterator
from math import prod

from pydantic import BaseModel, ConfigDict

from workers.contract.base import Violation
from workers.contract.initialisers import InitSpec
from workers.contract.network import MAX_LAYERS, Activation, Dropout, Layers, LayerSpec, Linear, Mlp, Repeat

OUTPUT = "output"
"""Path of the output layer, whatever its name."""


class ExpandedLayer(BaseModel):
    """One layer of the network as it will be built."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """Stable name: `hidden.3.linear`, `output`."""
    spec: Linear | Activation | Dropout
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    init: InitSpec | None
    """Set on layers with parameters."""
    parameters: int
    depth: int | None
    """Position among the layers with parameters, from 0 at the input; null on the others."""


class Misfit(Exception):  # noqa: N818 - it carries a violation, it is not a failure of ours
    """A layer does not fit what it receives."""

    def __init__(self, pointer: str, message: str, code: str = "shape_misfit") -> None:
        super().__init__(message)
        self.violation = Violation(pointer=pointer, message=message, code=code)


def expand(network: Mlp | Layers, features: int, outputs: int) -> list[ExpandedLayer]:
    """The layers from the input upwards, the output layer included.

    Args:
        network: the spec.
        features: width of the problem's input.
        outputs: width that the problem needs at the top.

    Raises:
        Misfit: with a pointer relative to the network, when a layer does not fit.
    """
    long = to_layers(network) if isinstance(network, Mlp) else network
    count = _count(long.layers)
    if count > MAX_LAYERS:
        raise Misfit(
            "/layers", f"the network has {count} layers after expansion, the limit is {MAX_LAYERS}", "too_large"
        )
    output_init = long.output_init or type(long.init)(bias_std=long.init.bias_std, gain=1.0)
    flat = list(_flatten(long.layers, "/layers", ""))
    stated = [path for path, _, layer in flat if isinstance(layer, Linear) and layer.output]
    if stated and stated != [flat[-1][0]]:
        pointer = next(p for path, p, _ in flat if path == stated[0])
        raise Misfit(f"{pointer}/output", "only the last layer can be the output layer", "misplaced_output")
    for path, pointer, layer in flat:
        if path == OUTPUT and not (isinstance(layer, Linear) and layer.output):
            hint = ', or say "output": true' if isinstance(layer, Linear) else ""
            message = f"the name {path!r} is the output layer's: give this layer another{hint}"
            raise Misfit(f"{pointer}/name", message, "duplicate_name")
    if not stated:
        flat.append((OUTPUT, "", Linear(out_features=outputs, init=output_init, output=True)))

    expanded: list[ExpandedLayer] = []
    seen: set[str] = set()
    shape: tuple[int, ...] = (features,)
    depth = 0
    for position, (path, pointer, layer) in enumerate(flat):
        top = position == len(flat) - 1
        if path in seen:
            raise Misfit(
                f"{pointer}/name", f"the name {path!r} stands twice: give one of them another", "duplicate_name"
            )
        seen.add(path)
        out_shape = _out_shape(path, pointer, layer, shape)
        if top and out_shape != (outputs,):
            raise Misfit(
                f"{pointer}/out_features",
                f"layer {path!r} is the output layer and gives {_words(out_shape)}, the problem needs {_words((outputs,))}",
            )
        linear = isinstance(layer, Linear)
        expanded.append(
            ExpandedLayer(
                path=path,
                spec=layer,
                in_shape=shape,
                out_shape=out_shape,
                init=((layer.init or (output_init if top else long.init)) if isinstance(layer, Linear) else None),
                parameters=_parameters(layer, shape),
                depth=depth if linear else None,
            )
        )
        depth += linear
        shape = out_shape
    return expanded


def to_layers(network: Mlp) -> Layers:
    """The long form of the short form."""
    block: list[LayerSpec] = [Linear(out_features=network.width), Activation(activation=network.activation)]
    return Layers(
        layers=[Repeat(times=network.depth, layers=block, name="hidden")],
        init=network.init,
        output_init=network.output_init,
    )


def _count(layers: list[LayerSpec]) -> int:
    return sum(layer.times * _count(layer.layers) if isinstance(layer, Repeat) else 1 for layer in layers)


def _flatten(
    layers: list[LayerSpec], pointer: str, prefix: str
) -> Iterator[tuple[str, str, Linear | Activation | Dropout]]:
    """(path, pointer, layer) of every copy, from the input upwards."""
    kinds = [layer.kind for layer in layers]
    for index, layer in enumerate(layers):
        here = f"{pointer}/{index}"
        if isinstance(layer, Repeat):
            block = prefix + (layer.name or (f"layers.{index}" if not prefix else f"{index}"))
            for copy in range(layer.times):
                yield from _flatten(layer.layers, f"{here}/layers", f"{block}.{copy}.")
        elif isinstance(layer, Linear) and layer.output:
            yield OUTPUT, here, layer
        else:
            default = layer.kind if prefix and kinds.count(layer.kind) == 1 else f"{index}.{layer.kind}"
            yield prefix + (layer.name or (default if prefix else f"layers.{default}")), here, layer


def _out_shape(
    path: str, pointer: str, layer: Linear | Activation | Dropout, shape: tuple[int, ...]
) -> tuple[int, ...]:
    if not isinstance(layer, Linear):
        return shape
    if layer.in_features is not None and (layer.in_features,) != shape:
        raise Misfit(
            f"{pointer}/in_features",
            f"layer {path!r} expects {_words((layer.in_features,))} and receives {_words(shape)}: "
            f"set in_features to {shape[0]}, or leave it out",
        )
    return (layer.out_features,)


def _parameters(layer: Linear | Activation | Dropout, shape: tuple[int, ...]) -> int:
    if not isinstance(layer, Linear):
        return 0
    return layer.out_features * (prod(shape) + layer.bias)


def _words(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape) + " features"
