"""Typed messages: each is read as it was written, and unknown ones are refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

import orjson
import pytest

from service.processes.messages import Messages, UnknownMessage

A = TypeVar("A")


class Color(StrEnum):
    """An enumeration inside a message."""

    RED = "red"


@dataclass(frozen=True)
class Location:
    """A dataclass inside a message."""

    line: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A message of every type of field."""

    location: Location | str | None
    color: Color
    request: Mapping[str, Any]
    numbers: tuple[float, ...] = ()


@dataclass(frozen=True)
class Lost:
    """A message without fields."""


class Base(Generic[A]):
    """A base class, as requests have that name the type of their answer."""


@dataclass(frozen=True)
class Question(Base[Lost]):
    """A message with a generic base class."""

    number: int


MESSAGES = Messages[Found | Lost](Found, Lost)
REQUESTS = Messages[Base[Any]](Question)


@pytest.mark.parametrize(
    "message",
    [
        Lost(),
        Found(None, Color.RED, {}),
        Found("x", Color.RED, {"b": 1, "a": [{"deep": None}, 1.5, True]}, (0.25, 3.0)),
        Found(Location(3, ("a", "b")), Color.RED, {"type": "Linear"}),
    ],
)
def test_a_message_read_again_is_equal(message: Found | Lost) -> None:
    """A message that went through JSON equals the one that was written."""
    header = orjson.loads(orjson.dumps(MESSAGES.dump(message)))
    assert MESSAGES.load(header) == message
    assert header["type"] == type(message).__name__


def test_a_message_may_have_a_generic_base_class() -> None:
    """A dataclass derived from a generic class is written and read as any other."""
    assert REQUESTS.dump(Question(3)) == {"type": "Question", "number": 3}
    assert REQUESTS.load({"type": "Question", "number": 3}) == Question(3)


def test_untyped_objects_keep_their_order() -> None:
    """The order of keys in an untyped object, such as a job's request, is kept."""
    loaded = MESSAGES.load(MESSAGES.dump(Found(None, Color.RED, {"b": 1, "a": 2})))
    assert isinstance(loaded, Found)
    assert list(loaded.request) == ["b", "a"]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({}, "Unknown message `None`; known messages: Found, Lost."),
        ({"type": "Stolen"}, "Unknown message `Stolen`; known messages: Found, Lost."),
        ({"type": ["Found"]}, "Unknown message `['Found']`"),
        ({"type": "Found", "location": None, "color": "red"}, "`Found` is malformed: .*request"),
        (
            {"type": "Found", "location": None, "color": "blue", "request": {}},
            "`Found` is malformed: .*color",
        ),
    ],
)
def test_unknown_and_malformed_messages_are_errors(header: dict[str, Any], words: str) -> None:
    """A header of an unknown type, or with fields that don't fit, raises `UnknownMessage`."""
    with pytest.raises(UnknownMessage, match=f"(?s){words.replace('[', '.').replace(']', '.')}"):
        MESSAGES.load(header)


def test_a_message_of_another_protocol_is_not_written() -> None:
    """A message that the receiver could not read is refused by the sender."""
    with pytest.raises(UnknownMessage, match="Unknown message `Location`"):
        MESSAGES.dump(Location(1, ()))  # type: ignore[arg-type]
