"""Rules that are not given the gradient, in the engine: candidates through the same layers, and backpropagation that only measures."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from engine_samples import DROPPING, TEACHER, Optimizer, Row, assert_close, layers, mlp, program, rows, shard, train
from optimizer_samples import SEED, SPECS, numbers_and_flags
from torch import Tensor

from workers.contract.optimizers import GRADIENT_FREE
from workers.contract.statistics import STATISTICS
from workers.engine import population
from workers.engine.optimizers import RULES, Draws, Gradients, Layout, keys_of
from workers.engine.optimizers.ranks import centred, weights_by_rank
from workers.engine.program import Program
from workers.engine.train import differentiate, glance, look_around, the_gradient

KINDS: list[Optimizer] = [kind for kind, spec in SPECS.items() if spec.pattern in GRADIENT_FREE]
NETWORKS: dict[str, Any] = {
    "dropout": layers(*DROPPING),
    "batch norm": mlp(normalization="batch"),
    "highway": mlp(depth=3, shortcut="highway"),
}


def asked(made: Program, place: int) -> tuple[Tensor, Tensor]:
    """(tried [R, N, P], losses [R, N]) of one rule's rows, after a pass forward."""
    x, y = made.batches.at(0)
    glance(made, x, y)
    found = look_around(made, made.groups[place], the_gradient(made), x, y)
    assert found.tried is not None and found.losses is not None
    return found.tried, found.losses


