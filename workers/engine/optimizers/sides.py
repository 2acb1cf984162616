"""Which sides of a weight are treated as matrices. O/I out/in features."""

from collections.abc import Iterator

from workers.engine.optimizers.rule import Layout, Shape

LARGEST = 256
"""Side of the largest matrix that is kept for a weight's side: a root or a factorisation of n by n costs some 30·n³ operations a step."""


def of_weights(layout: Layout) -> Iterator[tuple[slice, Shape, str, tuple[bool, bool]]]:
    """(columns, [O, I], a name, which of its sides are small enough) of each weight of which one is."""
    for place, (columns, shape) in enumerate(layout.matrices):
        small = (False, False) if len(shape) != 2 else (shape[0] <= LARGEST, shape[1] <= LARGEST)
        if any(small):
            yield columns, shape, f"{place}", small


def others(layout: Layout) -> Iterator[slice]:
    """The columns of all other tensors: vectors, and weights that are large on both sides."""
    taken = {columns.start for columns, *_ in of_weights(layout)}
    return (columns for columns, _ in layout.matrices if columns.start not in taken)
