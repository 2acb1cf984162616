"""The trainer as a process of its own, over JSON lines: slices, stops, broken requests and its end."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engine_samples import layers, mlp, only, rows, shard, sorted_, train, with_a_diverging

from workers.contract.plan import Execution, Shard
from workers.contract.statistics import recorded
from workers.trainer_process import COMMAND, Message, TrainerDied, TrainerProcess

PATIENCE = 60.0
THREADS = {"PLUMBLINE_THREADS": "2"}

SHORT = shard(
    mlp("sigmoid"), "sgd", "adam", seeds=(0, 1), precision="float32", steps=40, recorded=[0, 7, 30, 40]
).model_copy(update={"statistics": recorded("full")})
ENDLESS = SHORT.model_copy(update={"steps": 10_000_000, "recorded": [0, 10_000_000]})
EXECUTION: Message = {"device": "cpu", "threads": 2, "chunks": [1, 3], "path": "portable"}

STRAY = """
import os, threading, time
from workers import trainer
def chatter():
    while threading.active_count() < 3:  # until the trainer listens
        time.sleep(0.001)
    while True:
        os.write(1, b"a library says hello, without a line's end")
        print("and so does Python", flush=True)
        time.sleep(0.001)
threading.Thread(target=chatter, daemon=True).start()
trainer.main()
"""

FORGETFUL = "from workers import trainer; trainer.BUFFER_BYTES = 1; trainer.main()"


@pytest.fixture(scope="module")
def warm() -> Iterator[TrainerProcess]:
    """One trainer for all tests that leave it as they found it."""
    process = TrainerProcess(COMMAND, THREADS)
    yield process
    process.kill()


@pytest.fixture
def start() -> Iterator[Callable[..., TrainerProcess]]:
    """Starts trainers and sees to it that they end."""
    started: list[TrainerProcess] = []

    def trainer(command: tuple[str, ...] = COMMAND) -> TrainerProcess:
        started.append(TrainerProcess(command, THREADS))
        return started[-1]

    yield trainer
    for process in started:
        process.kill()


def ask(trainer: TrainerProcess, root: Path, planned: Shard = SHORT, **changes: Any) -> None:
    trainer.tell(
        "slice",
        **{
            "job": "j",
            "attempt": 1,
            "comparison": "c",
            "root": str(root),
            "shard": planned.model_dump(mode="json"),
            "execution": EXECUTION,
            "checkpoint": None,
            "steps_done": 0,
            "seconds": PATIENCE,
            **changes,
        },
    )


def expect(trainer: TrainerProcess, *wanted: str) -> Message:
    """The next event of one of these kinds; progress and the like in between are passed over, errors are not."""
    patience = time.monotonic() + PATIENCE
    while (left := patience - time.monotonic()) > 0:
        event = trainer.next_event(left)
        if event is None:
            break
        if event["event"] in wanted:
            return event
        assert event["event"] in {"ready", "execution", "started", "progress"}, event
    raise AssertionError(f"none of {wanted} within {PATIENCE:g} s")


def read(root: Path, *slices: Message) -> dict[str, pa.Table]:
    """The rows of all parts by kind."""
    parts = [part for event in slices for part in event["parts"]]
    for part in parts:
        table = pq.read_table(root / "c" / part["path"])
        steps = table.column("step").to_pylist()
        assert (part["rows"], part["first_step"], part["last_step"]) == (table.num_rows, min(steps), max(steps))
    return {
        kind: sorted_(pa.concat_tables([pq.read_table(root / "c" / p["path"]) for p in parts if p["kind"] == kind]))
        for kind in ("statistics", "curves")
    }


def test_says_who_it_is(warm: TrainerProcess) -> None:
    """The first event is `ready`, with its process, its device and the threads it was given."""
    ready = warm.ready or expect(warm, "ready")
    assert ready["pid"] == warm.pid
    assert ready["device"] in {"cpu", "cuda"}
    assert ready["cores"] == 2
    assert ready["torch"]
    assert warm.ready == ready


def test_a_slice_that_finishes(warm: TrainerProcess, tmp_path: Path) -> None:
    """Parts and endings are those of the engine called directly in the same chunks, and no checkpoint is left."""
    ask(warm, tmp_path)
    assert expect(warm, "started")
    done = expect(warm, "slice")
    assert done["finished"] and done["steps_done"] == SHORT.steps and done["checkpoint"] is None
    run, found = train(SHORT, EXECUTION["chunks"]), read(tmp_path, done)
    assert {name: rows(table) for name, table in found.items()} == {
        "statistics": rows(run.statistics),
        "curves": rows(run.curves),
    }
    assert [trial["trial"] for trial in done["trials"]] == [0, 1, 2, 3]
    for trial, ending in zip(done["trials"], run.endings, strict=True):
        assert trial["outcome"] == "completed" and trial["divergence"] is None
        assert (trial["test_loss"], trial["test_accuracy"]) == (ending.test_loss, ending.test_accuracy)
    assert not list((tmp_path / "c").glob("checkpoints/*"))


def test_chooses_how_to_run_and_waits_until_it_is_recorded(warm: TrainerProcess, tmp_path: Path) -> None:
    """A shard nobody has taken yet gets an execution; nothing runs before `go`, and what `go` says is what runs."""
    ask(warm, tmp_path, execution=None)
    chosen = Execution.model_validate(expect(warm, "execution")["execution"])
    assert sum(chosen.chunks) == len(SHORT.trials) and chosen.threads in {1, 2}
    assert warm.next_event(0.3) is None
    warm.tell("go", execution=EXECUTION)
    found = read(tmp_path, expect(warm, "slice"))
    assert rows(found["statistics"]) == rows(train(SHORT, EXECUTION["chunks"]).statistics)


def test_a_slice_cut_by_time_is_resumed_by_another_process(
    warm: TrainerProcess, start: Callable[..., TrainerProcess], tmp_path: Path
) -> None:
    """Slices of no time, in one process and the other by turns, give rows and endings of an undisturbed training, bit for bit."""
    wild = with_a_diverging(shard(layers({"kind": "linear", "out_features": 5}, "dropout"), "rmsprop", steps=9))
    wild = wild.model_copy(update={"statistics": recorded("full")})
    execution = {**EXECUTION, "chunks": [1, 1]}
    trainers = (warm, start())
    slices: list[Message] = [{"checkpoint": None, "steps_done": 0, "finished": False, "parts": []}]
    while not (last := slices[-1])["finished"]:
        state = {key: last[key] for key in ("checkpoint", "steps_done")}
        trainer = trainers[len(slices) % 2]
        ask(trainer, tmp_path, wild, execution=execution, attempt=len(slices), seconds=0.0, **state)
        slices.append(expect(trainer, "slice"))
        assert slices[-1]["steps_done"] > last["steps_done"]
    assert len(slices) > 4
    run, found = train(wild, [1, 1]), read(tmp_path, *slices)
    assert repr(rows(found["statistics"])) == repr(rows(sorted_(run.statistics)))
    assert repr(rows(found["curves"])) == repr(rows(sorted_(run.curves)))
    assert [trial["trial"] for trial in slices[-1]["trials"]] == [1000, 0]
    for trial, ending in zip(slices[-1]["trials"], run.endings, strict=True):
        assert trial["divergence"] == ending.divergence
        assert trial["test_loss"] == ending.test_loss
    assert [trial["outcome"] for trial in slices[-1]["trials"]] == ["diverged", "completed"]


def test_statistics_do_not_pile_up_in_memory(start: Callable[..., TrainerProcess], tmp_path: Path) -> None:
    """Beyond its buffer a slice writes parts on the way, under names of their own; together they are all rows."""
    trainer = start((sys.executable, "-c", FORGETFUL))
    ask(trainer, tmp_path)
    done = expect(trainer, "slice")
    paths = [part["path"] for part in done["parts"]]
    assert len(paths) > 2 and len(set(paths)) == len(paths)
    run, found = train(SHORT, EXECUTION["chunks"]), read(tmp_path, done)
    assert rows(found["statistics"]) == rows(run.statistics)
    assert rows(found["curves"]) == rows(run.curves)


def test_stop_ends_a_slice_at_a_checkpoint(warm: TrainerProcess, tmp_path: Path) -> None:
    """Told to stop, it answers with what it has; a later slice takes up from there and can be stopped as well."""
    checkpoint, steps = None, 0
    for attempt in (1, 2):
        ask(warm, tmp_path, ENDLESS, attempt=attempt, checkpoint=checkpoint, steps_done=steps)
        expect(warm, "started")
        warm.tell("stop")
        cut = expect(warm, "slice")
        assert not cut["finished"] and cut["trials"] == []
        assert steps < cut["steps_done"] < ENDLESS.steps
        checkpoint, steps = cut["checkpoint"], cut["steps_done"]
        assert (tmp_path / "c" / checkpoint).stat().st_size > 0
    assert not list((tmp_path / "c").rglob("*.tmp"))


def test_all_diverged_ends_early(warm: TrainerProcess, tmp_path: Path) -> None:
    """When no trial is left the slice is finished, and counts all steps as done."""
    lost = only(with_a_diverging(shard(mlp("identity"), steps=1_000_000, recorded=[0, 1_000_000])), 0)
    ask(warm, tmp_path, lost, execution={**EXECUTION, "chunks": [1]})
    done = expect(warm, "slice")
    assert done["finished"] and done["steps_done"] == lost.steps
    (trial,) = done["trials"]
    assert trial["outcome"] == "diverged" and trial["test_loss"] is None
    assert math.isfinite(trial["divergence"]["last_finite_loss"])


def refuse_to_go(trainer: TrainerProcess, root: Path) -> None:
    ask(trainer, root, execution=None)
    trainer.tell("dance")


BROKEN: dict[str, Callable[[TrainerProcess, Path], None]] = {
    "no shard": lambda trainer, root: trainer.tell("slice", job="j"),
    "half a shard": lambda trainer, root: trainer.tell("slice", shard={"steps": 3}),
    "no such checkpoint": lambda trainer, root: ask(trainer, root, checkpoint="checkpoints/j-1-5.pt"),
    "no chunk for some": lambda trainer, root: ask(trainer, root, execution={**EXECUTION, "chunks": [1, 1]}),
    "no such command": lambda trainer, root: trainer.tell("dance"),
    "no go": refuse_to_go,
}


def test_a_broken_request_is_answered_and_harms_nothing(warm: TrainerProcess, tmp_path: Path) -> None:
    """An error event says what is wrong, and the next slice is trained as ever by the same process."""
    for broken, send in BROKEN.items():
        send(warm, tmp_path)
        error = expect(warm, "error", "slice")
        assert error["event"] == "error" and error["code"] == "trainer_failed" and error["message"], broken
        ask(warm, tmp_path)
        assert expect(warm, "slice")["finished"]


def test_a_line_that_is_no_command_is_answered() -> None:
    """Whatever comes in a line, the trainer says that it is no command, hears the next one, and still ends with its input."""
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as trainer:
        assert trainer.stdin is not None and trainer.stdout is not None
        assert json.loads(trainer.stdout.readline())["event"] == "ready"
        for line in (b"half a li", b"[1, 2]", b"{}", b'"stop"', b"\xff", b"", b"[" * 100_000):
            trainer.stdin.write(line + b"\n")
            trainer.stdin.flush()
            event = json.loads(trainer.stdout.readline())
            assert event["event"] == "error" and "no command" in event["message"]
        trainer.stdin.close()
        assert trainer.wait(PATIENCE) == 0


def hear_out(trainer: TrainerProcess) -> None:
    while trainer.next_event(PATIENCE):
        pass


def test_ends_with_its_input(start: Callable[..., TrainerProcess], tmp_path: Path) -> None:
    """End-of-file ends it, even in the middle of a slice; so does `quit` between slices."""
    busy, idle = start(), start()
    ask(busy, tmp_path, ENDLESS)
    expect(busy, "started")
    busy.quit(PATIENCE)
    expect(idle, "ready")
    idle.tell("quit")
    for trainer in (busy, idle):
        with pytest.raises(TrainerDied, match="status 0"):
            hear_out(trainer)
        assert not trainer.alive()


def test_stray_output_does_not_reach_the_supervisor(start: Callable[..., TrainerProcess], tmp_path: Path) -> None:
    """Whatever libraries and Python print on standard output, before, between and within answers, every event is read."""
    trainer = start((sys.executable, "-c", STRAY))
    expect(trainer, "ready")
    for _ in range(2):
        ask(trainer, tmp_path)
        assert expect(trainer, "slice")["finished"]
    assert trainer.alive()


@pytest.mark.skipif(sys.platform != "linux", reason="by signal on Linux only")
def test_dies_with_its_parent() -> None:
    """A supervisor that is killed leaves no trainer behind, even one that holds its input open."""
    supervise = (
        "import subprocess, sys, time\n"
        "own = subprocess.Popen([sys.executable, '-m', 'workers.trainer'], stdin=0, stdout=subprocess.PIPE)\n"
        "own.stdout.readline(); print(own.pid, flush=True); time.sleep(600)"
    )
    read_end, write_end = os.pipe()
    parent = subprocess.Popen([sys.executable, "-c", supervise], stdin=read_end, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    patience = time.monotonic() + PATIENCE
    while is_running(pid):
        assert time.monotonic() < patience
        time.sleep(0.02)
    parent.stdout.close()
    os.close(read_end)
    os.close(write_end)


def is_running(pid: int) -> bool:
    """Neither gone nor a zombie that nobody has buried yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
