"""What a shard is said to take follows what the engine does: calls of torch are counted, not timed, so that no other process can tell."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from workers.analysis.protocol import first_round
from workers.contract import cost
from workers.contract.comparison import ComparisonSpec
from workers.contract.optimizers import Adam, Mezo, OptimizerSpec, Shampoo, Snes
from workers.contract.plan import Execution, Shard
from workers.contract.recording_cost import CALLS, recording
from workers.contract.rule_costs import TIME_OF_A_STEP
from workers.contract.shapes import walk
from workers.contract.statistics import GROUPS, OCCASIONAL, Occasional, recorded
from workers.engine import train
from workers.engine.execution import choose
from workers.engine.occasional import MEASURES, remember
from workers.engine.shard import Training

TRIALS, BATCH = 3, 64
VIEWS = {"view", "select", "slice", "transpose", "unsqueeze", "squeeze", "expand", "t", "split", "unbind", "alias"}
"""Calls that go over nothing."""
PRODUCTS = {"bmm", "baddbmm", "mm"}


class Counted(TorchDispatchMode):
    """Calls of torch within the block, and the numbers that those go over that are no products, of float64 twice."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types there
        self.calls: int = 0
        self.numbers: float = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = str(func).split(".")[1]
        self.calls += 1
        if name not in VIEWS | PRODUCTS:
            tensors = [each for each in tree_iter((args, kwargs, made)) if isinstance(each, torch.Tensor)]
            self.numbers += max((each.numel() * each.element_size() / 4 for each in tensors), default=0)
        return made


def planned(**changes: Any) -> Shard:
    asked = {
        "problem": "digits",
        "network": {"kind": "mlp", "depth": 6, "width": 64, "activation": "tanh"},
        "optimizers": ["sgd"],
        "tuning": None,
        "seeds": TRIALS,
        "steps": 100,
        "batch_size": BATCH,
        "record": {"points": 101, "statistics": "full"},
    }
    (found,) = first_round(ComparisonSpec.model_validate(asked | changes)).shards
    return found


@pytest.mark.parametrize("group", OCCASIONAL)
def test_a_group_of_statistics_makes_the_calls_that_are_counted(group: Occasional) -> None:
    """Within a factor of 1.5; so are the numbers that they go over, where products are not most of it."""
    shard = planned()
    training = Training(shard, Execution(device="cpu", threads=1, chunks=[TRIALS]))
    training.advance(2)
    (program,) = training.programs
    with torch.no_grad():
        loss = train.differentiate(program, *program.batches.at(2))
        remember(program, 2)
        MEASURES[group](program, 3, loss)
        with Counted() as counted:
            MEASURES[group](program, 3, loss)
    layers = [layer for layer in walk(shard.network) if layer.depth is not None]
    said = CALLS[group]
    calls = said.once + said.each * len(layers)
    assert counted.calls / 1.5 < calls < counted.calls * 1.5
    if group not in ("jacobian", "curvature"):
        outputs = BATCH * sum(layer.out_shape[0] for layer in layers)
        numbers = TRIALS * (said.parameters * program.theta.shape[1] + said.numbers * outputs)
        assert counted.numbers / 1.5 < numbers < counted.numbers * 1.5


def test_every_group_and_rule_is_counted() -> None:
    """A group in the contract has its calls; a rule of matrices is one that there is."""
    assert tuple(CALLS) == GROUPS
    assert cost.CUBES.keys() == cost.RULE_SECONDS.keys() <= TIME_OF_A_STEP.keys()


def beside(**changes: Any) -> cost.Work:
    shard = planned()
    known: dict[str, Any] = {
        "recorded": 33,
        "evaluated": 1000,
        "statistics": recorded("full"),
        "intervals": {},
        "compiled": True,
        "threads": 1,
    }
    return recording(shard.network, shard.batch_size, TRIALS, **(known | changes))


