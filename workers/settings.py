"""The worker's settings, from the environment (PLUMBLINE_*)."""

from typing import Annotated, Literal

from pydantic import Field

from workers.store.settings import SettingsError, SharedSettings, read

__all__ = ["SettingsError", "WorkerSettings", "read_settings"]


class WorkerSettings(SharedSettings):
    """What a deployment decides. Every field is an environment variable: `device` is PLUMBLINE_DEVICE."""

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
        SettingsError: in one line that names the variable.
    """
    return read(WorkerSettings)
