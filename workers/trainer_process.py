"""A trainer as its supervisor sees it: a process that reads commands and answers with events, in JSON lines.

Reading and writing have a thread each, so that a trainer that hangs, stopped reading or died never blocks who supervises it.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

Message = dict[str, Any]

COMMAND = (sys.executable, "-m", "workers.trainer")

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
    "MALLOC_ARENA_MAX": str(os.cpu_count() or 1),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""Parallelism is across chunks of trials, one thread each, with a heap of its own so that none waits for another's; memory that was freed
stays with the process for the next step, in large pages where Linux has them (networks 128 and more wide and convolutions train 1.04 to
1.07 times as fast)."""


class TrainerDied(Exception):  # noqa: N818 - said of the trainer, not of this program
    """The trainer ended by itself or was killed by someone else. The message says how."""


class TrainerProcess:
    """One trainer. It dies with the thread that creates it, by PR_SET_PDEATHSIG: create it where the supervisor lives."""

    def __init__(self, command: Sequence[str] = COMMAND, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the command is ours
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **ENVIRONMENT, **(environment or {})},
        )
        self.ready: Message | None = None
        """What the trainer said of itself, once that event has been taken."""
        self.about: Message | None = None
        """The same as soon as it has been said, for those who take no events."""
        self._loaded = threading.Event()
        self._events: queue.Queue[Message | None] = queue.Queue()
        self._commands: queue.Queue[Message | None] = queue.Queue()
        for loop in (self._read, self._write):
            threading.Thread(target=loop, name=f"trainer-{self.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, command: str, **fields: object) -> None:
        """Sends a command, without waiting for it to be read."""
        self._commands.put({"command": command, **fields})

    def next_event(self, timeout: float) -> Message | None:
        """The next event, or None if there is none within `timeout` seconds.

        Raises:
            TrainerDied: when there will be no more.
        """
        try:
            event = self._events.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None
        if event is None:
            self._events.put(None)
            raise TrainerDied(_how(self._process.wait()))
        if event["event"] == "ready":
            self.ready = event
        return event

    def await_ready(self, timeout: float) -> bool:
        """Waits until it has said that it is, or has ended: False if that takes longer than `timeout` seconds. Takes no event."""
        return self._loaded.wait(timeout)

    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """Ends it at once and waits until it is gone."""
        self._process.kill()
        self._process.wait()
        self._commands.put(None)

    def quit(self, grace: float = 2.0) -> None:
        """Asks it to end, and ends it when it does not within `grace` seconds."""
        self._commands.put(None)
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            with self._process.stdout as lines:
                for line in lines:
                    event = json.loads(line)
                    if event["event"] == "ready":
                        self.about = event
                    self._events.put(event)
                    if self.about:
                        self._loaded.set()
        except (ValueError, TypeError, KeyError):
            self._process.kill()  # half a line, from a dying trainer, or not our protocol: either way its end
        finally:
            self._loaded.set()
            self._events.put(None)

    def _write(self) -> None:
        assert self._process.stdin is not None
        try:
            with self._process.stdin as pipe:
                while (message := self._commands.get()) is not None:
                    pipe.write(json.dumps(message, allow_nan=False).encode() + b"\n")
                    pipe.flush()
        except BrokenPipeError:
            return  # the reader finds out, and tells


def _how(status: int) -> str:
    if status >= 0:
        return f"the trainer exited with status {status}"
    reason = " (by the kernel, if memory ran out)" if status == -9 else ""
    return f"the trainer was killed by signal {-status}{reason}"
