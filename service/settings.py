"""The service's settings, from the environment (PLUMBLINE_*). What an experiment is belongs in its request, not here."""

from typing import Annotated, Any

from pydantic import Field

from workers.contract.checks import Limits
from workers.store.settings import SettingsError, SharedSettings, read

__all__ = ["Settings", "SettingsError", "read_settings"]


class Settings(SharedSettings):
    """What a deployment decides. Every field is an environment variable: `port` is PLUMBLINE_PORT."""

    host: str = "127.0.0.1"
    """Address to listen on; the API has no authentication of its own, so think before you open it."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one."""
    max_trials: Annotated[int, Field(ge=1)] = Limits().trials
    """Trials of one comparison, all rounds together."""
    max_steps: Annotated[int, Field(ge=1)] = Limits().steps
    """Steps of one trial."""
    max_parameters: Annotated[int, Field(ge=1)] = Limits().parameters
    """Parameters of one network."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=2**30)] = 1024 * 1024
    """Size of a request's body."""
    heartbeat_seconds: Annotated[float, Field(ge=0.05, le=300)] = 15.0
    """Silence on an event stream after which a comment is sent, so that proxies keep it open."""

    @property
    def limits(self) -> Limits:
        return Limits(trials=self.max_trials, steps=self.max_steps, parameters=self.max_parameters)


def read_settings(**overrides: Any) -> Settings:
    """The settings of the environment, with what the command line says instead.

    Raises:
        SettingsError: in one line that names the variable.
    """
    return read(Settings, **overrides)
