"""A CUDA card is one worker's alone: workers on one host, replicas in containers too, agree by locks on files they share.

The lock is the operating system's: it goes when the worker goes, however it ends.
"""

import fcntl
import os
import re
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import IO, Literal, NamedTuple

DRIVER = Path("/proc/driver/nvidia/gpus")


class NoCard(Exception):  # noqa: N818 - a fact of the machine
    """A card was insisted on and there is none, or none free."""


class Card(NamedTuple):
    name: str
    """As CUDA_VISIBLE_DEVICES takes it."""
    lock: IO[str]
    """Held while this is open."""


def take(device: Literal["auto", "cpu", "cuda"], folder: Path, *, driver: Path = DRIVER) -> Card | None:
    """A free card, locked by a file in `folder`, or None where training is to be on the CPU.

    Args:
        device: `cpu` takes none, `auto` one if there is a free one, `cuda` insists.
        folder: shared by all workers of the host.
        driver: where the driver lists its cards.

    Raises:
        NoCard: when `cuda` was asked for and there is no free card.
    """
    if device == "cpu":
        return None
    found = cards(driver)
    for name, locked_as in found.items():
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', locked_as)}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return Card(name, lock)
    if device == "cuda":
        why = f"all {len(found)} CUDA cards are other workers'" if found else "there is no CUDA card here"
        raise NoCard(f"{why}: start fewer workers, or set PLUMBLINE_DEVICE to auto or cpu")
    return None


def usable(card: Card) -> bool:
    """Whether torch can train on the card: asked in a process of its own, since this one must not load torch."""
    code = "import torch; raise SystemExit(not torch.cuda.is_available())"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": card.name}
    asked = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environment, check=False)  # noqa: S603 - ours
    return asked.returncode == 0


def cards(driver: Path = DRIVER) -> dict[str, str]:
    """The cards that this process may use, as CUDA_VISIBLE_DEVICES names them or else by UUID, each with its name for locking.

    That is its UUID if the driver lists it: two workers could know one card by its number, its UUID or the start of that.
    Until a card is first used the driver may list it as GPU-????????-????: its number stands for it then.
    As in CUDA, whatever is no card's name ends the variable's list: -1, nothing, or a scheduler's word for none.
    """
    told = (re.search(r"GPU UUID:\s*([\w-]+)\s", path.read_text()) for path in sorted(driver.glob("*/information")))
    listed = [match[1] if match else str(number) for number, match in enumerate(told)]
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said is None:
        return {uuid: uuid for uuid in listed}
    names = takewhile(re.compile(r"\d+|(GPU|MIG)-\S+").fullmatch, (name.strip() for name in said.split(",")))
    return {name: _uuid(name, listed) for name in names}


def _uuid(name: str, listed: list[str]) -> str:
    if name.isdecimal():
        return listed[int(name)] if int(name) < len(listed) else name
    return next((uuid for uuid in listed if uuid.startswith(name)), name)
