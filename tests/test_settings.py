"""What a deployment may set: every variable is explained, bounded and in the README, and a wrong one is told in one line."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workers.settings import SERVICE_ONLY, WORKER_ONLY, Settings, SettingsError, read_settings

README = (Path(__file__).parents[1] / "README.md").read_text()
FIELDS = list(Settings.model_fields)

WRONG: dict[str, list[str]] = {
    "database_url": [],
    "broker_url": [],
    "artifacts": [],
    "host": [],
    "port": ["http", "-1", "65536", "", "80.5"],
    "max_trials": ["0", "many"],
    "max_steps": ["0", "1e"],
    "max_parameters": ["-5", "None"],
    "max_memory_bytes": ["0", "8GiB"],
    "max_body_bytes": ["1", "1MB"],
    "max_dataset_bytes": ["1", "1MB"],
    "lease_seconds": ["0", "3601", "soon", "nan", "inf"],
    "slice_seconds": ["0", "nan"],
    "stall_seconds": ["0.5", "-inf"],
    "heartbeat_seconds": ["0", "301"],
    "device": ["gpu", "CUDA:0", ""],
    "locks": [],
    "threads": ["-1", "2000", "two"],
}
"""Values that no deployment can mean; none where any text may be meant, which whoever uses it finds out."""


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have settings of their own."""
    for name in FIELDS:
        monkeypatch.delenv(f"PLUMBLINE_{name.upper()}", raising=False)


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_explained_and_has_a_default(name: str) -> None:
    """So that a deployment states only what differs, and knows what it states."""
    field = Settings.model_fields[name]
    assert field.description and field.description.endswith((".", "`."))
    assert not field.is_required()


def test_the_table_in_the_readme_is_the_class() -> None:
    """All variables in their order, who reads them, their defaults and the same words."""
    section = re.split(r"^## ", README.partition("\n## Settings\n")[2], flags=re.MULTILINE)[0]
    told = re.findall(r"^\| `PLUMBLINE_([A-Z_]+)` \| (\w+) \| `(.*?)` \| (.*) \|$", section, re.MULTILINE)
    readers = dict.fromkeys(SERVICE_ONLY, "service") | dict.fromkeys(WORKER_ONLY, "worker")
    assert told == [
        (name.upper(), readers.get(name, "both"), str(field.default), field.description)
        for name, field in Settings.model_fields.items()
    ]
    assert section.count("\n| `") == len(FIELDS)


def test_each_setting_is_somebodys() -> None:
    """The service's, the workers' or both's; those that have to agree are both's."""
    assert not SERVICE_ONLY & WORKER_ONLY
    assert set(FIELDS) > SERVICE_ONLY | WORKER_ONLY
    assert set(FIELDS) - SERVICE_ONLY - WORKER_ONLY == {"database_url", "broker_url", "artifacts", "lease_seconds"}


def test_defaults_hold() -> None:
    """They pass their own bounds, and nothing needs to be set."""
    assert Settings.model_validate(read_settings().model_dump()) == read_settings()


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in FIELDS for value in WRONG[name]])
def test_a_wrong_value_is_one_line_that_names_the_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the value, and what it should be."""
    monkeypatch.setenv(f"PLUMBLINE_{name.upper()}", value)
    with pytest.raises(SettingsError) as raised:
        read_settings()
    assert str(raised.value).startswith(f"PLUMBLINE_{name.upper()} is {value!r}: input should be ")
    assert "\n" not in str(raised.value)


def test_all_wrong_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same line; a line break in a value does not break it."""
    wrong = [name for name in FIELDS if WRONG[name]]
    for name in wrong:
        monkeypatch.setenv(f"PLUMBLINE_{name.upper()}", "a\nb")
    with pytest.raises(SettingsError) as raised:
        read_settings()
    assert [part.split(" is ")[0] for part in str(raised.value).split("; ")] == [
        f"PLUMBLINE_{n.upper()}" for n in wrong
    ]
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("command", [("serve", "--port", "0", "--data", "{data}"), ("api", "--port", "0"), ("worker",)])
def test_no_process_starts_on_a_wrong_value(command: tuple[str, ...], tmp_path: Path) -> None:
    """Status 1 and one line, whichever side needs the variable: a wrong file is found out before anything runs."""
    words = [word.format(data=tmp_path / "data") for word in command]
    wrong = {"MAX_TRIALS": "0", "DEVICE": "gpu", "LEASE_SECONDS": "soon"}
    ended = subprocess.run(
        [sys.executable, "-m", "service", *words],
        env={
            **os.environ,
            **{f"PLUMBLINE_{name}": value for name, value in wrong.items()},
            "PLUMBLINE_DATABASE_URL": f"sqlite:///{tmp_path}/p.db",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    for name, value in wrong.items():
        assert f"PLUMBLINE_{name} is {value!r}: input should be" in ended.stderr


def test_variables_are_read_whatever_else_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment wins over the default, and unknown variables do not matter."""
    values: dict[str, Any] = {"artifacts": "s3://elsewhere/here", "lease_seconds": 2.5, "threads": 3, "port": 1234}
    for name, value in values.items():
        monkeypatch.setenv(f"PLUMBLINE_{name.upper()}", str(value))
    monkeypatch.setenv("PLUMBLINE_COLOUR", "red")
    found = read_settings().model_dump()
    assert {name: found[name] for name in values} == values


def test_the_command_line_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said there is not read from the environment; what is wrong there is told just as well."""
    monkeypatch.setenv("PLUMBLINE_PORT", "1234")
    assert read_settings(port=4321).port == 4321
    with pytest.raises(SettingsError, match="PLUMBLINE_PORT is 70000"):
        read_settings(port=70000)


def test_limits_are_those_of_the_settings() -> None:
    """Named alike, each by its own."""
    limits = Settings(max_trials=1, max_steps=2, max_parameters=3, max_memory_bytes=4).limits
    assert (limits.trials, limits.steps, limits.parameters, limits.memory_bytes) == (1, 2, 3, 4)
