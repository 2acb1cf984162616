"""Data that a user brought, as the store keeps them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Inputs [N, ...] in the type it is kept in, and int64 classes [N], or float64 targets [N, O]. Nothing is unpickled."""
    with np.load(path, allow_pickle=False) as file:
        return file["x"], file["y"]
