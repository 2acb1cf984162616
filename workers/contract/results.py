"""What comes back: the status of a comparison, its ranking, its trials."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workers.contract.plan import Role, Scalar

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Outcome = Literal["completed", "diverged", "cancelled", "pending"]
Verdict = Literal[
    "healthy",
    "weakening",
    "growing",
    "vanishing",
    "masked_vanishing",
    "exploding",
    "underflowed",
    "collapsed",
    "saturated",
    "dead",
    "diverged",
    "unknown",
]
Lost = Literal["nothing", "magnitude", "direction", "magnitude_and_direction"]
Rescue = Literal["not_needed", "helps", "may_help", "cannot_help"]
Trend = Literal["steady", "recovering", "worsening"]

ENDED: tuple[Status, ...] = ("succeeded", "failed", "cancelled")


class View(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Interval(View):
    """An interquartile mean over seeds with a 95 % bootstrap interval. null stands for infinity: a diverged trial's loss."""

    iqm: float | None = Field(examples=[0.31])
    """Mean of the middle half."""
    low: float | None = Field(examples=[0.28])
    """Lower end: the bootstrap's 2.5 % quantile, stretched for few seeds and kept within what the number can be."""
    high: float | None = Field(examples=[0.35])
    """Upper end, alike."""


class Improvement(View):
    """Probability that a run of this arm has a lower test loss than a run of the baseline on the same variant, ties counted half."""

    probability_of_improvement: float = Field(examples=[1.0])
    """Over all pairs of seeds."""
    low: float = Field(examples=[0.61])
    """Lower end of the 95 % score interval (Newcombe 2006): five seeds that win every pair do not make it 1."""
    high: float = Field(examples=[1.0])
    """Upper end. Longer than it need be where runs of the same seed resemble each other: see `difference`."""
    difference: Interval | None = Field(default=None, examples=[{"iqm": -1.9, "low": -2.1, "high": -1.8}])
    """This arm's test loss minus the baseline's on the same seed: negative is better. An interval without zero is a difference."""


class TrialCounts(View):
    completed: int = Field(examples=[5])
    """Trained to the end with finite numbers."""
    diverged: int = Field(examples=[0])
    """Stopped at a non-finite number; they count as infinite loss and zero accuracy, never as missing."""


class Evaluated(View):
    """How often a trial was told something of a batch in its whole training. What is only measured is not counted."""

    functions: int = Field(examples=[0])
    """Losses alone: passes forward."""
    gradients: int = Field(examples=[1000])
    """Gradients; a pass backward for the curvature counts as one."""
    cost: float = Field(examples=[1000.0])
    """Both together in gradients, a loss as a third of one."""


class Scores(View):
    """How one setting of an arm did on the reported seeds, at the end, on the test split."""

    hyperparameters: dict[str, Scalar] = Field(examples=[{"lr": 0.001}])
    """The setting."""
    trials: TrialCounts = Field(examples=[{"completed": 5, "diverged": 0}])
    """How its trials ended."""
    test_loss: Interval = Field(examples=[{"iqm": 0.31, "low": 0.28, "high": 0.35}])
    """Mean loss over the test split."""
    test_accuracy: Interval | None = Field(default=None, examples=[{"iqm": 0.91, "low": 0.9, "high": 0.92}])
    """null on regressions."""
    steps_to_target: Interval | None = Field(default=None, examples=[{"iqm": 420, "low": 400, "high": 460}])
    """Recorded steps until the target is met; null where too few trials meet it."""
    evaluations_to_target: Interval | None = Field(default=None, examples=[{"iqm": 840, "low": 800, "high": 920}])
    """What was computed until then, in gradients of a batch, a loss as a third of one."""
    seconds_to_target: Interval | None = Field(default=None, examples=[{"iqm": 0.42, "low": 0.4, "high": 0.46}])
    """Steps to the target times `step_seconds`: what training one such network alone would have taken; null where either is."""
    evaluations: Evaluated | None = Field(default=None, examples=[{"functions": 0, "gradients": 1000, "cost": 1000}])
    """What a whole training of one trial takes."""


