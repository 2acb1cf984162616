"""The workloads that figures are quoted for: a mix of optimizers on a stack of dense layers."""

from typing import Any, NamedTuple

from workers.contract.checks import expanded
from workers.contract.comparison import ComparisonSpec
from workers.contract.plan import Shard, Trial
from workers.contract.problems import Digits


class Workload(NamedTuple):
    depth: int
    """Hidden layers."""
    width: int
    batch: int
    trials: int
    activation: str = "tanh"

    def __str__(self) -> str:
        return f"depth {self.depth}, width {self.width}, batch {self.batch}, {self.trials} trials, activation {self.activation}"

    @property
    def flops(self) -> int:
        """Of the matrix products of one step of one trial: forward, gradient of W and of x, the latter not at the input."""
        _, features, classes = Digits.size
        first, hidden, last = features * self.width, self.width**2, self.width * classes
        return 6 * self.batch * (first + (self.depth - 1) * hidden + last) - 2 * self.batch * first


WORKLOADS = {
    "W1": Workload(20, 64, 128, 40),
    "W2": Workload(50, 128, 128, 24),
    "W3": Workload(10, 512, 256, 12),
    "W4": Workload(6, 32, 64, 200),
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
            "problem": "digits",
            "network": {
                "kind": "mlp",
                "depth": workload.depth,
                "width": workload.width,
                "activation": workload.activation,
            },
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
