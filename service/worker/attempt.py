"""One attempt at a job: its engine, its clock, and the history and warnings not written yet."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from service.datasets.prepare.prepare import Prepared
from service.history import LOSS_COLUMNS, HistoryChunk, epoch_document
from service.storage.claims import Claim, Progress, Report
from service.storage.history import HistoryRow
from service.storage.job_record import Job
from service.storage.json_text import json_text
from service.training.components import Components
from service.training.engines.base import Training

# History reaches the database at most this often: a short job is two transactions, its claim and its end.
RECORD_SECONDS = 0.25
# Conditions that the job's log reports once, until they are over.
HISTORY_DELAYED = "History could not be written for a while"
NO_CHECKPOINT = "No checkpoint can be written"
NO_MONITORED_VALUE = "The monitored metric has no value"


@dataclass(frozen=True)
class LoadedJob:
    """A claimed job with its data loaded and its model built.

    Attributes:
        engine: Name of the engine that executes it.
        seconds: Time spent loading and building.
    """

    job: Job
    components: Components
    data: Prepared
    engine: str
    seconds: float

    @property
    def compiled(self) -> bool:
        """True if the compiled engine executes it."""
        return self.engine == "compiled"

    def has_data_of(self, job: Job) -> bool:
        """Return whether another job of the same group key trains on the same tensors."""
        ours, theirs = (orjson.loads(each.request)["data"] for each in (self.job, job))
        return self.job.dataset_id == job.dataset_id and ours == theirs

    @property
    def data_bytes(self) -> int:
        """Size of the training and validation samples."""
        return sum(split.nbytes for split in (self.data.train, self.data.validation) if split is not None)


@dataclass
class Attempt:
    """One attempt at a job.

    Attributes:
        setup_seconds: Time spent before training, compilation excluded.
        epochs_before: Number of epochs trained by earlier attempts.
        recorded: When progress was last written (`time.monotonic`).
        saved: When a checkpoint was last written or tried (`time.monotonic`).
        saving_seconds: Time this attempt has spent on checkpoints.
        last_saving_seconds: Time spent on the last checkpoint.
        pending: History that is not in the database yet.
        latest: Values of the last epoch.
        warnings: Lines for the job's log that are not in the database yet.
        active_warnings: Conditions that were reported and are not over.
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
    active_warnings: set[str] = field(default_factory=set)

    @property
    def training_seconds(self) -> float:
        """Time spent training, by this attempt and those before it."""
        return self.job.training_seconds + self._own_seconds

    @property
    def _own_seconds(self) -> float:
        return time.monotonic() - self.started - self.saving_seconds

    @property
    def seconds_left(self) -> float:
        """Time until `max_runtime_seconds` have passed; infinity without a limit."""
        limit = self.engine.components.spec.max_runtime_seconds
        return float("inf") if limit is None else limit - self.training_seconds

    def add_history(self, chunk: HistoryChunk) -> None:
        """Keep a chunk of history until it is written, with values in the units of the targets."""
        units = self.engine.components.units
        chunk = chunk if units is None else units.extend(chunk)
        self.pending.append(chunk)
        values = dict(zip(chunk.columns, chunk.values[:, -1].tolist(), strict=True))
        self.latest = epoch_document(chunk.last_epoch, values)
        self._warn_without_monitored_value(chunk)

    def _warn_without_monitored_value(self, chunk: HistoryChunk) -> None:
        """Warn of the first epoch in which a monitored metric is undefined."""
        monitor = self.engine.components.monitor
        if monitor is None or monitor.value in LOSS_COLUMNS:  # a loss without a value ends the training
            return
        missing = np.isnan(chunk.values[chunk.columns.index(monitor.value)])  # [epochs]
        if missing.any():
            epoch = chunk.first_epoch + int(missing.argmax())
            reason = (
                f"`{monitor.value}` is undefined in epoch {epoch}. Such epochs count neither as an "
                "improvement nor for `patience`."
            )
            self.warn(NO_MONITORED_VALUE, reason)

    def rows(self) -> list[HistoryRow]:
        """Return the pending history as one row, or none."""
        if not self.pending:
            return []
        chunk = HistoryChunk.join(self.pending)
        return [HistoryRow(chunk.first_epoch, chunk.last_epoch, chunk.pack())]

    def warn(self, condition: str, reason: str) -> None:
        """Add a warning, unless the same condition was reported and is not over."""
        if condition not in self.active_warnings:
            self.active_warnings.add(condition)
            self.warnings.append(f"{condition}: {reason}")

    def report(self) -> Report:
        """Return the progress, history and warnings to write while the job trains."""
        return Report(self.claim, self.progress(), self.rows(), self.warnings)

    def mark_reported(self) -> None:
        """Forget what was pending: the last report is in the database."""
        self.pending, self.warnings = [], []
        self.active_warnings.discard(HISTORY_DELAYED)

    def progress(self) -> Progress:
        """Return the number of epochs, the latest and best values, and timings."""
        monitor = self.engine.components.monitor
        best = None
        if monitor is not None and monitor.best_epoch is not None:
            units = self.engine.components.units
            derived = {} if units is None else units.derive(monitor.best)
            best = json_text(epoch_document(monitor.best_epoch, {**monitor.best, **derived}))
        latest = None if self.latest is None else json_text(self.latest)
        trained = self.engine.epoch - self.epochs_before
        epoch_seconds = self._own_seconds / trained if trained else None
        return Progress(self.engine.epoch, latest, best, self.training_seconds, epoch_seconds)

    def timings(self) -> str:
        """Return how the time was spent, as JSON."""
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