class BudgetPoint(View):
    """The best of so many settings drawn at random from those that ran, by validation loss. null stands for infinity."""

    settings: int = Field(examples=[2])
    """How many are tried."""
    median: float | None = Field(examples=[0.41])
    """Half of the draws do at least this well."""
    low: float | None = Field(examples=[0.33])
    """A quarter of the draws do at least this well."""
    high: float | None = Field(examples=[0.62])
    """Three quarters of the draws do at least this well."""


class LayerDiagnosis(View):
    layer: str = Field(examples=["hidden.0.linear"])
    """Path of the layer."""
    verdict: Verdict = Field(examples=["vanishing"])
    """The gravest of what holds in this layer; of δ's size by the decades since the top hidden layer."""
    gradient_norm: float | None = Field(examples=[1e-6])
    """Geometric mean over trials."""
    error_signal_norm: float | None = Field(examples=[1e-7])
    """Geometric mean over trials."""
    also: list[Verdict] = Field(default=[], examples=[["collapsed"]])
    """What else holds in it, the gravest first."""
    chi: float | None = Field(default=None, examples=[0.056])
    """‖δ_l‖²/‖δ_{l+1}‖², to be held against the theory's χ₁; null on the top hidden layer and on the output."""
    correlation: float | None = Field(default=None, examples=[0.998])
    """Of the activations of two samples: near 1 their images have collapsed together."""
    saturation: float | None = Field(default=None, examples=[0.02])
    """Share of (sample, unit) whose derivative is below a tenth of its maximum."""
    dead: float | None = Field(default=None, examples=[0.0])
    """Share of dead units."""
    eps_dominance: float | None = Field(default=None, examples=[0.0])
    """Share of elements where eps exceeds √v; null for rules without an eps."""


class Finding(View):
    """Something that holds in some of an arm's layers."""

    verdict: Verdict = Field(examples=["vanishing"])
    """What it is."""
    layers: int = Field(examples=[3])
    """In how many hidden layers it holds."""
    first_layer: str = Field(examples=["hidden.2.linear"])
    """The first of them that the signal meets: from the output down for what concerns the gradient, from the input up for activations."""


class Stage(View):
    """The signal at one moment of training."""

    step: int = Field(examples=[0])
    """Updates made so far."""
    verdict: Verdict = Field(examples=["vanishing"])
    """The gravest of what holds; of δ's size by `decades`, with the thresholds ±1 and ±2."""
    decades_per_layer: float | None = Field(examples=[-0.63])
    """Minus the fitted slope of log₁₀ error_signal_norm against depth over the hidden layers; negative means vanishing."""
    decades: float | None = Field(examples=[-3.2])
    """log₁₀ of δ's norm at the bottom hidden layer over that at the top one."""
    lost: Lost | None = Field(default=None, examples=["magnitude"])
    """Whether the signal's size is lost, or its direction too: what tells samples apart; null where it cannot be told."""
    findings: list[Finding] = Field(
        default=[], examples=[[{"verdict": "vanishing", "layers": 3, "first_layer": "hidden.2.linear"}]]
    )
    """All that holds, the gravest first."""
    layers: list[LayerDiagnosis] = Field(
        default=[],
        examples=[
            [
                {
                    "layer": "hidden.0.linear",
                    "verdict": "vanishing",
                    "gradient_norm": 1e-6,
                    "error_signal_norm": 1e-7,
                }
            ]
        ],
    )
    """Layer by layer, from the input upwards."""


class LayerForecast(View):
    """The theory's prediction of a layer, beside what step 0 showed."""

    layer: str = Field(examples=["hidden.0.linear"])
    """Path of the layer."""
    error_signal_log10: float | None = Field(examples=[-6.9])
    """log₁₀ of δ's norm as predicted."""
    error_signal_ratio: float | None = Field(examples=[1.07])
    """Measured over predicted norm of δ; null where one of them is zero or not finite."""
    gradient_log10: float | None = Field(examples=[-6.0])
    """log₁₀ of the norm of the layer's gradient as predicted."""
    gradient_ratio: float | None = Field(examples=[0.96])
    """Measured over predicted norm of the gradient; above 1 where samples of a class are alike, which the theory does not know of."""


