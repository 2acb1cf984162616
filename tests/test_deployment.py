"""The deployment without Docker: images made by hand from the Dockerfile's steps, processes started as the compose file says.

The service is installed with its own extra and nothing else, the worker with its own. They talk through a real Redis, started
with the compose file's command, a real PostgreSQL with its user and password, and a shared directory; all of their environment
is the compose file's. As root on Linux they see a file system that is read only, as in their containers.
"""

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import containers
import httpx
import pyarrow.parquet as pq
import pytest
from containers import ByHand

from service.client import Client

ROOT = containers.ROOT
README = (ROOT / "README.md").read_text()
ARTIFACTS = "/var/lib/plumbline/artifacts"
SETTINGS = {"POSTGRES_PASSWORD": "s3cret", "REDIS_PASSWORD": "h1dden", "PLUMBLINE_SLICE_SECONDS": "1"}
"""What .env says."""
SPEC: dict[str, Any] = {
    "problem": "wine",
    "network": {"kind": "mlp", "depth": 3, "width": 8, "activation": "sigmoid"},
    "optimizers": ["sgd", {"kind": "rmsprop", "lr": [0.001, 0.01]}],
    "tuning": None,
    "seeds": 2,
    "steps": 50,
    "batch_size": 32,
    "record": {"points": 5},
}
PATIENCE_SECONDS = 60.0


def program(name: str) -> str:
    """A server's program, Debian's PostgreSQL among them. Without it nothing here can be shown."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([*map(str, places), os.environ["PATH"]]))
    if found is None and not os.environ.get("CI"):
        pytest.skip(f"{name} is not installed")
    assert found is not None, f"{name} is not installed"
    return found


def eventually(holds: Callable[[], bool], what: str) -> None:
    patience = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < patience, what
        time.sleep(0.1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where all of it is: a place that PostgreSQL's own user can reach."""
    with tempfile.TemporaryDirectory(prefix="plumbline-", dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The services of the compose file."""
    services: dict[str, Any] = containers.compose(SETTINGS)["services"]
    return services


@pytest.fixture(scope="module")
def images(folder: Path) -> dict[str, ByHand]:
    """Every stage of the Dockerfile. torch alone is not installed anew: it is large, and lent by what runs these tests."""
    made = {name: ByHand(folder / name, {"TORCH_INDEX": ""}) for name in containers.stages() if name != "base"}

    def make(name: str) -> None:
        made[name].do(containers.steps("base"))
        if name == "worker":
            lend_torch(made[name].packages)
        made[name].do(containers.stages()[name].steps, made)

    with ThreadPoolExecutor(2) as both:
        for pair in (("service-wheel", "worker-wheel"), ("service", "worker")):
            list(both.map(make, pair))
    inside(made["worker"].python, MODULES, "workers")  # leaves the bytecode, as the service's own test does
    return made


def lend_torch(packages: Path) -> None:
    """Links to torch, and to the packages of its CUDA build, which no lock names because torch's own metadata pins them."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None and spec.origin is not None
    own = Path(spec.origin).parents[1]
    for distribution in importlib.metadata.distributions(path=[str(own)]):
        if canonical(distribution.name) in (locked().keys() | {"plumbline", "pip"}) - {"torch"}:
            continue
        for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(own / top)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, str]:
    lines = (line.split("==") for line in (ROOT / "requirements.lock").read_text().split())
    return {canonical(name): version for name, version in lines}


def inside(python: Path, code: str, *words: str) -> Any:
    """What a program prints as JSON, run by an image's Python and away from this checkout."""
    done = subprocess.run([python, "-I", "-c", code, *words], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


VERSIONS = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version.split('+')[0] for d in m.distributions()}))"
MODULES = """
import importlib, json, pkgutil, sys
packages = map(importlib.import_module, sys.argv[1:])
names = [m.name for p in packages for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
names = [name for name in names if not name.endswith("__main__") and ".migrations" not in name]
for name in names:
    importlib.import_module(name)
print(json.dumps([names, sorted({name.split(".")[0] for name in sys.modules})]))
"""


