"""What is told before anything is trained: layers, size, estimate, and a forecast in the diagnosis' words."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from api_server import Service, appear, serving
from typer.testing import CliRunner

from service.cli import main

EXAMPLE = json.loads((Path(__file__).parents[1] / "examples" / "sigmoid-digits.json").read_text())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With no worker up."""
    with serving(tmp_path_factory.mktemp("service"), worker=False) as found:
        yield found


def asked(service: Service, **changes: Any) -> dict[str, Any]:
    answer = service.client.post("/v1/previews", json={**EXAMPLE, **changes})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def network(**changes: Any) -> dict[str, Any]:
    return {"kind": "mlp", "depth": 100, "width": 64, **changes}


def test_the_expanded_layers_with_shapes_and_parameters(service: Service) -> None:
    """The short form is expanded, the output layer added; the request comes back with its defaults."""
    found = asked(service, network=network(depth=2, activation="tanh", init="orthogonal"))
    assert [layer["layer"] for layer in found["layers"]] == [
        "hidden.0.linear", "hidden.0.activation", "hidden.1.linear", "hidden.1.activation", "output",
    ]  # fmt: skip
    assert (found["layers"][0]["in_shape"], found["layers"][0]["out_shape"]) == ([64], [64])
    assert [layer["parameters"] for layer in found["layers"]] == [4160, 0, 4160, 0, 650]
    assert found["parameters"] == 8970
    assert found["layers"][1]["activation"] == {"kind": "tanh"}
    assert found["layers"][2]["init"]["kind"] == "orthogonal"
    assert found["spec"]["batch_size"] == 128


def test_the_forecast_speaks_the_diagnosis_language(service: Service) -> None:
    """A deep sigmoid vanishes by .627 decades a layer and its inputs collapse; a critical one keeps its size; a hot one explodes."""
    deep = asked(service, network=network(depth=20, activation="sigmoid", init="lecun_normal"))["prediction"]
    assert (deep["verdict"], round(deep["decades_per_layer"], 2)) == ("vanishing", -0.63)
    assert deep["decades"] == pytest.approx(19 * deep["decades_per_layer"], rel=0.02)
    first, last = deep["layers"][0], deep["layers"][-2]
    assert (first["layer"], first["verdict"], last["verdict"]) == ("hidden.0.linear", "vanishing", "healthy")
    assert first["error_signal_log10"] < last["error_signal_log10"] - 11
    assert last["correlation_gap_log10"] < -16 and last["correlation"] == 1.0
    assert asked(service, network=network(depth=6, init="orthogonal"))["prediction"]["verdict"] == "healthy"
    hot = {"kind": "lecun_normal", "gain": 2.0}
    assert asked(service, network=network(init=hot, activation="tanh"))["prediction"]["verdict"] == "exploding"
    lost = asked(service, network=network(init="torch", activation="sigmoid"))["prediction"]
    assert lost["verdict"] == "underflowed"
    assert asked(service, network=network(init="torch", activation="sigmoid"), precision="float64")["prediction"][
        "verdict"
    ] == "vanishing"  # fmt: skip


def test_every_variant_has_a_forecast_of_its_own(service: Service) -> None:
    """By name, the network as given at the top."""
    found = asked(service, network=network(activation="sigmoid"), variants={"tanh": {"activation": "tanh"}})
    assert list(found["variants"]) == ["tanh"]
    assert found["variants"]["tanh"]["prediction"]["decades_per_layer"] > found["prediction"]["decades_per_layer"]
    assert found["variants"]["tanh"]["parameters"] == found["parameters"]


def test_a_non_linearity_that_jumps_has_no_forecast_but_a_reason(service: Service) -> None:
    """Everything else is told as ever."""
    jumps = {"kind": "expression", "formula": "z + sign(z)"}
    found = asked(service, network=network(depth=3, activation=jumps))
    assert found["prediction"]["verdict"] == "unknown"
    assert "jumps near z = " in found["prediction"]["reason"]


def test_estimate(service: Service) -> None:
    """As many trials as a comparison has; no time without a worker, less with faster ones, none on a card that there is not."""
    submitted = service.client.post("/v1/comparisons", json=EXAMPLE).json()
    estimate = asked(service)["estimate"]
    assert (estimate["trials"], estimate["steps"]) == tuple(
        submitted["progress"][name] for name in ("trials", "steps_total")
    )
    assert (estimate["seconds"], estimate["workers"]) == (None, 0)
    assert estimate["memory_bytes"] > 1e6
    appear(service, "slow", matmul_flops_per_second=2e10, seen_at=datetime.now(UTC))
    slow = asked(service)["estimate"]
    appear(service, "fast", matmul_flops_per_second=8e10, seen_at=datetime.now(UTC))
    assert slow["workers"] == 1
    assert 0 < asked(service)["estimate"]["seconds"] < slow["seconds"]
    assert asked(service, device="cuda")["estimate"]["seconds"] is None


def test_what_a_comparison_would_be_refused_for_is_refused(service: Service) -> None:
    """With the same problem documents; nothing is recorded, whatever is asked."""
    before = len(service.client.get("/v1/comparisons").json()["items"])
    for changes in (
        {"steps": -1},
        {"seeds": 1000, "tuning": {"points": 64, "seeds": 100}},
        {"network": {"kind": "none"}},
    ):
        told, refused = (
            service.client.post(path, json={**EXAMPLE, **changes}) for path in ("/v1/previews", "/v1/comparisons")
        )
        assert (told.status_code, told.json()["errors"]) == (refused.status_code, refused.json()["errors"])
    asked(service)
    assert len(service.client.get("/v1/comparisons").json()["items"]) == before


def drawn(service: Service, folder: Path, *options: str, **changes: Any) -> tuple[int, str]:
    """Exit status and output of `plumbline preview`."""
    spec = folder / "spec.json"
    spec.write_text(json.dumps({**EXAMPLE, **changes}))
    done = CliRunner().invoke(main, ["preview", str(spec), *options])
    return done.exit_code, done.output


def test_the_command_draws_it(service: Service, tmp_path: Path) -> None:
    """Verdict, every layer, and what it will cost; deep networks in at most thirty-odd rows, within the width."""
    status, told = drawn(service, tmp_path)
    assert status == 0
    assert "base: vanishing at step 0, the error signal falls by 0.63 decades per layer" in told
    assert "hidden.0.linear" in told and "trials, " in told
    status, told = drawn(service, tmp_path, network=network())
    assert status == 0 and len(told.splitlines()) < 45 and max(map(len, told.splitlines())) <= 100
    assert "every 4th between" in told


def test_the_command_asks_a_service(service: Service, tmp_path: Path) -> None:
    """With its address the estimate of time comes from its workers."""
    appear(service, "up", matmul_flops_per_second=5e10, seen_at=datetime.now(UTC))
    url = str(service.client.base_url)
    status, told = drawn(service, tmp_path, "--url", url)
    assert status == 0 and "about" in told.splitlines()[-1]
    assert drawn(service, tmp_path, "--url", "http://127.0.0.1:9")[0] == 1


def test_the_command_says_what_is_wrong(service: Service, tmp_path: Path) -> None:
    """A spec that is refused ends with status 1 and the place, asked of a service or not."""
    for options in ((), ("--url", str(service.client.base_url))):
        status, told = drawn(service, tmp_path, *options, steps=-1)
        assert status == 1 and "/steps: must be" in told