class Forecast(View):
    """What the theory says of step 0 from the request alone, and how far the measurement is from it."""

    verdict: Verdict = Field(examples=["vanishing"])
    """The diagnosis' word for it."""
    decades_per_layer: float | None = Field(examples=[-0.63])
    """Minus the fitted slope of the predicted log₁₀ error_signal_norm; null where nothing can be predicted."""
    decades: float | None = Field(examples=[-3.1])
    """Predicted log₁₀ of δ's norm at the bottom hidden layer over that at the top one."""
    layers: list[LayerForecast] = Field(
        default=[],
        examples=[
            [
                {
                    "layer": "hidden.0.linear",
                    "error_signal_log10": -6.9,
                    "error_signal_ratio": 1.07,
                    "gradient_log10": -6.0,
                    "gradient_ratio": 0.96,
                }
            ]
        ],
    )
    """From the input upwards."""


class Advice(View):
    """A change that would help, and why it is thought to."""

    remedy: str = Field(examples=["orthogonal weights at the edge of chaos"])
    """Its name."""
    because: str = Field(examples=["mean-field theory predicts −0.02 decades per layer at step 0 with it, healthy"])
    """What speaks for it, with its numbers."""
    variant: dict[str, Any] | None = Field(
        default=None, examples=[{"init": {"kind": "orthogonal", "gain": "critical"}}]
    )
    """The change as it would be written under `variants`; null where it is none of the network."""
    optimizers: list[str] = Field(default=[], examples=[["signum", "rprop"]])
    """Kinds to try, where the remedy is another optimizer."""


class Diagnosis(Stage):
    """The verdict at the end of training, that of step 0 and of an early step beside it, what they rest on, and what would help."""

    at_step_0: Stage | None = Field(
        default=None, examples=[{"step": 0, "verdict": "vanishing", "decades_per_layer": -0.63, "decades": -3.2}]
    )
    """The same before the first update."""
    early: Stage | None = Field(
        default=None, examples=[{"step": 32, "verdict": "weakening", "decades_per_layer": -0.25, "decades": -1.3}]
    )
    """The same at the recorded step nearest the square root of the last."""
    trend: Trend | None = Field(default=None, examples=["recovering"])
    """From step 0 to the end: steady if |decades| changes by half a decade at most; null where one of them cannot be told."""
    magnitude_independent_optimizer: Rescue | None = Field(default=None, examples=["helps"])
    """Whether steps that do not depend on the gradient's size can train from where this arm started; null where it cannot be told."""
    predicted_at_step_0: Forecast | None = Field(
        default=None, examples=[{"verdict": "vanishing", "decades_per_layer": -0.63, "decades": -3.1}]
    )
    """What was to be expected then; null without a measurement beside it."""
    evidence: list[str] = Field(default=[], examples=[["At step 0 the error signal falls by 0.63 decades per layer."]])
    """Sentences with their numbers."""
    advice: list[Advice] = Field(
        default=[],
        examples=[
            [
                {
                    "remedy": "orthogonal weights at the edge of chaos",
                    "because": "mean-field theory predicts −0.02 decades per layer at step 0 with it, healthy",
                    "variant": {"init": {"kind": "orthogonal", "gain": "critical"}},
                }
            ]
        ],
    )
    """What would help, the most promising first."""