def test_the_service_holds_neither_torch_nor_the_engine(
    images: dict[str, ByHand], capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it can be imported, and there is no torch to import, nor anything that trains."""
    service = images["service"]
    names, loaded = inside(service.python, MODULES, "service", "workers")
    assert {"service.app", "service.cli", "workers.contract.network", "workers.store.jobs"} <= set(names)
    assert not [name for name in names if re.match(r"workers\.(engine|trainer|supervisor|tasks|app)\b", name)]
    assert not {"torch", "sklearn"} & set(loaded)
    assert not {"torch", "scikit-learn", "pytest", "pip"} & inside(service.python, VERSIONS).keys()
    assert not list(service.packages.glob("torch*")) + list(service.packages.glob("workers/engine*"))
    sizes = re.findall(r"^(\S+)\s+\S+/opt/plumbline$", service.said, re.MULTILINE)
    assert len(sizes) == 1
    with capsys.disabled():
        sys.stdout.write(f"\nthe service image holds {sizes[0]} beside its base, bytecode apart\n")


@pytest.mark.parametrize("name", ["service", "worker"])
def test_an_image_holds_what_the_lock_says(name: str, images: dict[str, ByHand]) -> None:
    """The versions that the tests run with, and no package beside them; torch's own excepted."""
    found = {canonical(package): version for package, version in inside(images[name].python, VERSIONS).items()}
    assert found.pop("plumbline")
    links = (path for path in images[name].packages.glob("*.dist-info") if path.is_symlink())
    lent = {canonical(path.name.split("-")[0]) for path in links} - {"torch"}
    assert {package: version for package, version in found.items() if package not in lent}.items() <= locked().items()


def test_the_wheel_installs_into_an_empty_environment_and_runs(images: dict[str, ByHand], folder: Path) -> None:
    """Client and command line with the base install; what starts something says which extra it lacks."""
    (wheel,) = (images["worker-wheel"].folder / "wheels").glob("plumbline-*.whl")
    place = folder / "empty"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin/python"), "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, "--constraint", str(ROOT / "requirements.lock"), str(wheel)], check=True)
    assert {"httpx", "numpy", "pydantic", "rich", "typer"} <= inside(place / "bin/python", VERSIONS).keys()
    assert not {"fastapi", "celery", "SQLAlchemy", "scipy", "torch"} & inside(place / "bin/python", VERSIONS).keys()
    inside(place / "bin/python", "import service.client, service.terminal; print(1)")
    for words, status, told in (
        (["--help"], 0, "catalogue"),
        (["catalogue"], 0, "rmsprop"),
        (["serve"], 1, "pip install 'plumbline[service,worker]'"),
        (["api"], 1, "pip install 'plumbline[service]'"),
        (["worker"], 1, "pip install 'plumbline[worker]'"),
    ):
        done = subprocess.run(
            [place / "bin/plumbline", *words], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
        assert told in done.stdout + done.stderr
        assert status == 0 or len(done.stderr.splitlines()) == 1


class Servers(NamedTuple):
    """The other people's containers, by hand."""

    postgres_port: int
    redis_port: int
    artifacts: Path

    def here(self, text: str) -> str:
        """An address as it is on this machine: what Docker's names and mounts do."""
        for there, port in (("@postgres:5432", self.postgres_port), ("@redis:6379", self.redis_port)):
            text = text.replace(there, f"@127.0.0.1:{port}")
        return text.replace(ARTIFACTS, str(self.artifacts))

    def postgres(self) -> dict[str, str]:
        """What PostgreSQL's programs read, so that they find it."""
        return {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(self.postgres_port), "PGPASSWORD": "s3cret"}


@pytest.fixture(scope="module")
def servers(folder: Path, compose: dict[str, Any]) -> Iterator[Servers]:
    """PostgreSQL and Redis, healthy by the compose file's own checks."""
    found = Servers(free_port(), free_port(), folder / "artifacts")
    found.artifacts.mkdir()
    with ExitStack() as stack:
        start_postgres(compose["postgres"], found, folder / "postgres", stack)
        start_redis(compose["redis"], found, folder / "redis", stack)
        yield found


def start_postgres(service: dict[str, Any], servers: Servers, data: Path, stack: ExitStack) -> None:
    """As the image does it: user, password and database from the environment, reached over TCP."""
    data.mkdir(mode=0o700)
    secret = data.with_suffix(".password")
    secret.write_text(service["environment"]["POSTGRES_PASSWORD"])
    name = service["environment"]["POSTGRES_USER"]
    other = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    if other:
        shutil.chown(data, other)
        shutil.chown(secret, other)
    init = [program("initdb"), "--pgdata", data, "--username", name, "--pwfile", secret, "--auth", "scram-sha-256"]
    subprocess.run([*init, "--no-sync"], check=True, capture_output=True, user=other, cwd="/")
    options = [f"--port={servers.postgres_port}", "--unix_socket_directories=", "--listen_addresses=127.0.0.1"]
    log = stack.enter_context(data.with_suffix(".log").open("wb"))
    running = subprocess.Popen([program("postgres"), "-D", data, *options], stdout=log, stderr=log, user=other, cwd="/")
    stack.callback(running.wait)
    stack.callback(running.terminate)
    stack.callback(running.send_signal, signal.SIGINT)  # at once, whoever is connected
    check = [program(service["healthcheck"]["test"][1]), *service["healthcheck"]["test"][2:]]
    environment = servers.postgres()
    eventually(
        lambda: subprocess.run(check, env=environment, capture_output=True, check=False).returncode == 0,
        f"PostgreSQL does not start: {data.with_suffix('.log').read_text()}",
    )
    database = service["environment"]["POSTGRES_DB"]
    subprocess.run([program("createdb"), "--username", name, database], env=environment, check=True)


def start_redis(service: dict[str, Any], servers: Servers, data: Path, stack: ExitStack) -> None:
    """Exactly the compose file's command, but for the port and the address."""
    data.mkdir()
    words = [program(service["command"][0]), *service["command"][1:]]
    log = stack.enter_context(data.with_suffix(".log").open("wb"))
    here = ["--port", str(servers.redis_port), "--bind", "127.0.0.1"]
    running = subprocess.Popen([*words, *here], stdout=log, stderr=log, cwd=data)
    stack.callback(running.wait)
    stack.callback(running.terminate)
    shell, check = service["healthcheck"]["test"]
    assert shell == "CMD-SHELL"
    check = check.replace("redis-cli", f"redis-cli -p {servers.redis_port}")
    environment = {**os.environ, **service["environment"]}
    eventually(
        lambda: subprocess.run(["sh", "-c", check], env=environment, capture_output=True, check=False).returncode == 0,
        f"Redis does not start: {data.with_suffix('.log').read_text()}",
    )
    stranger = subprocess.run(["sh", "-c", check], env={**os.environ, "REDISCLI_AUTH": "guess"}, check=False)
    assert stranger.returncode != 0


READ_ONLY = (
    'for place in "$1" "$2"; do mount --bind "$place" "$place"; done; mount -o remount,ro,bind /; shift 2; exec "$@"'
)


def read_only(words: list[str], *writable: Path) -> list[str]:
    """The same command under a file system that is read only but for two folders, where this user can have one."""
    wrapped = ["unshare", "--mount", "sh", "-ec", READ_ONLY, "sh", *map(str, writable)]
    if sys.platform != "linux" or subprocess.run([*wrapped, "true"], capture_output=True, check=False).returncode:
        return words
    return [*wrapped, *words]


class Container:
    """A process as it would run in a container: an image, the environment of the compose file, and no other."""

    def __init__(self, image: ByHand, stage: str, environment: dict[str, str], servers: Servers) -> None:
        self._image, self._stage, self._servers = image, stage, servers
        processor = {name: value for name, value in os.environ.items() if name.startswith("OPENBLAS_")}
        path = f"{image.folder}/opt/plumbline/bin:/usr/bin:/bin"
        said = {name: servers.here(value) for name, value in environment.items()}
        self._environment = {
            **processor,
            **image.environment,
            **said,
            "PATH": path,
            "TMPDIR": str(image.folder / "tmp"),
        }
        self._log = image.folder / "tmp" / "log"
        self._running: subprocess.Popen[bytes]

    def _words(self, words: list[str]) -> list[str]:
        program = self._image.folder / "opt/plumbline/bin" / words[0]
        return read_only([str(program), *words[1:]], self._servers.artifacts, self._image.folder / "tmp")

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._running = subprocess.Popen(
                self._words(containers.command(self._stage)),
                cwd=self._image.folder / "tmp",
                env=self._environment,
                stdout=log,
                stderr=log,
            )

    def healthy(self) -> bool:
        """What the image's health check says."""
        assert self._running.poll() is None, self._log.read_text()
        return self.check().returncode == 0

    def check(self) -> "subprocess.CompletedProcess[str]":
        words = self._words(containers.health_command(self._stage))
        place = self._image.folder / "tmp"
        return subprocess.run(words, cwd=place, env=self._environment, capture_output=True, text=True, check=False)

    def stop(self) -> int:
        """Asks it to end, as Docker does. Returns the exit status."""
        self._running.terminate()
        return self._running.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        self._running.kill()
        self._running.wait()

    def said(self) -> str:
        return self._log.read_text()


class Deployed(NamedTuple):
    url: str
    service: Container
    worker: Container


@contextmanager
def deployed(images: dict[str, ByHand], compose: dict[str, Any], servers: Servers) -> Iterator[Deployed]:
    """Service and worker, both healthy."""
    port = free_port()
    own = {"PLUMBLINE_HOST": "127.0.0.1", "PLUMBLINE_PORT": str(port)}  # what publishing a port does
    service, worker = (
        Container(images[name], name, {**compose[name]["environment"], **(own if name == "service" else {})}, servers)
        for name in ("service", "worker")
    )
    with ExitStack() as stack:
        for container in (service, worker):
            container.start()
            stack.callback(container.kill)
        for container in (service, worker):
            eventually(container.healthy, container.said())
        yield Deployed(f"http://127.0.0.1:{port}", service, worker)


def files(image: ByHand) -> set[Path]:
    return {path for path in image.folder.rglob("*") if image.folder / "tmp" not in path.parents}


def test_a_comparison_over_http_is_trained_by_the_worker(
    images: dict[str, ByHand], compose: dict[str, Any], servers: Servers, tmp_path: Path
) -> None:
    """It succeeds, its statistics are in the shared directory, and neither image was written to."""
    before = [files(images[name]) for name in ("service", "worker")]
    with deployed(images, compose, servers) as up, Client(up.url) as client:
        assert httpx.get(f"{up.url}/readyz").json() == {"status": "ready", "workers": 1}
        (worker,) = httpx.get(f"{up.url}/v1/workers").json()["items"]
        assert (worker["device"], worker["cores"]) == ("cpu", 2)
        ended = finished(client, client.submit(json.dumps(SPEC).encode())["id"])
        assert len(ended["result"]["arms"]) == 2
        client.download(f"/v1/comparisons/{ended['id']}/statistics", tmp_path / "found.parquet", format="parquet")
        assert (
            pq.read_metadata(tmp_path / "found.parquet").num_rows == len(client.trials(ended["id"])["trials"]) * 5 * 4
        )
        assert list(servers.artifacts.rglob("*.parquet"))
    assert [files(images[name]) for name in ("service", "worker")] == before


def finished(client: Client, comparison: str) -> dict[str, Any]:
    for _ in client.events(comparison):
        pass
    ended = client.comparison(comparison)
    assert ended["status"] == "succeeded", ended["error"]
    return ended


def test_both_end_when_they_are_told_and_the_next_start_goes_on(
    images: dict[str, ByHand], compose: dict[str, Any], servers: Servers
) -> None:
    """SIGTERM in mid-training and in mid-stream: exit status 0, unhealthy then; an upgrade is a stop and a start."""
    with deployed(images, compose, servers) as up, Client(up.url) as client:
        comparison = client.submit(json.dumps({**SPEC, "steps": 500_000}).encode())["id"]
        stream = client.events(comparison)
        next(event for event in stream if event.kind == "progress")
        assert up.worker.stop() == 0
        assert "answers through the broker" in up.worker.check().stderr
        assert up.service.stop() == 0
        assert up.service.check().returncode == 1
        assert "Traceback" not in up.service.said() + up.worker.said()
    with deployed(images, compose, servers) as up, Client(up.url) as client:
        done = client.comparison(comparison)["progress"]["steps_done"]
        assert done > 0
        events = client.events(comparison)
        assert any(event.kind == "progress" and event.data["steps_done"] > done for event in events)
        assert client.cancel(comparison)["status"] == "cancelled"


def test_a_backup_is_restored_as_the_readme_says(
    images: dict[str, ByHand], compose: dict[str, Any], servers: Servers, folder: Path
) -> None:
    """The README's commands, each inside its container: another PostgreSQL and another directory then have the comparison."""
    with deployed(images, compose, servers) as up, Client(up.url) as client:
        comparison = finished(client, client.submit(json.dumps(SPEC).encode())["id"])
    section = README.partition("### Back up, restore, upgrade")[2]
    command = r"^    docker compose (?:exec -T|run --rm -T --no-deps) (postgres|service) ([^<>\n]+) ([<>]) (\S+)$"
    found = re.findall(command, section, re.MULTILINE)
    assert [(words.split()[0], direction) for _, words, direction, _ in found] == [
        ("pg_dump", ">"),
        ("tar", ">"),
        ("pg_restore", "<"),
        ("tar", "<"),
    ]
    other = servers._replace(artifacts=folder / "restored" / "artifacts", postgres_port=free_port())
    other.artifacts.mkdir(parents=True)
    with ExitStack() as stack:
        start_postgres(compose["postgres"], other, folder / "restored" / "postgres", stack)
        for _, words, direction, name in found:
            place = servers if direction == ">" else other
            line = words.replace("/var/lib/plumbline", str(place.artifacts.parent))
            with (folder / name).open("wb" if direction == ">" else "rb") as file:
                run = [program(line.split()[0]), *line.split()[1:]]
                streams = {"stdout": file} if direction == ">" else {"stdin": file}
                subprocess.run(run, env=place.postgres(), check=True, **streams)
        with deployed(images, compose, other) as up, Client(up.url) as client:
            assert client.comparison(comparison["id"]) == comparison
            client.download(f"/v1/comparisons/{comparison['id']}/statistics", folder / "again.csv", format="csv")
            assert (folder / "again.csv").read_text().count("\n") > len(client.trials(comparison["id"])["trials"])
            finished(client, client.submit(json.dumps(SPEC).encode())["id"])


def test_a_server_that_is_not_there_is_said_in_one_line(
    images: dict[str, ByHand], compose: dict[str, Any], servers: Servers
) -> None:
    """The service ends, and Docker starts it again."""
    nowhere = servers._replace(postgres_port=free_port())
    service = Container(images["service"], "service", compose["service"]["environment"], nowhere)
    service.start()
    assert service._running.wait(PATIENCE_SECONDS) == 1
    (line,) = service.said().splitlines()
    assert "cannot open the database" in line
    assert "s3cret" not in line
