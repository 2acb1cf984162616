"""What stands round a rule: against torch's and pytorch_optimizer's code, and what every wrapper promises round every rule."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import pytorch_optimizer
import torch
from optimizer_samples import SPECS, Run, given, of_rows, starts
from pydantic import TypeAdapter
from reference import wrapped as reference
from reference.landscapes import LANDSCAPES, NOISE, PARAMETERS, SAMPLES, SHAPES, STEPS, noisy_quadratic
from torch import Tensor

from workers.analysis.selection import defaults, grids, settings
from workers.contract.comparison import Tuning
from workers.contract.optimizers import Optimizer, OptimizerSpec
from workers.contract.optimizers.misfits import misfits
from workers.contract.optimizers.wrappers import FIELDS
from workers.engine.optimizers import Gradients
from workers.engine.optimizers.wrappers import WRAPPERS
from workers.engine.optimizers.wrappers.clip import RATIO
from workers.engine.optimizers.wrappers.depth import FACTOR


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def parsed(**body: Any) -> Any:
    return TypeAdapter(OptimizerSpec).validate_python(body)


SGD, ADAM, RMSPROP = {"kind": "sgd", "momentum": 0.9, "lr": 0.05}, {"kind": "adam", "lr": 0.05}, {"kind": "rmsprop"}
ADAMW = {"kind": "adamw", "lr": 0.1, "weight_decay": 0.1}

CASES: dict[str, list[dict[str, Any]]] = {
    "linear_warmup": [
        SGD | {"schedule": {"kind": "linear_warmup", "warmup_steps": steps}} for steps in (0, 1, 7, STEPS - 1)
    ],
    "linear": [
        ADAM | {"schedule": {"kind": "linear", "warmup_steps": steps, "final_factor": final}}
        for steps, final in ((0, 0.0), (30, 0.1), (1, 0.5))
    ],
    "cosine": [
        ADAMW | {"schedule": {"kind": "cosine", "warmup_steps": steps, "final_factor": final}}
        for steps, final in ((0, 0.0), (30, 0.1), (2, 0.9))
    ],
    "step": [
        RMSPROP | {"schedule": {"kind": "step", "warmup_steps": steps, "step_size": size, "gamma": gamma}}
        for steps, size, gamma in ((0, 300, 0.1), (10, 50, 0.5), (0, 1, 0.99))
    ],
    "value": [SGD | {"clip": {"kind": "value", "clip_value": value}} for value in (1e-3, 0.1, 1e6)],
    "norm": [ADAM | {"clip": {"kind": "norm", "max_norm": value}} for value in (1e-3, 0.3, 1e6)],
    "norm_per_layer": [SGD | {"clip": {"kind": "norm_per_layer", "max_norm": value}} for value in (1e-3, 0.3, 1e6)],
    "adaptive": [
        SGD | {"clip": {"kind": "adaptive", "clip_factor": factor, "eps": eps}}
        for factor, eps in ((0.01, 1e-3), (0.3, 0.5), (100.0, 1e-3))
    ],
    "coupled": [RMSPROP | {"added_decay": {"kind": "coupled", "weight_decay": value}} for value in (0.0, 0.1)],
    "decoupled": [
        ADAMW | {"weight_decay": 0.0, "added_decay": {"kind": "decoupled", "weight_decay": value}}
        for value in (0.0, 0.1)
    ],
    "power": [ADAM | {"depth_lr": {"kind": "power", "power": value}} for value in (-1, 0, 1.5)],
    "exponential": [
        ADAMW | {"schedule": {"kind": "cosine"}, "depth_lr": {"kind": "exponential", "base": value}}
        for value in (0.5, 2)
    ],
    "sam": [SGD | {"sam": {"kind": "sam", "rho": value}} for value in (0.01, 0.5)],
    "asam": [ADAM | {"sam": {"kind": "asam", "rho": value}} for value in (0.01, 0.5)],
    "lookahead": [SGD | {"lookahead": {"k": k, "alpha": alpha}} for k, alpha in ((5, 0.5), (1, 0.1), (7, 0.99))],
    "all of them": [
        SGD
        | {
            "weight_decay": 0.0,
            "schedule": {"kind": "cosine", "warmup_steps": warmup},
            "clip": {"kind": "norm", "max_norm": 0.5},
            "sam": {"kind": "sam", "rho": rho},
            "lookahead": {"k": 5, "alpha": 0.5},
            "added_decay": {"kind": "coupled", "weight_decay": 0.1},
        }
        for warmup, rho in ((0, 0.1), (20, 0.05))
    ],
}
"""Rows that are trained together; compared with others' code."""

