"""The largest report that is promised, in a real browser: it draws everything, complains of nothing, asks the network for nothing."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from report_samples import ARMS, large_report

from service.report import document

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if BROWSER is None and os.environ.get("CI"):
    raise RuntimeError("continuous integration opens the report in chromium: .ci/run brings it")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH")

QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")

PRINTED = '<script>window.dispatchEvent(new Event("beforeprint"))</script>'
"""What a print would say to the page: draw all, not only what is in sight."""


class Opened(NamedTuple):
    document: str
    """What the page has become."""
    console: list[str]
    requests: list[str]
    """What the page asked the network for; the browser asks for things of its own."""


@pytest.fixture(scope="module")
def page() -> str:
    return document.as_html(large_report())


def opened(page: str, folder: Path) -> Opened:
    assert BROWSER is not None
    file, log = folder / "page.html", folder / "net.json"
    file.write_text(page, encoding="utf-8")
    where = (f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--enable-logging=stderr")
    command = [BROWSER, *QUIET, *where, "--virtual-time-budget=60000", "--window-size=1280,4000", "--dump-dom"]
    done = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(log.read_text())
    start = found["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    begun = [event["params"] for event in found["events"] if event["type"] == start and "params" in event]
    return Opened(
        done.stdout,
        re.findall(r"CONSOLE[^\]]*\] (.*)", done.stderr),
        [one["url"] for one in begun if one.get("initiator", "not an origin") != "not an origin"],
    )


def test_a_hundred_layers_twelve_arms_stay_below_four_megabytes(page: str) -> None:
    """With 64 recorded steps, all plots, every stage of every diagnosis and the drawing library."""
    assert len(page.encode()) < 4_000_000


@needs_browser
def test_everything_is_drawn_without_a_complaint_or_a_request(page: str, tmp_path: Path) -> None:
    """A heat-map for each arm in each of five charts; nothing on the console, nothing asked of the network."""
    found = opened(page.replace("</body>", f"{PRINTED}</body>"), tmp_path)
    assert (found.console, found.requests) == ([], [])
    places = found.document.count("data-chart=")
    assert found.document.count('data-drawn="yes"') == places > 5 * len(ARMS)
    assert len(re.findall(r'class="heatmaplayer mlayer"><g class="hm"', found.document)) == 5 * len(ARMS)


@needs_browser
def test_complaints_and_requests_would_be_seen(tmp_path: Path) -> None:
    """The check of the check: a page that does both is caught at both."""
    bad = '<!doctype html><img src="http://127.0.0.1:1/x.png"><script>throw new Error("broken")</script>'
    found = opened(bad, tmp_path)
    assert any("broken" in line for line in found.console)
    assert found.requests == ["http://127.0.0.1:1/x.png"]
