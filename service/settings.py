"""Settings of the service; `service.configuration` reads them from options and the environment."""

import ipaddress
import math
import os
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from service.runtime.machine import memory_bytes

MIB = 2**20
GIB = 2**30

# Longer times overflow the milliseconds (int32) that the operating system waits for.
MAX_SECONDS = 1_000_000
# Beyond the address space of any machine, and within the integers of databases and resource limits.
MAX_BYTES = 2**60

Seconds = Annotated[float, Field(ge=0.001, le=MAX_SECONDS)]
Bytes = Annotated[int, Field(ge=1, le=MAX_BYTES)]
Text = Annotated[str, Field(min_length=1)]
ProcessCount = Annotated[int, Field(ge=0, le=10_000)]


_HOST = r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\]"
_LOOPBACK = ("localhost", "*.localhost", "127.0.0.1", "[::1]")


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(pattern, text) is not None


def _list_of(is_valid: Callable[[str], bool], expected: str) -> BeforeValidator:
    """Return a validator that splits a text at its commas; `expected` describes the valid texts."""

    def read(value: Any) -> tuple[str, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        parts = [part.strip().lower() for part in parts if part.strip()]
        if not all(map(is_valid, parts)) or (isinstance(value, str) and not parts):
            raise ValueError(expected)
        return tuple(parts)

    return BeforeValidator(read)


HostNames = Annotated[
    tuple[str, ...],
    _list_of(_is(rf"\*|(\*\.)?({_HOST})"), "a comma-separated list of host names without ports, or `*`"),
]
Origins = Annotated[
    tuple[str, ...],
    _list_of(
        _is(rf"\*|https?://({_HOST})(:\d{{1,5}})?"),
        "a comma-separated list of origins such as `https://lab.example.com`, or `*`",
    ),
]
Networks = Annotated[
    tuple[str, ...],
    _list_of(_is_network, "a comma-separated list of IP addresses and networks such as `10.0.0.0/8`"),
]


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reached_as(host: str) -> tuple[str, ...]:
    """Return the names under which clients reach a service that listens on an address."""
    if not is_loopback(host):
        return ("*",)
    return _LOOPBACK if ":" in host or host in _LOOPBACK else (*_LOOPBACK, host)


def _forks(start_method: str) -> bool:
    return start_method == "fork" or (start_method == "auto" and sys.platform == "linux")


class Settings(BaseModel):
    """Settings; each field is also an environment variable: `FITSERVE_` and its name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: Text = Field("127.0.0.1", description="Host name or IP address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 chooses a free one.")
    health_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port on which `fitserve worker` answers `/livez` and `/readyz`. Default: none.",
    )
    allowed_hosts: HostNames = Field(
        default_factory=lambda fields: _reached_as(fields.get("host", "")),
        description="Comma-separated hosts under which clients may reach the service (`Host`, without the "
        "port); `*.example.com` are all names that end so, `*` are all. Default: on a loopback address its "
        "names, otherwise all.",
    )
    allowed_origins: Origins = Field(
        (),
        description="Comma-separated origins of other web pages that may use the API from a browser "
        "(`https://lab.example.com`); `*` are all. Default: none, only pages of the service itself.",
    )
    trusted_proxies: Networks = Field(
        (),
        description="Comma-separated addresses and networks of reverse proxies whose `X-Forwarded-For`, "
        "`-Proto`, `-Host` and `-Prefix` count. Default: none.",
    )
    root_path: str = Field(
        "",
        description="Path under which a reverse proxy publishes the service (`/fit`); it begins all links. "
        "`X-Forwarded-Prefix` of a trusted proxy takes precedence.",
    )
    data_dir: Path = Field(Path("fitserve-data"), description="Folder of the SQLite file and the artifacts.")
    database_url: Text | None = Field(
        None,
        description="URL of a Postgres database (`postgresql://user:password@host/name`). Default: a SQLite "
        "file in the data folder.",
    )
    database_timeout_seconds: Seconds = Field(
        10.0,
        description="Time limit of an answer of Postgres; after it, the database counts as unavailable.",
    )
    artifacts_url: Text | None = Field(
        None,
        description="URL of an object store for datasets, parameters and checkpoints (`s3://bucket/folder`, "
        "`gs://…`, `az://…`), which several machines can share. Default: a folder in the data folder.",
    )
    workers: ProcessCount = Field(
        default_factory=lambda: os.cpu_count() or 1,
        description="Number of CPU worker processes. Default: one per core.",
    )
    gpu_workers: bool = Field(True, description="Start a worker process for each GPU.")
    threads_per_worker: int = Field(
        1,
        ge=1,
        le=1024,
        description="CPU threads of a worker. Floating-point results depend on their number.",
    )
    helpers: int = Field(
        2,
        ge=1,
        le=10_000,
        description="Number of helper processes, which check requests, predict and read files; at least two "
        "run. Neither checks nor predictions nor files occupy all of them. Two further helpers "
        "try short calls while the others are busy.",
    )
    helper_timeout_seconds: Seconds = Field(
        30.0,
        description="Time limit of a check or prediction, and of waiting for a helper; a slower machine "
        "needs more.",
    )
    helper_memory_bytes: int = Field(
        4 * GIB,
        ge=256 * MIB,
        le=MAX_BYTES,
        description="Memory limit of a helper process (its data segment).",
    )
    worker_memory_bytes: int = Field(
        default_factory=lambda fields: max(64 * MIB, memory_bytes() // max(1, fields.get("workers", 1))),
        ge=64 * MIB,
        le=MAX_BYTES,
        description="Memory limit of a job, on top of an idle worker. Default: the memory of the machine, or "
        "of its container, divided by `workers`.",
    )
    start_method: Literal["auto", "fork", "spawn"] = Field(
        "auto",
        description="Start method of worker and helper processes: `fork` from one process that has imported "
        "PyTorch, or `spawn` of a new interpreter for each. `auto` forks on Linux and spawns elsewhere.",
    )
    start_seconds: Seconds = Field(
        120.0,
        description="Kill a starting process that shows no sign of life for this long.",
    )
    spare_workers: ProcessCount = Field(
        default_factory=lambda fields: 0 if _forks(fields.get("start_method", "auto")) else 1,
        description="Number of warm spare processes that replace lost workers. Default: 0 where workers are "
        "forked, which takes a fraction of a second, otherwise 1.",
    )
    hang_seconds: Seconds = Field(
        600.0,
        description="Kill a worker that reports no progress for this long (e.g. inside a single step).",
    )
    lease_seconds: float = Field(
        30.0,
        ge=0.01,
        le=MAX_SECONDS,
        description="Time until a worker's claim on a job expires unless it is renewed.",
    )
    heartbeat_seconds: Seconds = Field(
        default_factory=lambda fields: min(5.0, fields.get("lease_seconds", 30.0) / 6),
        description="Interval at which a worker renews its claims and reports that it is alive; at most a "
        "third of `lease_seconds`. Default: 5 s, or a sixth of `lease_seconds` if that is less.",
    )
    scan_seconds: Seconds = Field(
        0.5,
        description="Interval at which a service process scans the database for cancel requests to other "
        "processes, lost workers and queued jobs.",
    )
    shutdown_grace_seconds: Seconds = Field(
        10.0, description="Time that workers have to release their jobs on SIGTERM."
    )
    checkpoint_seconds: Seconds = Field(
        10.0,
        description="Interval between checkpoints of a running job; longer if writing one takes long.",
    )
    checkpoints_kept: int = Field(
        10,
        ge=1,
        le=1_000_000,
        description="Number of checkpoints of `checkpoint_every` that are kept; the oldest is deleted.",
    )
    storage_patience_seconds: float = Field(
        30.0,
        ge=0,
        le=MAX_SECONDS,
        description="Time after which a job fails if its data or its last checkpoint can't be written.",
    )
    max_body_bytes: Bytes = Field(
        256 * MIB, description="Maximum size of a JSON body; files have separate limits."
    )
    max_bodies_bytes: Bytes = Field(
        128 * MIB,
        description="Maximum total size of the JSON bodies in memory. Bodies beyond 1 MiB, and further ones, "
        "are kept in files in the data folder while they are received and read.",
    )
    max_connections: int = Field(
        4096,
        ge=2,
        le=1_000_000,
        description="Maximum number of open connections, at most half of the process's limit of open files. "
        "One address may have three quarters of them. A further connection replaces the one that has waited "
        "longest for a request; if there is none, it gets 503.",
    )
    keep_alive_seconds: Seconds = Field(
        75.0, description="Time after which a connection without a request is closed."
    )
    head_timeout_seconds: Seconds = Field(
        10.0, description="Time in which the head of a request must arrive; after it, 408."
    )
    body_timeout_seconds: Seconds = Field(
        10.0,
        description="Time after which a request gets 408 if its body arrives slower than "
        "`min_bytes_per_second` on average.",
    )
    response_timeout_seconds: Seconds = Field(
        60.0,
        description="Time after which a connection is closed if its client reads a response slower than "
        "`min_bytes_per_second` on average.",
    )
    min_bytes_per_second: int = Field(
        1000,
        ge=0,
        le=MAX_BYTES,
        description="Minimum rate at which clients must send bodies and read responses.",
    )
    max_upload_bytes: Bytes = Field(16 * GIB, description="Maximum size of a file as sent.")
    max_dataset_bytes: Bytes = Field(
        32 * GIB, description="Maximum size of a dataset or a parameter set, decompressed and as stored."
    )
    max_stored_bytes: Bytes | None = Field(
        None,
        description="Maximum size of all datasets, parameter sets and checkpoints together; new requests "
        "beyond it get 503. Default: no limit.",
    )
    min_free_bytes: int | None = Field(
        None,
        ge=0,
        le=MAX_BYTES,
        description="Free space of the data folder's disk below which new requests get 503; it is kept for "
        "checkpoints of running jobs. Default: 5 % of the disk, at most 1 GiB.",
    )
    upload_timeout_seconds: Seconds = Field(
        600.0, description="Time limit of reading a file, and of waiting for earlier files."
    )
    retention_days: float | None = Field(
        None, gt=0, le=36_500, description="Days after which an ended job is deleted. Default: never."
    )
    max_queue_length: int = Field(
        10_000, ge=1, le=10**9, description="Maximum number of queued jobs; further submissions get 503."
    )
    max_parameters: int = Field(
        100_000_000, ge=1, le=10**12, description="Maximum number of parameters of a model."
    )
    in_memory_bytes: int = Field(
        default_factory=lambda fields: min(GIB, fields.get("worker_memory_bytes", GIB) // 4),
        ge=0,
        le=MAX_BYTES,
        description="Size from which on training data is memory-mapped from a file and gathered batch by "
        "batch. Default: 1 GiB, or a quarter of `worker_memory_bytes` if that is less.",
    )
    idempotency_hours: float = Field(
        24.0, gt=0, le=876_000, description="Time for which an Idempotency-Key is remembered."
    )
    log_format: Literal["console", "json"] = Field("console", description="Format of log lines.")
    access_log: bool = Field(True, description="Log a line for each request.")

    @field_validator("root_path")
    @classmethod
    def _is_a_path(cls, root_path: str) -> str:
        if not re.fullmatch(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*", root_path):
            raise ValueError("a path such as `/fit`, without a slash at its end and without `.` and `..`")
        return root_path

    @field_validator("data_dir", mode="before")
    @classmethod
    def _is_not_empty(cls, data_dir: object) -> object:
        if data_dir == "":
            raise ValueError("the path of a folder")
        return data_dir

    @field_validator("heartbeat_seconds")
    @classmethod
    def _at_most_a_third_of_the_lease(cls, heartbeat_seconds: float, info: ValidationInfo) -> float:
        lease_seconds = info.data.get("lease_seconds", math.inf)  # missing if it is invalid itself
        if 3 * heartbeat_seconds > lease_seconds:
            raise ValueError(
                f"at most {lease_seconds / 3:g}, a third of FITSERVE_LEASE_SECONDS ({lease_seconds:g}), so "
                "that a late heartbeat does not lose a claim"
            )
        return heartbeat_seconds

    @property
    def forks(self) -> bool:
        """True if child processes are forked from one warm process."""
        return _forks(self.start_method)

    @property
    def retention(self) -> timedelta | None:
        """Age from which on ended jobs are deleted; None keeps all."""
        return None if self.retention_days is None else timedelta(days=self.retention_days)

    def database(self) -> str:
        """Return the SQLAlchemy URL of the database."""
        if self.database_url is None:
            return f"sqlite:///{self.database_file()}"
        # Providers give out these schemes, which don't name a driver.
        return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", self.database_url)

    def database_file(self) -> Path:
        """Return the SQLite file, which is the database unless `database_url` names another one."""
        return self.data_dir.absolute() / "fitserve.db"

    def spool(self) -> Path:
        """Return the folder of request bodies while they are received and read."""
        return self.data_dir.absolute() / "spool"

    def artifact_cache(self) -> Path:
        """Return the folder that caches artifacts of an object store."""
        return self.data_dir.absolute() / "cache"

    def artifacts(self) -> str | Path:
        """Return the folder of artifacts, or the URL of an object store."""
        return self.artifacts_url or self.data_dir.absolute() / "artifacts"

    def compiled(self) -> Path:
        """Return the folder that caches compiled programs; safe to delete at any time."""
        return self.data_dir.absolute() / "compiled"

    def scratch(self) -> Path:
        """Return the folder of temporary files of worker processes."""
        return self.data_dir.absolute() / "scratch"
