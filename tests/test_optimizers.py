"""The optimizers' update rules. R rows (one trial each), P parameters of a trial, n samples in a batch."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference.landscapes import LANDSCAPES, LAYERS, PARAMETERS, SAMPLES, STEPS, noisy_quadratic
from reference.optimizers import TRAJECTORIES, SampleGradients
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from workers.contract.optimizers import (
    OPTIMIZERS,
    Adam,
    Optimizer,
    Rmsprop,
    Rprop,
    Sgd,
    SignSgd,
    Signum,
    Smorms3,
    VsgdFd,
)
from workers.engine.optimizers import RULES, Gradients, State

Array = NDArray[np.float64]

CASES: dict[str, list[Optimizer]] = {
    "sgd": [
        Sgd(lr=0.1),
        Sgd(lr=0.02, momentum=0.9),
        Sgd(lr=0.5, dampening=0.5),
        Sgd(lr=0.05, momentum=0.5, dampening=0.3, weight_decay=0.1),
    ],
    "sgd, plain": [Sgd(lr=0.1), Sgd(lr=0.01), Sgd(lr=1.5)],
    "sgd, nesterov": [
        Sgd(lr=0.02, momentum=0.9, nesterov=True),
        Sgd(lr=0.1, momentum=0.5, weight_decay=0.05, nesterov=True),
    ],
    "rmsprop": [
        Rmsprop(),
        Rmsprop(lr=0.001, alpha=0.9, momentum=0.9),
        Rmsprop(lr=0.1, eps=1e-3, weight_decay=0.1),
        Rmsprop(alpha=0.0, eps=0.1),
    ],
    "rmsprop, plain": [Rmsprop(), Rmsprop(lr=0.1, alpha=0.5)],
    "rmsprop, centered": [
        Rmsprop(centered=True),
        Rmsprop(lr=0.02, alpha=0.9, eps=1e-3, momentum=0.5, weight_decay=0.01, centered=True),
    ],
    "rprop": [Rprop(), Rprop(lr=1.0, eta_minus=0.3, eta_plus=1.7), Rprop(step_min=1e-3, step_max=0.05)],
    "signsgd": [SignSgd(), SignSgd(lr=0.1), SignSgd(lr=0.02, weight_decay=0.5)],
    "signum": [Signum(), Signum(lr=0.1, momentum=0.0), Signum(lr=0.02, momentum=0.99, weight_decay=0.5)],
    "signum, plain": [Signum(momentum=0.0), Signum(lr=0.1, momentum=0.0)],
    "adam": [
        Adam(),
        Adam(lr=0.1, betas=[0.5, 0.9], eps=1e-4),
        Adam(lr=0.02, betas=[0.0, 0.99], weight_decay=0.1),
    ],
    "adam, amsgrad": [Adam(lr=0.05, amsgrad=True), Adam(lr=0.1, betas=[0.8, 0.5], weight_decay=0.1, amsgrad=True)],
    "smorms3": [Smorms3(), Smorms3(lr=0.3), Smorms3(lr=0.05, eps=1e-4)],
    "vsgd_fd": [VsgdFd(), VsgdFd(slow_start=10, c=5.0), VsgdFd(slow_start=1, c=1.0, probe_scale=0.5, eps=1e-3)],
}
"""Rows that are trained together, each with its own hyper-parameters; flags are shared."""

IN_TORCH: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "rprop": torch.optim.Rprop,
    "adam": torch.optim.Adam,
}

BLIND_TO_NAN = {"rprop", "signsgd", "signum"}
"""torch's sign(NaN) is 0: where only signs count, a NaN gradient moves nothing."""

BRANCHING = {"aten::where", "aten::masked_fill", "aten::masked_fill_", "aten::index_put_"}
"""On the CPU a branch for every element: thirty times the cost of a product with 0 and 1."""


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


