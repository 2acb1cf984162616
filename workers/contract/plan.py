"""What a worker is told to train: trials, and the shard that trains them together. Frozen in its record."""

from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict

from workers.contract.optimizers import GRADIENT_FREE, Pattern
from workers.contract.problems import ProblemSpec
from workers.contract.regularizers import Regularizers
from workers.contract.shapes import ExpandedLayer
from workers.contract.statistics import DEFAULT_INTERVALS, OCCASIONAL, STATISTICS, Occasional, Pass, passes, recorded

Role = Literal["tuning", "final", "defaults"]
"""tuning chooses hyper-parameters; final is reported; defaults is the untuned row beside it."""

GradientRange = Literal["standard", "extended"]

CURVE_POINTS = 100
"""A pass over the whole data costs as much as many steps: this bounds what the curves cost where every step is recorded."""

DEFAULT = recorded("default")

Scalar = bool | int | float | str | list[float]


class Trial(BaseModel):
    """One training run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: int
    """0-based index in the comparison's frozen order."""
    problem: str = ""
    """Its name in the comparison."""
    variant: str
    optimizer: str
    """The optimizer's name in the comparison."""
    kind: str
    """Its rule."""
    hyperparameters: dict[str, Scalar]
    """All of the rule's, none of them a grid."""
    seed: int
    role: Role


class Execution(BaseModel):
    """How a shard runs. Chosen once, by the worker that first takes it; a resumed shard repeats it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: Literal["cpu", "cuda"]
    threads: int
    """Chunks that train at the same time, each on one thread."""
    chunks: list[int]
    """Sizes of the groups of trials that share one batched program, in the shard's order."""
    gradient_range: GradientRange = "standard"
    """The shard's."""
    path: Literal["portable", "native"] = "portable"
    """native: compiled code for dense networks, RNNs and LSTMs on the CPU."""


class Shard(BaseModel):
    """Trials trained together: one problem, one variant, one batch size, one evaluation pattern, one number of steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    problem: ProblemSpec
    variant: str
    network: list[ExpandedLayer]
    trials: list[Trial]
    """Sorted by optimizer, so that each rule updates one run of rows."""
    batch_size: int
    pattern: Pattern
    precision: Literal["float32", "float64"]
    steps: int
    recorded: list[int]
    """Increasing; 0 and `steps` among them."""
    statistics: tuple[str, ...] = DEFAULT
    """What is recorded, in the order of the contract's table."""
    intervals: dict[Occasional, int] = {}
    """Every how many recorded steps a group is measured, where it is not as by default."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gradient_range: GradientRange = "standard"
    """extended: powers of two are carried beside the error signal, so that it neither underflows nor overflows."""
    backpropagation: bool = True
    """Whether the gradient is taken where nobody is given it, to measure it."""
    regularizers: Regularizers = []
    """Of the network; heads of auxiliary losses are layers by now."""
    wrappers: dict[str, dict[str, str]] = {}
    """Name of an optimizer to what stands round its rule: field to kind. Their numbers are hyper-parameters, `clip.max_norm`."""

    @cached_property
    def passes(self) -> frozenset[Pass]:
        """What has to be computed for the statistics."""
        return passes(self.statistics)

    @property
    def gradient_taken(self) -> bool:
        """Whether there is one at recorded steps."""
        return self.backpropagation or self.pattern not in GRADIENT_FREE

    @cached_property
    def occasional(self) -> dict[Occasional, frozenset[int]]:
        """The steps at which each of these groups is measured, where it is recorded at all."""
        groups = {STATISTICS[name].group for name in self.statistics}
        every = DEFAULT_INTERVALS | self.intervals
        return {
            group: frozenset({*self.recorded[:: every[group]], self.steps}) for group in OCCASIONAL if group in groups
        }

    @property
    def evaluated(self) -> list[int]:
        """The recorded steps at which losses over whole splits are taken: `CURVE_POINTS` of them at most, 0 and `steps` included."""
        last = len(self.recorded) - 1
        wanted = min(last, CURVE_POINTS - 1)
        return [self.recorded[round(i * last / wanted)] for i in range(wanted + 1)]
