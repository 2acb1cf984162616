"""Interleaved spirals in the plane, after Lang & Witbrock 1988."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.contract.problems import Spirals
from workers.engine.seeding import numpy_generator


def spirals(spec: Spirals) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Point i belongs to class i mod C; radius r uniform in [0, 1], angle 2π(turns·r + class/C)."""
    generator = numpy_generator(0, "spirals", spec.classes, spec.count)
    label = np.arange(spec.count) % spec.classes
    radius = generator.uniform(0, 1, spec.count)
    angle = 2 * np.pi * (spec.turns * radius + label / spec.classes)
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return x + spec.noise * generator.standard_normal(x.shape), label.astype(np.int64)