class Run:
    """A rule at work on rows of θ, and everything it needs."""

    def __init__(self, rows: list[Optimizer], dtype: torch.dtype = torch.float64, device: str = "cpu") -> None:
        self.kind = kind_of(rows[0])
        self.rule = RULES[self.kind]
        settings = [numbers_and_flags(row) for row in rows]
        self.flags = settings[0][1]
        self.hyper = {
            name: torch.tensor([[numbers[name]] for numbers, _ in settings], dtype=torch.float64, device=device)
            for name in settings[0][0]
            if name not in ("momentum", "weight_decay") or any(numbers[name] for numbers, _ in settings)
        }
        self.theta = torch.from_numpy(starts(len(rows))).to(device, dtype)
        self.state: State = self.rule.initial_state(self.theta, self.hyper, **self.flags)

    def step(self, samples: Callable[[Tensor], Tensor]) -> None:
        """`samples` takes θ [R, P] to the gradient of each sample's own loss, [R, n, P]."""
        own = samples(self.theta)
        gradients = Gradients(own.mean(1), own.shape[1], LAYERS)
        if self.rule.probe is not None:
            probed = self.theta + self.rule.probe(self.theta, gradients, self.state, self.hyper, **self.flags)
            at_probe, squares = samples(probed).mean(1), own.square().mean(1)
            gradients = Gradients(
                gradients.mean, own.shape[1], LAYERS, at_probe, probed - self.theta, sample_squares=squares
            )
        self.rule.update(self.theta, gradients, self.state, self.hyper, **self.flags)

    def follow(self, landscape: SampleGradients, k: int) -> None:
        """Step k on a landscape, each row where it is."""

        def samples(theta: Tensor) -> Tensor:
            rows = [landscape(k, row) for row in theta.double().numpy()]
            return torch.from_numpy(np.stack(rows)).to(theta.dtype)

        self.step(samples)


def kind_of(spec: Optimizer | type[Optimizer]) -> str:
    kind: str = spec.model_fields["kind"].default if isinstance(spec, type) else spec.model_dump()["kind"]
    return kind


def given(own: Tensor) -> Callable[[Tensor], Tensor]:
    """Samples' gradients that do not depend on θ."""
    return lambda theta: own


def numbers_and_flags(spec: Optimizer) -> tuple[dict[str, float], dict[str, bool]]:
    numbers: dict[str, float] = {}
    flags: dict[str, bool] = {}
    for name, value in spec.hyperparameters().items():
        if isinstance(value, bool):
            flags[name] = value
        elif isinstance(value, list):
            numbers |= {f"{name.removesuffix('s')}{place}": float(part) for place, part in enumerate(value, 1)}
        else:
            assert isinstance(value, int | float)
            numbers[name] = float(value)
    return numbers, flags


def starts(rows: int) -> Array:
    return np.random.default_rng(7).normal(size=(rows, PARAMETERS))


def in_torch(spec: Optimizer, theta: Array, gradients: SampleGradients, steps: int) -> list[Array]:
    """The trajectory of torch's own optimizer, θ after each step."""
    arguments: dict[str, Any] = spec.hyperparameters()
    if isinstance(spec, Rprop):
        etas = (arguments.pop("eta_minus"), arguments.pop("eta_plus"))
        arguments |= {"etas": etas, "step_sizes": (arguments.pop("step_min"), arguments.pop("step_max"))}
    parameter = torch.nn.Parameter(torch.from_numpy(theta.copy()))
    optimizer = IN_TORCH[kind_of(spec)]([parameter], **arguments)
    path = []
    for k in range(steps):
        parameter.grad = torch.from_numpy(gradients(k, parameter.detach().numpy()).mean(axis=0))
        optimizer.step()
        path.append(parameter.detach().numpy().copy())
    return path


def slow_twin(spec: Optimizer, theta: Array, gradients: SampleGradients, steps: int) -> list[Array]:
    kind = kind_of(spec)
    if kind in IN_TORCH:
        return in_torch(spec, theta, gradients, steps)
    return TRAJECTORIES[kind](theta, gradients, LAYERS, steps, **spec.hyperparameters())


def test_table_is_the_contract() -> None:
    """Every optimizer of the contract has a rule, a slow twin and a case here, and there is no rule besides."""
    kinds = [kind_of(spec) for spec in OPTIMIZERS]
    assert sorted(RULES) == sorted(kinds)
    assert {kind_of(rows[0]) for rows in CASES.values()} == set(kinds)
    assert set(IN_TORCH) | set(TRAJECTORIES) == set(kinds)