def test_statistics_cost_as_often_as_they_are_measured() -> None:
    """In compiled code the default set costs what the curves cost; other groups a step of torch each time; a group at every eighth
    recorded step less than at every fourth, and than in float64's Jacobians at every step.
    """
    curves = beside(statistics=recorded("default"))
    assert curves.seconds == 0
    jacobians = [beside(statistics=["jacobian_largest"], intervals={"jacobian": each}) for each in (1, 4, 8)]
    often, seldom, rarely = ((one.operations - curves.operations, one.seconds) for one in jacobians)
    assert [often[0] / seldom[0], seldom[0] / rarely[0]] == pytest.approx([33 / 9, 9 / 5])
    assert [often[1] / seldom[1], seldom[1] / rarely[1]] == pytest.approx([33 / 9, 9 / 5])
    assert beside().operations > beside(intervals={"curvature": 33}).operations > 2 * curves.operations


def test_jacobians_cost_nothing_where_they_are_null() -> None:
    """Below a normalisation."""
    normal = planned(network={"kind": "mlp", "depth": 2, "width": 8, "normalization": "layer"}).network
    arguments: dict[str, Any] = {"recorded": 2, "evaluated": 10, "intervals": {}, "compiled": False, "threads": 1}
    none = recording(normal, 8, 1, statistics=[], **arguments)
    assert recording(normal, 8, 1, statistics=["jacobian_largest", "curvature_trace"], **arguments) == none


def test_a_rule_grows_with_what_it_works_on() -> None:
    """Candidates with their number, roots of matrices with the cube of their sides, an update with the parameters."""
    small, large = (planned(network={"kind": "mlp", "depth": 9, "width": width}).network for width in (64, 128))

    def operations(optimizer: OptimizerSpec, network: Any = small) -> float:
        return cost.own_work(optimizer, network).operations

    assert operations(Snes(population=64)) > 1.9 * operations(Snes(population=32)) > 10 * operations(Mezo())
    assert 6 < operations(Shampoo(), large) / operations(Shampoo()) < 8
    assert 3 < operations(Adam(), large) / operations(Adam()) < 4


def test_what_torch_measures_is_in_programs_of_torchs_size() -> None:
    """In compiled code one trial is in the cache at a time, several chunks a thread; what torch measures is called for each chunk."""
    often, never = (choose(planned(record={"points": 3, "statistics": named}), "cpu", 1) for named in ("full", "core"))
    if often.path != "native":
        pytest.skip("no C++ compiler on this machine")
    assert often.chunks == [TRIALS]
    assert len(never.chunks) == TRIALS


def test_what_mostly_calls_torch_is_on_one_thread() -> None:
    """Threads share Python's lock: few small layers are one program, and a second thread would make each call of it longer."""
    small = planned(network={"kind": "mlp", "depth": 30, "width": 8, "normalization": "layer"})
    large = planned(network={"kind": "mlp", "depth": 3, "width": 512, "normalization": "layer"})
    assert choose(small, "cpu", 4).path == choose(large, "cpu", 4).path == "portable"
    assert (choose(small, "cpu", 4).threads, choose(small, "cpu", 4).chunks) == (1, [TRIALS])
    assert (choose(large, "cpu", 2).threads, choose(large, "cpu", 2).chunks) == (2, [2, 1])


def test_a_program_on_one_thread_takes_what_one_thread_takes() -> None:
    """Operations are at the speed of all threads; a program on one of four takes four times as long, one of a single trial as well."""
    small = planned(network={"kind": "mlp", "depth": 30, "width": 8, "normalization": "layer"})
    for trials in ([(Adam(), 12)], [(Adam(), 1)]):
        one, four = (cost.step(small.network, BATCH, trials, compiled=False, threads=threads) for threads in (1, 4))
        assert four.operations == 4 * one.operations
        assert four.seconds == one.seconds
    wide = planned(network={"kind": "mlp", "depth": 3, "width": 512, "normalization": "layer"})
    one, two = (cost.step(wide.network, BATCH, [(Adam(), 8)], compiled=False, threads=threads) for threads in (1, 2))
    assert two.operations == one.operations
    assert two.seconds > one.seconds
