"""The launcher's end of a guardian: a command that is started again when it ends by itself and stops when it is told to."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from service.guardian import GRACE_SECONDS

RESTART_SECONDS = 1.0
"""Between starts of a command that keeps ending."""


class Guarded:
    """One command under a guardian. Nothing of it survives this process."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        remove: Path | None = None,
        keep_open: Sequence[int] = (),
    ) -> None:
        """Output goes to `log`; `remove` is a folder to remove at the end, `keep_open` file descriptors that hold locks."""
        own = ["--remove", str(remove)] if remove else []
        self._command = [sys.executable, "-m", "service.guardian", *own, *command]
        self._log = log
        self._environment = {**os.environ, **(environment or {})}
        self._remove = remove
        self._keep_open = tuple(keep_open)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self.wanted = False
        """True between start and stop."""

    @property
    def guardian_pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        self._release()
        self.wanted = True
        self._started = time.monotonic()
        if self._remove:
            self._remove.mkdir(mode=0o700, exist_ok=True)
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                self._command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=self._environment,
                pass_fds=self._keep_open,
            )

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def revive(self) -> bool:
        """Starts it again if it is wanted and ended. Returns whether it did."""
        if not self.wanted or self.alive() or time.monotonic() - self._started < RESTART_SECONDS:
            return False
        self.start()
        return True

    def stop(self) -> None:
        """Asks it to end, sees to it that it does, and returns when it is gone."""
        self.wanted = False
        self._release()

    def _release(self) -> None:
        """Lets go of the guardian, which is what ends it, and waits until it is gone."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(2 * GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def last_words(self) -> str:
        """The last line it wrote, for an error message."""
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        return lines[-1].strip() if lines else "it wrote nothing"
