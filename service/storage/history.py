"""Histories of jobs, in rows that pack many epochs."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from service.storage.database import Database
from service.storage.tables import history


@dataclass(frozen=True)
class HistoryRow:
    """Packed history of the epochs from `first_epoch` to `last_epoch`, inclusive."""

    first_epoch: int
    last_epoch: int
    payload: bytes


class HistoryStore:
    """Histories of all jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(
        self, job_id: str, from_epoch: int | None = None, to_epoch: int | None = None
    ) -> Sequence[HistoryRow]:
        """Return the rows that overlap a range of epochs, in order; the outer rows may exceed the range."""
        query = select(history.c.first_epoch, history.c.last_epoch, history.c.payload)
        query = query.where(history.c.job_id == job_id).order_by(history.c.first_epoch)
        if from_epoch is not None:
            query = query.where(history.c.last_epoch >= from_epoch)
        if to_epoch is not None:
            query = query.where(history.c.first_epoch <= to_epoch)
        with self._database.read() as connection:
            return [HistoryRow(**row._mapping) for row in connection.execute(query)]
