"""The process that trains: one slice of a shard at a time, told what to do in JSON lines on its standard input.

    python -m workers.trainer

It answers in JSON lines on its standard output; whatever else writes there goes to standard error. Torch lives here and
nowhere else, so that whoever supervises it can kill and replace it at any moment: what counts is on disk only when the
supervisor commits it. It dies with its parent, by signal on Linux and by end-of-file everywhere.
"""

import ctypes
import gc
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from workers.contract.memory import BUFFER_BYTES
from workers.contract.plan import Execution, Shard
from workers.engine import machine
from workers.engine.execution import choose
from workers.engine.native import build
from workers.engine.shard import Ending, Training
from workers.engine.timing import step_seconds
from workers.store import artifacts, dataset_files
from workers.store.columns import KINDS

Tell = Callable[[dict[str, Any]], None]
Message = dict[str, Any]

BLOCK_SECONDS = 0.25
"""Between looks at the clock and at standard input; what a stop can take."""
PR_SET_PDEATHSIG = 1


def main() -> None:
    die_with_parent()
    tell = claim_stdout()
    torch.set_num_threads(1)  # parallelism is across chunks; one operation, one thread
    device = "cuda" if torch.cuda.is_available() else "cpu"
    commands: queue.Queue[Message] = queue.Queue()
    stop = threading.Event()
    threading.Thread(target=listen, args=(commands, stop), daemon=True).start()
    build.prepare()  # compiled now, if it has to be, and not when somebody waits
    gc.freeze()  # what is loaded stays: to search it for garbage takes longer than to build a deep network
    tell({"event": "ready", **describe(device)})
    threading.Thread(target=build.prepare, args=(torch.float64,), daemon=True).start()  # few ask for it
    while (message := commands.get())["command"] != "quit":
        try:
            if message["command"] != "slice":
                raise ValueError(f"expected slice, got {message['command']}")
            tell(train_slice(message, device, commands, stop, tell))
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            tell({"event": "error", "code": "out_of_memory", "message": str(error)})
        except MemoryError as error:
            tell({"event": "error", "code": "out_of_memory", "message": f"not enough memory: {error}"})
        except Exception as error:  # whatever it is, the supervisor must hear of it; the next slice may be another's
            traceback.print_exc()
            tell({"event": "error", "code": "trainer_failed", "message": f"{type(error).__name__}: {error}"})
    os._exit(0)  # at once: an orderly exit may abort over standard input, which the other thread is reading


def train_slice(
    message: Message, device: str, commands: "queue.Queue[Message]", stop: threading.Event, tell: Tell
) -> Message:
    """Trains until the shard is done, the time is over or a stop arrives; writes parts and a checkpoint."""
    started = time.monotonic()
    shard = Shard.model_validate(message["shard"])
    execution = agree(message, shard, device, commands, tell)
    training = Training(shard, execution, partial(dataset_files.reading, message["root"]))
    if message["checkpoint"]:
        with artifacts.folder(message["root"], message["comparison"]).reading(message["checkpoint"]) as path:
            training.resume(path)
    first, parts = training.step, list[Message]()
    block = 1
    while training.step < shard.steps and not training.all_diverged:
        before = time.monotonic()
        training.advance(min(shard.steps, training.step + block))
        if block == 1 and training.step == first + 1:
            tell({"event": "started"})
        tell({"event": "progress", "step": training.step})
        now = time.monotonic()
        block = max(1, min(2 * block, round(block * BLOCK_SECONDS / max(now - before, 1e-6))))
        if training.recorded_bytes > BUFFER_BYTES:
            parts += write_parts(training, message, len(parts))
        if stop.is_set() or now - started > message["seconds"]:
            break
    parts += write_parts(training, message, len(parts))
    finished = training.step == shard.steps or training.all_diverged
    return {
        "event": "slice",
        "steps_done": shard.steps if finished else training.step,
        "finished": finished,
        "checkpoint": None if finished else save(training, message),
        "parts": parts,
        "trials": [told(ending) for ending in training.endings()] if finished else [],
        "step_seconds": step_seconds(training, stop.is_set) if finished else {},
    }


def agree(message: Message, shard: Shard, device: str, commands: "queue.Queue[Message]", tell: Tell) -> Execution:
    """How to run: as recorded or, on a shard nobody has taken yet, as chosen here once the supervisor has recorded it."""
    if message["execution"]:
        return Execution.model_validate(message["execution"])
    wanted = device if shard.device == "auto" else shard.device
    execution = choose(shard, wanted, machine.cores())
    tell({"event": "execution", "execution": execution.model_dump(mode="json")})
    answer = commands.get()
    if answer["command"] != "go":
        raise ValueError(f"expected go, got {answer['command']}")
    return Execution.model_validate(answer["execution"]) if answer.get("execution") else execution


def write_parts(training: Training, message: Message, already: int) -> list[Message]:
    """Statistics and curves since the last call, each as a file of its own, named so that no other attempt writes it."""
    written: list[Message] = []
    for kind, table in zip(KINDS, training.tables(), strict=True):
        if table is not None and table.num_rows:
            name = f"{message['job']}-{message['attempt']}-{already + len(written):04d}"
            path = artifacts.write_part(message["root"], message["comparison"], kind, name, table)
            steps = table["step"].to_numpy()
            written.append(
                {
                    "kind": kind,
                    "path": str(path),
                    "first_step": int(steps.min()),
                    "last_step": int(steps.max()),
                    "rows": table.num_rows,
                }
            )
    return written


def save(training: Training, message: Message) -> str:
    """A checkpoint that is whole or absent. Returns its path, relative to the comparison's folder."""
    name = artifacts.checkpoint_name(message["job"], message["attempt"], training.step)
    with artifacts.folder(message["root"], message["comparison"]).writing(name) as path:
        training.save(path)
    return name


def told(ending: Ending) -> Message:
    """For JSON, which has no NaN."""
    accuracy = ending.test_accuracy
    return {
        "trial": ending.trial,
        "outcome": "diverged" if ending.divergence else "completed",
        "divergence": ending.divergence,
        "test_loss": ending.test_loss,
        "test_accuracy": None if accuracy is None or accuracy != accuracy else accuracy,
    }


def describe(device: str) -> Message:
    """What this trainer is, with the speed of a product: the first ones load libraries, not on a user's time."""
    return {
        "pid": os.getpid(),
        "device": device,
        "device_name": machine.device_name(device),
        "cores": machine.cores(),
        "memory_bytes": machine.memory_bytes(device),
        "torch": torch.__version__,
        "matmul_flops_per_second": machine.matmul_flops_per_second(device),
    }


def listen(commands: "queue.Queue[Message]", stop: threading.Event) -> None:
    """Reads commands; `stop` is heard at once and ends the latest slice, all others wait their turn. End-of-file: exit."""
    for line in sys.stdin.buffer:
        message = understood(line)
        if message["command"] == "stop":
            stop.set()
            continue
        if message["command"] == "slice":
            stop.clear()
        commands.put(message)
    os._exit(0)


def understood(line: bytes) -> Message:
    """The command in a line. Where there is none the line itself stands for it, and is refused as no command of ours."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if isinstance(message, dict) and isinstance(message.get("command"), str):
        return message
    return {"command": f"a line that is no command: {line[:80]!r}"}


def claim_stdout() -> Tell:
    """Keeps the real standard output for answers and sends everything else that is printed to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return lambda message: print(json.dumps(message, allow_nan=False), file=answers, flush=True)


def die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