class Arm(Scores):
    """One variant under one optimizer, on one problem."""

    problem: str = Field(default="", examples=["digits"])
    """Name of the problem: its kind, numbered where that stands more than once."""
    variant: str = Field(examples=["base"])
    """Name of the variant; `base` is the network as given."""
    optimizer: str = Field(examples=["rmsprop"])
    """Name of the optimizer."""
    steps: int | None = Field(default=None, examples=[1000])
    """Parameter updates of a trial; by optimizer, where evaluations are equal."""
    invariant_down_to: float | None = Field(default=None, examples=[1e-5])
    """Measured of its rule at the defaults, in float32: all gradients times this number still give the same steps, within a tenth; 1e-30 is
    the smallest tried, null if a tenth already gives others."""
    invariant_up_to: float | None = Field(default=None, examples=[1e10])
    """The same upwards; 1e10 is the largest tried."""
    step_seconds: float | None = Field(default=None, examples=[0.001])
    """What a step takes where this arm was trained: one trial of its own, alone on that device, with nothing recorded, measured once its
    trials had ended; the mean over a few dozen steps. Statistics, evaluations and the company of other trials are on no optimizer's clock.
    null until it is measured."""
    rank: int | None = Field(default=None, examples=[1])
    """On its problem, by interquartile mean of the test loss; equal values share a rank; null while it has no reported trial."""
    versus_baseline: Improvement | None = Field(
        default=None, examples=[{"probability_of_improvement": 1.0, "low": 1.0, "high": 1.0}]
    )
    """null on the baseline itself."""
    untuned: Scores | None = Field(
        default=None,
        examples=[
            {
                "hyperparameters": {"lr": 0.01},
                "trials": {"completed": 5, "diverged": 0},
                "test_loss": {"iqm": 0.62, "low": 0.55, "high": 0.7},
            }
        ],
    )
    """The same arm at its default hyper-parameters, on the same seeds."""
    searched: dict[str, list[float]] = Field(default={}, examples=[{"lr": [0.0001, 0.001, 0.01]}])
    """The grids that ran, what was added to them included."""
    widened: dict[str, list[float]] = Field(default={}, examples=[{"lr": [0.1, 1.0]}])
    """What of them `tuning.widen` added, since the best value until then lay at the edge of its grid."""
    at_edge: list[str] = Field(default=[], examples=[["lr"]])
    """Hyper-parameters whose best value lies at the edge of all that was searched: beyond it may be better ones."""
    by_budget: list[BudgetPoint] = Field(
        default=[], examples=[[{"settings": 1, "median": 0.62, "low": 0.33, "high": 2.3}]]
    )
    """What smaller tuning budgets would have found; empty where nothing was searched."""
    diagnosis: Diagnosis | None = Field(
        default=None, examples=[{"step": 1000, "verdict": "healthy", "decades_per_layer": -0.02, "decades": -0.1}]
    )
    """What the gradient did in it; null until statistics are there."""


class SelfCheck(View):
    """A method that contains another as a special case must not lose to it: where it does, its search was too small."""

    problem: str = Field(default="", examples=["digits"])
    """The problem of both."""
    variant: str = Field(examples=["base"])
    """The network of both."""
    general: str = Field(examples=["adam"])
    """Name of the optimizer that contains the other."""
    special: str = Field(examples=["sgd"])
    """Name of the other."""
    at: str = Field(examples=["β₁ = 0, eps → ∞ with lr/eps fixed"])
    """Where the general one is the special one."""
    unsearched: list[str] = Field(default=[], examples=[["betas", "eps"]])
    """Hyper-parameters that it is so by and that were not searched."""
    verdict: Literal["holds", "violated"] = Field(examples=["holds"])
    """violated: worse on paired seeds, by an interval without zero or without even odds."""
    difference: Interval = Field(examples=[{"iqm": -0.1, "low": -0.2, "high": -0.05}])
    """The general one's test loss minus the special one's on the same seed."""


class Overall(View):
    """One variant under one optimizer over all problems."""

    variant: str = Field(examples=["base"])
    """Name of the variant."""
    optimizer: str = Field(examples=["rmsprop"])
    """Name of the optimizer."""
    rank: int = Field(examples=[1])
    """By mean rank; equal ones share a rank."""
    mean_rank: float = Field(examples=[1.5])
    """Of its ranks on the problems: what one problem's losses are like, larger or more spread, gives it no more weight than another."""
    low: float = Field(examples=[1.0])
    """Lower end of the 95 % interval: the bootstrap over seeds, drawn alike for all arms, stratified by problem."""
    high: float = Field(examples=[2.0])
    """Upper end."""
    probability_of_improvement: float | None = Field(default=None, examples=[0.9])
    """Over the baseline, the mean over problems; null on the baseline itself."""


