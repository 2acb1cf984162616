"""Curvature from labels that the network draws itself: against autograd, and Sophia, which uses it."""

from typing import Any

import pytest
import torch
from engine_samples import (
    DROPPING,
    TEACHER,
    assert_close,
    assert_same,
    layers,
    mlp,
    only,
    program,
    rows,
    shard,
    train,
    train_interrupted,
)
from pydantic import TypeAdapter
from reference.networks import flat, sequential
from torch import Tensor

from workers.contract.checks import Limits, check
from workers.contract.comparison import ComparisonSpec
from workers.contract.optimizers import Evaluations, Sophia
from workers.engine.bartlett import sampled_gradient, squared
from workers.engine.losses import LOSSES
from workers.engine.program import Program
from workers.engine.train import LOOKS, differentiate

DRAWS, BATCH = 1500, 6
NORMALISED = mlp(depth=2, width=4, normalization="layer")
NETWORKS: dict[str, tuple[dict[str, Any], Any]] = {
    "one layer, classes": (layers({"kind": "linear", "out_features": 3, "output": True}), "wine"),
    "one layer, targets": (layers({"kind": "linear", "out_features": 3, "output": True}), TEACHER),
    "normalised, classes": (NORMALISED, "wine"),
    "shortcuts, targets": (mlp(depth=2, width=4, shortcut="residual"), TEACHER),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_its_expectation_is_the_gauss_newton_diagonal(case: str) -> None:
    """The mean of many draws is B times the diagonal of JᵀHJ by autograd, through layers that bbprop does not pass, too."""
    network, problem = NETWORKS[case]
    made = program(shard(network, "sophia", problem=problem, seeds=(0,), batch_size=BATCH))
    x, _ = made.batches.at(0)
    total, squares = torch.zeros_like(made.gradient), torch.zeros_like(made.gradient)
    for draw in range(DRAWS):
        made.step.fill_(draw)
        found = squared(sampled_gradient(made, x), BATCH)
        total += found / DRAWS
        squares += found.square() / DRAWS
    expected = gauss_newton(made, x[0])
    error = ((squares - total.square()).clamp_min(0)[0] / DRAWS).sqrt()
    assert ((total[0] - expected).abs() <= 5 * error + 1e-12).all()
    assert abs(total.sum() / expected.sum() - 1) < 0.1


def gauss_newton(made: Any, x: Tensor) -> Tensor:
    """[P]: mean over samples of diag(JᵀHJ), H the second derivatives of a sample's loss by the outputs."""
    twin = sequential(made, 0)
    parameters = list(twin.parameters())
    expected = torch.zeros(made.gradient.shape[1], dtype=torch.float64)
    for b in range(BATCH):
        output = twin(x[b : b + 1])[0]
        if made.shard.problem.loss == "cross_entropy":
            p = output.detach().softmax(0)
            inner = p.diag() - p.outer(p)
        else:
            inner = torch.eye(len(output), dtype=torch.float64) * 2 / len(output)
        jacobian = torch.stack([flat(list(torch.autograd.grad(one, parameters, retain_graph=True))) for one in output])
        expected += torch.einsum("op,oq,qp->p", jacobian, inner, jacobian) / BATCH
    return expected


def test_classes_are_drawn_as_often_as_predicted() -> None:
    """By a uniform number for each sample; 0 and the largest below 1 name classes that have a probability."""
    output = torch.tensor([[-1e9, 0.0, 1.0, -1e9]]).expand(1, 10_000, 4)
    even = torch.arange(10_000).add(0.5).div(10_000).view(1, -1, 1).expand_as(output)
    drawn = LOSSES["cross_entropy"].draw(output, even)
    shares = torch.bincount(drawn.flatten(), minlength=4) / 10_000
    torch.testing.assert_close(shares, output[0, 0].softmax(0), rtol=0, atol=1e-4)
    for edge, expected in ((0.0, 1), (1 - 2.0**-24, 2)):
        assert LOSSES["cross_entropy"].draw(output, torch.full_like(output, edge)).unique().tolist() == [expected]


def test_it_is_looked_at_when_it_is_due_and_leaves_no_trace() -> None:
    """Every third step for one trial, every second for another; the gradient and running statistics stay as they were."""
    periods = [{"kind": "sophia", "update_period": period} for period in (3, 2)]
    made = program(shard(mlp(normalization="batch"), *periods))
    for step in range(7):
        made.step.fill_(step)
        x, y = made.batches.at(step)
        differentiate(made, x, y)
        before = [
            made.gradient.clone(),
            *(state.clone() for layer in made.remembering for state in layer.state.values()),
        ]
        found = LOOKS["own_labels"](made, x, y, step)
        after = [made.gradient, *(state for layer in made.remembering for state in layer.state.values())]
        assert (found.curvature is not None) == (step in (0, 2, 3, 4, 6))
        assert all(map(torch.equal, after, before))
        assert torch.equal(found.mean, before[0])


@pytest.mark.parametrize(("steps", "period", "looks"), [(7, 3, 3), (6, 3, 2), (1, 10, 1), (5, 1, 5)])
def test_its_looks_are_counted_exactly(steps: int, period: int, looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a training really takes is what is counted: a gradient a step, and one more in the first step of each period."""
    taken = []

    def watched(program: Program, x: Tensor) -> Tensor:
        taken.append(int(program.step))
        return sampled_gradient(program, x)

    monkeypatch.setattr("workers.engine.train.sampled_gradient", watched)
    train(shard(mlp(depth=1), {"kind": "sophia", "update_period": period}, steps=steps))
    assert len(taken) == looks
    asked = Sophia(update_period=[1000, period])
    for counted in (asked.spent(steps), asked.spent(steps, {"update_period": period})):
        assert counted == Evaluations(functions=0, gradients=steps + looks)
    assert asked.spent(steps, {"update_period": 1000}).gradients == steps + 1
    assert asked.per_step().gradients == 1 + 1 / period


def test_a_trial_does_not_notice_its_neighbours_periods() -> None:
    """Alone, or beside one that looks more often: the same way."""
    given = [{"kind": "sophia", "update_period": period} for period in (4, 1)]
    both = shard(mlp(), *given)
    assert_close(train(only(both, 0)), train(both))


def test_resumes_bit_for_bit(tmp_path: Any) -> None:
    """Draws go by the step's number: a training in three parts draws the same labels."""
    given = shard(layers(*DROPPING), {"kind": "sophia", "update_period": 2}, precision="float32", seeds=(0, 1))
    assert_same(train_interrupted(given, [3, 6], tmp_path), train(given))


def test_the_extended_range_changes_nothing_where_nothing_underflows() -> None:
    """Powers of two carried beside the error signal, in both passes."""
    plain, carried = (train(shard(mlp(depth=6), "sophia", gradient_range=asked)) for asked in ("standard", "extended"))
    assert_close(carried, plain)


@pytest.mark.parametrize("normalization", [None, "batch"])
def test_learns_digits_at_the_defaults(normalization: str | None) -> None:
    """In float32, from two seeds, in 300 steps."""
    network = mlp(depth=2, width=32) | ({"normalization": normalization} if normalization else {})
    given = shard(
        network,
        "sophia",
        problem="digits",
        precision="float32",
        steps=300,
        seeds=(0, 1),
        batch_size=64,
        recorded=[0, 300],
    )
    curves = rows(train(given).curves)
    for trial in (0, 1):
        assert curves[trial, 300]["validation_loss"] < 0.5 < 2 < curves[trial, 0]["validation_loss"]


def test_any_network_is_welcome_but_not_a_third_look() -> None:
    """Layers that vSGD cannot have may stand there; SAM round it is refused with the reason."""
    body = {"problem": "digits", "network": {"kind": "mlp", "depth": 2, "width": 8, "normalization": "batch"}}
    welcome = TypeAdapter(ComparisonSpec).validate_python(body | {"optimizers": ["sophia"]})
    assert check(welcome, Limits()) == []
    refused = TypeAdapter(ComparisonSpec).validate_python(body | {"optimizers": [{"kind": "sophia", "sam": "sam"}]})
    (found,) = check(refused, Limits())
    assert found.pointer == "/optimizers/0/sam"
    assert "more than once" in found.message
