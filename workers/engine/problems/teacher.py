"""Regression to a random network: a target that a network of the same kind can reach exactly."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workers.contract.problems import Teacher
from workers.engine.activations import non_linearity
from workers.engine.seeding import numpy_generator


def teacher(spec: Teacher) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Normal inputs through `depth` layers of normal weights of variance 2/fan_in, then a linear read-out."""
    generator = numpy_generator(spec.draw, "teacher")
    x = generator.standard_normal((spec.count, spec.inputs))
    theta = non_linearity(spec.activation).value
    h = x
    for _ in range(spec.depth):
        weight = generator.standard_normal((spec.width, h.shape[1])) * np.sqrt(2 / h.shape[1])
        h = theta(torch.from_numpy(h @ weight.T)).numpy()
    y = h @ generator.standard_normal((spec.width, spec.targets)) / np.sqrt(spec.width)
    y = y + spec.noise * y.std(0) * generator.standard_normal(y.shape)
    return x, y
