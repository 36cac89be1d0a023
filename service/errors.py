"""Errors that clients can receive; each class carries its HTTP status, title and remedy.

    FitserveError
    ├── BadRequest 400
    │   ├── HostNotAllowed
    │   └── NotJson
    ├── ForeignOrigin 403
    ├── NotFound 404
    │   ├── DatasetNotFound
    │   ├── JobNotFound
    │   ├── ParameterSetNotFound
    │   ├── ParameterNotFound
    │   ├── CheckpointNotFound
    │   ├── ArtifactNotFound
    │   ├── CatalogEntryNotFound
    │   └── ProblemTypeNotFound
    ├── MethodNotAllowed 405
    ├── NotAcceptable 406
    ├── RequestTimedOut 408
    ├── Conflict 409
    │   ├── DatasetInUse
    │   ├── DatasetDeleted
    │   ├── ParameterSetInUse
    │   ├── JobNotEnded
    │   ├── JobNotRunning
    │   ├── JobNotPaused
    │   ├── JobNotWaiting
    │   └── NoCheckpointYet
    ├── PreconditionFailed 412
    ├── ContentTooLarge 413
    ├── TargetTooLong 414
    ├── UnsupportedMediaType 415
    ├── RangeNotSatisfiable 416
    ├── ExpectationFailed 417
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
    ├── HeadTooLarge 431
    ├── MethodNotImplemented 501
    └── Unavailable 503
        ├── QueueFull
        └── StorageFull

The `type` of a problem is `/problems/<slug>`; the slug is the class name in kebab-case. The page at that
path shows the title and the remedy. Titles are attributes, not docstrings: `python -OO` strips docstrings.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NoReturn

MAX_LISTED_ERRORS = 100
NESTED_TOO_DEEP = "The body is nested too deep to be a request."
# Messages repeat names and values of the client, which may be as long as the request.
MAX_QUOTED_CHARACTERS = 100
_MAX_CHARACTERS = 2_000  # of a pointer or a message
# Libraries put the `repr` of objects into their messages.
_PYTHON_REPRS = (
    (re.compile(r"<class '([\w.]+)'>"), r"\1"),
    (re.compile(r"<([\w.]+) object at 0x[0-9a-fA-F]+>"), r"\1"),
    (
        re.compile(
            r"<(?:function|built-in (?:method|function)) ([\w.<>]+)(?: of [\w. ]+)?(?: at 0x[0-9a-fA-F]+)?>"
        ),
        r"\1",
    ),
    (re.compile(r" at 0x[0-9a-fA-F]{6,}"), ""),
)
_QUOTE = re.compile("`([^`]+)`")


def bounded(text: str) -> str:
    """Cut long quotations in a message, and then the message; show Python objects by their names only."""
    shown = text[: 10 * _MAX_CHARACTERS]
    if "<" in shown or " at 0x" in shown:
        for pattern, replacement in _PYTHON_REPRS:
            shown = pattern.sub(replacement, shown)
    if len(shown) <= MAX_QUOTED_CHARACTERS:
        return shown
    shown = _QUOTE.sub(_cut_quote, shown)
    return shown if len(shown) <= _MAX_CHARACTERS else f"{shown[:_MAX_CHARACTERS]}…"


def _cut_quote(quote: re.Match[str]) -> str:
    return quote[0] if len(quote[1]) <= MAX_QUOTED_CHARACTERS else f"`{quote[1][:MAX_QUOTED_CHARACTERS]}…`"


@dataclass(frozen=True)
class FieldError:
    """One error in a request; a pointer or a detail that would repeat much of the request is cut.

    Attributes:
        pointer: JSON pointer to the erroneous value (`#/a/0/b`), or `?name` for a query parameter.
        detail: What is wrong and how to fix it.
    """

    pointer: str
    detail: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "pointer", bounded(self.pointer))
        object.__setattr__(self, "detail", bounded(self.detail))


def pointer_to(base: str, *parts: str | int) -> str:
    """Append `parts` to the JSON pointer `base`, escaped by RFC 6901 (`~` as `~0`, `/` as `~1`)."""
    return "/".join([base, *(str(part).replace("~", "~0").replace("/", "~1") for part in parts)])


@dataclass(init=False)
class FieldErrors:
    """Collect the errors of a request: the first 100 are listed, all are counted.

    Attributes:
        listed: The first errors.
        count: Number of all errors.
    """

    listed: list[FieldError]
    count: int

    def __init__(self, errors: Iterable[FieldError] = ()) -> None:
        self.listed, self.count = [], 0
        self.extend(errors)

    def __bool__(self) -> bool:
        return self.count > 0

    def __iter__(self) -> Iterator[FieldError]:
        return iter(self.listed)

    def __len__(self) -> int:
        return len(self.listed)

    def __getitem__(self, position: int) -> FieldError:
        return self.listed[position]

    def add(self, pointer: str, detail: str | Callable[[], str]) -> None:
        """Add one error.

        Args:
            pointer: Location of the erroneous value.
            detail: What is wrong, or a function that returns it. The function is called only for errors that
                are listed: a suggestion takes time, and a request may have as many errors as bytes.
        """
        if len(self.listed) < MAX_LISTED_ERRORS:
            self.listed.append(FieldError(pointer, detail if isinstance(detail, str) else detail()))
        self.count += 1

    def extend(self, errors: "Iterable[FieldError] | FieldErrors") -> None:
        """Add several errors; of another collection, also the number of those that it does not list."""
        before = self.count
        for error in errors:
            if len(self.listed) < MAX_LISTED_ERRORS:
                self.listed.append(error)
            self.count += 1
        if isinstance(errors, FieldErrors):
            self.count = before + errors.count

    def add_unlisted(self, count: int) -> None:
        """Count errors that need no text because the list is full."""
        self.count += count

    def raise_if_any(self) -> None:
        """Raise the collected errors.

        Raises:
            InvalidRequest: At least one error was added.
        """
        if self:
            raise InvalidRequest(errors=self)

    def fail(self, pointer: str, detail: str) -> NoReturn:
        """Add an error that prevents further checks, and raise all errors.

        Raises:
            InvalidRequest: Always.
        """
        self.add(pointer, detail)
        raise InvalidRequest(errors=self)


def shorten(text: str, max_characters: int) -> str:
    """Cut a text that a client sent, so that a message stays short."""
    return text if len(text) <= max_characters else f"{text[:max_characters]}…"


class FitserveError(Exception):
    """Base class of all errors that clients receive as a problem document (RFC 9457).

    Args:
        detail: What happened in this case; the title by default.
        errors: Each error in the request.
        retry_after_seconds: Value of `Retry-After`; see `service.retry_after`.
        headers: Further headers of the answer.

    Attributes:
        errors: The first errors in the request, and the number of all.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "The request could not be served."
    remedy: ClassVar[str] = "Report this to the operator of the service."

    def __init__(
        self,
        detail: str | None = None,
        errors: Iterable[FieldError] = (),
        retry_after_seconds: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.errors = FieldErrors(errors)
        self.headers = headers or {}
        self.detail = bounded(detail or self.default_detail())
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.detail)

    def default_detail(self) -> str:
        """Return the detail of an error raised without one."""
        return self.title

    def document(self, instance: str) -> dict[str, Any]:
        """Return the error as a problem document (RFC 9457).

        Args:
            instance: Path of the resource that the error concerns.
        """
        return {
            "type": self.path(),
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "errors": [asdict(error) for error in self.errors],
        }

    @classmethod
    def path(cls) -> str:
        """Return the path of the page that explains the problem."""
        return f"/problems/{cls.slug()}"

    @classmethod
    def slug(cls) -> str:
        """Return the class name in kebab-case: the last segment of the problem's `type`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()


def unexpected_error() -> FitserveError:
    """Return the error to answer for an exception that is logged, but whose text clients must not see."""
    return FitserveError("An unexpected error occurred; see the service's log.")


class BadRequest(FitserveError):
    status = 400
    title = "The request can't be read."
    remedy = "Compare the request with the reference at /docs."


class NotJson(BadRequest):
    title = "The body is not valid JSON."
    remedy = (
        "Check commas, quotes and brackets near the position given. NaN, Infinity and numbers beyond "
        "a double's range are not JSON: send null for a missing value."
    )


class HostNotAllowed(BadRequest):
    title = "The service is not known under the host of this request."
    remedy = (
        "Use one of the allowed hosts, or let the operator add this one to FITSERVE_ALLOWED_HOSTS. The check "
        "keeps web pages from reaching the service under a name of their own (DNS rebinding)."
    )


class ForeignOrigin(FitserveError):
    status = 403
    title = "A page of another origin may not change anything."
    remedy = (
        "Let the operator add the origin of the page to FITSERVE_ALLOWED_ORIGINS. Behind a reverse proxy "
        "that changes `Host` or ends TLS, let it send X-Forwarded-Host and X-Forwarded-Proto, and set "
        "FITSERVE_TRUSTED_PROXIES. Programs other than browsers should send neither `Origin` nor "
        "`Sec-Fetch-Site`."
    )


class NotFound(FitserveError):
    status = 404
    title = "No resource exists at this path."
    remedy = "The links at / and the reference at /docs list the available paths."


class DatasetNotFound(NotFound):
    title = "No dataset has this id."
    remedy = "GET /v1/datasets lists the existing datasets."


class JobNotFound(NotFound):
    title = "No job has this id."
    remedy = "GET /v1/jobs lists the existing jobs."


class ParameterSetNotFound(NotFound):
    title = "No parameter set has this id."
    remedy = "GET /v1/parameters lists the existing parameter sets."


class ParameterNotFound(NotFound):
    title = "The job's model has no parameter of this name."
    remedy = "GET /v1/jobs/{id}/named_parameters lists the names."


class CheckpointNotFound(NotFound):
    title = "The job has no such checkpoint."
    remedy = "Request `last`, `best`, or an epoch listed by GET /v1/jobs/{id}/checkpoints."


class ArtifactNotFound(NotFound):
    title = "The file of this dataset, parameter set or checkpoint does not exist."
    remedy = (
        "The resource was probably just deleted: read it again. If it still exists, its file was removed by "
        "something other than the service."
    )


class CatalogEntryNotFound(NotFound):
    title = "The catalog has no such name."
    remedy = "GET /v1/catalog/{kind} lists the names of a kind, such as `layers`."


class ProblemTypeNotFound(NotFound):
    title = "No problem type has this name."
    remedy = "GET /problems lists the problem types."


class MethodNotAllowed(FitserveError):
    status = 405
    title = "This path does not support this method."
    remedy = "The `Allow` header of the response lists the supported methods."


class NotAcceptable(FitserveError):
    status = 406
    title = "None of the formats of this resource is acceptable."
    remedy = "Send one of the media types that the detail lists in `Accept`, or leave the header out."


class RequestTimedOut(FitserveError):
    status = 408
    title = "The request did not arrive in time."
    remedy = (
        "Send the request again without pauses. For a slow network, raise FITSERVE_HEAD_TIMEOUT_SECONDS or "
        "FITSERVE_BODY_TIMEOUT_SECONDS, or lower FITSERVE_MIN_BYTES_PER_SECOND."
    )


class Conflict(FitserveError):
    status = 409
    title = "The request conflicts with the current state of the resource."
    remedy = "Read the resource again and act on its current state."


class DatasetInUse(Conflict):
    title = "A job that has not ended uses this dataset."
    remedy = "Wait until the job has ended, or cancel it; then delete the dataset."


class DatasetDeleted(Conflict):
    title = "The job's dataset was deleted."
    remedy = "Send the rows with their targets in the body."


class ParameterSetInUse(Conflict):
    title = "A job that has not ended starts with this parameter set."
    remedy = "Wait until the job has ended, or cancel it; then delete the parameter set."


class JobNotEnded(Conflict):
    title = "The job has not ended."
    remedy = "Wait until the job has ended, or cancel it (POST /v1/jobs/{id}/cancel)."


class JobNotRunning(Conflict):
    title = "The job is neither queued nor running."
    remedy = "Only a job that is queued or running can be paused."


class JobNotPaused(Conflict):
    title = "The job is not paused."
    remedy = "Only a job that is paused, or whose pause was requested, can be resumed."


class JobNotWaiting(Conflict):
    title = "The job has left the queue."
    remedy = "Only the priority of a job that is queued or paused can be changed."


class NoCheckpointYet(Conflict):
    title = "The job has no checkpoint yet."
    remedy = "Retry once the job has trained for a moment. A job that failed early never has a checkpoint."


class PreconditionFailed(FitserveError):
    status = 412
    title = "The resource has changed since its ETag was read."
    remedy = "Read the resource again and send its current ETag."


class ContentTooLarge(FitserveError):
    status = 413
    title = "The body is larger than the service accepts."
    remedy = (
        "Send less, or raise the limit: FITSERVE_MAX_BODY_BYTES for JSON, FITSERVE_MAX_UPLOAD_BYTES for "
        "files as sent, FITSERVE_MAX_DATASET_BYTES for their decompressed content."
    )


class TargetTooLong(FitserveError):
    status = 414
    title = "The path and the query are longer than the service accepts."
    remedy = "Send long options of a file as parts of a multipart body."


class UnsupportedMediaType(FitserveError):
    status = 415
    title = "The media type is not supported."
    remedy = "Send the body's media type in Content-Type; the detail lists the supported ones."


class RangeNotSatisfiable(FitserveError):
    status = 416
    title = "The file has no bytes in this range."
    remedy = "`Content-Range` of the response has the size of the file; without `Range`, all of it is sent."


class ExpectationFailed(FitserveError):
    status = 417
    title = "The service can't meet the header `Expect`."
    remedy = "Send `Expect: 100-continue`, or leave the header out."


class InvalidRequest(FitserveError):
    status = 422
    title = "The request is not valid."
    remedy = "Each entry of `errors` points to a value in the request and says how to fix it."

    def default_detail(self) -> str:
        """Return the number of errors in words."""
        listed, count = len(self.errors), self.errors.count
        if count > listed:
            further = f"{count - listed:,} further errors"
            return f"The request has {count:,} errors: {listed} are listed, and there are {further}."
        if count > 1:
            return f"The request has {count} errors."
        return "The request has 1 error." if count else super().default_detail()


class IdempotencyKeyReused(InvalidRequest):
    title = "This Idempotency-Key was already used with another body."
    remedy = "Use a new key for a new request; a key only repeats the request it was first sent with."


class LimitExceeded(InvalidRequest):
    title = "Checking this request took more time or memory than allowed."
    remedy = (
        "Reduce the model or the inline data, or raise the limits (FITSERVE_HELPER_TIMEOUT_SECONDS, "
        "FITSERVE_HELPER_MEMORY_BYTES)."
    )


class JobFailure(InvalidRequest):
    title = "The job failed."


class TrainingFailed(JobFailure):
    title = "The training failed."
    remedy = "The detail has PyTorch's error; change the request and submit it again."


class TrainingDiverged(JobFailure):
    title = "The training diverged."
    remedy = (
        "The loss became NaN or infinite. Standardize features and targets of a large magnitude, try a "
        "smaller learning rate, or set `gradient_clip_norm`."
    )


class OutOfMemory(JobFailure):
    title = "The training needs more memory than its worker may use."
    remedy = (
        "Try a smaller `batch_size` or a smaller model, or raise the limit (FITSERVE_WORKER_MEMORY_BYTES)."
    )


class WorkerLost(JobFailure):
    title = "The job's worker was lost repeatedly."
    remedy = "The job may need more memory than a worker has: try a smaller `batch_size` or a smaller model."


class RuntimeTooShort(JobFailure):
    title = "The time limit was reached before the first checkpoint."
    remedy = "Raise `training.max_runtime_seconds`, or shorten a step with a smaller `batch_size`."


class DataNotPrepared(JobFailure):
    title = "The training data could not be prepared."
    remedy = "Free disk space in the data folder (FITSERVE_DATA_DIR), then submit the request again."


class CheckpointNotWritten(JobFailure):
    title = "The last checkpoint could not be written."
    remedy = (
        "Free space where artifacts are stored, then continue from the previous checkpoint: submit a job "
        'with `"from_job"` and `"resume": true`.'
    )


class HeadTooLarge(FitserveError):
    status = 431
    title = "The headers are larger than the service accepts."
    remedy = (
        "Send fewer or shorter headers. A browser sends less after its cookies for this host are deleted."
    )


class MethodNotImplemented(FitserveError):
    status = 501
    title = "The service does not implement this method."
    remedy = "The reference at /docs lists the methods of each path."


class Unavailable(FitserveError):
    status = 503
    title = "The service is temporarily unable to handle the request."
    remedy = "Retry after the number of seconds in `Retry-After`."


class QueueFull(Unavailable):
    title = "The queue is full."


class StorageFull(Unavailable):
    title = "The service has no room for more data."
    remedy = (
        "Delete datasets and jobs that are no longer needed, or let the operator free disk space "
        "(FITSERVE_MIN_FREE_BYTES) or raise the quota (FITSERVE_MAX_STORED_BYTES)."
    )


def _tree(cls: type[FitserveError]) -> Iterator[type[FitserveError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _tree(child)


def problem_types() -> dict[str, type[FitserveError]]:
    """Return every error class by its slug."""
    return {cls.slug(): cls for cls in _tree(FitserveError)}
