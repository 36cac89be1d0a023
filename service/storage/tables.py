"""Tables. Migrations create them; a test compares both."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Enum,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    false,
)

from service.specs.job import JobStatus, LogLevel, StopReason
from service.storage.text import Text
from service.storage.timestamp import Timestamp

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _one_of(choices: type[JobStatus] | type[StopReason] | type[LogLevel], name: str) -> Enum:
    """Return text with a check constraint; native enum types of Postgres are hard to change later."""
    return Enum(
        choices,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=32,
        values_callable=lambda members: [member.value for member in members],
    )


datasets = Table(
    "datasets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("name", Text),
    Column("digest", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("artifact", Text, nullable=False),
    Column("report", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    # Sent with a job; deleted once no job uses it.
    Column("inline", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("owner", "digest"),
)
Index(None, datasets.c.owner, datasets.c.created_at, datasets.c.id)

# The dataset that each upload became.
uploads = Table(
    "uploads",
    metadata,
    Column("owner", Text, primary_key=True),
    # Of the bytes and the reading options; see `service.specs.upload.upload_digest`.
    Column("digest", Text, primary_key=True),
    Column("dataset_id", ForeignKey(datasets.c.id, ondelete="CASCADE"), nullable=False, index=True),
)

# Parameters and buffers of models, with which jobs may start.
parameter_sets = Table(
    "parameter_sets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("name", Text),
    Column("digest", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("tensor_count", BigInteger, nullable=False),
    Column("artifact", Text, nullable=False),
    Column("tensors", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    UniqueConstraint("owner", "digest"),
)
Index(None, parameter_sets.c.owner, parameter_sets.c.created_at, parameter_sets.c.id)

jobs = Table(
    "jobs",
    metadata,
    # SQLite autoincrements only columns declared as INTEGER, which hold 64 bits there.
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("name", Text),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("status", _one_of(JobStatus, "status"), nullable=False),
    Column("stop_reason", _one_of(StopReason, "stop_reason")),
    Column("created_at", Timestamp, nullable=False),
    Column("started_at", Timestamp),
    Column("finished_at", Timestamp),
    Column("priority", Integer, nullable=False, server_default="0"),
    # No foreign key: an ended job keeps the id of a deleted dataset.
    Column("dataset_id", Text, nullable=False, index=True),
    Column("request", Text, nullable=False),
    Column("report", Text, nullable=False),
    Column("used", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("parameter_count", BigInteger, nullable=False),
    Column("memory_estimate_bytes", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    Column("epochs", BigInteger, nullable=False),
    Column("latest", Text),
    Column("best", Text),
    Column("test", Text),
    Column("timings", Text),
    Column("error", Text),
    Column("attempt", Integer, nullable=False, server_default="0"),
    # Number of workers lost since the newest checkpoint.
    Column("workers_lost", Integer, nullable=False, server_default="0"),
    Column("worker_id", Text),
    Column("lease_expires_at", Timestamp),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    Column("pause_requested", Boolean, nullable=False, server_default=false()),
    # Sum over all attempts.
    Column("training_seconds", Float, nullable=False, server_default="0"),
    Column("changed_at", Timestamp, nullable=False, server_default="0", index=True),
    # Duration of an epoch in the latest attempt that completed one.
    Column("epoch_seconds", Float),
    Column("warnings", Text, nullable=False, server_default="[]"),
    Column("processes", Integer, nullable=False, server_default="1"),
    Column("min_processes", Integer, nullable=False, server_default="1"),
    # Sequence numbers of deleted jobs are never reused.
    sqlite_autoincrement=True,
)
Index("ix_jobs_queue", jobs.c.status, jobs.c.device, jobs.c.priority.desc(), jobs.c.sequence)
Index(None, jobs.c.owner, jobs.c.created_at, jobs.c.id)
Index(None, jobs.c.owner, jobs.c.status, jobs.c.created_at, jobs.c.id)
Index(None, jobs.c.owner, jobs.c.name, jobs.c.created_at, jobs.c.id)

history = Table(
    "history",
    metadata,
    Column("job_id", ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("first_epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("last_epoch", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("job_id", ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    # Completed steps of the following epoch; 0 between epochs.
    Column("step", BigInteger, primary_key=True, autoincrement=False, server_default="0"),
    Column("artifact", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", Timestamp, nullable=False),
)

log_lines = Table(
    "log_lines",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("job_id", ForeignKey(jobs.c.id, ondelete="CASCADE"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("level", _one_of(LogLevel, "level"), nullable=False),
    Column("message", Text, nullable=False),
)
Index(None, log_lines.c.job_id, log_lines.c.number)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    # Deferred: the key is bound before its job is inserted, so that only one of two submissions continues.
    Column(
        "job_id",
        ForeignKey(jobs.c.id, ondelete="CASCADE", deferrable=True, initially="DEFERRED"),
        nullable=False,
        index=True,
    ),
    Column("created_at", Timestamp, nullable=False, index=True),
)

# Keys of requests that create anything other than a job.
creation_keys = Table(
    "creation_keys",
    metadata,
    Column("owner", Text, primary_key=True),
    # The table of what was created: a key can be used once for each.
    Column("resource", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("resource_id", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False, index=True),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("device", Text, nullable=False),
    Column("device_name", Text),
    Column("threads", Integer, nullable=False),
    Column("hostname", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", Timestamp, nullable=False),
    Column("heartbeat_at", Timestamp, nullable=False),
)

# The identity of the artifact store; see `service.storage.identity`.
stores = Table(
    "stores",
    metadata,
    Column("name", Text, primary_key=True),
    Column("identity", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    # Null until the store has the identity, too.
    Column("checked_at", Timestamp),
)

# Work that one process at a time does; see `service.storage.leases`.
leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    # One more for each holder: a fencing token.
    Column("token", BigInteger, nullable=False),
    Column("expires_at", Timestamp, nullable=False),
    # Report of the holder on its work, as JSON.
    Column("report", Text),
)
