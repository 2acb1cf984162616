"""The optimizers' update rules. R rows (one trial each), P parameters of a trial, n samples in a batch."""

import importlib
import inspect
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from optimizer_samples import (
    CASES,
    SEED,
    SPECS,
    WITHIN,
    Run,
    bounds,
    curvature_of,
    given,
    kind_of,
    loss_of,
    losses_of,
    numbers_and_flags,
    of_rows,
    starts,
    without_decay,
)
from reference.landscapes import LANDSCAPES, LAYERS, LENGTHS, PARAMETERS, SAMPLES, STEPS, noisy_quadratic
from reference.optimizers import BY_OTHERS, TRAJECTORIES, trajectory
from reference.tensors import layers_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from workers.contract.optimizers import (
    OPTIMIZERS,
    Adam,
    IrpropPlus,
    Optimizer,
    Rmsprop,
    Rprop,
    RpropMinus,
    RpropPlus,
    Sgd,
    SignSgd,
    Smorms3,
    VsgdFd,
)
from workers.engine.optimizers import RULES, Gradients, Layout

BY_SIGNS = {"rprop", "rprop_minus", "rprop_plus", "irprop_plus", "signsgd", "signum", "lion", "tiger"}
"""torch's sign(NaN) is 0: where only signs count, a NaN gradient moves nothing."""
BY_RANKS = {"random_search", "snes", "sep_cma_es", "cma_es", "pgpe"}
"""A loss that is NaN ranks last: where only ranks count it moves nothing, or nobody knows where."""
BLIND_TO_NAN = BY_SIGNS | BY_RANKS

STEPS_OF = {
    ("prodigy", "noisy_quadratic"): 100,
    ("muon", "noisy_quadratic"): 60,
    ("prodigy", "small_network"): 20,
    ("dadapt_adam", "small_network"): 50,
    ("dadapt_sgd", "small_network"): 150,
    ("lbfgs", "small_network"): 150,
    ("lbfgs", "sparse_layer"): 180,
}
"""Where rounding is amplified so much that fewer steps can be compared: Prodigy's rate is a maximum of
quotients of sums; Muon with rates of .06 and .1 circles the optimum in strides as long as the small matrices (200 steps at its defaults:
test_optimizers_matrices); D-Adaptation's rate is such a maximum, too; L-BFGS without a line search leaves the small network under one of
its settings, for the numbers of 1e49 and more."""

AMPLIFYING = {"rmsprop", "muon", "vsgd_fd", "dadapt_sgd", "dadapt_adam", "prodigy"}
"""Where some steps amplify rounding a thousandfold and more, so that another CPU's would be beyond the tolerance: there the twin is run
from a start one rounding away, too, and …"""
AMPLIFIED = 100
"""… so many times as far as it ends up is allowed beside the tolerance."""

RISING = dict.fromkeys(("dadapt_sgd", "dadapt_adam", "prodigy"), 12)
"""Rates that grow for as long as the gradient does not turn leave float32 soon: steps in which they are compared."""

STEPS_AS_SMALL_AS_ROUNDING = {"mezo", "forward_gradient"}
"""θ ± εz with ε = 1e-3 is stored with θ's rounding, 2⁻²⁴|θ|/ε or 1e-4 of εz: so far off is the direction that float32 tries."""

NEVER_AT_REST = {"fromage", "sep_cma_es", "cma_es"}
"""Moves without a gradient, as its paper has it; walks at random."""

MATRIX_OF_MUON = range(6, 10)
"""The weight of the landscapes' hidden layer, which is orthogonalised."""

BRANCHING = {"aten::where", "aten::masked_fill", "aten::masked_fill_", "aten::index_put_"}
"""On the CPU a branch for every element: thirty times the cost of a product with 0 and 1."""


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def test_table_is_the_contract() -> None:
    """Every optimizer of the contract has a rule, a slow twin and a case here, and there is no rule besides."""
    kinds = [kind_of(spec) for spec in OPTIMIZERS]
    assert sorted(RULES) == sorted(kinds)
    assert {kind_of(rows[0]) for rows in CASES.values()} == set(kinds)
    assert sorted([*BY_OTHERS, *TRAJECTORIES]) == sorted(kinds)