@pytest.mark.parametrize("spec", OPTIMIZERS, ids=kind_of)
def test_takes_exactly_the_contracts_hyperparameters(spec: type[Optimizer]) -> None:
    """A rule reads every number the contract offers and no other, and its flags are the contract's."""
    seen: set[str] = set()

    class Read(dict[str, Tensor]):
        def __getitem__(self, name: str) -> Tensor:
            seen.add(name)
            return super().__getitem__(name)

    numbers, flags = numbers_and_flags(spec())
    run = Run([spec()])
    everything = Read({name: torch.full((1, 1), value, dtype=torch.float64) for name, value in numbers.items()})
    run.hyper = everything
    run.state = run.rule.initial_state(run.theta, everything, **flags)
    run.follow(noisy_quadratic, 0)
    assert seen == set(numbers)
    for function in (run.rule.initial_state, run.rule.update):
        keywords = {p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}
        assert keywords == set(flags)


@pytest.mark.parametrize("spec", OPTIMIZERS, ids=kind_of)
def test_probes_where_the_contract_says_two_gradients(spec: type[Optimizer]) -> None:
    """The pattern in the contract, by which shards are planned, is the rule's."""
    assert (RULES[kind_of(spec)].probe is not None) == (spec.pattern == "two_gradients")


@pytest.mark.parametrize("landscape", LANDSCAPES)
@pytest.mark.parametrize("case", CASES)
def test_equals_its_slow_twin(case: str, landscape: str) -> None:
    """In every one of 100 steps each row is where a naive program of that row alone is, within 1e-10."""
    rows, gradients = CASES[case], LANDSCAPES[landscape]
    run = Run(rows)
    twins = [slow_twin(row, start, gradients, STEPS) for row, start in zip(rows, starts(len(rows)), strict=True)]
    for k in range(STEPS):
        run.follow(gradients, k)
        expected = np.stack([twin[k] for twin in twins])
        np.testing.assert_allclose(run.theta.numpy(), expected, rtol=1e-10, atol=1e-10, err_msg=f"step {k}")


@pytest.mark.parametrize("case", CASES)
def test_float32_follows_float64(case: str) -> None:
    """Given the same gradients, float32 goes the same way, and nothing of it is in another precision."""
    rows = CASES[case]
    single, double = Run(rows, torch.float32), Run(rows)

    def samples(k: int, run: Run) -> Callable[[Tensor], Tensor]:
        """At a place that depends on the step alone, with curvature under a probe."""
        here = run.theta.clone()

        def at(theta: Tensor) -> Tensor:
            places = (theta - here).double().numpy() + 0.1 * k
            return torch.from_numpy(np.stack([noisy_quadratic(k, place) for place in places])).to(theta.dtype)

        return at

    for k in range(STEPS):
        for run in (single, double):
            run.step(samples(k, run))
    assert single.theta.dtype == torch.float32
    assert {value.dtype for value in single.state.values() if value.shape[1] > 1} <= {torch.float32}
    moved = (double.theta - torch.from_numpy(starts(len(rows)))).abs().amax(1, keepdim=True)
    assert ((single.theta - double.theta).abs() <= 1e-3 * moved + 1e-6).all()