class Profile(View):
    """A performance profile (Dolan and Moré 2002): on which share of the runs an arm needs at most so many times what the best arm needs.

    A run is a problem and a seed, its cost the evaluations to target, infinite where it is missed.
    """

    variant: str = Field(examples=["base"])
    """Name of the variant."""
    optimizer: str = Field(examples=["rmsprop"])
    """Name of the optimizer."""
    ratios: list[float] = Field(examples=[[1.0, 2.0, 4.0]])
    """Times the least that any arm needs in the same run."""
    shares: list[float] = Field(examples=[[0.5, 0.9, 1.0]])
    """Of the runs. At 1: where it is the fastest; at the end: where it gets there at all."""
    low: list[float] = Field(examples=[[0.3, 0.7, 1.0]])
    """Lower ends of pointwise 95 % intervals, the bootstrap over seeds, stratified by problem."""
    high: list[float] = Field(examples=[[0.7, 1.0, 1.0]])
    """Upper ends."""


class Result(View):
    """The answer; partial while the comparison runs."""

    baseline: str = Field(examples=["sgd"])
    """Name of the optimizer that the others are held against."""
    target: dict[str, Any] | None = Field(default=None, examples=[{"metric": "validation_loss", "value": 0.5}])
    """What `steps_to_target` counts to; null where the baseline sets another on each of several problems."""
    targets: dict[str, dict[str, Any] | None] = Field(
        default={}, examples=[{"digits": {"metric": "validation_loss", "value": 0.5}}]
    )
    """By name of the problem."""
    overall: list[Overall] = Field(default=[], examples=[[]])
    """The ranking over several problems, by rank; empty for one, and until every arm is reported on all of them."""
    profiles: list[Profile] = Field(default=[], examples=[[]])
    """Of several problems, in the same order; empty where no run meets its target."""
    partial: bool = Field(default=False, examples=[False])
    """True while trials are missing."""
    self_checks: list[SelfCheck] = Field(default=[], examples=[[]])
    """Of all pairs of optimizers on one variant of which one contains the other."""
    arms: list[Arm] = Field(
        examples=[
            [
                {
                    "variant": "base",
                    "optimizer": "rmsprop",
                    "hyperparameters": {"lr": 0.001},
                    "rank": 1,
                    "trials": {"completed": 5, "diverged": 0},
                    "test_loss": {"iqm": 0.31, "low": 0.28, "high": 0.35},
                }
            ]
        ]
    )
    """Problem by problem, by rank."""


class Waiting(View):
    """A part of the comparison is due, and no worker that is up can take it."""

    worker: Literal["cuda", "any"] = Field(examples=["cuda"])
    """The kind of worker that is missing: one with a CUDA card, or any at all."""
    since: datetime = Field(examples=["2026-01-02T03:04:05Z"])
    """Since when the first of what waits has been due."""
    seconds: int = Field(examples=[125])
    """How long that is."""
    message: str = Field(examples=["no worker with a CUDA card is up, and this comparison needs one: start one"])
    """What is missing and what to do, for people."""


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
    waiting: Waiting | None = Field(
        default=None,
        examples=[
            {
                "worker": "cuda",
                "since": "2026-01-02T03:04:05Z",
                "seconds": 125,
                "message": "no worker with a CUDA card is up, and this comparison needs one: start one",
            }
        ],
    )
    """What it waits for that is not there; null if nothing is wrong, also while it waits in line behind others."""


class ErrorDetail(View):
    code: str = Field(examples=["trainer_failed"])
    """A stable word for programs."""
    message: str = Field(examples=["the trainer ended three times in a row without progress"])
    """What happened, for people."""


class ShardReport(View):
    """How the trials of a shard were trained together. Chosen by the worker that first took it, repeated wherever it is resumed."""

    round: int = Field(examples=[0])
    """The round it belongs to, from 0."""
    problem: str = Field(default="", examples=["digits"])
    """The problem they train on."""
    variant: str = Field(examples=["base"])
    """The network they train."""
    trials: int = Field(examples=[40])
    """How many."""
    device: Literal["cpu", "cuda"] = Field(examples=["cpu"])
    """The class of device."""
    path: str = Field(examples=["native"])
    """native: compiled code for dense networks, RNNs and LSTMs on the CPU; portable: torch, which is the definition."""
    threads: int = Field(examples=[2])
    """Chunks that trained at the same time."""
    chunks: list[int] = Field(examples=[[20, 20]])
    """How many trials each batched program held."""
    step_seconds: dict[str, float] = Field(default={}, examples=[{"sgd": 0.001}])
    """Seconds that a step of one trial takes alone, by name of optimizer; empty until it is trained, and on tuning rounds."""
    gradient_range: Literal["standard", "extended"] = Field(examples=["standard"])
    """extended: exponents of two were carried beside the error signal, see `gradient_range` of the request."""


