"""The body of a job request, and the states of a job."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from service.runtime.docstrings import docstring
from service.specs.architecture import ArchitectureSpec
from service.specs.base import Name, Spec
from service.specs.data import DataSpec
from service.specs.training import TrainingSpec

Priority = Annotated[int, Field(ge=-100, le=100)]


class _DocumentedEnum(StrEnum):
    def __init_subclass__(cls) -> None:
        # The docstring is the description in JSON schemas, but `python -OO` strips it.
        cls.__doc__ = docstring(cls) or None


class JobStatus(_DocumentedEnum):
    """State of a job.

    `queued`: waits for a worker. `running`: a worker trains it. `paused`: waits for its client to resume it.
    `succeeded`, `failed` and `cancelled` are final; `stop_reason` has the reason.
    """

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """True if the status is final."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class JobEdit(Spec):
    """Changes of a job: a JSON Merge Patch (RFC 7396), in which null removes a value."""

    name: Name | None = None
    """New name; null for none."""
    priority: Priority | None = None
    """New priority, while the job is queued or paused; null for the default."""

    def values(self) -> dict[str, Any]:
        """Return the new values of the fields that change."""
        values = self.model_dump(exclude_unset=True)
        return values | {"priority": values["priority"] or 0} if "priority" in values else values


class StopReason(_DocumentedEnum):
    """Reason why a job ended.

    `completed`: all epochs were trained. `early_stopping`: the monitored value stopped improving.
    `max_runtime`: the time limit was reached. `diverged`: the loss became NaN or infinite. `cancelled`: a
    client cancelled the job. `error`: any other failure, described in the job's `error`.
    """

    COMPLETED = "completed"
    EARLY_STOPPING = "early_stopping"
    MAX_RUNTIME = "max_runtime"
    DIVERGED = "diverged"
    CANCELLED = "cancelled"
    ERROR = "error"


class LogLevel(_DocumentedEnum):
    """Severity of a line in a job's log."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
Engine = TypeAliasType("Engine", Literal["auto", "eager", "compiled"])
Precision = TypeAliasType("Precision", Literal["float32", "bfloat16"])


class Parallel(Spec):
    """Training in several processes, which share each batch."""

    processes: Annotated[int, Field(ge=1, le=1024)]
    """Number of processes. Each takes the place of a worker, on a GPU of its own if the device is `cuda`."""
    min_processes: Annotated[int, Field(ge=1, le=1024)] | None = None
    """The least number of processes with which the job may start, or go on after one was lost; null for
    `processes`. With another number, results differ by rounding, and by what each process draws."""

    @property
    def fewest(self) -> int:
        """The least number of processes."""
        return self.processes if self.min_processes is None else self.min_processes


class Placement(Spec):
    """Device, engine, precision and number of processes of a job."""

    device: Device = "auto"
    """`cpu`, `cuda` (any GPU), `cuda:N` (this GPU), or `auto`, which chooses CPU or GPU by the work of a
    step."""
    engine: Engine = "auto"
    """Execution of the training steps. `eager` gives the same bits as a plain PyTorch script. `compiled` runs
    the whole training loop as one XLA program, with the same results up to rounding; jobs that it cannot
    compile are refused. `auto` chooses `compiled` where a group of alike jobs is expected to gain from it,
    and a job that runs alone to lose little."""
    precision: Precision = "float32"
    """Precision of the forward pass. `bfloat16` runs forward pass and loss under `torch.autocast`; parameters
    and optimizer state are float32 in both cases."""
    parallel: Parallel | None = None
    """Several processes that share each batch; null for one."""


class JobRequest(Placement):
    """A training job: data, architecture and training."""

    name: Name | None = None
    """Name for people; need not be unique."""
    priority: Priority = 0
    """Priority in the queue. Jobs with a higher priority start first; among equal ones, the oldest."""
    data: DataSpec
    """Data to train on."""
    architecture: ArchitectureSpec
    """Model to train."""
    training: TrainingSpec
    """Loss, optimizer and schedule of the training."""
