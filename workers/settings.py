"""The worker's settings, from the environment (PLUMBLINE_*). The service reads the same variables where both need one."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsError(Exception):
    """A setting is wrong; the message is one line, for people."""


class WorkerSettings(BaseSettings):
    """What a deployment decides. Every field is an environment variable: `device` is PLUMBLINE_DEVICE."""

    model_config = SettingsConfigDict(env_prefix="PLUMBLINE_", frozen=True, use_attribute_docstrings=True)

    database_url: str = "sqlite:///data/plumbline.db"
    """Where the records are: a SQLAlchemy URL, SQLite on this host or PostgreSQL."""
    broker_url: str = "redis://127.0.0.1:6379/0"
    """Where the messages come from: `redis://host:port/number` or `redis+socket:///path`."""
    artifacts: Path = Path("data/artifacts")
    """Directory of the results; service and workers see the same one."""
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 15.0
    """A worker that is silent for longer loses its job to another."""
    slice_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 20.0
    """Length of a slice of training: what a killed worker costs at most."""
    stall_seconds: Annotated[float, Field(ge=1, le=86400)] = 300.0
    """A trainer that makes no step for longer is taken for hung, killed and replaced."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where this worker trains: `auto` takes a free CUDA card if there is one, and the CPU otherwise."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Threads of training on the CPU; 0 takes all cores that this process may use."""


def read_settings() -> WorkerSettings:
    """The settings of the environment.

    Raises:
        SettingsError: in one line that names the variable, when a value is not what it should be.
    """
    try:
        return WorkerSettings()
    except ValidationError as error:
        wrong = (
            f"PLUMBLINE_{'_'.join(map(str, item['loc'])).upper()} is {item['input']!r}: {item['msg'].lower()}"
            for item in error.errors(include_url=False)
        )
        raise SettingsError("; ".join(wrong)) from None