WRAPPED = {f"{field} {kind}": (field, kind) for field, table in WRAPPERS.items() for kind in table}


def around(kind: str, field: str, wrapper: str) -> Optimizer | None:
    """A rule at its defaults with one wrapper at its defaults; None where that is refused."""
    own = {"weight_decay": 0.0} if field == "added_decay" and "weight_decay" in SPECS[kind].model_fields else {}
    spec: Optimizer = parsed(kind=kind, **own, **{field: {"kind": wrapper}})
    return None if list(misfits(spec, STEPS)) else spec


PAIRS = [(kind, name) for kind in SPECS for name, place in WRAPPED.items() if around(kind, *place) is not None]


def test_the_table_is_the_contract() -> None:
    """Every wrapper that can be asked for is there, in the same order of stacking, and no other."""
    offered = {
        field: [each.model_fields["kind"].default for each in specs if each.changes] for field, specs in FIELDS.items()
    }
    assert {field: list(table) for field, table in WRAPPERS.items()} == offered
    assert list(WRAPPERS) == list(FIELDS)
    assert set(FIELDS) <= set(Optimizer.model_fields)


@pytest.mark.parametrize("landscape", ["noisy_quadratic", "bursts", "small_network"])
@pytest.mark.parametrize("case", CASES)
def test_equals_the_code_of_others(case: str, landscape: str) -> None:
    """In every step, 200 on the first landscape, each row is where torch's or pytorch_optimizer's code takes it."""
    rows, gradients = [parsed(**body) for body in CASES[case]], LANDSCAPES[landscape]
    steps = STEPS if landscape == "noisy_quadratic" else 40
    run = Run(rows)
    twins = [
        reference.trajectory(row, start, gradients, SHAPES, steps, STEPS)
        for row, start in zip(rows, starts(len(rows)), strict=True)
    ]
    for k in range(steps):
        run.follow(gradients, k)
        expected = np.stack([twin[k] for twin in twins])
        np.testing.assert_allclose(run.theta.numpy(), expected, rtol=1e-10, atol=1e-10, err_msg=f"step {k}")


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_climbs_as_pytorch_optimizers_does(adaptive: bool) -> None:
    """From the same weights and gradient to the same place, within the float32 in which the other takes its norm."""
    theta, gradient = (torch.from_numpy(starts(2)[row]) for row in (0, 1))
    part = torch.nn.Parameter(theta.clone())
    part.grad = gradient.clone()
    other: Any = pytorch_optimizer.SAM([part], torch.optim.SGD, rho=0.3, adaptive=adaptive, lr=0.1)
    other.first_step()
    run = Run([parsed(kind="sgd", sam={"kind": "asam" if adaptive else "sam", "rho": 0.3})])
    assert run.rule.probe is not None
    gradients = Gradients(gradient[None], 1, run.layout, torch.zeros(1, 1))
    way = run.rule.probe(theta[None], gradients, run.state, run.hyper, **run.flags)
    torch.testing.assert_close(theta + way[0], part.detach(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "kind", ["sgd", "adam", "lamb", "muon", "normalized_gradient", "schedule_free_sgd", "novograd"]
)
def test_depth_reaches_a_layer_and_no_other(kind: str) -> None:
    """Under given gradients each layer goes where it would go if its learning rate were everybody's."""
    rate = 0.02
    run = Run([parsed(kind=kind, lr=rate, depth_lr={"kind": "exponential", "base": 3.0})])
    alone = [Run([parsed(kind=kind, lr=rate * 3.0**above)]) for above in (2, 1, 0)]
    for k in range(20):
        own = torch.from_numpy(NOISE[k])[None]
        for each in (run, *alone):
            each.step(given(own))
    for columns, other in zip(run.layout.columns, alone, strict=True):
        torch.testing.assert_close(run.theta[:, columns], other.theta[:, columns], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kind", "ratio"), [("sgd", 1e12), ("adam", 1e3), ("signsgd", 1.0)])
def test_auto_makes_all_layers_move_alike(kind: str, ratio: float) -> None:
    """However much smaller the gradient below, and where float32 swallows the first steps whole, all layers soon move alike."""
    spec = parsed(kind=kind, depth_lr="auto", **({"eps": 1e-30} if kind == "adam" else {}))
    run = Run([spec], torch.float32)
    scale = torch.ones(PARAMETERS)
    scale[run.layout.columns[0]] = 1 / ratio
    moved = []
    for k in range(120):
        before = run.theta.clone()
        run.step(given(torch.from_numpy(NOISE[k]).float()[None] * scale))
        moved.append((run.theta - before)[0])
    own, last = (torch.stack(moved[-40:])[:, run.layout.columns[place]].square().mean().sqrt() for place in (0, -1))
    assert 0.4 < own / last < 2.5
    grown = run.state[FACTOR][0, 0].exp()
    assert (0.05 * ratio < grown < 20 * ratio) if kind == "sgd" else (0.2 < grown < 5)


@pytest.mark.parametrize("landscape", ["noisy_quadratic", "small_network", "sparse_layer"])
def test_auto_is_its_formula(landscape: str) -> None:
    """Round SGD, layer by layer as the docstring has it, in each of 200 steps; gradients of the first layer a million times too small."""
    settings_tried = [{"smoothing": 0.9, "bound": 1e12}, {"smoothing": 0.0, "bound": 50.0}]
    run = Run([parsed(kind="sgd", lr=0.02, depth_lr={"kind": "auto", **each}) for each in settings_tried])
    weak = np.where(np.arange(PARAMETERS) < run.layout.columns[0].stop, 1e-6, 1.0)
    layers = [np.arange(PARAMETERS)[columns] for columns in run.layout.columns]
    theta, factors = starts(2), np.ones((2, len(layers)))
    for k in range(STEPS):
        for row, setting in enumerate(settings_tried):
            before, g = theta[row].copy(), weak * LANDSCAPES[landscape](k, theta[row]).mean(axis=0)
            for place, layer in enumerate(layers):
                theta[row, layer] -= 0.02 * factors[row, place] * g[layer]
            moved = [np.sqrt(np.mean((theta[row] - before)[layer] ** 2)) for layer in layers]
            for place, layer in enumerate(layers):
                if moved[-1] > 0 and moved[place] > 0:
                    factors[row, place] *= (moved[-1] / moved[place]) ** (1 - setting["smoothing"])
                elif moved[-1] > 0 and g[layer].any():
                    factors[row, place] *= 10
                factors[row, place] = min(max(factors[row, place], 1 / setting["bound"]), setting["bound"])
        run.step(lambda at, k=k: torch.from_numpy(weak) * of_rows(LANDSCAPES[landscape], k, at))  # type: ignore[misc]
        np.testing.assert_allclose(run.theta.numpy(), theta, rtol=1e-6, atol=1e-9, err_msg=f"step {k}")
    np.testing.assert_allclose(run.state[FACTOR].exp().numpy(), factors, rtol=1e-6)
    assert factors[0, 0] > 100


def test_auto_stays_within_its_bound_and_rests_without_a_signal() -> None:
    """A factor leaves neither side of its bound; where nothing moves, or no number is finite, it stays as it is."""
    run = Run([parsed(kind="sgd", depth_lr={"kind": "auto", "bound": 4.0, "smoothing": 0.0})])
    own = torch.from_numpy(NOISE[0])[None].clone()
    own[:, :, run.layout.columns[0]] *= 1e-6
    own[:, :, run.layout.columns[1]] *= 1e6
    run.step(given(own))
    torch.testing.assert_close(run.state[FACTOR].exp(), torch.tensor([[4.0, 0.25, 1.0]], dtype=torch.float64))
    for nothing in (torch.zeros_like(own), torch.full_like(own, torch.nan)):
        before = run.state[FACTOR].clone()
        run.step(given(nothing))
        assert torch.equal(run.state[FACTOR], before)


def test_clipping_says_what_it_left() -> None:
    """The remembered ratio is the clipped gradient's norm over the raw one's, layer by layer, also below float32's squares."""
    run = Run([parsed(kind="sgd", clip={"kind": "value", "clip_value": 1e-25})], torch.float32)
    own = torch.from_numpy(NOISE[0]).float()[None] * 1e-24
    run.step(given(own))
    raw = own.mean(1).double()
    norms = [(raw[:, each].clamp(-1e-25, 1e-25).norm() / raw[:, each].norm()).item() for each in run.layout.columns]
    torch.testing.assert_close(run.state[RATIO], torch.tensor([norms], dtype=torch.float64), rtol=1e-5, atol=0)
    assert min(norms) < 0.9


@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_round_every_rule(kind: str, name: str) -> None:
    """Round every rule: waits for no device; rows do not see each other, not even a NaN; resumed bit for bit."""
    spec = around(kind, *WRAPPED[name])
    assert spec is not None
    meta = Run([spec], torch.float32, "meta")
    meta.step(lambda theta: theta.new_empty(theta.shape[0], SAMPLES, theta.shape[1]))

    together, alone = Run([spec, spec, spec], torch.float32), Run([spec], torch.float32)
    alone.start_at(together.theta[1:2])
    resumed = Run([spec, spec, spec], torch.float32)

    def sound(k: int) -> Callable[[Tensor], Tensor]:
        return lambda theta: of_rows(noisy_quadratic, k, theta)

    def poisoned(k: int) -> Callable[[Tensor], Tensor]:
        def samples(theta: Tensor) -> Tensor:
            own = of_rows(noisy_quadratic, k, theta)
            if k >= 4:
                own[0] = torch.nan
            return own

        return samples

    for k in range(12):
        together.step(poisoned(k))
        alone.step(sound(k))
        if k == 5:
            resumed.theta.copy_(together.theta)
            for key, value in together.state.items():
                resumed.state[key].copy_(value)
            resumed.draws.step.copy_(together.draws.step)
        elif k > 5:
            resumed.step(poisoned(k))
    assert torch.equal(resumed.theta[1:], together.theta[1:])
    torch.testing.assert_close(together.theta[1:2], alone.theta, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "sgd", "schedule": {"kind": "cosine", "warmup_steps": STEPS}}, "schedule/warmup_steps"),
        ({"kind": "sgd", "schedule": {"kind": "cosine", "warmup_steps": [1, STEPS]}}, "schedule/warmup_steps"),
        ({"kind": "sgd", "weight_decay": 0.1, "added_decay": "coupled"}, "added_decay"),
        ({"kind": "adamw", "added_decay": "coupled"}, "added_decay"),
        ({"kind": "sgd", "depth_lr": {"kind": "auto", "bound": 0.5}}, "depth_lr/bound"),
        ({"kind": "rprop", "schedule": "cosine"}, "schedule"),
        ({"kind": "rprop_plus", "depth_lr": "auto"}, "depth_lr"),
        ({"kind": "vsgd_fd", "schedule": "cosine"}, "schedule"),
        ({"kind": "vsgd_fd", "clip": "norm"}, "clip"),
        ({"kind": "vsgd_fd", "sam": "sam"}, "sam"),
        ({"kind": "schedule_free_sgd", "schedule": "cosine"}, "schedule"),
        ({"kind": "prodigy", "depth_lr": "power"}, "depth_lr"),
    ],
)
def test_what_does_not_go_together_is_refused_at_the_door(body: dict[str, Any], field: str) -> None:
    """With the field, and a reason in words."""
    ((found, message),) = misfits(parsed(**body), STEPS)
    assert found == field
    assert len(message) > 30


def test_a_list_is_a_grid_of_its_own_name() -> None:
    """`clip.max_norm` is searched like a learning rate, and stands so in settings; its default is what the untuned row has."""
    spec = parsed(kind="sgd", lr=0.3, clip={"kind": "norm", "max_norm": [0.1, 10.0]}, schedule="constant")
    assert grids(spec, Tuning()) == {"clip.max_norm": [0.1, 10.0]}
    assert [setting["clip.max_norm"] for setting in settings(spec, None)] == [0.1, 10.0]
    assert defaults(spec)["clip.max_norm"] == 1.0
    assert spec.wrapper_kinds() == {"clip": "norm"}
