"""What a deployment decides, from the environment (PLUMBLINE_*). Service and workers read the same variables, each side those it
needs: a file that both are given cannot mean two things. What an experiment is belongs in its request, not here.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from workers.contract.checks import Limits

SERVICE_ONLY = frozenset(
    {
        "host",
        "port",
        "heartbeat_seconds",
        "max_trials",
        "max_steps",
        "max_parameters",
        "max_memory_bytes",
        "max_body_bytes",
        "max_dataset_bytes",
    }
)
"""Settings that no worker needs."""
WORKER_ONLY = frozenset({"device", "locks", "threads", "slice_seconds", "stall_seconds"})
"""Settings that the service does not need."""


class SettingsError(Exception):
    """A setting is wrong; the message is one line, for people."""


class Settings(BaseSettings):
    """Every field is an environment variable: `port` is PLUMBLINE_PORT. The README's table of them is compared with this class."""

    model_config = SettingsConfigDict(env_prefix="PLUMBLINE_", frozen=True, use_attribute_docstrings=True)

    database_url: str = "sqlite:///data/plumbline.db"
    """Where the records are: a SQLAlchemy URL, SQLite on this host or PostgreSQL."""
    broker_url: str = "redis://127.0.0.1:6379/0"
    """Where the messages go through: `redis://host:port/number` or `redis+socket:///path`."""
    artifacts: Annotated[str, BeforeValidator(str)] = "data/artifacts"
    """Where the results are, the same for service and workers: a directory, or an object store's URL, `s3://bucket/prefix`."""
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 15.0
    """A worker that is silent for longer loses its job to another, and after three times as long it counts as gone."""

    host: str = "127.0.0.1"
    """Address to listen on; the API has no authentication of its own, so think before you open it."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one."""
    heartbeat_seconds: Annotated[float, Field(ge=0.05, le=300)] = 15.0
    """Silence on an event stream after which a comment is sent, so that proxies keep it open."""
    max_trials: Annotated[int, Field(ge=1)] = Limits().trials
    """Trials of one comparison, all rounds together."""
    max_steps: Annotated[int, Field(ge=1)] = Limits().steps
    """Steps of one trial."""
    max_parameters: Annotated[int, Field(ge=1)] = Limits().parameters
    """Parameters of one network."""
    max_memory_bytes: Annotated[int, Field(ge=1)] = Limits().memory_bytes
    """What the trials that train together may take, counted on paper as one program; in chunks, on a CPU, they take about half."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=2**30)] = 1024 * 1024
    """Size of a request's body."""
    max_dataset_bytes: Annotated[int, Field(ge=1024, le=2**34)] = 256 * 1024 * 1024
    """Size of a data set, as it is sent and as the numbers it holds."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where this worker trains: `auto` takes a free CUDA card if there is one, and the CPU otherwise."""
    locks: str = "data/locks"
    """Directory that the workers of one host share, to lock their cards by files in it."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Threads of training on the CPU; 0 takes all cores that this process may use."""
    slice_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 20.0
    """Length of a slice of training: what a killed worker costs at most."""
    stall_seconds: Annotated[float, Field(ge=1, le=86400)] = 300.0
    """A trainer that makes no step for longer is taken for hung, killed and replaced."""

    @property
    def limits(self) -> Limits:
        return Limits(
            trials=self.max_trials,
            steps=self.max_steps,
            parameters=self.max_parameters,
            memory_bytes=self.max_memory_bytes,
        )


def read_settings(**overrides: Any) -> Settings:
    """The settings of the environment, with what the command line says instead.

    Raises:
        SettingsError: in one line that names the variable, when a value is not what it should be.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        wrong = (
            f"PLUMBLINE_{'_'.join(map(str, item['loc'])).upper()} is {item['input']!r}: {item['msg'].lower()}"
            for item in error.errors(include_url=False)
        )
        raise SettingsError("; ".join(wrong)) from None
