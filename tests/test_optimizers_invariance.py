"""How far steps are independent of the gradient's size: the contract's table, measured again, and what it says."""

import pytest
from optimizer_samples import SPECS

from benchmarks.invariance import measure, written
from service.catalogue import build
from workers.contract.invariance import MEASURED
from workers.contract.optimizers import GRADIENTS, Adam

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
        assert entry.gradients_per_step == GRADIENTS[entry.pattern]