@torch.no_grad()
@pytest.mark.parametrize("at_once", [1, 3, 32])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_candidates_loss_is_that_of_a_pass_forward_there(
    network: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many go together: as if θ itself stood there, on the same batch with the same dropout."""
    monkeypatch.setattr(population, "at_once", lambda *_: at_once)
    monkeypatch.setattr("workers.engine.program.at_once", lambda *_: at_once)
    planned = shard(NETWORKS[network], {"kind": "openai_es", "population": 32}, seeds=(0, 1), batch_size=9)
    made = program(planned)
    tried, losses = asked(made, 0)
    theta = made.theta.clone()
    running = [tensor.clone() for layer in made.remembering for tensor in layer.state.values()]
    x, y = made.batches.at(0)
    assert tried.shape[:2] == losses.shape == (2, 32)
    for place in range(32):
        made.theta.copy_(theta + tried[:, place])
        torch.testing.assert_close(losses[:, place], glance(made, x, y), rtol=1e-12, atol=1e-12)
    assert [tensor.shape for layer in made.remembering for tensor in layer.state.values()] == [t.shape for t in running]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_measured_changes_nothing(kind: str) -> None:
    """Backpropagation on every step, on some, or switched off: the same losses, bit for bit."""
    planned = shard(mlp("sigmoid", normalization="batch"), kind, seeds=(0, 1), steps=12)
    off = planned.model_copy(update={"backpropagation": False})
    some = planned.model_copy(update={"recorded": [0, 5, 12]})
    usual = {(row["trial"], row["step"]): row["train_loss"] for row in train(planned).curves.to_pylist()}
    for other in (off, some):
        for row in train(other).curves.to_pylist():
            assert row["train_loss"] == usual[row["trial"], row["step"]]


@pytest.mark.parametrize("kind", KINDS)
def test_switched_off_the_gradient_is_unknown(kind: str) -> None:
    """All that would need it is null, and the rest is as it is with it."""
    planned = shard(mlp("sigmoid"), kind, steps=3)
    with_it = rows(train(planned).statistics)
    without = rows(train(planned.model_copy(update={"backpropagation": False})).statistics)
    needing = {name for name, found in STATISTICS.items() if found.group == "backward"} | {
        "effective_lr",
        "estimate_cosine",
    }
    assert with_it.keys() == without.keys()
    for place, row in without.items():
        assert all(row[name] is None for name in needing)
        assert {name: row[name] for name in row if name not in needing} == {
            name: with_it[place][name] for name in row if name not in needing
        }


def test_the_cosine_is_that_of_the_estimate_with_the_gradient() -> None:
    """By layer: of MeZO's step the other way, which goes with its estimate, and null where the rule is given the gradient."""
    planned = shard(mlp(), "mezo", seeds=(0, 1), steps=3)
    made = program(planned)
    table = rows(train(planned).statistics)
    x, y = made.batches.at(0)
    with torch.no_grad():
        tried, losses = asked(made, 0)
        differentiate(made, x, y)
    estimate = (losses[:, 0] - losses[:, 1])[:, None] * tried[:, 0]
    for trial in (0, 1):
        for place, columns in zip(made.measured, made.columns, strict=True):
            expected = torch.nn.functional.cosine_similarity(
                estimate[trial, columns], made.gradient[trial, columns], dim=0
            )
            assert table[trial, 0, place.path]["estimate_cosine"] == pytest.approx(expected.item(), rel=1e-9)
    given: dict[Any, Row] = rows(train(shard(mlp(), "sgd", steps=2)).statistics)
    assert all(row["estimate_cosine"] is None for row in given.values())


@pytest.mark.parametrize("gradient_range", ["standard", "extended"])
def test_the_cosine_of_a_gradient_that_no_format_holds(gradient_range: Any) -> None:
    """Of a sigmoid network of 120 layers in float32 it is told down to the input where the range is extended."""
    planned = shard(
        mlp("sigmoid", depth=120, width=8), "openai_es", precision="float32", steps=1, gradient_range=gradient_range
    )
    first = rows(train(planned).statistics)[0, 0, "hidden.0.linear"]
    assert (first["estimate_cosine"] is not None) == (gradient_range == "extended")


def test_one_that_leaves_the_numbers_ends_alone() -> None:
    """A trial whose rule takes θ beyond the format is recorded as diverged; its mates do not notice."""
    wild: Optimizer = {"kind": "openai_es", "lr": 1e12, "ranked": False, "sigma": 1.0}
    together = train(shard(mlp("relu"), "openai_es", wild, problem=TEACHER, precision="float32", steps=40))
    alone = train(shard(mlp("relu"), "openai_es", problem=TEACHER, precision="float32", steps=40))
    sound, diverged = together.endings
    assert sound.divergence is None and diverged.divergence is not None
    assert_close(alone, together)


@pytest.mark.parametrize("kind", ["spsa", "mezo", "openai_es"])
def test_the_estimate_is_unbiased(kind: str) -> None:
    """On a quadratic, whose third derivatives are zero: the mean of 20,000 estimates is the gradient, within four standard errors."""
    count, parameters = 20_000, 6
    curvature = torch.logspace(-1, 1, parameters, dtype=torch.float64)
    theta = torch.linspace(-1, 2, parameters, dtype=torch.float64).expand(count, -1).clone()
    layout = Layout.of([((parameters,),)])
    more: dict[str, Any] = {"ranked": False, "population": 4} if kind == "openai_es" else {}
    numbers, flags = numbers_and_flags(SPECS[kind](**more))
    hyper = {name: torch.full((count, 1), value, dtype=torch.float64) for name, value in numbers.items()}
    rule = RULES[kind]
    assert rule.ask is not None and rule.estimate is not None
    state = rule.initial_state(theta, hyper, layout, **flags)
    draws = Draws(keys_of(list(range(count)), theta.device), torch.tensor(3))
    tried = rule.ask(theta, state, hyper, draws, **flags)
    losses = ((theta[:, None] + tried).square() * curvature / 2).sum(2)
    nothing = torch.zeros(count, 1, dtype=torch.float64)
    found = rule.estimate(
        Gradients(theta * torch.nan, 1, layout, nothing, tried=tried, losses=losses), state, hyper, **flags
    )
    error = found.std(0) / count**0.5
    assert ((found.mean(0) - (theta * curvature)[0]).abs() <= 4 * error).all()


def test_directions_are_standard_normal_and_the_seeds_own() -> None:
    """Mean, variance and kurtosis within five standard errors, no correlation between rows, steps or neighbours; a row's do not
    depend on how many are drawn or who else is there.
    """
    theta = torch.zeros(3, 50, dtype=torch.float64)
    keys = keys_of([SEED, SEED, 7], theta.device)
    drawn = [Draws(keys, torch.tensor(step)).normal(theta, 400) for step in range(5)]
    z = torch.stack([drawn[step][row].flatten() for step in range(5) for row in (0, 2)])
    count = z.numel()
    assert abs(z.mean().item()) < 5 / count**0.5
    assert abs(z.square().mean().item() - 1) < 5 * (2 / count) ** 0.5
    assert abs(z.pow(4).mean().item() - 3) < 5 * (96 / count) ** 0.5
    between = np.corrcoef(z.numpy()) - np.eye(len(z))
    assert np.abs(between).max() < 5 / z.shape[1] ** 0.5
    assert abs((z[:, 1:] * z[:, :-1]).mean().item()) < 5 / count**0.5
    assert torch.equal(drawn[0][0], drawn[0][1])
    fewer = Draws(keys[2:], torch.tensor(0)).normal(theta[2:], 7)
    assert torch.equal(fewer[0], drawn[0][2, :7])


def test_ranks_share_what_is_equal() -> None:
    """A flat loss prefers nobody; NaN and infinity are the worst."""
    nan, inf = float("nan"), float("inf")
    losses = torch.tensor([[3.0, 1.0, 2.0, 2.0], [5.0] * 4, [nan, 1.0, inf, 0.0], [-inf, 1.0, 2.0, 3.0]]).double()
    expected = [[0.5, -0.5, 0.0, 0.0], [0.0] * 4, [1 / 3, -1 / 6, 1 / 3, -0.5], [-0.5, -1 / 6, 1 / 6, 0.5]]
    torch.testing.assert_close(centred(losses), torch.tensor(expected, dtype=torch.float64))
    best = weights_by_rank(losses, torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(best.sum(1), torch.ones(4, dtype=torch.float64))
    assert best[0].tolist() == [0, 1, 0, 0]


def test_a_comparison_from_the_command_line_to_its_records(tmp_path: Path) -> None:
    """Asked for like any other optimizer; what it took is counted, what it estimated is told."""
    spec = {
        "problem": "wine",
        "network": {"kind": "mlp", "depth": 2, "width": 6, "activation": "tanh"},
        "optimizers": ["sgd", *KINDS],
        "tuning": None,
        "seeds": 2,
        "steps": 60,
        "batch_size": 32,
        "record": {"points": 4},
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    command = ["compare", str(tmp_path / "spec.json"), "--out", str(tmp_path / "out"), "--data", str(tmp_path / "data")]
    done = subprocess.run([sys.executable, "-m", "service", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    arms = {arm["optimizer"]: arm for arm in result["arms"]}
    assert arms["sgd"]["evaluations"] == {"functions": 0, "gradients": 60, "cost": 60.0}
    assert arms["spsa"]["evaluations"] == {"functions": 120, "gradients": 0, "cost": pytest.approx(40.0)}
    assert arms["openai_es"]["evaluations"]["functions"] == 32 * 60
    assert all(arm["trials"] == {"completed": 2, "diverged": 0} for arm in arms.values())
    told = pq.read_table(tmp_path / "out" / "statistics.parquet").to_pylist()
    for kind in KINDS:
        cosines = [row["estimate_cosine"] for row in told if row["optimizer"] == kind and row["step"] < 60]
        assert cosines and all(cosine is None or -1 <= cosine <= 1 for cosine in cosines)