@pytest.mark.parametrize("case", CASES)
def test_rows_are_independent_of_their_neighbours(case: str) -> None:
    """A row alone, or among its neighbours in another order, goes the same way."""
    rows = CASES[case]
    together = Run(rows)
    order = list(range(len(rows)))[::-1]
    reversed_rows = Run([rows[place] for place in order])
    reversed_rows.theta.copy_(together.theta[order])
    alone = [Run([row]) for row in rows]
    for row, run in enumerate(alone):
        run.theta.copy_(together.theta[row : row + 1])
    for k in range(STEPS):
        for run in (together, reversed_rows, *alone):
            run.follow(noisy_quadratic, k)
    torch.testing.assert_close(reversed_rows.theta[order], together.theta, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.cat([run.theta for run in alone]), together.theta, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize("case", CASES)
def test_a_diverged_row_stays_alone(case: str, poison: float) -> None:
    """A row of NaN or infinite gradients changes no bit of its neighbours; NaN shows in its own θ unless only signs count."""
    rows = [*CASES[case], CASES[case][0]]
    sound, poisoned = Run(rows), Run(rows)

    def spoilt(k: int) -> Callable[[Tensor], Tensor]:
        def samples(theta: Tensor) -> Tensor:
            own = torch.full((len(rows), SAMPLES, PARAMETERS), poison, dtype=theta.dtype)
            own[1:] = torch.from_numpy(np.stack([noisy_quadratic(k, row) for row in theta[1:].numpy()]))
            return own

        return samples

    for k in range(20):
        sound.follow(noisy_quadratic, k)
        if k < 5:
            poisoned.follow(noisy_quadratic, k)
        else:
            poisoned.step(spoilt(k))
    assert torch.equal(poisoned.theta[1:], sound.theta[1:])
    for name, value in poisoned.state.items():
        assert torch.equal(value[1:], sound.state[name][1:])
    if np.isnan(poison):
        assert poisoned.theta[0].isnan().all() == (sound.kind not in BLIND_TO_NAN)


@pytest.mark.parametrize("case", CASES)
def test_waits_for_nothing(case: str) -> None:
    """Every call runs on the meta device, where there are no values: no branch and no shape depends on data."""
    run = Run(CASES[case], torch.float32, "meta")
    for _ in range(2):
        run.step(lambda theta: theta.new_empty(theta.shape[0], SAMPLES, theta.shape[1]))
    if run.rule.eps_dominated is not None:
        assert run.rule.eps_dominated(run.state, run.hyper).shape == run.theta.shape


@pytest.mark.parametrize("case", CASES)
def test_passes_over_memory_are_cheap(case: str) -> None:
    """On float32 parameters nothing of their size is ever float64, and nothing branches on each element."""

    class Watching(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call] # torch leaves it untyped

        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor) and out.shape[-1:] > (1,):
                assert out.dtype != torch.float64, func
                assert func._schema.name not in BRANCHING, func
            return out

    run = Run(CASES[case], torch.float32)
    own = torch.ones(*run.theta.shape).unsqueeze(1).expand(-1, SAMPLES, -1)
    with Watching():
        run.step(given(own))


@pytest.mark.parametrize("kind", RULES)
def test_zero_gradient_moves_nothing(kind: str) -> None:
    """From a fresh state an exact zero leaves every bit of θ, in float32 and where eps is zero, too."""
    rows = {"adam": Adam(eps=0.0), "rmsprop": Rmsprop(eps=0.0)}
    spec = next(spec for spec in OPTIMIZERS if kind_of(spec) == kind)
    run = Run([rows.get(kind, spec())], torch.float32)
    before = run.theta.clone()
    for k in range(20):
        run.follow(LANDSCAPES["zero"], k)
    assert torch.equal(run.theta, before)


@pytest.mark.parametrize("kind", sorted(BLIND_TO_NAN))
def test_only_signs_count(kind: str) -> None:
    """Gradients 2^-100 times as large (1e-30), whose product float32 does not hold, give the same path bit for bit."""
    rows = CASES[kind]
    usual, small = Run(rows, torch.float32), Run(rows, torch.float32)
    for k in range(STEPS):
        own = torch.from_numpy(noisy_quadratic(k, starts(1)[0] + 0.1 * k)).float().expand(len(rows), -1, -1)
        usual.step(given(own))
        small.step(given(own * 2.0**-100))
    assert torch.equal(small.theta, usual.theta)
    assert not torch.equal(usual.theta, Run(rows, torch.float32).theta)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([Adam(), Adam(eps=1e-30), Adam(eps=1e-3)], [False, False, True]),
        ([Adam(amsgrad=True), Adam(eps=1e-3, amsgrad=True)], [False, True]),
        ([Rmsprop(), Rmsprop(eps=1e-30), Rmsprop(eps=1e-3)], [False, False, True]),
        ([Smorms3(), Smorms3(eps=1e-30), Smorms3(eps=1e-8)], [False, False, True]),
    ],
    ids=["adam", "amsgrad", "rmsprop", "smorms3"],
)
def test_eps_dominance_is_told(rows: list[Optimizer], expected: list[bool]) -> None:
    """Gradients of size 1e-5 in one layer, 1e-12 in the other: eps decides where it is larger than their running size."""
    run = Run(rows, torch.float32)
    own = torch.full((len(rows), SAMPLES, PARAMETERS), 1e-5)
    own[:, :, LAYERS[1]] = 1e-12
    for _ in range(STEPS):
        run.step(given(own))
    assert run.rule.eps_dominated is not None
    dominated = run.rule.eps_dominated(run.state, run.hyper)
    assert dominated[:, LAYERS[0]].all(1).tolist() == expected
    assert dominated[:, LAYERS[0]].any(1).tolist() == expected
    assert dominated[:, LAYERS[1]].all(1).tolist() == [numbers_and_flags(row)[0]["eps"] > 1e-20 for row in rows]


