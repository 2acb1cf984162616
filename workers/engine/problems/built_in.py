"""The data sets that scikit-learn carries, read from its files: to import it takes longer than everything else up to the first step."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.contract.problems import Digits

Raw = tuple[NDArray[np.float64], NDArray[Any]]


def digits(spec: Digits) -> Raw:
    """Alpaydin & Kaynak 1998, UCI."""
    x, y = _classes("digits.csv.gz", headings=0)
    return x.reshape(-1, *spec.shape), y


def breast_cancer(spec: object) -> Raw:
    """Wolberg, Street & Mangasarian 1995, UCI."""
    return _classes("breast_cancer.csv", headings=1)


def wine(spec: object) -> Raw:
    """Aeberhard & Forina 1991, UCI."""
    return _classes("wine_data.csv", headings=1)


def diabetes(spec: object) -> Raw:
    """Efron et al. 2004, Least Angle Regression."""
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes()
    return bunch.data.astype(np.float64), bunch.target.astype(np.float64)[:, None]


def _classes(name: str, headings: int) -> Raw:
    """The last column is the class."""
    found = find_spec("sklearn")
    assert found is not None and found.origin is not None
    table = np.loadtxt(Path(found.origin).parent / "datasets" / "data" / name, delimiter=",", skiprows=headings)
    return np.ascontiguousarray(table[:, :-1]), table[:, -1].astype(np.int64)
