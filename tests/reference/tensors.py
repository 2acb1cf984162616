"""Where a layer's matrices and vectors lie in θ: one after another, each row by row."""

from math import prod

Shapes = tuple[tuple[tuple[int, ...], ...], ...]
"""Of each layer's tensors."""


def tensors(layers: tuple[slice, ...], shapes: Shapes) -> list[tuple[slice, tuple[int, ...]]]:
    """Columns and shape of every tensor."""
    found = []
    for layer, own in zip(layers, shapes, strict=True):
        start = layer.start
        for shape in own:
            found.append((slice(start, start + prod(shape)), shape))
            start += prod(shape)
        assert start == layer.stop
    return found


def layers_of(shapes: Shapes) -> tuple[slice, ...]:
    """Layers without gaps."""
    found, start = [], 0
    for own in shapes:
        stop = start + sum(map(prod, own))
        found.append(slice(start, stop))
        start = stop
    return tuple(found)
