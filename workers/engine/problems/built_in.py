"""The data sets that scikit-learn carries."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

from workers.contract.problems import Digits

Raw = tuple[NDArray[np.float64], NDArray[Any]]


def digits(spec: Digits) -> Raw:
    """Alpaydin & Kaynak 1998, UCI."""
    x, y = _classes(datasets.load_digits())
    return x.reshape(-1, *spec.shape), y


def breast_cancer(spec: object) -> Raw:
    """Wolberg, Street & Mangasarian 1995, UCI."""
    return _classes(datasets.load_breast_cancer())


def wine(spec: object) -> Raw:
    """Aeberhard & Forina 1991, UCI."""
    return _classes(datasets.load_wine())


def diabetes(spec: object) -> Raw:
    """Efron et al. 2004, Least Angle Regression."""
    bunch = datasets.load_diabetes()
    return bunch.data.astype(np.float64), bunch.target.astype(np.float64)[:, None]


def _classes(bunch: Any) -> Raw:
    return bunch.data.astype(np.float64), bunch.target.astype(np.int64)
