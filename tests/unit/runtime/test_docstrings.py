"""Docstrings with and without `__doc__`, which `python -OO` strips."""

from collections.abc import Iterator
from typing import Any

import pytest

from service.runtime.docstrings import docstring


class Documented:
    """Hold nothing.

    Attributes:
        nothing: Not there.
    """

    def method(self) -> None:
        """Do nothing."""


class Subclass(Documented):
    def method(self) -> None:
        pass


async def coroutine() -> None:
    """Wait for nothing."""


UNPARSABLE = {
    "a line that is no statement by itself": lambda: None,
}

DOCUMENTED = [
    (Documented, "Hold nothing.\n\nAttributes:\n    nothing: Not there."),
    (Documented.method, "Do nothing."),
    (coroutine, "Wait for nothing."),
]


@pytest.fixture
def stripped() -> Iterator[None]:
    """Objects without `__doc__`."""
    before = [(obj, obj.__doc__) for obj, _ in DOCUMENTED]
    for obj, _ in DOCUMENTED:
        obj.__doc__ = None
    yield
    for obj, text in before:
        obj.__doc__ = text


@pytest.mark.parametrize(("obj", "text"), DOCUMENTED)
def test_a_docstring_is_returned_without_its_indentation(obj: Any, text: str) -> None:
    """The lines of a docstring start at the margin."""
    assert docstring(obj) == text


@pytest.mark.usefixtures("stripped")
@pytest.mark.parametrize(("obj", "text"), DOCUMENTED)
def test_a_stripped_docstring_is_read_from_source(obj: Any, text: str) -> None:
    """An object without `__doc__` has the docstring of its source."""
    assert docstring(obj) == text


@pytest.mark.parametrize("obj", [Subclass, Subclass.method, *UNPARSABLE.values(), type("Made", (), {})])
def test_an_object_without_a_docstring_has_an_empty_one(obj: Any) -> None:
    """An object has an empty docstring if none is written, or if its source cannot be found or parsed."""
    assert docstring(obj) == ""
