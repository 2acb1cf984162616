"""The diagnosis of networks whose truth is known by construction, trained by the real engine: no wrong verdict."""

import pytest

from benchmarks.diagnosis import complaints
from benchmarks.labelled import CASES, Case, train
from workers.contract.statistics import Recorded


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("statistics", ["default", ["default", "units"]], ids=["usual", "units"])
def test_no_wrong_verdict(case: Case, statistics: Recorded) -> None:
    """The verdict, where it begins, and nothing else in a healthy network; from shares of units and samples' correlation, too."""
    assert complaints(case, train(case, statistics)) == []


def test_the_cases_are_many_and_various() -> None:
    """At least 80, every verdict but `unknown`, several non-linearities and depths."""
    assert len(CASES) >= 80 and len({str(case) for case in CASES}) == len(CASES)
    assert len({case.truth for case in CASES}) == 11
    assert len({str(case.activation) for case in CASES}) >= 10 and len({case.depth for case in CASES}) >= 10
