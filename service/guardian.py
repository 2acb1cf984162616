"""`python -m service.guardian [--remove FOLDER] COMMAND…` runs a command that must not outlive whoever holds our standard input.

At its end-of-file, which comes however the holder ends, SIGKILL included, the command is asked to stop, its whole process
group is killed if it does not, and FOLDER is removed. A guardian that is killed itself takes the command with it (Linux).
"""

import argparse
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

GRACE_SECONDS = 5.0
PR_SET_PDEATHSIG = 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="service.guardian")
    parser.add_argument("--remove", metavar="FOLDER")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # what ends us is end-of-file, so that nothing is left behind
    child = subprocess.Popen(  # noqa: S603 - the command is the launcher's
        arguments.command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=_die_with(os.getpid())
    )
    told = threading.Event()
    threading.Thread(target=_stop_at_end_of_file, args=(child, told), daemon=True).start()
    status = child.wait()
    _kill_group(child.pid)
    if told.is_set() and arguments.remove:
        shutil.rmtree(arguments.remove, ignore_errors=True)
    os._exit(status if status >= 0 else 128 - status)  # the other thread may still be reading


def _stop_at_end_of_file(child: "subprocess.Popen[bytes]", told: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    told.set()
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        _kill_group(child.pid)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # PermissionError: macOS says so of a group of zombies
        return


def _die_with(parent: int) -> Callable[[], None] | None:
    """To be run in the child before the command, while this process has one thread."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)

    def prepare() -> None:
        for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_DFL)
        library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


if __name__ == "__main__":
    main()
