"""Every error a client can meet; each class knows its HTTP status, its docstring is the title.

    FitserveError
    ├── BadRequest 400
    │   └── NotJson
    ├── NotFound 404
    │   ├── DatasetNotFound
    │   ├── JobNotFound
    │   ├── ParameterNotFound
    │   ├── CheckpointNotFound
    │   ├── ArtifactNotFound
    │   └── ProblemTypeNotFound
    ├── MethodNotAllowed 405
    ├── Conflict 409
    │   ├── DatasetInUse
    │   ├── JobNotEnded
    │   └── NoCheckpointYet
    ├── PreconditionFailed 412
    ├── ContentTooLarge 413
    ├── UnsupportedMediaType 415
    ├── InvalidRequest 422
    │   ├── IdempotencyKeyReused
    │   ├── LimitExceeded
    │   └── JobFailure (in a failed job's `error`)
    │       ├── TrainingFailed
    │       ├── TrainingDiverged
    │       ├── OutOfMemory
    │       ├── WorkerLost
    │       ├── RuntimeTooShort
    │       ├── DataNotPrepared
    │       └── CheckpointNotWritten
    └── Unavailable 503
        └── QueueFull

The `type` of a problem is `/problems/<slug>`, the slug is the class name in kebab-case; the page
behind it shows the class's title and `remedy`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class FieldError:
    """One mistake in a request: where (a JSON pointer, `#/a/0/b`) and what to do about it."""

    pointer: str
    detail: str


def pointer_to(base: str, *parts: str | int) -> str:
    """The JSON pointer below `base`, escaped after RFC 6901 (`~` as `~0`, `/` as `~1`)."""
    return "/".join([base, *(str(part).replace("~", "~0").replace("/", "~1") for part in parts)])


class FitserveError(Exception):
    """The request could not be served."""

    status: ClassVar[int] = 500
    remedy: ClassVar[str] = "Report this to whoever runs the service."

    def __init__(
        self,
        detail: str | None = None,
        errors: Iterable[FieldError] = (),
        retry_after_seconds: int | None = None,
    ) -> None:
        self.errors = list(errors)
        self.detail = detail or self.default_detail()
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.detail)

    def default_detail(self) -> str:
        """The detail of an error that was raised without one."""
        return self.title()

    def document(self, instance: str) -> dict[str, Any]:
        """The error as a problem (RFC 9457).

        Args:
            instance: the path of what the error is about.
        """
        return {
            "type": f"/problems/{self.slug()}",
            "title": self.title(),
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "errors": [asdict(error) for error in self.errors],
        }

    @classmethod
    def title(cls) -> str:
        """The first sentence of the docstring."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]

    @classmethod
    def slug(cls) -> str:
        """The class name in kebab-case: the last part of the problem's `type`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()


class BadRequest(FitserveError):
    """The request can't be read."""

    status = 400
    remedy = "Compare the request with the reference at /docs."


class NotJson(BadRequest):
    """The body is not valid JSON."""

    remedy = (
        "Check commas, quotes and brackets near the position given. NaN, Infinity and numbers beyond "
        "a double's range are not JSON: send null for a missing value."
    )


class NotFound(FitserveError):
    """Nothing is at this address."""

    status = 404
    remedy = "The links at / and the reference at /docs list what there is."


class DatasetNotFound(NotFound):
    """No dataset has this id."""

    remedy = "GET /v1/datasets lists the datasets there are."


class JobNotFound(NotFound):
    """No job has this id."""

    remedy = "GET /v1/jobs lists the jobs there are."


class ParameterNotFound(NotFound):
    """The job's model has no parameter of this name."""

    remedy = "GET /v1/jobs/{id}/named_parameters lists the names."


class CheckpointNotFound(NotFound):
    """The job has no such checkpoint."""

    remedy = "Ask for `last` or `best`, or for an epoch that has a checkpoint."


class ArtifactNotFound(NotFound):
    """The file of this dataset or checkpoint is not there."""

    remedy = (
        "It was deleted a moment ago: read the resource again. Where that still shows it, its file was "
        "removed from outside the service."
    )


class ProblemTypeNotFound(NotFound):
    """No problem type has this name."""

    remedy = "GET /problems lists them."


class MethodNotAllowed(FitserveError):
    """This address doesn't take this method."""

    status = 405
    remedy = "The `Allow` header of the answer lists the methods it takes."


