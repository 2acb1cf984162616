"""Problems, data plus loss, a file a family.

Inputs are standardised on the training split where the problem does not say otherwise, and so are the targets of a regression.
"""

from typing import Annotated

from pydantic import Field

from workers.contract.base import ByKind
from workers.contract.problems.built_in import BreastCancer, Diabetes, Digits, Wine
from workers.contract.problems.drawn import Spirals, Teacher
from workers.contract.problems.problem import Loss, Problem, split_sizes
from workers.contract.problems.sequences import Adding, Copy, Parity, TemporalOrder
from workers.contract.problems.uploaded import MIN_SAMPLES, Dataset, DatasetFacts

PROBLEMS = (Digits, BreastCancer, Wine, Diabetes, Spirals, Teacher, Adding, Copy, Parity, TemporalOrder, Dataset)

ProblemSpec = Annotated[
    Digits | BreastCancer | Wine | Diabetes | Spirals | Teacher | Adding | Copy | Parity | TemporalOrder | Dataset,
    Field(discriminator="kind"),
    ByKind,
]

__all__ = [
    "MIN_SAMPLES", "PROBLEMS", "Adding", "BreastCancer", "Copy", "Dataset", "DatasetFacts", "Diabetes", "Digits", "Loss", "Parity",
    "Problem", "ProblemSpec", "Spirals", "Teacher", "TemporalOrder", "Wine", "split_sizes",
]  # fmt: skip
