"""The processes of a job that several workers train: how they meet and part."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
import torch

from service.errors import FieldError, FitserveError, OutOfMemory, TrainingFailed
from service.settings import Settings
from service.storage.job_record import Job
from service.training.engines.eager.ranks import RankLost, Ranks, host_store, join_store
from service.worker.messages import Rendezvous
from service.worker.supervisor import Supervisor

log = structlog.get_logger()

LOST = "Another process that trained it was lost."
# The workers of one machine meet on the loopback interface.
HOST = "127.0.0.1"


@contextmanager
def leading(
    job: Job, count: int, device: torch.device, settings: Settings, supervisor: Supervisor
) -> Iterator[Ranks]:
    """Be the first process of a job.

    Args:
        job: The claimed job.
        count: Number of processes.
        device: The device of this process.
        settings: Time limits.
        supervisor: Orders the other workers to assist.

    Yields:
        The processes, all of which have come.

    Raises:
        RankLost: Another process has ended or did not come.
        FitserveError: Another process has failed with this error.
    """
    store = host_store(HOST, settings.start_seconds)
    supervisor.ranks_needed(Rendezvous(job.owner, job.id, count, HOST, store.port))
    ranks = Ranks(store, 0, count, device)
    try:
        yield ranks
    except RankLost as error:
        document = ranks.failure()
        if document is None:
            raise
        raise _error(document) from error
    finally:
        ranks.close()


@contextmanager
def assisting(
    rendezvous: Rendezvous,
    rank: int,
    device: torch.device,
    settings: Settings,
    describe: Callable[[Exception], FitserveError],
) -> Iterator[Ranks]:
    """Be another process of a job, until the first one ends the training or another one is lost.

    Args:
        rendezvous: Where the processes meet.
        rank: Number of this one, from 1.
        device: The device of this process.
        settings: Time limits.
        describe: Turns an error of this process into the job's error, which the first process reports.

    Yields:
        The processes, all of which have come.
    """
    try:
        store = join_store(rendezvous.host, rendezvous.port, settings.start_seconds)
        ranks = Ranks(store, rank, rendezvous.count, device)
    except RankLost as error:
        log.warning("training not joined", job_id=rendezvous.job_id, rank=rank, reason=str(error))
        return
    try:
        yield ranks
    except RankLost:  # also the usual end: the first process has left
        log.info("training left", job_id=rendezvous.job_id, rank=rank)
    except Exception as error:
        log.exception("training failed in one of its processes", job_id=rendezvous.job_id, rank=rank)
        ranks.fail(_document(describe(error)))
    finally:
        ranks.close()


def _document(error: FitserveError) -> dict[str, Any]:
    return {
        "detail": error.detail,
        "errors": [[each.pointer, each.detail] for each in error.errors],
        "is_out_of_memory": isinstance(error, OutOfMemory),
    }


def _error(document: Mapping[str, Any]) -> FitserveError:
    """Read what `_document` has written."""
    detail = f"{document['detail']} (process {document['rank']})"
    errors = [FieldError(*each) for each in document["errors"]]
    return OutOfMemory(detail, errors) if document["is_out_of_memory"] else TrainingFailed(detail, errors)
