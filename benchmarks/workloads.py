"""The workloads that figures are quoted for: a mix of optimizers on stacks of dense layers, recurrent layers, convolutions."""

from math import prod
from typing import Any, Literal, NamedTuple

from workers.contract.checks import expanded
from workers.contract.comparison import ComparisonSpec
from workers.contract.plan import Shard, Trial

Kind = Literal["dense", "rnn", "lstm", "conv"]

DIGITS = {"kind": "digits"}
IMAGES = {"kind": "digits", "images": True}
ADDING = {"kind": "adding", "length": 100, "count": 2000}
PROBLEMS: dict[Kind, dict[str, Any]] = {"dense": DIGITS, "rnn": ADDING, "lstm": ADDING, "conv": IMAGES}


class Workload(NamedTuple):
    depth: int
    """Hidden layers."""
    width: int
    """Units of each; of convolutions the channels of the first, and every next has twice as many."""
    batch: int
    trials: int
    activation: str = "tanh"
    """A name, or a formula in z."""
    kind: Kind = "dense"

    def __str__(self) -> str:
        sizes = f"depth {self.depth}, width {self.width}, batch {self.batch}, {self.trials} trials, activation {self.activation}"
        return sizes if self.kind == "dense" else f"{self.kind}, {sizes}"

    @property
    def non_linearity(self) -> str | dict[str, Any]:
        formula = "(z)" in self.activation
        return {"kind": "expression", "formula": self.activation} if formula else self.activation

    @property
    def network(self) -> dict[str, Any]:
        if self.kind == "dense":
            return {"kind": "mlp", "depth": self.depth, "width": self.width, "activation": self.non_linearity}
        if self.kind == "conv":
            layers = [layer for place in range(self.depth) for layer in self._convolution(self.width << place)]
            return {"kind": "layers", "layers": [*layers, "flatten"]}
        outputs = ["sequence"] * (self.depth - 1) + ["last"]
        layers = [
            {"kind": self.kind, "hidden_size": self.width, "activation": self.non_linearity, "output": output}
            for output in outputs
        ]
        return {"kind": "layers", "layers": layers}

    def _convolution(self, channels: int) -> list[dict[str, Any]]:
        return [
            {"kind": "conv2d", "out_channels": channels, "kernel_size": 3, "padding": 1},
            {"kind": "activation", "activation": self.non_linearity},
            {"kind": "max_pool", "kernel_size": 2},
        ]

    @property
    def flops(self) -> int:
        """Of the products of one step of one trial: forward, gradient of W and of x, the latter not at the input."""
        layers = shard(self, 1, [0, 1]).network
        weights = [
            layer.spec.positions(layer.in_shape) * prod(tensor)
            for layer in layers
            for tensor in layer.tensors
            if len(tensor) > 1
        ]
        return self.batch * (6 * sum(weights) - 2 * weights[0])


WORKLOADS = {
    "W1": Workload(20, 64, 128, 40),
    "W2": Workload(50, 128, 128, 24),
    "W3": Workload(10, 512, 256, 12),
    "W4": Workload(6, 32, 64, 200),
    "W5": Workload(1, 64, 64, 24, kind="rnn"),
    "W5, LSTM": Workload(1, 64, 64, 24, kind="lstm"),
    "W6": Workload(2, 8, 128, 16, kind="conv"),
}

MIX: list[dict[str, Any]] = [
    {"kind": "adam", "lr": 1e-3},
    {"kind": "rmsprop", "lr": 1e-3},
    {"kind": "rprop", "lr": 1e-3},
    {"kind": "sgd", "lr": 0.05, "momentum": 0.9},
]


def shard(workload: Workload, steps: int, recorded: list[int]) -> Shard:
    """The workload's trials, sorted by optimizer, one seed for each place among its optimizer's trials."""
    spec = ComparisonSpec.model_validate(
        {
            "problem": PROBLEMS[workload.kind],
            "network": workload.network,
            "optimizers": MIX,
            "steps": steps,
            "batch_size": workload.batch,
        }
    )
    each = workload.trials // len(MIX)
    trials = [
        Trial(
            trial=each * place + seed,
            variant="base",
            optimizer=optimizer.label,
            kind=optimizer.label,
            hyperparameters=optimizer.hyperparameters(),
            seed=seed,
            role="final",
        )
        for place, optimizer in enumerate(spec.optimizers)
        for seed in range(each)
    ]
    return Shard(
        problem=spec.problem,
        variant="base",
        network=expanded(spec)["base"],
        trials=trials,
        batch_size=workload.batch,
        pattern="one_gradient",
        precision="float32",
        steps=steps,
        recorded=recorded,
    )
