"""A trainer that trains nothing: the same JSON lines as workers.trainer, 100 steps a second, and faults on purpose.

FAULT names what goes wrong once five steps are made; ONCE is a file whose existence says that it already did.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

FAULT = os.environ.get("FAULT", "")
ONCE = Path(os.environ.get("ONCE", "/nonexistent"))
STEP_SECONDS = 0.01


def tell(**event: Any) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main() -> None:
    commands: queue.Queue[dict[str, Any]] = queue.Queue()
    stop = threading.Event()
    threading.Thread(target=listen, args=(commands, stop), daemon=True).start()
    if FAULT == "never ready":
        time.sleep(600)
    tell(event="ready", pid=os.getpid(), device="cpu", cores=1, torch="none")
    while True:
        message = commands.get()
        if message["command"] == "slice":
            stop.clear()
            train(message, commands, stop)


def train(message: dict[str, Any], commands: "queue.Queue[dict[str, Any]]", stop: threading.Event) -> None:
    shard = message["shard"]
    if message["execution"] is None:
        tell(event="execution", execution={"device": "cpu", "threads": 1, "chunks": [len(shard["trials"])]})
        assert commands.get()["command"] == "go"
    began, step = time.monotonic(), message["steps_done"]
    tell(event="started")
    while step < shard["steps"] and time.monotonic() - began < message["seconds"]:
        if stop.is_set() and FAULT != "deaf":
            break
        time.sleep(STEP_SECONDS)
        step += 1
        tell(event="progress", step=step)
        if step == message["steps_done"] + 5 and FAULT and not ONCE.exists():
            ONCE.touch()
            if go_wrong():
                return
    finished = step == shard["steps"]
    checkpoint = None if finished else f"checkpoints/{message['job']}-{message['attempt']}-{step}.pt"
    if checkpoint:
        path = Path(message["root"], message["comparison"], checkpoint)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("weights")
    outcome = {"outcome": "completed", "divergence": None, "test_loss": 0.5, "test_accuracy": 0.75}
    tell(
        event="slice",
        steps_done=step,
        finished=finished,
        checkpoint=checkpoint,
        parts=[],
        trials=[{"trial": trial["trial"], **outcome} for trial in shard["trials"]] if finished else [],
    )


def go_wrong() -> bool:
    """Whether the slice is over by it."""
    if FAULT == "crash":
        os._exit(3)
    if FAULT == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if FAULT == "hang":
        time.sleep(600)
    if FAULT == "frozen":
        os.kill(os.getpid(), signal.SIGSTOP)
    if FAULT == "garbage":
        sys.stdout.write("Segmentation fault (not quite JSON)\n")
        sys.stdout.flush()
        time.sleep(600)
    if FAULT == "memory":
        tell(event="error", code="out_of_memory", message="not enough memory: 1 TiB asked for")
    return FAULT == "memory"


def listen(commands: "queue.Queue[dict[str, Any]]", stop: threading.Event) -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if message["command"] == "stop":
            stop.set()
        elif message["command"] == "quit":
            os._exit(0)
        else:
            commands.put(message)
    os._exit(0)


if __name__ == "__main__":
    main()
