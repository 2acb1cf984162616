"""The report over real HTTP: one page without network, the same in words and JSON, every plot in both formats, and its size."""

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from api_server import Service, finish, serving, submit
from report_samples import large_report

from service.report import interactive, paper
from service.report.charts import Map, Maps, Panels
from service.report.material import median
from workers.store import comparisons


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as found:
        yield found


STAGE: dict[str, Any] = {
    "step": 0,
    "verdict": "masked_vanishing",
    "decades_per_layer": -0.63,
    "decades": -3.2,
    "layers": [
        {
            "layer": "hidden.0.linear",
            "verdict": "masked_vanishing",
            "also": ["collapsed"],
            "gradient_norm": 1.0,
            "error_signal_norm": 1e-3,
            "chi": 0.056,
        }
    ],
}
DIAGNOSIS: dict[str, Any] = STAGE | {
    "step": 10,
    "verdict": "vanishing",
    "at_step_0": STAGE,
    "early": STAGE | {"step": 3},
    "magnitude_independent_optimizer": "helps",
    "evidence": ["At step 0 the error signal falls by 0.63 decades per layer."],
    "advice": [{"remedy": "centring", "because": "theory says so", "variant": {"activation": "centred_sigmoid"}}],
}
RESULT: dict[str, Any] = {
    "baseline": "sgd",
    "arms": [
        {
            "variant": "base",
            "optimizer": name,
            "rank": rank,
            "hyperparameters": {"lr": 0.01},
            "trials": {"completed": 2, "diverged": 0},
            "test_loss": {"iqm": 0.5, "low": 0.4, "high": 0.6},
            "diagnosis": DIAGNOSIS,
        }
        for rank, name in ((1, "<b>$x|</b>"), (2, "sgd"))
    ],
}


@pytest.fixture(scope="module")
def path(service: Service) -> str:
    optimizers = [{"kind": "sgd", "name": name, "lr": 0.01} for name in ("<b>$x|</b>", "sgd")]
    made = submit(service, name="</script><script>alert(1)", optimizers=optimizers)
    api_result = pytest.MonkeyPatch()
    api_result.setattr("api_server.RESULT", stored(service, made["id"]))
    finish(service, made["id"])
    api_result.undo()
    return f"/v1/comparisons/{made['id']}"


def stored(service: Service, comparison_id: str) -> dict[str, Any]:
    """The result, with the settings that the trials really have."""
    first = comparisons.trials(service.database, comparison_id)[0].hyperparameters
    arms: list[dict[str, Any]] = RESULT["arms"]
    return RESULT | {"arms": [arm | {"hyperparameters": first} for arm in arms]}


def test_the_page_loads_nothing_and_runs_no_names(service: Service, path: str) -> None:
    """No element names another address, a policy forbids it, and what users wrote is text."""
    page = service.client.get(f"{path}/report").text
    own = page[: page.index('<script type="application/json"')]
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=.http", page)
    assert "default-src 'none'" in own
    assert "<script>alert" not in page and "<b>$x" not in own and "&lt;b&gt;$x|&lt;/b&gt;" in own
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL).group(1))  # type: ignore[union-attr]
    assert {"ranking", "curves", "error-signal", "signal-by-depth", "decades", "saturation", "sign-flips"} <= set(
        figures
    )
    assert len(figures["error-signal"]) == 2


def test_the_diagnosis_is_told_with_its_evidence_and_a_remedy(service: Service, path: str) -> None:
    """In both texts: the course, the sentences, whether ignoring size can help, and the change as a request has it; layers on the page."""
    page = service.client.get(f"{path}/report").text
    text = service.client.get(f"{path}/report", params={"format": "md"}).text
    for told in (page, text):
        assert "masked vanishing → vanishing" in told and "falls by 0.63 decades per layer." in told
        assert "steps do not depend on the gradient" in told and "only size was lost." in told
    assert 'To try: centring ({"activation": "centred_sigmoid"}): theory says so.' in text
    assert "masked vanishing, collapsed</td>" in page and page.count("<caption>") == 2 * 3


def test_markdown_and_json_say_the_same(service: Service, path: str) -> None:
    """The same answer in both; what is needed to repeat it is in the JSON."""
    document = service.client.get(f"{path}/report", params={"format": "json"}).json()
    text = service.client.get(f"{path}/report", params={"format": "md"})
    assert text.headers["content-type"].startswith("text/markdown")
    assert document["answer"] in text.text
    assert (document["protocol"]["seeds"], document["protocol"]["spec"]["steps"]) == ([0, 1], 10)


