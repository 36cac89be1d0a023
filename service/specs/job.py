"""What a client submits: data, architecture and training, and where and how to run them."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from service.runtime.docstrings import docstring
from service.specs.architecture import ArchitectureSpec
from service.specs.base import Name, Spec
from service.specs.data import DataSpec
from service.specs.training import TrainingSpec


class _DocumentedEnum(StrEnum):
    def __init_subclass__(cls) -> None:
        # JSON schemas show the docstring, which `python -OO` strips.
        cls.__doc__ = docstring(cls) or None


class JobStatus(_DocumentedEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether the job will never run again."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class StopReason(_DocumentedEnum):
    """Why a job ended."""

    COMPLETED = "completed"
    EARLY_STOPPING = "early_stopping"
    MAX_RUNTIME = "max_runtime"
    DIVERGED = "diverged"
    CANCELLED = "cancelled"
    ERROR = "error"


class LogLevel(_DocumentedEnum):
    """Whether a line of a job's log is something to look at."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Placement(Spec):
    """Where a job runs and how."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    engine: Literal["auto", "eager", "compiled"] = "auto"
    """How steps are executed: `eager` equals a plain PyTorch script bit for bit; `compiled` runs the whole
    loop as one program, equal up to rounding, and is refused for what it can't compile; `auto` takes it where
    that is worth it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16` runs forward and loss under `torch.autocast`."""


class JobRequest(Placement):
    """One training job."""

    name: Name | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    """Of the jobs that wait for a device, the highest goes first; then the oldest."""
    data: DataSpec
    architecture: ArchitectureSpec
    training: TrainingSpec