class Comparison(View):
    """What GET /v1/comparisons/{id} answers."""

    id: str = Field(examples=["019b7d3a5c284f1a9c3e"])
    """Its name in addresses; ids sort by time of creation."""
    name: str = Field(examples=["six sigmoid layers on digits"])
    """For people."""
    status: Status = Field(examples=["running"])
    """queued until a worker takes a part of it; succeeded, failed or cancelled once it has ended."""
    progress: Progress = Field(examples=[{"steps_done": 5000, "steps_total": 40000, "trials": 40, "round": "tuning"}])
    """How far it is."""
    created_at: datetime = Field(examples=["2026-01-02T03:04:05Z"])
    """When it was accepted."""
    started_at: datetime | None = Field(default=None, examples=["2026-01-02T03:04:06Z"])
    """When a worker first took a part of it."""
    finished_at: datetime | None = Field(default=None, examples=["2026-01-02T03:05:00Z"])
    """When it ended."""
    labels: dict[str, str] = Field(default={}, examples=[{"team": "vision"}])
    """What the request said to find it by."""
    spec: dict[str, Any] = Field(
        examples=[{"problem": {"kind": "digits"}, "network": {"kind": "mlp", "depth": 6, "width": 64}, "steps": 1000}]
    )
    """The request with every default filled in."""
    result: Result | None = Field(default=None, examples=[{"baseline": "sgd", "partial": True, "arms": []}])
    """The answer, as soon as there is a part of it."""
    shards: list[ShardReport] = Field(default=[], examples=[[]])
    """How its trials were grouped and trained, one entry for each shard that a worker has begun."""
    links: dict[str, str] = Field(examples=[{"self": "/v1/comparisons/019b7d3a5c284f1a9c3e"}])
    """Where its parts are."""
    error: ErrorDetail | None = Field(
        default=None,
        examples=[{"code": "trainer_failed", "message": "the trainer ended three times in a row without progress"}],
    )
    """Why it failed."""


class Divergence(View):
    step: int = Field(examples=[12])
    """The step whose forward or backward pass first held a non-finite number."""
    layer: str = Field(examples=["output"])
    """The first layer that held one: from the input upwards in the forward pass, else from the top down in the backward pass."""
    last_finite_loss: float | None = Field(examples=[1e30])
    """On the mini-batch."""


class TrialReport(View):
    """One trial and its curves."""

    trial: int = Field(examples=[0])
    """0-based index in the comparison's frozen order, the same in a repeated run."""
    problem: str = Field(default="", examples=["digits"])
    """Name of the problem."""
    variant: str = Field(examples=["base"])
    """Name of the variant; `base` is the network as given."""
    optimizer: str = Field(examples=["rmsprop"])
    """Name of the optimizer."""
    hyperparameters: dict[str, Scalar] = Field(examples=[{"lr": 0.001}])
    """Its setting: all of the rule's hyper-parameters."""
    seed: int = Field(examples=[0])
    """What its weights, batches and noise are drawn from; the same in every arm."""
    role: Role = Field(examples=["final"])
    """tuning chooses hyper-parameters; final is reported; defaults is the untuned row beside it."""
    outcome: Outcome = Field(examples=["completed"])
    """How it ended; pending until it has."""
    divergence: Divergence | None = Field(
        default=None, examples=[{"step": 12, "layer": "output", "last_finite_loss": 1e30}]
    )
    """Where a diverged trial stopped."""
    test_loss: float | None = Field(default=None, examples=[0.31])
    """Mean loss over the test split at the end; null until then, and where it is not finite."""
    test_accuracy: float | None = Field(default=None, examples=[0.91])
    """Accuracy on the test split at the end; null on regressions."""
    curves: dict[str, list[int | float | None]] = Field(
        default={}, examples=[{"step": [0, 1000], "train_loss": [2.3, 0.1], "validation_loss": [2.3, 0.2]}]
    )
    """`step`, `train_loss`, `validation_loss` and, on classifications, `train_accuracy`, `validation_accuracy`; null is NaN."""
