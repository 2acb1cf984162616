"""Sequences that have to be remembered. N samples, S steps; the problems' own docstrings say what they are."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.contract.problems import Adding, Copy, Parity, TemporalOrder
from workers.engine.seeding import numpy_generator

Raw = tuple[NDArray[Any], NDArray[Any]]


def adding(spec: Adding) -> Raw:
    generator = numpy_generator(spec.draw, "adding")
    half, rows = spec.length // 2, np.arange(spec.count)
    x = np.zeros((spec.count, spec.length, 2))
    x[:, :, 0] = generator.uniform(0, 1, (spec.count, spec.length))
    marked = generator.integers(0, half, spec.count), generator.integers(half, spec.length, spec.count)
    for place in marked:
        x[rows, place, 1] = 1
    return x, (x[rows, marked[0], 0] + x[rows, marked[1], 0])[:, None]


def copy(spec: Copy) -> Raw:
    """Symbols count from 0, the blank is `alphabet`, and the question for place p is `alphabet` + 1 + p."""
    generator = numpy_generator(spec.draw, "copy")
    said = generator.integers(0, spec.alphabet, (spec.count, spec.span))
    asked = generator.integers(0, spec.span, spec.count)
    blank = np.full((spec.count, spec.delay), spec.alphabet)
    tokens = np.concatenate([said, blank, spec.alphabet + 1 + asked[:, None]], 1)
    return _inputs(tokens, spec), said[np.arange(spec.count), asked]


def parity(spec: Parity) -> Raw:
    bits = numpy_generator(spec.draw, "parity").integers(0, 2, (spec.count, spec.length))
    return _inputs(bits, spec), bits.sum(1) % 2


def temporal_order(spec: TemporalOrder) -> Raw:
    """a, b, c, d are 0 to 3, E and B 4 and 5, X and Y 6 and 7."""
    generator, rows = numpy_generator(spec.draw, "temporal_order"), np.arange(spec.count)
    tokens = generator.integers(0, 4, (spec.count, spec.length))
    tokens[:, 0], tokens[:, -1] = 4, 5
    which = generator.integers(0, 2, (2, spec.count))
    for one, tenths in zip(which, (1, 5), strict=True):
        low, high = tenths * spec.length // 10, (tenths + 1) * spec.length // 10
        tokens[rows, generator.integers(low, high, spec.count)] = 6 + one
    return _inputs(tokens, spec), 2 * which[0] + which[1]


def _inputs(tokens: NDArray[Any], spec: Copy | Parity | TemporalOrder) -> NDArray[Any]:
    """[N, S] symbols, or one-hot [N, S, symbols]."""
    return tokens.astype(np.float64) if spec.tokens else np.eye(spec.symbols)[tokens]