def test_rprop_is_irprop_minus() -> None:
    """After a change of sign the weight rests, its step is halved, and the next step counts as the first: it keeps its length."""
    run = Run([Rprop(lr=1.0)])
    run.theta.zero_()
    places = []
    for sign in (1.0, 1.0, -1.0, -1.0, -1.0):
        run.step(given(torch.full((1, 1, PARAMETERS), sign, dtype=torch.float64)))
        places.append(run.theta[0, 0].item())
    np.testing.assert_allclose(places, [-1.0, -2.2, -2.2, -1.6, -0.88], rtol=1e-12)


def test_vsgd_fd_rests_where_no_curvature_was_seen() -> None:
    """A weight whose input is off in most batches, and whose gradient no probe changes when it is on, does not jump."""
    run = Run([VsgdFd()], torch.float32)
    before = run.theta.clone()
    for k in range(STEPS):
        here = torch.full((1, SAMPLES, PARAMETERS), 1e-6 if k % 20 == 0 else 0.0)
        here[:, :, 0] = 1.0

        def samples(theta: Tensor, here: Tensor = here) -> Tensor:
            return here * torch.cat([theta[:, None, :1], torch.ones(1, 1, PARAMETERS - 1)], dim=2)

        run.step(samples)
    assert torch.equal(run.theta[:, 1:], before[:, 1:])
    assert run.theta[0, 0].abs() < 1e-3 < before[0, 0].abs()


def test_vsgd_fd_learns_digits_without_a_rate() -> None:
    """A small network learns handwritten digits under the defaults, from two initialisations, in float32."""
    from sklearn.datasets import load_digits

    shapes = [(64, 32), (32,), (32, 10), (10,)]
    sizes = [int(np.prod(shape)) for shape in shapes]
    digits = load_digits()
    x = torch.from_numpy(digits.data / 16).float()
    y = torch.from_numpy(digits.target)

    def loss(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        w1, b1, w2, b2 = (part.view(shape) for part, shape in zip(theta.split(sizes), shapes, strict=True))
        return torch.nn.functional.cross_entropy((x @ w1 + b1).tanh() @ w2 + b2, y)

    each_sample = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))
    each_row = torch.func.vmap(each_sample, (0, None, None))

    layers = (slice(0, sum(sizes[:2])), slice(sum(sizes[:2]), sum(sizes)))
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(2, sum(sizes), generator=generator) / 8
    numbers, _ = numbers_and_flags(VsgdFd())
    hyper = {name: torch.full((2, 1), value, dtype=torch.float64) for name, value in numbers.items()}
    rule = RULES["vsgd_fd"]
    assert rule.probe is not None
    state = rule.initial_state(theta, hyper)
    before = [loss(row, x[1000:], y[1000:]).item() for row in theta]
    for _ in range(300):
        batch = torch.randint(1000, (64,), generator=generator)
        own = each_row(theta, x[batch], y[batch])
        gradients = Gradients(own.mean(1), 64, layers)
        probed = theta + rule.probe(theta, gradients, state, hyper)
        there = each_row(probed, x[batch], y[batch]).mean(1)
        rule.update(
            theta, Gradients(own.mean(1), 64, layers, there, probed - theta, own.square().mean(1)), state, hyper
        )
    after = [loss(row, x[1000:], y[1000:]).item() for row in theta]
    assert all(value > 2 for value in before)
    assert all(value < 0.5 for value in after)
