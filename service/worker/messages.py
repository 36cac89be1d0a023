"""Messages between a worker process and its supervisor: orders to the worker, signals from it."""

from dataclasses import dataclass

from service.processes.messages import Messages


@dataclass(frozen=True)
class Join:
    """Register under a name and work for a device.

    Attributes:
        name: Id of the worker in the database.
        device: `cpu` or `cuda:N`.
    """

    name: str
    device: str


@dataclass(frozen=True)
class Work:
    """Look for a queued job."""


@dataclass(frozen=True)
class Hold:
    """Claim no further job until another order comes: the worker will train a job together with others."""


@dataclass(frozen=True)
class Lead:
    """Claim a job for several processes, and be the first of them.

    Attributes:
        processes: Number of workers that are held for it, this one included.
    """

    processes: int


@dataclass(frozen=True)
class Rendezvous:
    """The processes of a job; the first one leads.

    Attributes:
        owner: Owner of the job.
        job_id: The job.
        count: Number of processes.
        host: Host on which the first one waits for the others.
        port: Its TCP port.
    """

    owner: str
    job_id: str
    count: int
    host: str
    port: int


@dataclass(frozen=True)
class Assist:
    """Train a job that another worker has claimed, together with it.

    Attributes:
        ranks: The processes.
        rank: Number of this one, from 1.
    """

    rendezvous: Rendezvous
    rank: int


@dataclass(frozen=True)
class CheckSignals:
    """Read from the database whether the owner of a running job has requested a cancel or a pause."""


@dataclass(frozen=True)
class Stop:
    """Release the jobs at hand and exit."""


@dataclass(frozen=True)
class Ready:
    """The process has loaded its libraries and can join."""


@dataclass(frozen=True)
class Alive:
    """The process runs; says nothing about the progress of its job."""


@dataclass(frozen=True)
class MakingProgress:
    """The job progresses, with nothing new for readers."""


@dataclass(frozen=True)
class JobStarted:
    """A job was claimed; of a group, the first."""

    job_id: str


@dataclass(frozen=True)
class JobChanged:
    """Readers can find something new about a job."""

    job_id: str


@dataclass(frozen=True)
class RanksNeeded:
    """The worker leads a job and waits for the other processes."""

    rendezvous: Rendezvous


@dataclass(frozen=True)
class TrainingStarted:
    """Training steps follow.

    Attributes:
        job_id: The job that reaches its `max_runtime_seconds` first.
        seconds_left: Time until then, negative once it has passed; None without a limit.
    """

    job_id: str
    seconds_left: float | None


@dataclass(frozen=True)
class TrainingSuspended:
    """Work follows that `max_runtime_seconds` does not limit, such as writing a checkpoint."""


@dataclass(frozen=True)
class SignalsHandled:
    """Members of a group whose owners requested a cancel have stopped; the others continue."""


@dataclass(frozen=True)
class WarmingUp:
    """No job is queued; the worker prepares for its first one."""


@dataclass(frozen=True)
class Idle:
    """No job is queued; the worker waits for an order."""


Order = Join | Work | Hold | Lead | Assist | CheckSignals | Stop
Signal = (
    Ready
    | Alive
    | MakingProgress
    | JobStarted
    | JobChanged
    | RanksNeeded
    | TrainingStarted
    | TrainingSuspended
    | SignalsHandled
    | WarmingUp
    | Idle
)

ORDERS = Messages[Order](Join, Work, Hold, Lead, Assist, CheckSignals, Stop)
SIGNALS = Messages[Signal](
    Ready,
    Alive,
    MakingProgress,
    JobStarted,
    JobChanged,
    RanksNeeded,
    TrainingStarted,
    TrainingSuspended,
    SignalsHandled,
    WarmingUp,
    Idle,
)
