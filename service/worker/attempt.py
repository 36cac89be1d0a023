"""A run: one attempt at a job while it trains, and what is to be written of it."""

import time
from dataclasses import dataclass, field
from typing import Any

import orjson

from service.datasets.prepare.prepare import Prepared
from service.history import HistoryChunk, epoch_document
from service.storage.claims import Claim, Progress, Report
from service.storage.history import HistoryRow
from service.storage.job_record import Job
from service.storage.json_text import json_text
from service.training.components import Components
from service.training.engines.base import Training

# History reaches the database at most this often: a short job is two transactions, its claim and its end.
RECORD_SECONDS = 0.25
# Troubles that a job's log is told of, once while they last.
KEPT_BACK = "History was kept back for a while"
NO_CHECKPOINT = "No checkpoint can be written"


@dataclass(frozen=True)
class Ready:
    """A claimed job, its data loaded and its model built.

    Attributes:
        engine: which one executes it.
        seconds: what that took.
    """

    job: Job
    components: Components
    data: Prepared
    engine: str
    seconds: float

    @property
    def compiled(self) -> bool:
        """Whether it runs as a program."""
        return self.engine == "compiled"

    def has_data_of(self, job: Job) -> bool:
        """Whether another job of the same kind trains on the same tensors."""
        ours, theirs = (orjson.loads(each.request)["data"] for each in (self.job, job))
        return self.job.dataset_id == job.dataset_id and ours == theirs

    @property
    def data_bytes(self) -> int:
        """Of the samples it trains on and is validated with."""
        return sum(side.nbytes for side in (self.data.train, self.data.validation) if side is not None)


@dataclass
class Run:
    """One attempt at a job.

    Attributes:
        epochs_before: those that were trained before it.
        recorded: when its progress was last written.
        saved: when a checkpoint was last taken.
        saving_seconds: spent on checkpoints by this attempt, and on the last of them.
        pending: history that is not in the database yet.
        latest: the last epoch's values.
        warnings: for the job's log, that are not in the database yet.
        troubles: what can't be done at present, and was warned of.
    """

    job: Job
    claim: Claim
    engine: Training
    data: Prepared
    setup_seconds: float
    epochs_before: int = 0
    started: float = field(default_factory=time.monotonic)
    recorded: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)
    saving_seconds: float = 0.0
    last_saving_seconds: float = 0.0
    pending: list[HistoryChunk] = field(default_factory=list)
    latest: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    troubles: set[str] = field(default_factory=set)

    @property
    def training_seconds(self) -> float:
        """Spent training, by this attempt and those before it."""
        return self.job.training_seconds + self._own_seconds

    @property
    def _own_seconds(self) -> float:
        return time.monotonic() - self.started - self.saving_seconds

    @property
    def seconds_left(self) -> float:
        """Until `max_runtime_seconds` are over."""
        limit = self.engine.components.spec.max_runtime_seconds
        return float("inf") if limit is None else limit - self.training_seconds

    def note(self, chunk: HistoryChunk) -> None:
        """Keep history until it is written."""
        self.pending.append(chunk)
        values = dict(zip(chunk.columns, chunk.values[:, -1].tolist(), strict=True))
        self.latest = epoch_document(chunk.last_epoch, values)

    def rows(self) -> list[HistoryRow]:
        """What is pending, as one row."""
        if not self.pending:
            return []
        chunk = HistoryChunk.join(self.pending)
        return [HistoryRow(chunk.first_epoch, chunk.last_epoch, chunk.pack())]

    def warn(self, trouble: str, reason: str) -> None:
        """Keep a warning until it is written: one, however often the same can't be done."""
        if trouble not in self.troubles:
            self.troubles.add(trouble)
            self.warnings.append(f"{trouble}: {reason}")

    def report(self) -> Report:
        """What is to be written of it while it goes on."""
        return Report(self.claim, self.progress(), self.rows(), self.warnings)

    def reported(self) -> None:
        """All that was pending is written."""
        self.pending, self.warnings = [], []
        self.troubles.discard(KEPT_BACK)

    def progress(self) -> Progress:
        """How far it is."""
        monitor = self.engine.components.monitor
        best = None
        if monitor is not None and monitor.best_epoch is not None:
            best = json_text(epoch_document(monitor.best_epoch, monitor.best))
        latest = None if self.latest is None else json_text(self.latest)
        trained = self.engine.epoch - self.epochs_before
        epoch_seconds = self._own_seconds / trained if trained else None
        return Progress(self.engine.epoch, latest, best, self.training_seconds, epoch_seconds)

    def timings(self) -> str:
        """Where the time went, as JSON."""
        job = self.job
        waited = 0.0 if job.started_at is None else (job.started_at - job.created_at).total_seconds()
        return json_text(
            {
                "queue_seconds": waited,
                "setup_seconds": self.setup_seconds,
                "compile_seconds": self.engine.compile_seconds,
                "training_seconds": self.training_seconds,
                "saving_seconds": self.saving_seconds,
            }
        )
