"""One worker, one card: locks that hold between processes and go with them, whatever the cards are called."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pytest

from workers import devices
from workers.devices import Card, NoCard, cards

Device = Literal["auto", "cpu", "cuda"]
Take = Callable[[Device, Path], Card | None]

UUIDS = (
    "GPU-0a1b2c3d-0000-1111-2222-333344445555",
    "GPU-0a1b2c3d-9999-1111-2222-333344445555",
    "GPU-77777777-0000-1111",
)
HOLDER = """
import sys
from pathlib import Path
from workers.devices import take
card = take("auto", Path(sys.argv[1]), driver=Path(sys.argv[2]))
print(card.name if card else "none", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have been given cards of their own."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """What the driver says of three cards."""
    folder = tmp_path / "driver"
    for position, uuid in enumerate(UUIDS):
        card = folder / f"0000:{position:02x}:00.0"
        card.mkdir(parents=True)
        (card / "information").write_text(
            f"Model: \t\t A card\nIRQ:   \t\t 17\nGPU UUID: \t {uuid}\nDevice Minor: \t {position}\n"
        )
    return folder


@pytest.fixture
def holders() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes to be ended with the test."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        with process:
            process.kill()


def hold(locks: Path, driver: Path, **environment: str) -> subprocess.Popen[str]:
    """A process that takes a card and keeps it."""
    command = [sys.executable, "-c", HOLDER, str(locks), str(driver)]
    pipe, root = subprocess.PIPE, Path(__file__).parents[1]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=root, env=os.environ | environment)


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def take(tmp_path: Path) -> Iterator[Take]:
    """Takes cards for the length of a test, locked in tmp_path/locks."""
    with ExitStack() as held:

        def one(device: Device, driver: Path) -> Card | None:
            card = devices.take(device, tmp_path / "locks", driver=driver)
            if card:
                held.enter_context(card.lock)
            return card

        yield one


def test_cards_are_the_drivers(driver: Path, tmp_path: Path) -> None:
    """All that it lists, by UUID, in the order of their places, by number where it does not tell that; none without a driver."""
    assert list(cards(driver).items()) == [(uuid, uuid) for uuid in UUIDS]
    assert cards(tmp_path / "nothing") == {}
    for place, text in enumerate(("GPU UUID: \t GPU-????????-????-????-????-????????????\n", "Model: \t A card\n")):
        (driver / f"0000:0{place}:00.0" / "information").write_text(text)
    assert list(cards(driver)) == ["0", "1", UUIDS[2]]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", {}),
        ("-1", {}),
        ("NoDevFiles", {}),
        ("1", {"1": UUIDS[1]}),
        ("2,0", {"2": UUIDS[2], "0": UUIDS[0]}),
        (" 0 , 2 ", {"0": UUIDS[0], "2": UUIDS[2]}),
        ("0,-1,2", {"0": UUIDS[0]}),
        ("0,,2", {"0": UUIDS[0]}),
        ("7", {"7": "7"}),
        (UUIDS[2], {UUIDS[2]: UUIDS[2]}),
        ("GPU-7777", {"GPU-7777": UUIDS[2]}),
        ("GPU-elsewhere", {"GPU-elsewhere": "GPU-elsewhere"}),
        ("MIG-0123,1", {"MIG-0123": "MIG-0123", "1": UUIDS[1]}),
    ],
)
def test_the_environment_chooses(
    said: str, expected: dict[str, str], driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CUDA reads it; every card under the one name by which all workers lock it, if the driver knows that."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", said)
    assert list(cards(driver).items()) == list(expected.items())


def test_without_a_drivers_list_names_are_taken_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take: Take
) -> None:
    """Numbers, too: not every system tells its cards' UUIDs."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    first = take("cuda", tmp_path)
    second = take("cuda", tmp_path)
    assert first and second and (first.name, second.name) == ("1", "0")


def test_processes_never_share_a_card(driver: Path, tmp_path: Path, holders: list[subprocess.Popen[str]]) -> None:
    """Five start at once over three cards: three get one each, two train on the CPU."""
    holders += [hold(tmp_path / "locks", driver) for _ in range(5)]
    assert sorted(map(told, holders)) == sorted([*UUIDS, "none", "none"])


def test_a_card_has_one_lock_under_all_its_names(
    driver: Path, tmp_path: Path, holders: list[subprocess.Popen[str]]
) -> None:
    """A worker that was given card 0 and one that was given its UUID, whole or in part, do not share it."""
    for name in ("0", UUIDS[0], UUIDS[0][:20]):
        holders.append(hold(tmp_path / "locks", driver, CUDA_VISIBLE_DEVICES=name))
    assert sorted(map(told, holders))[1:] == ["none", "none"]


def test_a_killed_holders_card_is_free(
    driver: Path, tmp_path: Path, holders: list[subprocess.Popen[str]], take: Take
) -> None:
    """The system lets go of the lock, however the process ended; the others keep theirs."""
    for _ in UUIDS:
        holders.append(hold(tmp_path / "locks", driver))
        told(holders[-1])
    assert take("auto", driver) is None
    holders[1].kill()
    holders[1].wait()
    again = take("cuda", driver)
    assert again is not None and again.name == UUIDS[1]


def test_a_card_is_held_while_its_lock_is_open(driver: Path, take: Take) -> None:
    """Closed, it can be taken again."""
    first = take("cuda", driver)
    second = take("cuda", driver)
    assert first and second and (first.name, second.name) == UUIDS[:2]
    first.lock.close()
    again = take("cuda", driver)
    assert again and again.name == UUIDS[0]


def test_the_cpu_takes_no_card(driver: Path, tmp_path: Path, take: Take) -> None:
    """Nor does it leave a lock behind."""
    assert take("cpu", driver) is None
    assert not (tmp_path / "locks").exists()


def test_auto_takes_what_there_is(driver: Path, tmp_path: Path, take: Take) -> None:
    """A card while one is free, the CPU where there is none."""
    held = [take("auto", driver) for _ in range(4)]
    assert [card and card.name for card in held] == [*UUIDS, None]
    assert take("auto", tmp_path / "nothing") is None


def test_cuda_insists(driver: Path, tmp_path: Path, take: Take) -> None:
    """None there, or none free: one line that says which, and what to change."""
    with pytest.raises(NoCard, match=r"there is no CUDA card here: .*PLUMBLINE_DEVICE"):
        take("cuda", tmp_path / "nothing")
    held = [take("cuda", driver) for _ in UUIDS]
    with pytest.raises(NoCard, match="all 3 CUDA cards are other workers'"):
        take("cuda", driver)
    assert all(held)


def test_names_make_no_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take: Take) -> None:
    """A name with slashes, as older MIG devices have, is one file in the folder of locks."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-0a1b/../../1/0")
    card = take("cuda", tmp_path)
    assert card and card.name == "MIG-GPU-0a1b/../../1/0"
    assert [path.parent for path in tmp_path.rglob("*.lock")] == [tmp_path / "locks"]