def test_every_plot_comes_as_png_and_svg(service: Service, path: str) -> None:
    """All that the JSON report lists, also where a name holds a dollar; an unknown one is told what there is."""
    plots = service.client.get(f"{path}/report", params={"format": "json"}).json()["plots"]
    for name, formats in plots.items():
        if name in ("ranking", "error-signal"):
            assert service.client.get(formats["png"]).content.startswith(b"\x89PNG")
            assert b"<svg" in service.client.get(formats["svg"]).content
    of_one = service.client.get(f"{path}/report/plots/error-signal.svg", params={"optimizer": "sgd"}).text
    assert "sgd" in of_one and "$x" not in of_one
    unknown = service.client.get(f"{path}/report/plots/ranking.svg", params={"variant": "bse"})
    assert unknown.status_code == 422 and "base" in unknown.text
    wrong = service.client.get(f"{path}/report/plots/rankng.png")
    assert wrong.status_code == 422 and "ranking" in wrong.text


def test_no_report_without_a_result(service: Service) -> None:
    """409 while nothing has ended, 404 for what is not there."""
    made = submit(service)
    assert service.client.get(f"/v1/comparisons/{made['id']}/report").status_code == 409
    assert service.client.get("/v1/comparisons/nothing/report").status_code == 404
    service.client.post(f"/v1/comparisons/{made['id']}/cancel")


def test_maps_of_a_hundred_layers_stay_small() -> None:
    """Five maps of 100 layers, 64 points and 12 arms, with plotly, are below 4 MB."""
    generator = np.random.default_rng(0)
    layers = [f"hidden.{layer}.linear" for layer in range(100)]
    maps = [Map(f"arm {arm}", list(range(64)), layers, generator.normal(size=(100, 64))) for arm in range(12)]
    figures = interactive.figures(Maps("error-signal", "", "", "", -16.0, 0.0, maps))
    from service.report.document import _asset

    assert 5 * len(json.dumps(figures)) + len(_asset("plotly-cartesian.min.js")) < 3.5e6


def test_zeros_and_broken_numbers_keep_their_codes() -> None:
    """An exact zero, a number that is not finite and one that is missing are told apart, in both drawings."""
    values = np.array([[-3.14159, -np.inf], [np.inf, np.nan]])
    chart = Maps("m", "m", "", "", -4.0, 0.0, [Map("a", [0, 1], ["x", "y"], values)])
    packed = interactive.figures(chart)[0]["data"][0]["z"]
    import base64

    codes = np.frombuffer(base64.b64decode(packed["packed"]), "<i2").tolist()
    assert codes == [-314, interactive.ZERO, interactive.BROKEN, interactive.ABSENT]
    assert paper.draw(chart, "svg") == paper.draw(chart, "svg")


def test_decades_over_training_begin_and_end_as_the_diagnosis_has_them() -> None:
    """With one trial an arm there is no average between them."""
    report = large_report(depth=6, points=8, seeds=1)
    chart = report.charts["decades"]
    assert isinstance(chart, Panels)
    lines = {line.name: line.y for line in chart.panels[0].lines}
    compared = 0
    for arm in report.material.result.arms:
        stages = (arm.diagnosis.at_step_0, arm.diagnosis) if arm.diagnosis else ()
        for stage, place in zip(stages, (0, -1), strict=True):
            if stage is not None and stage.decades_per_layer is not None:
                assert lines[arm.optimizer][place] == pytest.approx(stage.decades_per_layer, abs=1e-6)
                compared += 1
    assert compared >= 12


def test_the_median_leaves_missing_trials_aside() -> None:
    """As numpy's nanmedian, where it is defined; zeros and infinities count."""
    cube = np.random.default_rng(0).normal(size=(5, 3, 4))
    cube[0, 0] = cube[1, 0, 0] = np.nan
    assert np.allclose(median(cube), np.nanmedian(cube, axis=0))
    assert median(np.array([[-np.inf], [-np.inf], [1.0]]))[0] == -np.inf
    assert np.isnan(median(np.array([[np.nan], [np.nan]]))[0])
