"""`try` statements of a class text.

Only exceptions are caught that Python certainly raises at the same place: those of `raise`, of missing keys,
elements and attributes, and of imports. Errors of PyTorch, and what this package refuses, always end the run.
"""

import builtins
from dataclasses import dataclass

from service.architectures.text.errors import Raised
from service.architectures.text.evaluation import Frame
from service.architectures.text.statements import Outcome, Statement, run_all


def is_subclass(name: str, of: str) -> bool:
    """Return whether an exception of Python is another one or derived from it.

    Args:
        name: Name of the exception.
        of: Name of the other; unknown names have no subclasses.
    """
    type_, base = (getattr(builtins, each, None) for each in (name, of))
    return isinstance(type_, type) and isinstance(base, type) and issubclass(type_, base)


@dataclass(frozen=True, slots=True)
class Handler:
    """An `except` clause.

    Attributes:
        names: Names of the exceptions that it catches.
        variable: Name of the variable that receives the exception, if any.
        body: Its statements.
    """

    names: tuple[str, ...]
    variable: str | None
    body: tuple[Statement, ...]

    def catches(self, name: str) -> bool:
        """Return whether it catches an exception of a name."""
        return any(is_subclass(name, each) for each in self.names)


@dataclass(frozen=True, slots=True)
class Try(Statement):
    """`try: … except …: … else: … finally: …`."""

    body: tuple[Statement, ...]
    handlers: tuple[Handler, ...]
    otherwise: tuple[Statement, ...]
    final: tuple[Statement, ...]

    def run(self, frame: Frame) -> Outcome:
        try:
            outcome = self._run_handled(frame)
        except Raised:
            ended = run_all(self.final, frame)
            if ended is not None:
                return ended
            raise
        ended = run_all(self.final, frame)
        return outcome if ended is None else ended

    def _run_handled(self, frame: Frame) -> Outcome:
        run = frame.run
        run.catches.append(lambda name: any(each.catches(name) for each in self.handlers))
        raised: Raised | None = None
        try:
            outcome = run_all(self.body, frame)
        except Raised as error:
            raised = error
        finally:
            run.catches.pop()
        if raised is None:
            return run_all(self.otherwise, frame) if outcome is None else outcome
        handler = next((each for each in self.handlers if each.catches(raised.name)), None)
        if handler is None:
            raise raised  # an outer statement catches it
        if handler.variable is not None:
            frame.names[handler.variable] = raised
        run.handled.append(raised)
        try:
            return run_all(handler.body, frame)
        finally:
            run.handled.pop()
            if handler.variable is not None:
                frame.names.pop(handler.variable, None)


@dataclass(frozen=True, slots=True)
class RaiseAgain(Statement):
    """`raise` in an `except` clause."""

    def run(self, frame: Frame) -> Outcome:
        if not frame.run.handled:
            frame.run.fail(self.at, "`raise` without an exception stands in `except` only.", "RuntimeError")
        error = frame.run.handled[-1]
        frame.run.fail(self.at, f"the class raises {error}", error.name, error.text)
