"""What a deployment may set: every variable is explained and bounded, and both sides read the shared ones alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service import settings as service
from workers import settings as workers
from workers.store.settings import SettingsError, SharedSettings

SIDES: dict[str, tuple[type[SharedSettings], Callable[[], SharedSettings]]] = {
    "service": (service.Settings, service.read_settings),
    "workers": (workers.WorkerSettings, workers.read_settings),
}
FIELDS = [(side, name) for side, (settings, _) in SIDES.items() for name in settings.model_fields]

WRONG: dict[str, list[str]] = {
    "database_url": [],
    "broker_url": [],
    "artifacts": [],
    "host": [],
    "port": ["http", "-1", "65536", "", "80.5"],
    "max_trials": ["0", "many"],
    "max_steps": ["0", "1e"],
    "max_parameters": ["-5", "None"],
    "max_body_bytes": ["1", "1MB"],
    "lease_seconds": ["0", "3601", "soon", "nan", "inf"],
    "slice_seconds": ["0", "nan"],
    "stall_seconds": ["0.5", "-inf"],
    "heartbeat_seconds": ["0", "301"],
    "device": ["gpu", "CUDA:0", ""],
    "threads": ["-1", "2000", "two"],
}
"""Values that no deployment can mean; none where any text may be meant, which whoever uses it finds out."""


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have settings of their own."""
    for _, name in FIELDS:
        monkeypatch.delenv(f"PLUMBLINE_{name.upper()}", raising=False)


@pytest.mark.parametrize(("side", "name"), FIELDS)
def test_every_setting_is_explained_and_has_a_default(side: str, name: str) -> None:
    """So that a deployment states only what differs, and knows what it states."""
    field = SIDES[side][0].model_fields[name]
    assert field.description and field.description.endswith((".", "`."))
    assert not field.is_required()


@pytest.mark.parametrize("side", SIDES)
def test_defaults_hold(side: str) -> None:
    """They pass their own bounds, and nothing needs to be set."""
    settings, read = SIDES[side]
    assert settings.model_validate(read().model_dump()) == read()


@pytest.mark.parametrize(
    ("side", "name", "value"),
    [(side, name, value) for side, name in FIELDS for value in WRONG[name]],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    side: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the value, and what it should be."""
    monkeypatch.setenv(f"PLUMBLINE_{name.upper()}", value)
    with pytest.raises(SettingsError) as raised:
        SIDES[side][1]()
    assert str(raised.value).startswith(f"PLUMBLINE_{name.upper()} is {value!r}: input should be ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("side", SIDES)
def test_all_wrong_values_are_told_at_once(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same line; a line break in a value does not break it."""
    wrong = [name for name in SIDES[side][0].model_fields if WRONG[name]]
    for name in wrong:
        monkeypatch.setenv(f"PLUMBLINE_{name.upper()}", "a\nb")
    with pytest.raises(SettingsError) as raised:
        SIDES[side][1]()
    assert [part.split(" is ")[0] for part in str(raised.value).split("; ")] == [
        f"PLUMBLINE_{n.upper()}" for n in wrong
    ]
    assert "\n" not in str(raised.value)


def test_what_both_sides_read_is_the_same() -> None:
    """Name, type, bounds, default and words; and each side has settings of its own besides."""
    mine, theirs = (settings.model_fields for settings, _ in SIDES.values())
    shared = mine.keys() & theirs.keys()
    assert shared == SharedSettings.model_fields.keys() >= {"database_url", "broker_url", "artifacts"}
    assert all(repr(mine[name]) == repr(theirs[name]) for name in shared)
    assert mine.keys() - shared and theirs.keys() - shared


@pytest.mark.parametrize("side", SIDES)
def test_variables_are_read_whatever_else_is_set(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment wins over the default; the other side's variables, and unknown ones, do not matter."""
    values: dict[str, Any] = {"artifacts": Path("elsewhere"), "lease_seconds": 2.5, "threads": 3, "port": 1234}
    for name, value in values.items():
        monkeypatch.setenv(f"PLUMBLINE_{name.upper()}", str(value))
    monkeypatch.setenv("PLUMBLINE_COLOUR", "red")
    found = SIDES[side][1]().model_dump()
    own = values.keys() & found.keys()
    assert {name: found[name] for name in own} == {name: values[name] for name in own}
    assert len(own) == 3


def test_the_command_line_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said there is not read from the environment; what is wrong there is told just as well."""
    monkeypatch.setenv("PLUMBLINE_PORT", "1234")
    assert service.read_settings(port=4321).port == 4321
    with pytest.raises(SettingsError, match="PLUMBLINE_PORT is 70000"):
        service.read_settings(port=70000)


def test_limits_are_those_of_the_settings() -> None:
    """Named alike, each by its own."""
    limits = service.Settings(max_trials=1, max_steps=2, max_parameters=3).limits
    assert (limits.trials, limits.steps, limits.parameters) == (1, 2, 3)