@pytest.mark.parametrize("kind", RULES)
def test_the_docstring_says_what_a_user_must_know(kind: str) -> None:
    """Every rule's file has its formula, where it comes from, where it rests and how it fails."""
    told = (importlib.import_module(f"workers.engine.optimizers.{kind}").__doc__ or "").lower()
    for part in ("θ ←", "source: ", "fixed points", "failure modes"):
        assert part in told.replace("θ_l ←", "θ ←").replace("θ_b ←", "θ ←"), part


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
    run.state = run.rule.initial_state(run.theta, everything, run.layout, **flags)
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
    """In every step, 200 on the noisy quadratic, on the small network and with a sparse layer, each row is where an independent program
    of that row alone is, up to rounding; ours is restarted half-way from what a checkpoint holds.
    """
    rows, gradients = CASES[case], LANDSCAPES[landscape]
    run = Run(rows)
    steps = STEPS_OF.get((run.kind, landscape), LENGTHS[landscape])
    twins: list[list[Any]] = [[], []] if run.kind in AMPLIFYING else [[]]
    for own, nudge in zip(twins, (0.0, 2.0**-52), strict=False):
        for row, start in zip(rows, starts(len(rows)), strict=True):
            nudged = start * (1 + nudge)
            own.append(trajectory(run.kind, row.hyperparameters(), nudged, gradients, LAYERS, steps, seed=SEED))
    within, amplified = WITHIN.get(run.kind, 1e-10), 0.0
    for k in range(steps):
        if k == steps // 2:
            run = restarted(run, rows)
        run.follow(gradients, k)
        expected, *nudged = (np.stack([twin[k] for twin in own]) for own in twins)
        amplified = max([amplified, *(float(np.abs(other - expected).max()) for other in nudged)])
        allowed = within + AMPLIFIED * amplified
        np.testing.assert_allclose(run.theta.numpy(), expected, rtol=within, atol=allowed, err_msg=f"step {k}")


