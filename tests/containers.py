"""Reads docker-compose.yml and the Dockerfile as Docker would, as far as these two go, and does an image's steps by hand."""

import json
import os
import re
import shlex
import shutil
import string
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"


def compose(environment: Mapping[str, str]) -> dict[str, Any]:
    """The compose file with its variables filled in from what .env says.

    Raises:
        KeyError: with the compose file's own words, when a variable that must be set is not.
    """
    found: dict[str, Any] = _filled(yaml.safe_load(COMPOSE.read_text()), environment)
    for service in found["services"].values():
        variables = service.get("environment", {})
        passed = {name: environment.get(name) if value is None else value for name, value in variables.items()}
        service["environment"] = {name: str(value) for name, value in passed.items() if value is not None}
    return found


def compose_variables() -> set[str]:
    """Every variable that the compose file reads, by ${NAME} or by passing it on."""
    services = yaml.safe_load(COMPOSE.read_text())["services"].values()
    passed = {name for service in services for name, value in service.get("environment", {}).items() if value is None}
    return passed | set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))


def _filled(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(item, environment) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, environment) for item in value]
    return interpolated(value, environment) if isinstance(value, str) else value


def interpolated(text: str, environment: Mapping[str, str]) -> str:
    """${NAME}, ${NAME:-default} and ${NAME:?what to do}, one within another's default."""
    start = text.find("${")
    if start < 0:
        return text
    depth, end = 1, start + 2
    while depth:
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    name, operator, rest = re.fullmatch(r"(\w+)(:[-?])?(.*)", text[start + 2 : end - 1], re.DOTALL).groups()  # type: ignore[union-attr]
    value = environment.get(name, "")
    if not value and operator == ":?":
        raise KeyError(f"{name}: {rest}")
    if not value:
        value = interpolated(rest, environment)
    return text[:start] + value + interpolated(text[end:], environment)


class Step(NamedTuple):
    """One instruction of the Dockerfile, its lines joined."""

    name: str
    text: str


class Stage(NamedTuple):
    parent: str
    """The stage it is built from; one that is none is an image of someone else's."""
    steps: list[Step]


def stages() -> dict[str, Stage]:
    """The Dockerfile, stage by stage."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    found: dict[str, Stage] = {}
    for line in "\n".join(lines).replace("\\\n", "").splitlines():
        name, _, text = line.strip().partition(" ")
        if name == "FROM":
            parent, stage = text.split(" AS ")
            found[stage] = Stage(parent, [])
        elif name and found:
            list(found.values())[-1].steps.append(Step(name, text.strip()))
    return found


def steps(stage: str) -> list[Step]:
    """All steps that make a stage, its parents' first."""
    known = stages()
    return steps(known[stage].parent) + known[stage].steps if stage in known else []


def only(stage: str, name: str) -> str:
    """What the last instruction of this name says, which is the one that counts."""
    return next(step.text for step in reversed(steps(stage)) if step.name == name)


def command(stage: str) -> list[str]:
    """What a container of this stage runs."""
    words: list[str] = json.loads(only(stage, "CMD"))
    return words


def health_command(stage: str) -> list[str]:
    words: list[str] = json.loads(only(stage, "HEALTHCHECK").partition(" CMD ")[2])
    return words


OWN_PATHS = re.compile(r"(?<![\w./-])/(opt/plumbline|var/lib/plumbline|wheels|build|tmp)\b")
"""What the Dockerfile writes to, from the root of the image."""


class ByHand:
    """An image whose root is a folder. What Docker alone can do is left out: the base image, its
    packages, its users, its isolation.
    """

    def __init__(self, folder: Path, arguments: Mapping[str, str] | None = None) -> None:
        """`arguments` are the build arguments."""
        self.folder = folder
        self.environment: dict[str, str] = {}
        self.said = ""
        """What the steps printed."""
        self._arguments = dict(arguments or {})
        self._at = folder
        (folder / "tmp").mkdir(parents=True)

    @property
    def python(self) -> Path:
        return self.folder / "opt/plumbline/bin/python"

    @property
    def packages(self) -> Path:
        (found,) = (self.folder / "opt/plumbline/lib").glob("python*/site-packages")
        return found

    def inside(self, text: str) -> str:
        """The same with the image's paths as they are here."""
        return OWN_PATHS.sub(lambda found: f"{self.folder}{found[0]}", text)

    def do(self, made_of: list[Step], others: Mapping[str, "ByHand"] | None = None) -> None:
        """The steps, in their order. `others` are the stages that they take from."""
        for step in made_of:
            if step.name == "ENV":
                self._set(step.text)
            elif step.name == "ARG":
                name, _, default = step.text.partition("=")
                self._arguments.setdefault(name, default)
            elif step.name == "WORKDIR":
                self._at = Path(self.inside(step.text))
                self._at.mkdir(parents=True, exist_ok=True)
            elif step.name == "COPY":
                self._copy(step.text)
            elif step.name == "RUN" and "groupadd" in step.text:
                (self.folder / "var/lib/plumbline/artifacts").mkdir(parents=True)
            elif step.name == "RUN" and "apt-get" in step.text:
                continue
            elif step.name == "RUN":
                self._run(step.text, others or {})
            else:
                assert step.name in ("USER", "EXPOSE", "HEALTHCHECK", "CMD"), step

    def _set(self, text: str) -> None:
        for pair in shlex.split(text):
            name, _, value = pair.partition("=")
            path = {"PATH": self.environment.get("PATH", "/usr/local/bin:/usr/bin:/bin")}
            self.environment[name] = self.inside(string.Template(value).substitute(path))

    def _copy(self, text: str) -> None:
        *sources, target = text.split()
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, self._at / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (self._at / target).mkdir(exist_ok=True)
                shutil.copy(ROOT / source, self._at / target)

    def _run(self, text: str, others: Mapping[str, "ByHand"]) -> None:
        mounted = []
        while found := re.match(r"--mount=type=bind,(\S+)\s+", text):
            text = text[found.end() :]
            mount = dict(pair.split("=") for pair in found[1].split(","))
            other = others[mount["from"]].folder if "from" in mount else ROOT
            mounted.append(self._at / self.inside(mount["target"]))
            mounted[-1].symlink_to(other / mount["source"].lstrip("/"))
        # The machine's own python and pip are the base image's; its cache of packages keeps this fast. Bytecode of all that is installed
        # would take longer than the rest: what is imported has its own (pip reads 0 as the "no" of --no-compile).
        machine = {name: value for name, value in os.environ.items() if not name.startswith(("PLUMBLINE_", "PYTHON"))}
        machine["PIP_NO_COMPILE"] = "0"
        own = {name: value for name, value in self.environment.items() if name != "PIP_NO_CACHE_DIR"}
        paths = [str(self.folder / "opt/plumbline/bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        done = subprocess.run(
            ["sh", "-c", self.inside(text)],
            cwd=self._at,
            env={**machine, **self._arguments, **own, "PATH": ":".join(paths)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}"
        self.said += done.stdout
        for path in mounted:
            path.unlink()
