"""The boundaries between the parts, in fresh interpreters: what a process loads is what its image must hold."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICE = sorted(
    f"service.{path.stem}" for path in (ROOT / "service").glob("*.py") if path.stem not in ("__init__", "__main__")
)
CELERY_SIDE = ("workers.app", "workers.tasks", "workers.decide", "workers.supervisor", "workers.trainer_process")

PYDANTIC_NEEDS = ("pydantic_core", "annotated_types", "typing_extensions", "typing_inspection")


def modules(*imported: str) -> set[str]:
    """Top-level names of what is loaded once these are imported."""
    program = f"import sys, {', '.join(imported)}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def contents(package: str) -> list[str]:
    """Every module of a package by name."""
    folder = ROOT / package.replace(".", "/")
    found = (path.relative_to(ROOT).with_suffix("") for path in folder.rglob("*.py"))
    return [".".join(path.parts).removesuffix(".__init__") for path in found if "migrations" not in path.parts]


@pytest.mark.parametrize(
    "loaded",
    [SERVICE, CELERY_SIDE, contents("workers.store"), contents("workers.analysis")],
    ids=["service", "celery", "store", "analysis"],
)
def test_only_the_trainer_loads_torch(loaded: tuple[str, ...]) -> None:
    """Service, Celery's processes, store and analysis run without it."""
    assert "torch" not in modules(*loaded)


def test_the_contract_is_pydantic_and_the_standard_library() -> None:
    """So that a client can have it: nothing else is loaded with it than what pydantic itself depends on."""
    loaded = modules(*contents("workers.contract")) - sys.stdlib_module_names
    assert {name for name in loaded if not name.startswith("_")} <= {"workers", "pydantic", *PYDANTIC_NEEDS}


def test_the_engine_knows_neither_queue_nor_http_nor_database() -> None:
    """It can be used as a library."""
    assert not {"celery", "kombu", "redis", "fastapi", "sqlalchemy", "alembic"} & modules(*contents("workers.engine"))


def test_client_and_command_line_need_the_base_install_only() -> None:
    """`plumbline --help` and the client load nothing of the extras."""
    extras = {"celery", "fastapi", "uvicorn", "sqlalchemy", "alembic", "pyarrow", "redis", "torch", "scipy"}
    assert not extras & modules("service.client", "service.terminal", "service.cli")


def test_imports_keep_to_the_contracts_of_the_project() -> None:
    """What may import what, by the source, whether a process loads it or not."""
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint_imports, "--no-cache"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout
