"""The base of requests to a helper, and the error that may answer each of them."""

from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, get_args

from service.errors import FieldError, FitserveError, problem_types
from service.processes.messages import Messages

A = TypeVar("A")

Lane = Literal["checks", "results", "files"]


@dataclass(frozen=True)
class Problem:
    """An error in place of an answer."""

    slug: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    retry_after_seconds: int | None = None

    @classmethod
    def of(cls, error: FitserveError) -> Self:
        """Describe an error as a message."""
        return cls(error.slug(), error.detail, tuple(error.errors), error.retry_after_seconds)

    def error(self) -> FitserveError:
        """The error as an exception to raise."""
        return problem_types()[self.slug](self.detail, self.errors, self.retry_after_seconds)


PROBLEMS = Messages(Problem)


class Request(Generic[A]):
    """A task for a helper. A subclass is a frozen dataclass that names the type of its answer.

        class Predict(Request[InBody | InFile]): ...

    Attributes:
        answers: Writes and reads `A` (each of its members, where it is a union) and `Problem`.
        lane: Group of tasks, none of which can occupy all helpers.
    """

    answers: ClassVar[Messages[Any]]

    @property
    def lane(self) -> Lane:
        return "results"

    def __init_subclass__(cls) -> None:
        (answer,) = get_args(vars(cls)["__orig_bases__"][0])
        cls.answers = Messages(*(get_args(answer) or (answer,)), Problem)
