"""Causes for which a command of the service can't start, each with its exit status.

A supervisor distinguishes them by the status; the sentence says what to change. A cause that may pass by
itself, such as a database that is still starting, is not one of these: the service waits for it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit status of a command, by what prevents its start."""

    SETTINGS = 2
    ADDRESS = 3
    DATABASE = 4
    STORE = 5


class StartError(Exception):
    """A cause that waiting does not remove.

    Args:
        status: Exit status of the command.
        sentence: What is wrong and what to change, without passwords.
    """

    def __init__(self, status: ExitStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class StartFailed(Exception):
    """All causes that prevent a start.

    Args:
        causes: The causes, at least one.
    """

    def __init__(self, causes: Sequence[StartError]) -> None:
        super().__init__(" ".join(cause.sentence for cause in causes))
        self.causes = causes

    @property
    def status(self) -> ExitStatus:
        """Exit status of the command: the first of its causes'."""
        return min(cause.status for cause in self.causes)


@contextmanager
def collected(causes: list[StartError]) -> Iterator[None]:
    """Add the causes that the block raises to a list, and continue after it."""
    try:
        yield
    except StartError as cause:
        causes.append(cause)
    except StartFailed as failed:
        causes.extend(failed.causes)
