"""Conditional requests, by the rules of RFC 9110, section 13."""

from datetime import UTC, datetime

import pytest
from fastapi import Request

from service.api.http.conditions import Version
from service.errors import PreconditionFailed

VERSION = Version("3", datetime(2026, 11, 30, 12, 0, 0, 500_000, tzinfo=UTC))
BEFORE, THEN, LATER = (f"Mon, 30 Nov 2026 {time} GMT" for time in ("11:59:59", "12:00:00", "12:00:01"))


def request(*headers: tuple[str, str]) -> Request:
    """Return a request with headers."""
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    return Request({"type": "http", "headers": raw})


@pytest.mark.parametrize(
    "headers",
    [
        [("If-Match", '"3"')],
        [("If-Match", "*")],
        [("If-Match", '"2", "3"')],
        [("If-Match", '"2,",\t"3"')],
        [("If-Match", '"2"'), ("If-Match", '"3"')],
        [("If-Match", '"3"'), ("If-Unmodified-Since", BEFORE)],
        [("If-Unmodified-Since", THEN)],
        [("If-None-Match", '"2"')],
    ],
)
def test_a_write_whose_condition_holds_is_bound_to_the_version(headers: list[tuple[str, str]]) -> None:
    """A write under a condition that holds is of this version; `If-Match` takes precedence over dates."""
    assert VERSION.check_write(request(*headers))


@pytest.mark.parametrize("headers", [[], [("If-Unmodified-Since", "yesterday")]])
def test_a_write_without_a_condition_is_of_any_version(headers: list[tuple[str, str]]) -> None:
    """Without a condition, and with a date that is none, a write is of any version."""
    assert not VERSION.check_write(request(*headers))


@pytest.mark.parametrize(
    "headers",
    [
        [("If-Match", 'W/"3"')],
        [("If-Match", "3")],
        [("If-Match", '"nonsense"')],
        [("If-Match", '"3')],
        [("If-Match", 'x"3"')],
        [("If-Match", '"2", *')],
        [("If-Match", "")],
        [("If-Unmodified-Since", BEFORE)],
        [("If-None-Match", 'W/"3"')],
        [("If-None-Match", "*")],
        [("If-Match", '"3"'), ("If-None-Match", '"3"')],
    ],
)
def test_a_write_whose_condition_fails_is_refused(headers: list[tuple[str, str]]) -> None:
    """A condition that is false or malformed refuses the write; the comparison of `If-Match` is strong."""
    with pytest.raises(PreconditionFailed):
        VERSION.check_write(request(*headers))


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ([], None),
        ([("If-None-Match", '"3"')], True),
        ([("If-None-Match", 'W/"3"')], True),
        ([("If-None-Match", "*")], True),
        ([("If-None-Match", '"2"')], False),
        ([("If-None-Match", "3")], False),
    ],
)
def test_a_reader_that_has_the_version_is_known(headers: list[tuple[str, str]], known: bool | None) -> None:
    """`If-None-Match` compares weakly."""
    assert VERSION.is_known(request(*headers)) is known


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ([("If-Modified-Since", THEN)], True),
        ([("If-Modified-Since", LATER)], True),
        ([("If-Modified-Since", BEFORE)], False),
        ([("If-Modified-Since", "yesterday")], False),
        ([("If-Modified-Since", THEN), ("If-None-Match", '"2"')], False),
    ],
)
def test_a_reader_may_know_the_date(headers: list[tuple[str, str]], known: bool) -> None:
    """A date counts by the second, and only without `If-None-Match`."""
    assert VERSION.is_known_since(request(*headers)) is known
    assert VERSION.last_modified == THEN


@pytest.mark.parametrize(
    ("headers", "holds"),
    [
        ([], True),
        ([("If-Match", '"3"'), ("Range", "bytes=0-1")], True),
        ([("If-Match", '"other"'), ("Range", "bytes=0-1")], False),
        ([("If-Match", '"other"'), ("If-None-Match", '"3"')], False),
        ([("If-Unmodified-Since", THEN)], True),
        ([("If-Unmodified-Since", BEFORE), ("If-Modified-Since", LATER)], False),
        ([("If-None-Match", "*")], True),
    ],
)
def test_a_read_of_another_version_is_refused(headers: list[tuple[str, str]], holds: bool) -> None:
    """`If-Match` and `If-Unmodified-Since` precede the conditions of a cache and ranges."""
    if holds:
        VERSION.check_read(request(*headers))
    else:
        with pytest.raises(PreconditionFailed):
            VERSION.check_read(request(*headers))
