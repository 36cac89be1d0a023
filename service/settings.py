"""The service's settings: read once at the edge (CLI or environment) and passed on as an argument."""

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import AliasChoices, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.runtime.machine import memory_bytes

MIB = 2**20
GIB = 2**30


def _forks(start_method: str) -> bool:
    return start_method == "fork" or (start_method == "auto" and sys.platform == "linux")


class Settings(BaseSettings):
    """Each field is also an environment variable: `FITSERVE_` and the name in capitals."""

    model_config = SettingsConfigDict(env_prefix="FITSERVE_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(Path("fitserve-data"), description="Folder of the SQLite file and the artifacts.")
    database_url: str | None = Field(
        None,
        description="SQLAlchemy URL (`postgresql+psycopg://…`); default: a SQLite file in the data folder.",
    )
    artifacts_url: str | None = Field(
        None,
        pattern=r"^[a-z0-9]+://",
        description="Datasets and checkpoints in an object store (`s3://bucket/folder`, `gs://…`, `az://…`), "
        "which several machines can share; default: a folder in the data folder.",
    )
    workers: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=0,
        description="CPU worker processes; each trains one job at a time. Default: one per core.",
    )
    gpu_workers: bool = Field(True, description="Start one worker for each GPU found.")
    threads_per_worker: int = Field(
        1, ge=1, description="Threads of a worker. The bits of a result depend on it, so it is fixed."
    )
    helpers: int = Field(
        2, ge=1, description="Warm processes that check requests and predict, apart from the API."
    )
    helper_timeout_seconds: float = Field(30.0, gt=0, description="Time limit of one check or prediction.")
    helper_memory_bytes: int = Field(
        4 * GIB, ge=256 * MIB, description="Memory limit of a helper process (its data segment)."
    )
    worker_memory_bytes: int = Field(
        default_factory=lambda known: max(64 * MIB, memory_bytes() // max(1, known.get("workers", 1))),
        ge=64 * MIB,
        description="What a job may take of memory, beyond an idle worker. Default: the memory of the "
        "machine, or of its container, divided by `workers`.",
    )
    start_method: Literal["auto", "fork", "spawn"] = Field(
        "auto",
        description="How worker and helper processes start: `fork` from one process that has imported "
        "PyTorch, or `spawn` a new interpreter for each. `auto` forks on Linux and spawns elsewhere.",
    )
    start_seconds: float = Field(
        120.0,
        gt=0,
        description="Kill a process that starts and shows no sign of life for this long.",
    )
    spare_workers: int = Field(
        default_factory=lambda known: 0 if _forks(known.get("start_method", "auto")) else 1,
        ge=0,
        description="Warm processes that replace workers which die. Default: 0 where workers are forked, "
        "which takes a fraction of a second, else 1.",
    )
    hang_seconds: float = Field(
        600.0, gt=0, description="A worker that makes no progress for this long, as in one step, is ended."
    )
    lease_seconds: float = Field(
        30.0, gt=0, description="A worker's claim on a job lasts this long unrenewed."
    )
    heartbeat_seconds: float = Field(
        5.0,
        gt=0,
        description="A worker renews its claims this often, and says that it is alive: a third of "
        "`lease_seconds` at most.",
    )
    scan_seconds: float = Field(
        0.5,
        gt=0,
        validation_alias=AliasChoices("scan_seconds", "FITSERVE_SCAN_SECONDS", "FITSERVE_SWEEP_SECONDS"),
        description="How often a service process looks for what no hint told it: cancels asked of another, "
        "lost workers, queued jobs.",
    )
    shutdown_grace_seconds: float = Field(
        10.0, gt=0, description="On SIGTERM, how long workers have to give their jobs back."
    )
    checkpoint_seconds: float = Field(
        10.0,
        gt=0,
        description="Time between the checkpoints of a running job; more where writing one takes long.",
    )
    checkpoints_kept: int = Field(
        10, ge=1, description="Of the checkpoints that `checkpoint_every` asks for, so many stay, the newest."
    )
    storage_patience_seconds: float = Field(
        30.0,
        ge=0,
        description="A job fails when its data, or its last checkpoint, can't be written for so long.",
    )
    max_body_bytes: int = Field(
        256 * MIB, ge=1, description="Largest JSON body; files have limits of their own."
    )
    max_bodies_bytes: int = Field(
        512 * MIB, ge=1, description="JSON bodies in memory at once; beyond it, a request gets 503."
    )
    max_upload_bytes: int = Field(16 * GIB, ge=1, description="Largest file, as it is sent.")
    max_dataset_bytes: int = Field(
        32 * GIB, ge=1, description="Largest dataset, as it is unpacked and as it is stored."
    )
    upload_timeout_seconds: float = Field(
        600.0, gt=0, description="Time limit of reading a file, and of waiting for the files before it."
    )
    retention_days: float | None = Field(
        None, gt=0, description="Jobs are deleted so many days after their end; default: never."
    )
    max_queue_length: int = Field(10_000, ge=1, description="Queued jobs beyond which a submit gets 503.")
    max_parameters: int = Field(100_000_000, ge=1, description="Largest model, in parameters.")
    in_memory_bytes: int = Field(
        default_factory=lambda known: min(GIB, known.get("worker_memory_bytes", GIB) // 4),
        ge=0,
        description="Training data of more bytes are mapped from a file and gathered batch by batch. "
        "Default: 1 GiB, or a quarter of `worker_memory_bytes` where that is less.",
    )
    idempotency_hours: float = Field(24.0, gt=0, description="How long an Idempotency-Key is remembered.")
    log_format: Literal["console", "json"] = Field("console", description="How log lines look.")

    @model_validator(mode="after")
    def _beats_within_the_lease(self) -> Self:
        if 3 * self.heartbeat_seconds > self.lease_seconds:
            raise ValueError(
                "heartbeat_seconds must be a third of lease_seconds at most: a beat that comes late loses "
                "no claim then."
            )
        return self

    @property
    def forks(self) -> bool:
        """Whether child processes are forked from one warm process."""
        return _forks(self.start_method)

    @property
    def retention(self) -> timedelta | None:
        """How long ended jobs stay; None: for ever."""
        return None if self.retention_days is None else timedelta(days=self.retention_days)

    def database(self) -> str:
        """The SQLAlchemy URL in use."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'fitserve.db'}"

    def spool(self) -> Path:
        """The folder of bodies that are being received and read."""
        return self.data_dir.absolute() / "spool"

    def artifact_cache(self) -> Path:
        """The folder of artifacts that were downloaded from an object store."""
        return self.data_dir.absolute() / "cache"

    def artifacts(self) -> str | Path:
        """The folder of artifacts (datasets, checkpoints), or the URL of an object store."""
        return self.artifacts_url or self.data_dir.absolute() / "artifacts"

    def compiled(self) -> Path:
        """The folder of compiled programs; it may be deleted at any time."""
        return self.data_dir.absolute() / "compiled"

    def scratch(self) -> Path:
        """The folder of files that live no longer than the process that made them."""
        return self.data_dir.absolute() / "scratch"
