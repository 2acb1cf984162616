"""Dockerfile, compose file and .env.example agree with each other, with the settings and with what the service may import."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import containers
import pytest

from workers.settings import SERVICE_ONLY, WORKER_ONLY, Settings

ROOT = containers.ROOT
BIN = Path(sys.executable).parent
PASSWORDS = {"POSTGRES_PASSWORD": "apple", "REDIS_PASSWORD": "pear"}
EXAMPLE = (ROOT / ".env.example").read_text()
DOCUMENTED = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
EVERY = frozenset(Settings.model_fields)
OURS = {"service": EVERY - WORKER_ONLY, "worker": EVERY - SERVICE_ONLY, "worker-gpu": EVERY - SERVICE_ONLY}
"""The settings that each of our containers reads."""
AWS = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "REGION", "ENDPOINT_URL")
FOREIGN = {"FORWARDED_ALLOW_IPS": "uvicorn reads it"} | {f"AWS_{name}": "pyarrow reads it" for name in AWS}
"""Variables of our containers that are not settings of ours, and whose they are."""
FIXED = {"host": "the image's", "port": "the container's, published as API_PORT", "locks": "the image's, on a volume"}
"""Settings that are not for a deployment by compose to choose."""


@pytest.fixture(scope="module")
def resolved() -> dict[str, Any]:
    """The compose file with the two passwords and all else by default."""
    return containers.compose(PASSWORDS)


def lint(*words: str) -> None:
    done = subprocess.run([BIN / words[0], *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_passes_its_linter() -> None:
    """hadolint, with nothing turned off."""
    lint("hadolint", "Dockerfile")
    assert "hadolint ignore" not in containers.DOCKERFILE.read_text()


def test_the_compose_file_fits_its_schema() -> None:
    """The specification's own schema."""
    lint("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


def test_docker_compose_resolves_the_file_as_these_tests_do(tmp_path: Path, resolved: dict[str, Any]) -> None:
    """`docker compose config`, where there is such a client."""
    client = shutil.which("docker")
    if client is None or subprocess.run([client, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("the docker compose client is not installed")
    (tmp_path / "env").write_text("".join(f"{name}={value}\n" for name, value in PASSWORDS.items()))
    words = ["--env-file", str(tmp_path / "env"), "--profile", "gpu", "config", "--format", "json"]
    done = subprocess.run([client, "compose", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["services"]
    assert found.keys() == resolved["services"].keys()
    for name, service in found.items():
        said = {key: value for key, value in service.get("environment", {}).items() if value is not None}
        assert said == resolved["services"][name]["environment"]


@pytest.mark.parametrize("missing", sorted(PASSWORDS))
def test_there_is_no_default_password(missing: str) -> None:
    """Without one nothing starts, and the words say what to do."""
    with pytest.raises(KeyError, match=f"{missing}: set it in .env"):
        containers.compose({name: value for name, value in PASSWORDS.items() if name != missing})


def test_only_the_api_is_published_and_on_loopback(resolved: dict[str, Any]) -> None:
    """Nothing else has a port, the host's network or Docker's socket."""
    published = {name: service["ports"] for name, service in resolved["services"].items() if "ports" in service}
    assert published == {"service": ["127.0.0.1:8000:8000"]}
    assert "docker.sock" not in containers.COMPOSE.read_text()
    for name in ("postgres", "redis"):
        assert resolved["services"][name]["networks"] == ["inside"]
    assert resolved["networks"]["inside"]["internal"] is True


def test_every_container_has_as_little_as_it_needs(resolved: dict[str, Any]) -> None:
    """A user who is not root, a file system that is read only, no capability, limits, a health check, a restart."""
    for name, service in resolved["services"].items():
        user = service.get("user") or containers.only(service["build"]["target"], "USER")
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), name
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
        assert {"memory", "pids"} <= service["deploy"]["resources"]["limits"].keys()
        assert "healthcheck" in service or containers.health_command(service["build"]["target"])
        assert service["restart"] == "unless-stopped"
        assert service["stop_grace_period"]


def test_what_is_written_is_on_a_volume(resolved: dict[str, Any]) -> None:
    """Records, messages and results outlive their containers; service and workers share the results."""
    used = {name: service["volumes"] for name, service in resolved["services"].items()}
    results = ["artifacts:/var/lib/plumbline/artifacts"]
    assert [used[name] for name in OURS] == [results] * 3
    assert used["postgres"] == ["postgres:/var/lib/postgresql/data"]
    assert used["redis"] == ["redis:/data"]
    assert {volumes[0].split(":")[0] for volumes in used.values()} == resolved["volumes"].keys()
    elsewhere = containers.compose({**PASSWORDS, "ARTIFACTS": "/srv/results"})
    assert {elsewhere["services"][name]["volumes"][0].split(":")[0] for name in OURS} == {"/srv/results"}


def test_ours_start_when_the_servers_are_healthy(resolved: dict[str, Any]) -> None:
    """The order of the start does not hang on luck."""
    for name in OURS:
        waits = resolved["services"][name]["depends_on"]
        assert waits == {server: {"condition": "service_healthy"} for server in ("postgres", "redis")}


def test_the_broker_keeps_what_it_is_given(resolved: dict[str, Any]) -> None:
    """An append-only file, no eviction, a password, and it is the address of all of ours."""
    words = resolved["services"]["redis"]["command"]
    said = dict(zip(words[1::2], words[2::2], strict=True))
    assert said["--appendonly"] == "yes"
    assert said["--maxmemory-policy"] == "noeviction"
    assert said["--requirepass"] == "pear"
    for name in OURS:
        own = resolved["services"][name]["environment"]
        assert own["PLUMBLINE_BROKER_URL"] == "redis://:pear@redis:6379/0"
        assert own["PLUMBLINE_DATABASE_URL"] == "postgresql+psycopg://plumbline:apple@postgres:5432/plumbline"


def test_servers_of_ones_own_take_the_place_of_the_two() -> None:
    """Their addresses are everyone's, and the containers are left out."""
    urls = {"PLUMBLINE_DATABASE_URL": "postgresql+psycopg://db/x", "PLUMBLINE_BROKER_URL": "redis://broker/1"}
    chosen = containers.compose({**PASSWORDS, **urls, "POSTGRES_REPLICAS": "0", "REDIS_REPLICAS": "0"})["services"]
    for name in OURS:
        assert urls.items() <= chosen[name]["environment"].items()
    assert [chosen[name]["deploy"]["replicas"] for name in ("postgres", "redis")] == ["0", "0"]


def test_cuda_workers_come_with_a_profile_and_have_the_cards(resolved: dict[str, Any]) -> None:
    """They are not started unless asked for, and insist on a card."""
    worker = resolved["services"]["worker-gpu"]
    assert worker["profiles"] == ["gpu"]
    assert worker["environment"]["PLUMBLINE_DEVICE"] == "cuda"
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert "gpu" in device["capabilities"]
    assert worker["build"]["args"] == {"TORCH_INDEX": ""}
    assert resolved["services"]["worker"]["build"]["args"]["TORCH_INDEX"].endswith("/cpu")


@pytest.mark.parametrize("name", OURS)
def test_the_environment_is_the_settings(name: str, resolved: dict[str, Any]) -> None:
    """Every variable of a container is a setting it has, and every setting can be chosen but for the fixed ones."""
    fields = OURS[name]
    every = containers.compose({**PASSWORDS, **dict.fromkeys(containers.compose_variables(), "1")})
    given = set(every["services"][name]["environment"]) - FOREIGN.keys()
    told = {variable.removeprefix("PLUMBLINE_").lower() for variable in given}
    assert told <= fields
    spare = {"threads"} if name == "worker-gpu" else set()  # it trains on its card
    assert fields - told - spare <= FIXED.keys()
    Settings(
        **{
            variable.removeprefix("PLUMBLINE_").lower(): value
            for variable, value in resolved["services"][name]["environment"].items()
            if variable not in FOREIGN
        }
    )


def test_the_example_environment_names_every_variable_once() -> None:
    """And no other; COMPOSE_PROFILES is the client's own."""
    names = re.findall(r"^#?([A-Z_]+)=", EXAMPLE, re.MULTILINE)
    assert sorted(names) == sorted(containers.compose_variables() | {"COMPOSE_PROFILES"})


def test_the_example_environment_tells_the_true_defaults(resolved: dict[str, Any]) -> None:
    """With everything uncommented the compose file says what it says with everything left out, and so do the settings."""
    addresses = ("PLUMBLINE_DATABASE_URL", "PLUMBLINE_BROKER_URL")  # given as patterns
    told = {name: value for name, value in DOCUMENTED.items() if name not in addresses} | PASSWORDS
    uncommented = containers.compose(told)
    for name, service in uncommented["services"].items():
        passed = {key for key in service["environment"] if key not in resolved["services"][name]["environment"]}
        plain = {key: value for key, value in service["environment"].items() if key not in passed}
        assert {**service, "environment": plain} == resolved["services"][name]
        for key in passed - FOREIGN.keys():
            field = key.removeprefix("PLUMBLINE_").lower()
            told_here = Settings(**{field: service["environment"][key]})
            assert getattr(told_here, field) == Settings.model_fields[field].default


def test_the_images_are_of_this_version(resolved: dict[str, Any]) -> None:
    """The tag is the project's version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name in OURS:
        assert resolved["services"][name]["image"].partition(":")[2].split("-")[0] == version


def test_what_the_service_image_holds_of_the_workers_is_what_it_may_import() -> None:
    """Each module of workers/ is either in the image or forbidden to the service: a new one has to be decided on."""
    copied = {
        source.removeprefix("workers/").removesuffix(".py")
        for step in containers.steps("service-wheel")
        if step.name == "COPY"
        for source in step.text.split()[:-1]
        if source.startswith("workers/")
    }
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (forbidden,) = (
        contract["forbidden_modules"]
        for contract in contracts
        if contract.get("source_modules") == ["service"] and "workers.engine" in contract["forbidden_modules"]
    )
    refused = {module.removeprefix("workers.") for module in forbidden}
    there = {
        path.stem for path in (ROOT / "workers").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert not copied & refused
    assert copied | refused == there


def test_the_build_context_holds_what_is_copied_and_no_more() -> None:
    """Everything is ignored, but for what some COPY or mount takes."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert next(line for line in lines if not line.startswith("#")) == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    taken = {
        source.split("/")[0]
        for stage in containers.stages()
        for step in containers.steps(stage)
        if step.name == "COPY"
        for source in step.text.split()[:-1]
    }
    assert allowed == taken


def test_images_are_pinned_and_packages_locked() -> None:
    """Base images by a full version, packages by the lock, and no password is built in."""
    text = containers.DOCKERFILE.read_text()
    assert re.search(r"^ARG PYTHON_IMAGE=python:\d+\.\d+\.\d+-slim-\w+$", text, re.MULTILINE)
    for name in ("POSTGRES_IMAGE", "REDIS_IMAGE"):
        assert re.fullmatch(r"\w+:\d+\.\d+(\.\d+)?-\w+", DOCUMENTED[name])
    for step in (step for stage in containers.stages() for step in containers.steps(stage) if step.name == "RUN"):
        for installs in re.findall(r"pip [^&;]*install [^&;]*", step.text):
            assert "--constraint requirements.lock" in installs or "--no-deps" in installs
