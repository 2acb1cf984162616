"""What comes back: the status of a comparison, its ranking, its trials."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workers.contract.plan import Role, Scalar

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Outcome = Literal["completed", "diverged", "cancelled", "pending"]
Verdict = Literal["healthy", "weakening", "growing", "vanishing", "exploding", "underflowed", "unknown"]

ENDED: tuple[Status, ...] = ("succeeded", "failed", "cancelled")


class View(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Interval(View):
    """An interquartile mean over seeds with a 95 % bootstrap interval. null stands for infinity: a diverged trial's loss."""

    iqm: float | None = Field(examples=[0.31])
    """Mean of the middle half."""
    low: float | None = Field(examples=[0.28])
    """2.5 % quantile of the bootstrap."""
    high: float | None = Field(examples=[0.35])
    """97.5 % quantile of the bootstrap."""


class Improvement(View):
    """Probability that a run of this arm has a lower test loss than a run of the baseline on the same variant, ties counted half."""

    probability_of_improvement: float = Field(examples=[1.0])
    """Over all pairs of seeds."""
    low: float = Field(examples=[1.0])
    """2.5 % quantile of the bootstrap over paired seeds."""
    high: float = Field(examples=[1.0])
    """97.5 % quantile of the bootstrap over paired seeds."""


class TrialCounts(View):
    completed: int = Field(examples=[5])
    """Trained to the end with finite numbers."""
    diverged: int = Field(examples=[0])
    """Stopped at a non-finite number; they count as infinite loss and zero accuracy, never as missing."""


class Scores(View):
    """How one setting of an arm did on the reported seeds, at the end, on the test split."""

    hyperparameters: dict[str, Scalar] = Field(examples=[{"lr": 0.001}])
    """The setting."""
    trials: TrialCounts
    test_loss: Interval
    test_accuracy: Interval | None = Field(default=None)
    """null on regressions."""
    steps_to_target: Interval | None = Field(default=None)
    """Recorded steps until the target is met; null where too few trials meet it."""


class LayerDiagnosis(View):
    layer: str = Field(examples=["hidden.0.linear"])
    verdict: Verdict = Field(examples=["vanishing"])
    """From the decades that δ has lost or gained between the top hidden layer and this one."""
    gradient_norm: float | None = Field(examples=[1e-6])
    """Geometric mean over trials."""
    error_signal_norm: float | None = Field(examples=[1e-7])
    """Geometric mean over trials."""


class Stage(View):
    """The signal at one moment of training."""

    step: int = Field(examples=[0])
    verdict: Verdict = Field(examples=["vanishing"])
    """From `decades`, by the thresholds ±1 and ±2."""
    decades_per_layer: float | None = Field(examples=[-0.63])
    """Minus the fitted slope of log₁₀ error_signal_norm against depth over the hidden layers; negative means vanishing."""
    decades: float | None = Field(examples=[-3.2])
    """log₁₀ of δ's norm at the bottom hidden layer over that at the top one."""
    layers: list[LayerDiagnosis] = []


class Diagnosis(Stage):
    """The verdict at the end of training, that of step 0 beside it, and what they rest on."""

    at_step_0: Stage | None = None
    evidence: list[str] = Field(default=[], examples=[["At step 0 the error signal falls by 0.63 decades per layer."]])
    """Sentences with their numbers."""


class Arm(Scores):
    """One variant under one optimizer."""

    variant: str = Field(examples=["base"])
    optimizer: str = Field(examples=["rmsprop"])
    rank: int | None = Field(default=None, examples=[1])
    """By interquartile mean of the test loss; equal values share a rank; null while it has no reported trial."""
    versus_baseline: Improvement | None = None
    """null on the baseline itself."""
    untuned: Scores | None = None
    """The same arm at its default hyper-parameters, on the same seeds."""
    searched: dict[str, list[float]] = Field(default={}, examples=[{"lr": [0.0001, 0.001, 0.01]}])
    """The grids that ran."""
    at_edge: list[str] = Field(default=[], examples=[["lr"]])
    """Hyper-parameters whose best value lies at the edge of its grid: widen it."""
    diagnosis: Diagnosis | None = None


class Result(View):
    """The answer; partial while the comparison runs."""

    baseline: str = Field(examples=["sgd"])
    target: dict[str, Any] | None = None
    """What `steps_to_target` counts to."""
    partial: bool = False
    """True while trials are missing."""
    arms: list[Arm]
    """By rank."""


class Progress(View):
    steps_done: int = Field(examples=[5000])
    """Over all trials."""
    steps_total: int = Field(examples=[40000])
    """Over all trials of all rounds."""
    trials: int = Field(examples=[40])
    """Trials of all rounds."""
    round: str | None = Field(default=None, examples=["tuning"])
    """What is being trained."""
    eta_seconds: float | None = Field(default=None, examples=[12.5])
    """Estimated from the last seconds; null until there is a speed to estimate from."""


class ErrorDetail(View):
    code: str = Field(examples=["trainer_failed"])
    message: str


class Comparison(View):
    """What GET /v1/comparisons/{id} answers."""

    id: str = Field(examples=["0199c0de7d2a7c1e"])
    name: str
    status: Status
    progress: Progress
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    labels: dict[str, str] = {}
    spec: dict[str, Any]
    """The request with every default filled in."""
    result: Result | None = None
    links: dict[str, str]
    error: ErrorDetail | None = None


class Divergence(View):
    step: int = Field(examples=[12])
    """The step whose forward or backward pass first held a non-finite number."""
    layer: str = Field(examples=["output"])
    """The first layer that held one: from the input upwards in the forward pass, else from the top down in the backward pass."""
    last_finite_loss: float | None = Field(examples=[1e30])
    """On the mini-batch."""


class TrialReport(View):
    """One trial and its curves."""

    trial: int
    variant: str
    optimizer: str
    hyperparameters: dict[str, Scalar]
    seed: int
    role: Role
    outcome: Outcome
    divergence: Divergence | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    curves: dict[str, list[float | None]] = {}
    """`step`, `train_loss`, `validation_loss` and, on classifications, `train_accuracy`, `validation_accuracy`."""
