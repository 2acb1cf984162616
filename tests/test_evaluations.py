"""Evolution strategies take no more losses than their references do."""

from math import isfinite

import pytest

from benchmarks.evaluations import ALLOWED, CASES, compared

SEEDS = 11


@pytest.mark.parametrize("case", CASES)
def test_as_few_losses_as_its_reference(case: str) -> None:
    """To 1e-8 on the sphere of 20 dimensions, CMA-ES on Rosenbrock's function of 10, too; the same numbers in every run."""
    own, reference = compared(case, SEEDS)
    assert isfinite(reference)
    assert own <= ALLOWED * reference
