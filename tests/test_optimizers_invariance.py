"""How far steps are independent of the gradient's size: the contract's table, measured again, and what it says."""

import pytest
from analysis_samples import comparison, run
from optimizer_samples import SPECS

from benchmarks.invariance import measure, written
from service.catalogue import build
from workers.analysis.result import build_result
from workers.contract.invariance import MEASURED
from workers.contract.optimizers import BRIDGED, Adam

SIGNS = ("rprop", "rprop_minus", "rprop_plus", "irprop_plus", "signsgd", "signum", "lion", "tiger")


@pytest.mark.parametrize("kind", SPECS)
def test_the_table_is_what_is_measured(kind: str) -> None:
    """Renew it by `python -m benchmarks.invariance --write`."""
    assert kind in MEASURED, "never measured"
    assert written(MEASURED[kind]) == written(measure(SPECS[kind]))


def test_the_table_has_nothing_else() -> None:
    assert list(MEASURED) == list(SPECS)


def test_only_a_rule_without_eps_reaches_all_the_way() -> None:
    """What the table is for: rules of signs and of norms do not care, SGD does from the first decade, Adam ends where eps begins."""
    for kind in (*SIGNS, "normalized_gradient", "lars", "fromage"):
        assert MEASURED[kind].down_to == 1e-30
        assert MEASURED[kind].up_to == 1e10
    assert MEASURED["sgd"].down_to is None
    assert MEASURED["sgd"].up_to is None
    assert 1e-8 < (MEASURED["adam"].down_to or 1) < 1e-4


def test_a_small_eps_takes_adam_to_where_squares_underflow() -> None:
    """With eps = 1e-30 the steps are the same down to 1e-16 at least, and no further than float32's squares reach."""

    class Careful(Adam):
        """Adam with an eps that is hardly there."""

        eps: float = 1e-30

    found = measure(Careful)
    assert found.down_to is not None
    assert 1e-22 < found.down_to <= 1e-16


def test_the_catalogue_shows_it() -> None:
    """Every optimizer's entry has its range, what it keeps and how many gradients a step takes."""
    for entry in build().optimizers:
        found = MEASURED[entry.kind]
        assert (entry.invariant_down_to, entry.invariant_up_to) == (found.down_to, found.up_to)
        assert entry.remembered_per_parameter == found.remembered_per_parameter
        told = entry.functions_per_step, entry.gradients_per_step, entry.cost_per_step
        each = SPECS[entry.kind]().per_step()
        assert told == (*each, each.cost)


def test_every_result_carries_it() -> None:
    """Each arm has the range of its rule: of a rule of signs, of one that depends on the size at once, and of a bridged class."""
    spec = comparison("sgd", "signsgd", "adam", {"kind": "torch.optim/Adam"})
    found = build_result(spec, run(spec, lambda trial: 1.0), None, None)
    arms = {arm.optimizer: (arm.invariant_down_to, arm.invariant_up_to) for arm in found.arms}
    assert arms["sgd"] == (None, None)
    assert arms["signsgd"] == (1e-30, 1e10)
    assert arms["adam"] == MEASURED["adam"][:2]
    bridged = BRIDGED["torch.optim/Adam"]
    assert arms["torch.optim/Adam"] == (bridged.down_to, bridged.up_to)
