"""What service and workers have to agree on, from the environment (PLUMBLINE_*), and how a wrong value is told."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsError(Exception):
    """A setting is wrong; the message is one line, for people."""


class SharedSettings(BaseSettings):
    """Read by both sides. Every field is an environment variable: `database_url` is PLUMBLINE_DATABASE_URL."""

    model_config = SettingsConfigDict(env_prefix="PLUMBLINE_", frozen=True, use_attribute_docstrings=True)

    database_url: str = "sqlite:///data/plumbline.db"
    """Where the records are: a SQLAlchemy URL, SQLite on this host or PostgreSQL."""
    broker_url: str = "redis://127.0.0.1:6379/0"
    """Where the messages go through: `redis://host:port/number` or `redis+socket:///path`."""
    artifacts: Path = Path("data/artifacts")
    """Directory of the results; service and workers see the same one."""
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 15.0
    """A worker that is silent for longer loses its job to another."""


Wanted = TypeVar("Wanted", bound=SharedSettings)


def read(wanted: type[Wanted], **overrides: Any) -> Wanted:
    """The settings of the environment, with what is said here instead.

    Raises:
        SettingsError: in one line that names the variable, when a value is not what it should be.
    """
    try:
        return wanted(**overrides)
    except ValidationError as error:
        wrong = (
            f"PLUMBLINE_{'_'.join(map(str, item['loc'])).upper()} is {item['input']!r}: {item['msg'].lower()}"
            for item in error.errors(include_url=False)
        )
        raise SettingsError("; ".join(wrong)) from None