def restarted(run: Run, rows: list[Optimizer]) -> Run:
    """A fresh run that was given θ and the state through a file."""
    file = io.BytesIO()
    torch.save({"theta": run.theta, "state": run.state}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = Run(rows, run.theta.dtype)
    again.theta.copy_(saved["theta"])
    for name, value in saved["state"].items():
        again.state[name].copy_(value)
    return again


@pytest.mark.parametrize("kind", SPECS)
def test_every_number_and_flag_is_in_some_case(kind: str) -> None:
    """Among the settings that are compared: weight decay and none, each flag on and off, each number at its default and elsewhere."""
    spec = SPECS[kind]
    rows = [row for rows in CASES.values() for row in rows if kind_of(row) == kind]
    for name, field in spec.model_fields.items():
        if name in Optimizer.model_fields or name == "kind":
            continue
        tried = [getattr(row, name) for row in rows]
        assert any(value != field.default for value in tried), f"{name} never moved"
        assert field.default in tried, f"{name} never at its default"
        if name == "weight_decay":
            assert 0 in tried and max(tried) > 0


@pytest.mark.parametrize("kind", RULES)
def test_a_thousand_trials(kind: str) -> None:
    """Rows of a thousand go where each would go alone: the first, the last and some between."""
    spec = SPECS[kind]()
    many = Run([spec] * 1000)
    places = [0, 1, 499, 998, 999]
    few = Run([spec] * len(places))
    few.start_at(many.theta[places])
    for k in range(12):
        many.follow(noisy_quadratic, k)
        few.follow(noisy_quadratic, k)
    torch.testing.assert_close(many.theta[places], few.theta, rtol=1e-11, atol=1e-11)
    assert many.theta.isfinite().all()


@pytest.mark.parametrize("case", CASES)
def test_float32_follows_float64(case: str) -> None:
    """Given the same gradients, float32 goes the same way, and nothing of it is in another precision."""
    rows = CASES[case]
    single, double = Run(rows, torch.float32), Run(rows)

    def samples(k: int, run: Run) -> Callable[[Tensor], Tensor]:
        """At a place that depends on the step alone, with curvature under a probe."""
        here = run.theta.clone()

        def at(theta: Tensor) -> Tensor:
            return of_rows(noisy_quadratic, k, (theta - here).double() + 0.1 * k).to(theta.dtype)

        return at

    for k in range(RISING.get(single.kind, 50)):
        for run in (single, double):
            run.step(samples(k, run))
    assert single.theta.dtype == torch.float32
    assert {value.dtype for value in single.state.values() if value.shape[1] > 1} <= {torch.float32}
    moved = (double.theta - torch.from_numpy(starts(len(rows)))).abs().amax(1, keepdim=True)
    assert ((single.theta - double.theta).abs() <= 1e-3 * moved + 1e-6).all()


@pytest.mark.parametrize("landscape", ["noisy_quadratic", "small_network", "sparse_layer"])
@pytest.mark.parametrize("case", CASES)
def test_one_step_from_the_same_state_in_float32(case: str, landscape: str) -> None:
    """From equal θ, state and gradient float32 moves as float64 does, within 1e-5 of the largest move and θ's own rounding."""
    rows = CASES[case]
    before, single, double = Run(rows), Run(rows, torch.float32), Run(rows)
    for k in range(10):
        before.follow(LANDSCAPES[landscape], k)
    for run in (single, double):
        run.theta.copy_(before.theta.float())
        for name, value in before.state.items():
            run.state[name].copy_(value.float() if value.shape == run.theta.shape else value)
    here = double.theta.clone()
    own = of_rows(LANDSCAPES[landscape], 10, here).float()
    single.step(given(own))
    double.step(given(own.double()))
    move = (double.theta - here).abs().amax(1, keepdim=True)
    rounding = 2 * torch.finfo(torch.float32).eps * torch.maximum(here.abs(), double.theta.abs())
    within = 3e-4 if kind_of(rows[0]) in STEPS_AS_SMALL_AS_ROUNDING else 1e-5
    assert ((single.theta - double.theta).abs() <= within * move + rounding).all()


@pytest.mark.parametrize("case", CASES)
def test_rows_are_independent_of_their_neighbours(case: str) -> None:
    """A row alone, or among its neighbours in another order, goes the same way."""
    rows = CASES[case]
    together = Run(rows)
    order = list(range(len(rows)))[::-1]
    reversed_rows = Run([rows[place] for place in order])
    reversed_rows.start_at(together.theta[order])
    alone = [Run([row]) for row in rows]
    for row, run in enumerate(alone):
        run.start_at(together.theta[row : row + 1])
    for k in range(30):
        for run in (together, reversed_rows, *alone):
            run.follow(noisy_quadratic, k)
    torch.testing.assert_close(reversed_rows.theta[order], together.theta, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.cat([run.theta for run in alone]), together.theta, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_a_restarted_row_goes_on_bit_for_bit(case: str) -> None:
    """θ and the state are all that is remembered: put into a fresh run, they give what the undisturbed one gives."""
    rows = CASES[case]
    undisturbed, resumed = Run(rows, torch.float32), Run(rows, torch.float32)
    for k in range(10):
        undisturbed.follow(noisy_quadratic, k)
    resumed.theta.copy_(undisturbed.theta)
    for name, value in undisturbed.state.items():
        resumed.state[name].copy_(value)
    for k in range(10, 20):
        for run in (undisturbed, resumed):
            run.follow(noisy_quadratic, k)
    assert torch.equal(undisturbed.theta, resumed.theta)


@pytest.mark.parametrize("case", CASES)
def test_layers_of_one_element(case: str) -> None:
    """Layers as small as can be are trained like any other: θ stays finite, moves, and is where the twin is."""
    rows = CASES[case]
    shapes = (((1, 1),),) * PARAMETERS
    layers = layers_of(shapes)
    run = Run(rows, shapes=shapes)
    twins = [
        trajectory(run.kind, row.hyperparameters(), start, noisy_quadratic, layers, 20, shapes, SEED)
        for row, start in zip(rows, starts(len(rows)), strict=True)
    ]
    for k in range(20):
        run.follow(noisy_quadratic, k)
    np.testing.assert_allclose(run.theta.numpy(), np.stack([twin[-1] for twin in twins]), rtol=1e-10, atol=1e-10)
    assert run.theta.isfinite().all()


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize("case", CASES)
def test_a_diverged_row_stays_alone(case: str, poison: float) -> None:
    """A row of NaN or infinite gradients changes no bit of its neighbours; NaN shows in its own θ unless only signs count."""
    rows = [*CASES[case], CASES[case][0]]
    sound, poisoned = Run(rows), Run(rows)

    def spoilt(k: int) -> Callable[[Tensor], Tensor]:
        def samples(theta: Tensor) -> Tensor:
            own = torch.full((len(rows), SAMPLES, PARAMETERS), poison, dtype=theta.dtype)
            own[1:] = of_rows(noisy_quadratic, k, theta[1:])
            return own

        return samples

    def spoilt_losses(k: int) -> Callable[[Tensor], Tensor]:
        def losses(places: Tensor) -> Tensor:
            found = losses_of(noisy_quadratic, k, places)
            found[0] = poison
            return found

        return losses

    for k in range(20):
        sound.follow(noisy_quadratic, k)
        if k < 5:
            poisoned.follow(noisy_quadratic, k)
        else:
            with np.errstate(invalid="ignore"):  # the poisoned row's own may be inf - inf
                loss = loss_of(noisy_quadratic, k, poisoned.theta)
            loss[0] = poison
            poisoned.step(spoilt(k), loss, curvature_of(noisy_quadratic, k, poisoned.theta), spoilt_losses(k))
    assert torch.equal(poisoned.theta[1:], sound.theta[1:])
    for name, value in poisoned.state.items():
        assert torch.equal(value[1:], sound.state[name][1:])
    if np.isnan(poison):
        blind = sound.kind in BLIND_TO_NAN or sound.flags.get("ranked", False)
        assert poisoned.theta[0].isnan().all() == (not blind)


@pytest.mark.parametrize("kind", RULES)
def test_every_bound_can_be_asked_for(kind: str) -> None:
    """A row for each bound of each number, the others at their defaults: the row at the defaults does not notice any of them, and
    no smallest number makes θ anything but finite.
    """
    spec = SPECS[kind]
    smallest, largest = bounds(spec)
    rows = [spec(), *smallest, *largest]
    run, alone = Run(rows), Run(rows[:1])
    with np.errstate(all="ignore"):  # what leaves float64 at the largest numbers may
        for k in range(20):
            run.follow(noisy_quadratic, k)
            alone.follow(noisy_quadratic, k)
    torch.testing.assert_close(run.theta[:1], alone.theta, rtol=1e-12, atol=1e-12)
    assert run.theta[: 1 + len(smallest)].isfinite().all()


@pytest.mark.parametrize("case", CASES)
def test_waits_for_nothing(case: str) -> None:
    """Every call runs on the meta device, where there are no values: no branch and no shape depends on data."""
    run = Run(CASES[case], torch.float32, "meta")
    for _ in range(2):
        run.step(lambda theta: theta.new_empty(theta.shape[0], SAMPLES, theta.shape[1]))
    if run.rule.eps_dominated is not None:
        assert run.rule.eps_dominated(run.state, run.hyper, run.layout).shape == run.theta.shape


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
            if isinstance(out, Tensor) and out.shape[-1:] > (1,) and out.shape[-1] not in losses:
                assert out.dtype != torch.float64, func
                assert func._schema.name not in BRANCHING, func
            return out

    run = Run(CASES[case], torch.float32)
    count = run.flags.get("population", 2)
    losses = {count, count // 2, count + 1} if run.rule.ask else set()
    """How many a row has of them or of their pairs."""
    own = torch.ones(*run.theta.shape).unsqueeze(1).expand(-1, SAMPLES, -1)
    with Watching():
        run.step(given(own))


@pytest.mark.parametrize("kind", [kind for kind in RULES if kind not in NEVER_AT_REST])
def test_zero_gradient_moves_nothing(kind: str) -> None:
    """From a fresh state an exact zero leaves every bit of θ, in float32 and where eps is zero, too."""
    spec = SPECS[kind]
    least = spec.model_fields["eps"].metadata if "eps" in spec.model_fields else None
    run = Run([without_decay(spec), *([without_decay(spec, eps=0.0)] if least == [] else [])], torch.float32)
    before = run.theta.clone()
    for k in range(20):
        run.follow(LANDSCAPES["zero"], k)
    assert torch.equal(run.theta, before)


@pytest.mark.parametrize("kind", sorted(BLIND_TO_NAN))
def test_only_signs_count(kind: str) -> None:
    """Gradients 2^-100 times as large (1e-30), whose product float32 does not hold, give the same path bit for bit."""
    rows = CASES[kind]
    usual, small = Run(rows, torch.float32), Run(rows, torch.float32)
    for k in range(100):
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
    dominated = run.rule.eps_dominated(run.state, run.hyper, run.layout)
    assert dominated[:, LAYERS[0]].all(1).tolist() == expected
    assert dominated[:, LAYERS[0]].any(1).tolist() == expected
    assert dominated[:, LAYERS[1]].all(1).tolist() == [numbers_and_flags(row)[0]["eps"] > 1e-20 for row in rows]


def test_every_rule_with_an_eps_tells_where_it_decides() -> None:
    """But for floors of curvature (vSGD) and ridges in proportion (Shampoo), which stand beside no gradient."""
    with_eps = {kind_of(spec) for spec in OPTIMIZERS if "eps" in spec.model_fields}
    telling = {kind for kind, rule in RULES.items() if rule.eps_dominated is not None}
    assert with_eps - telling == {"vsgd_l", "vsgd_b", "vsgd_g", "vsgd_fd", "shampoo"}


@pytest.mark.parametrize("kind", [kind for kind, rule in RULES.items() if rule.eps_dominated is not None])
def test_eps_dominates_where_it_is_large(kind: str) -> None:
    """Under gradients of 1e-5 an eps of 0.1 decides everywhere, one of 1e-30 nowhere, whatever the rule; Muon's hidden weight has none."""
    spec = SPECS[kind]
    run = Run([without_decay(spec, eps=0.1), without_decay(spec, eps=1e-30)], torch.float32)
    for k in range(20):
        run.step(given(1e-5 * torch.from_numpy(noisy_quadratic(k, starts(2)[:, None])).float()))
    assert run.rule.eps_dominated is not None
    dominated = run.rule.eps_dominated(run.state, run.hyper, run.layout)
    beside = [kind != "muon" or place not in MATRIX_OF_MUON for place in range(PARAMETERS)]
    assert dominated[0].tolist() == beside
    assert not dominated[1].any()


def test_hintons_rmsprop_is_a_setting() -> None:
    """Lecture 6e has a memory of 0.9 and no eps: θ ← θ − lr·g/√MS."""
    run = Run([Rmsprop(lr=0.01, alpha=0.9, eps=0.0)])
    theta, mean_square = starts(1)[0], np.zeros(PARAMETERS)
    for k in range(STEPS):
        gradient = noisy_quadratic(k, theta).mean(axis=0)
        mean_square = 0.9 * mean_square + 0.1 * gradient**2
        theta = theta - 0.01 * gradient / np.sqrt(mean_square)
        run.follow(noisy_quadratic, k)
    np.testing.assert_allclose(run.theta[0].numpy(), theta, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("spec", "leaves"),
    [
        (Rprop(), True),
        (RpropMinus(), True),
        (RpropPlus(), True),
        (IrpropPlus(), True),
        (SignSgd(lr=0.01), True),
        (Rmsprop(), False),
        (Rmsprop(alpha=0.9, eps=0.0), False),
        (Sgd(), False),
    ],
    ids=lambda value: value.label if isinstance(value, Optimizer) else "leaves" if value else "stays",
)
def test_nine_plus_one(spec: Optimizer, leaves: bool) -> None:
    """Hinton's counter-example, lecture 6e: nine batches say +0.01 and one says −0.09, again and again, so θ should stay.

    It does under RMSprop, whose divisor hardly changes between batches; rules that go by signs follow the nine.
    """
    run = Run([spec])
    places = []
    for k in range(400):
        places.append(run.theta[0, 0].item())
        run.step(given(torch.full((1, 1, PARAMETERS), -0.09 if k % 10 == 9 else 0.01, dtype=torch.float64)))
    way_of_a_cycle = np.abs(np.diff(places)[200:210]).sum()
    drift_of_a_cycle = (places[200] - places[390]) / 19
    assert drift_of_a_cycle > 0.5 * way_of_a_cycle if leaves else abs(drift_of_a_cycle) < 0.2 * way_of_a_cycle


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

    layout, zero = Layout.of([shapes[:2], shapes[2:]]), torch.zeros(2, 1)
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(2, sum(sizes), generator=generator) / 8
    numbers, _ = numbers_and_flags(VsgdFd())
    hyper = {name: torch.full((2, 1), value, dtype=torch.float64) for name, value in numbers.items()}
    rule = RULES["vsgd_fd"]
    assert rule.probe is not None
    state = rule.initial_state(theta, hyper, layout)
    before = [loss(row, x[1000:], y[1000:]).item() for row in theta]
    for _ in range(300):
        batch = torch.randint(1000, (64,), generator=generator)
        own = each_row(theta, x[batch], y[batch])
        gradients = Gradients(own.mean(1), 64, layout, zero)
        probed = theta + rule.probe(theta, gradients, state, hyper)
        there = each_row(probed, x[batch], y[batch]).mean(1)
        told = replace(gradients, at_probe=there, displacement=probed - theta, sample_squares=own.square().mean(1))
        rule.update(theta, told, state, hyper)
    after = [loss(row, x[1000:], y[1000:]).item() for row in theta]
    assert all(value > 2 for value in before)
    assert all(value < 0.5 for value in after)
