"""Networks whose signal flow is known by construction, trained for two steps by the real engine: what a diagnosis has to say of each.

Every table below says what was planted and why the truth is what it is. Orthogonal weights with gain g multiply norms by g exactly; small
inputs keep an odd θ in its linear range, where δ and the activations change by g·θ′(0) a layer; the rest is mean-field theory with a
margin of half a decade or more to the next verdict. Digits, width 64, batches of 64, two seeds, plain SGD.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pyarrow as pa
import torch

from workers.analysis.diagnosis import Followed, diagnose
from workers.analysis.signals import courses
from workers.contract.checks import expanded
from workers.contract.comparison import ComparisonSpec
from workers.contract.plan import Shard, Trial
from workers.contract.results import Diagnosis, Verdict
from workers.contract.statistics import Recorded, recorded
from workers.engine.divergence import NEVER
from workers.engine.network import Linear
from workers.engine.problems import Data, load
from workers.engine.program import DTYPES, Program, build
from workers.engine.recording import Recording
from workers.engine.train import advance
from workers.theory.resolution import resolved

Activation = str | dict[str, Any]
Plant = Callable[[Program], None]

SEEDS = 2
STEPS = 2
CENTRED: Activation = "centred_sigmoid"
SQUASHED: Activation = {"kind": "scaled", "of": "tanh", "a": 0.5, "d": 0.5}
"""A sigmoid of 2z."""
NORMALISED: Activation = {"kind": "normalised", "of": "sigmoid"}


class Case(NamedTuple):
    truth: Verdict
    activation: Activation
    depth: int
    gain: float | str = "critical"
    init: str = "orthogonal"
    inputs: tuple[float, float] = (0.0, 1.0)
    """x becomes offset + scale·x."""
    plant: Plant | None = None
    """Done to the weights before the first step."""
    where: str | None = None
    """The first layer concerned, where it was planted."""
    precision: str = "float32"
    lr: float = 1e-6
    diverging: bool = False
    """Whether the truth is that of the end: that of step 0 is healthy then."""

    def __str__(self) -> str:
        name = (
            self.activation
            if isinstance(self.activation, str)
            else f"{self.activation['kind']} {self.activation['of']}"
        )
        return f"{self.truth} {name} {self.depth} gain {self.gain} x {self.inputs} {self.where or ''} {self.precision}".strip()


def biased(layer: int, bias: float, share: float = 1.0) -> Plant:
    """A constant bias for the first units of a layer: far out, a non-linearity is flat."""

    def plant(program: Program) -> None:
        linear = program.measured[layer].layer
        assert isinstance(linear, Linear) and linear.bias is not None
        found = linear.bias
        found[:, : round(share * found.shape[1])] = bias

    return plant


def _path(layer: int) -> str:
    return f"hidden.{layer}.linear"


SMALL = (0.0, 0.1)
FAR = (0.0, 100.0)
ALIKE = (1.0, 1e-3)

HEALTHY: list[Case] = [
    Case("healthy", activation, depth)  # critical: |D| stays below 1 at these depths
    for activation, depths in (
        ("tanh", (5, 20, 50)), ("erf", (5, 20)), ("sin", (5, 20)), ("softsign", (5,)), ("arctan", (10,)),
        (CENTRED, (6, 20, 30)), ("lecun_tanh", (10,)), ("identity", (10, 40)), ("gaussian", (5,)),
        (NORMALISED, (5,)), ("leaky_relu", (6,)), ("relu", (5,)),
    )
    for depth in depths
]  # fmt: skip
VANISHING: list[Case] = [
    *(
        # χ₁ at σw = 1 while the mean of θ keeps the activations up, so that weight gradients fall alike
        Case("vanishing", activation, depth, 1.0, init="lecun_normal")
        for activation, depths in (
            ("sigmoid", (6, 10, 20)), ("hard_sigmoid", (6, 12)), (SQUASHED, (12,)), ("gaussian_half", (12, 20)),
            ("gaussian", (20,)), ("softplus", (14, 20)),
        )
        for depth in depths
    ),
    Case("vanishing", "sigmoid", 6, 0.5, init="lecun_normal"),
    Case("vanishing", "sigmoid", 12, 2.0, init="lecun_normal"),
    Case("vanishing", "sigmoid", 12, 1.0),
    Case("vanishing", "sigmoid", 8, 1.0, init="xavier_uniform"),
]  # fmt: skip
MASKED: list[Case] = [
    # g·θ′(0) = ½: δ loses .301 decades a layer, the activations as much on their way up
    Case("masked_vanishing", activation, depth, gain, inputs=SMALL)
    for activation, gain, depths in (
        ("tanh", 0.5, (10, 16)), ("erf", 0.443, (10, 16)), ("sin", 0.5, (10, 16)), ("softsign", 0.5, (10,)), ("arctan", 0.5, (12,)),
        ("lecun_tanh", 0.437, (12,)), ("identity", 0.5, (10, 20)), (CENTRED, 2.0, (10, 16)), ("hard_tanh", 0.5, (10,)),
        ("gelu", 1.0, (12,)), ("silu", 1.0, (12,)),
    )
    for depth in depths
]  # fmt: skip
EXPLODING: list[Case] = [
    Case("exploding", activation, depth, gain)
    for activation, gain, depths in (
        ("identity", 2.0, (10, 20)), ("leaky_relu", 2.8, (12,)), ("relu", 2.83, (12,)), ("tanh", 20.0, (10, 20)), ("erf", 20.0, (10,)),
        ("sin", 4.0, (10, 16)), ("gaussian", 8.0, (10,)), ("softsign", 20.0, (12,)), ("bent_identity", 2.5, (12,)),
    )
    for depth in depths
]  # fmt: skip
MILD: list[Case] = [
    # (L − 1)·log₁₀ g = ±1.5
    Case("weakening", "identity", 6, 10**-0.3),
    Case("weakening", "identity", 16, 0.1**0.1),
    Case("weakening", "tanh", 6, 10**-0.3, inputs=SMALL),
    Case("weakening", "erf", 6, 10**-0.3 / 1.1284, inputs=SMALL),
    Case("weakening", CENTRED, 11, 4 * 10**-0.15, inputs=SMALL),
    Case("growing", "identity", 6, 10**0.3),
    Case("growing", "identity", 16, 10**0.1),
    Case("growing", "tanh", 6, 10**0.3, inputs=(0.0, 1e-4)),
    Case("growing", CENTRED, 11, 4 * 10**0.15, inputs=(0.0, 1e-4)),
    Case("growing", "sin", 11, 10**0.15, inputs=(0.0, 1e-4)),
]
SATURATED: list[Case] = [
    *(
        # inputs a hundred times too large: all but a hundredth or two of (sample, unit) of the first layer
        Case("saturated", activation, depth, inputs=FAR, where=_path(0))
        for activation, depth in (("tanh", 5), ("tanh", 20), ("erf", 10), ("arctan", 10), ("lecun_tanh", 8), (CENTRED, 10))
    ),
    Case("saturated", "hard_tanh", 6, inputs=(0.0, 20.0), where=_path(0)),
    *(
        # biases far out in one layer, not so far that its units are dead
        Case("saturated", activation, 8, plant=biased(layer, bias), where=_path(layer))
        for activation, layer, bias in (
            ("tanh", 0, 5.0), ("tanh", 4, 6.0), ("tanh", 7, -5.0), ("erf", 4, 3.0), ("softsign", 4, 20.0), ("arctan", 4, 20.0),
            (CENTRED, 4, 10.0), ("lecun_tanh", 3, 8.0),
        )
    ),
]  # fmt: skip
COLLAPSED: list[Case] = [
    # samples that differ by a thousandth of what they have in common
    Case("collapsed", activation, depth, inputs=ALIKE, where=_path(0))
    for activation, depth in (
        ("tanh", 5), ("tanh", 20), ("erf", 10), ("sin", 10), ("softsign", 10), ("arctan", 6), (CENTRED, 10), ("lecun_tanh", 6),
        ("identity", 10), ("relu", 5), ("leaky_relu", 5),
    )
]  # fmt: skip
DEAD: list[Case] = [
    Case("dead", activation, 8, plant=biased(layer, bias, share), where=_path(layer))
    for activation, layer, bias, share in (
        ("relu", 3, -50.0, 0.8), ("relu", 0, -50.0, 1.0), ("relu", 5, -50.0, 0.6), ("hard_tanh", 3, 50.0, 0.8), ("tanh", 3, 30.0, 0.8),
        ("tanh", 7, 30.0, 1.0), ("erf", 2, 20.0, 0.7), (CENTRED, 4, 60.0, 0.8), ("gaussian", 3, 20.0, 0.8), ("lecun_tanh", 3, 60.0, 0.8),
        ("relu", 4, -50.0, 1.0),
    )
]  # fmt: skip
UNDERFLOWED: list[Case] = [
    # four decades a layer, or .627 of them in eighty, leave float32's 1e-45; float64 holds them
    *(Case("underflowed", activation, 16, gain, inputs=SMALL) for activation, gain in (
        ("tanh", 1e-4), ("erf", 1e-4), ("sin", 1e-4), ("identity", 1e-4), (CENTRED, 4e-4), ("softsign", 1e-4),
    )),
    Case("underflowed", "sigmoid", 90, 1.0, init="lecun_normal"),
    Case("masked_vanishing", "tanh", 16, 1e-4, inputs=SMALL, precision="float64"),
    Case("vanishing", "sigmoid", 90, 1.0, init="lecun_normal", precision="float64"),
]  # fmt: skip
DIVERGED: list[Case] = [
    # a non-linearity without bounds multiplies what one step has made too large, until it overflows
    Case("diverged", activation, depth, lr=1e25, diverging=True)
    for activation, depth in (
        ("identity", 5),
        ("identity", 20),
        ("relu", 5),
        ("leaky_relu", 6),
        ("sin", 6),
        ("sin", 10),
    )
]
CASES = [
    *HEALTHY, *VANISHING, *MASKED, *EXPLODING, *MILD, *SATURATED, *COLLAPSED, *DEAD, *UNDERFLOWED, *DIVERGED,
]  # fmt: skip


def train(case: Case, statistics: Recorded = "default") -> Diagnosis:
    """Two steps, all of them recorded, and the diagnosis."""
    shard = _shard(case).model_copy(update={"statistics": recorded(statistics)})
    data = load(shard.problem, DTYPES[case.precision], torch.device("cpu"))
    offset, scale = case.inputs
    training = replace(data.training, x=offset + scale * data.training.x)
    program = build(shard, shard.trials, Data(training, data.validation, data.test))
    if case.plant is not None:
        case.plant(program)
    recording = Recording(program)
    advance(program, recording, 0, STEPS)
    return _diagnosis(recording.statistics_table(), program)


def _diagnosis(statistics: pa.Table, program: Program) -> Diagnosis:
    gone = (program.watch.state["step"] != NEVER).tolist()
    early = dict.fromkeys(range(len(gone)), 1)
    found = diagnose(Followed(course, gone[trial]) for trial, course in courses(statistics, early).items())
    assert found is not None, "step 0 is recorded"
    return found


def _shard(case: Case) -> Shard:
    spec = ComparisonSpec.model_validate(
        {
            "problem": "digits",
            "network": {
                "kind": "mlp",
                "depth": case.depth,
                "width": 64,
                "activation": case.activation,
                "init": {"kind": case.init, "gain": case.gain},
                "output_init": {"kind": "orthogonal"},
            },
            "optimizers": ["sgd"],
            "steps": STEPS,
            "batch_size": 64,
            "precision": case.precision,
        }
    )
    setting = spec.optimizers[0].hyperparameters() | {"lr": case.lr}
    trials = [
        Trial(trial=seed, variant="base", optimizer="sgd", kind="sgd", hyperparameters=setting, seed=seed, role="final")
        for seed in range(SEEDS)
    ]
    return Shard(
        problem=spec.problem,
        variant="base",
        network=resolved(expanded(spec)["base"]),
        trials=trials,
        batch_size=64,
        pattern="one_gradient",
        precision=case.precision,
        steps=STEPS,
        recorded=list(range(STEPS + 1)),
    )