class Conflict(FitserveError):
    """The request doesn't fit the present state."""

    status = 409
    remedy = "Read the resource again and act on its present state."


class DatasetInUse(Conflict):
    """A job that has not ended uses this dataset."""

    remedy = "Wait for the job, or cancel it, and delete the dataset then."


class JobNotEnded(Conflict):
    """The job has not ended."""

    remedy = "Wait for the job, or cancel it (POST /v1/jobs/{id}/cancel)."


class JobNotRunning(Conflict):
    """The job neither waits nor runs."""

    remedy = "Only a job that is queued or running can be paused."


class JobNotPaused(Conflict):
    """The job is not paused."""

    remedy = "Only a job that is paused, or about to be, can be resumed."


class NoCheckpointYet(Conflict):
    """The job has no checkpoint yet."""

    remedy = "Ask again once the job has trained for a moment; a job that failed early never has one."


class PreconditionFailed(FitserveError):
    """The resource has changed since its ETag was read."""

    status = 412
    remedy = "Read the resource again and send its present ETag."


class ContentTooLarge(FitserveError):
    """The body is larger than this service takes."""

    status = 413
    remedy = (
        "Send less, or have the limit raised: FITSERVE_MAX_BODY_BYTES of JSON, FITSERVE_MAX_UPLOAD_BYTES of "
        "files as sent, FITSERVE_MAX_DATASET_BYTES of what is in them."
    )


class UnsupportedMediaType(FitserveError):
    """This media type is not taken here."""

    status = 415
    remedy = "Name the body's type in Content-Type; the detail lists the types taken."


class InvalidRequest(FitserveError):
    """The request is not valid."""

    status = 422
    remedy = "Each entry of `errors` points to a place in the request and says what to do."

    def default_detail(self) -> str:
        """The number of errors in words."""
        if len(self.errors) > 1:
            return f"{len(self.errors)} things are wrong."
        return "One thing is wrong with this request." if self.errors else super().default_detail()


class IdempotencyKeyReused(InvalidRequest):
    """This Idempotency-Key came with another body before."""

    remedy = "Use a new key for a new request; the same key only repeats the same body."


class LimitExceeded(InvalidRequest):
    """Checking this request took more time or memory than allowed."""

    remedy = "Make the model or the inline data smaller, or have the limits raised."


class JobFailure(InvalidRequest):
    """The job failed."""


class TrainingFailed(JobFailure):
    """The training failed."""

    remedy = "The detail says what PyTorch met; change the request and submit it again."


class TrainingDiverged(JobFailure):
    """The training diverged."""

    remedy = (
        "The loss became NaN or infinite. Try a smaller learning rate, `gradient_clip_norm`, or features "
        "of a smaller scale."
    )


class OutOfMemory(JobFailure):
    """The training needs more memory than its worker may take."""

    remedy = (
        "Try a smaller `batch_size` or a smaller model, or have the limit raised "
        "(the setting FITSERVE_WORKER_MEMORY_BYTES)."
    )


class WorkerLost(JobFailure):
    """The job's worker was lost again and again."""

    remedy = "The job may need more memory than a worker has: try a smaller batch size or a smaller model."


class RuntimeTooShort(JobFailure):
    """The time was over before there was a first checkpoint."""

    remedy = "Raise `training.max_runtime_seconds`, or make a step shorter with a smaller `batch_size`."


class DataNotPrepared(JobFailure):
    """The training data could not be laid out."""

    remedy = "Make room where the service's data are (FITSERVE_DATA_DIR), then submit the request again."


class CheckpointNotWritten(JobFailure):
    """The last checkpoint could not be written."""

    remedy = (
        "Make room where the artifacts are, then go on from the checkpoint before: a new job with "
        '`"from_job"` and `"resume": true`.'
    )


class Unavailable(FitserveError):
    """The service can't do this right now."""

    status = 503
    remedy = "Try again after the seconds given in Retry-After."


class QueueFull(Unavailable):
    """The queue is full."""


def _tree(cls: type[FitserveError]) -> Iterator[type[FitserveError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _tree(child)


def problem_types() -> dict[str, type[FitserveError]]:
    """Every problem type by its slug."""
    return {cls.slug(): cls for cls in _tree(FitserveError)}
