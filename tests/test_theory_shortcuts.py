"""The forecast of networks with normalisations and shortcuts against autograd: plain torch, nothing of the engine."""

from typing import Any

import numpy as np
import pytest

from benchmarks.theory import CASES, SEEDS, measure, predict, slope
from workers.analysis.predicted import predict as tell
from workers.contract.network import Mlp
from workers.contract.problems import Digits
from workers.contract.shapes import expand, rows

DRESSED = [name for name, case in CASES.items() if case[3]]


def network(name: str, **more: Any) -> Mlp:
    activation, _, init, dress = CASES[name]
    return Mlp.model_validate({"depth": 12, "width": 200, "activation": activation, "init": init, **dress, **more})


@pytest.mark.parametrize("name", DRESSED)
def test_the_forecast_is_what_autograd_finds(name: str) -> None:
    """Slopes of the error signal within .01 decades per layer; every layer's δ within .2 and gradient within .35 decades."""
    built = network(name)
    found = [
        np.mean(column, axis=0)
        for column in zip(*(measure(built, CASES[name][1], seed) for seed in range(SEEDS)), strict=True)
    ]
    said = predict(built)
    assert slope(said.log10_delta[:-1]) == pytest.approx(slope(found[0][:-1]), abs=0.01)
    assert np.abs(said.log10_delta - found[0]).max() < 0.2
    assert np.abs(said.log10_gradient - found[1]).max() < 0.35
    assert np.abs(np.log10(said.sample_std / found[2])).max() < 0.1


def test_rezero_starts_as_the_identity() -> None:
    """Nothing is lost on the stream, which begins behind the first layer; weights inside have no gradient, but the scale has."""
    built = network("tanh, residual", shortcut="rezero")
    said = predict(built)
    assert said.log10_delta[1:-1] == pytest.approx(np.full(11, said.log10_delta[-2]), abs=1e-9)
    assert np.isfinite(said.log10_gradient).all()


def test_fixup_starts_as_its_first_layer_at_any_depth() -> None:
    """Branches give nothing: δ keeps its size on the stream, and of a branch only the last layer has a gradient."""
    shortcut = {"kind": "fixup", "layers": 2}
    decades = []
    for depth in (9, 99):
        built = Mlp.model_validate({"depth": depth, "width": 64, "activation": "tanh", "shortcut": shortcut})
        said = tell(expand(built, (64,), (10,)), Digits(), 128, "float32")
        assert len({layer.error_signal_log10 for layer in said.layers if layer.layer.startswith("block")}) == 1
        decades.append(said.decades)
        gone = [layer.layer for layer in said.layers if layer.gradient_log10 is None]
        assert len(gone) == (depth - 1) // 2 and all(".layer.0." in name for name in gone)
    assert decades[0] == decades[1]


def test_a_network_with_shortcuts_has_a_row_for_each_of_the_engine_s() -> None:
    """Highway layers with layer norm: names and order are those of the statistics."""
    layers = expand(network("tanh, residual", shortcut="highway", normalization="layer"), (64,), (10,))
    told = tell(layers, Digits(), 128, "float32")
    assert [layer.layer for layer in told.layers] == [row.layer.path for row in rows(layers)]
    assert told.verdict != "unknown"


def test_batches_too_small_for_batch_norm_are_said_to_be() -> None:
    """With 3 samples the expectation is infinite: the reason stands in the prediction."""
    told = tell(expand(network("sigmoid, batch norm"), (64,), (10,)), Digits(), 3, "float32")
    assert told.verdict == "unknown" and told.reason is not None and "batches of 3" in told.reason
