"""Query parameters, preferences and small bodies."""

import pytest
from fastapi import Request
from pydantic import ValidationError

from service.api.http.requests import Query, parse, preferred_wait_seconds
from service.api.routes.datasets import PageQuery, RowsQuery
from service.api.routes.jobs import ListQuery
from service.api.routes.logs import LogsQuery
from service.api.routes.results import EvaluationQuery, HistoryParameters, SplitQuery
from service.specs.job import JobEdit
from tests.support.field_errors import refusal


@pytest.mark.parametrize("text", ["1_0", "+1", " 1", "1 ", "1.0", "1e1", "0x1", "\u0661", ""])
@pytest.mark.parametrize(
    ("query", "name"),
    [
        (ListQuery, "page_size"),
        (LogsQuery, "page_size"),
        (RowsQuery, "offset"),
        (SplitQuery, "limit"),
        (HistoryParameters, "every"),
        (HistoryParameters, "from_epoch"),
        (HistoryParameters, "max_points"),
        (EvaluationQuery, "worst"),
        (PageQuery, "skip_lines"),
    ],
)
def test_an_integer_has_digits_only(query: type[Query], name: str, text: str) -> None:
    """A number that Python would accept, but that is not written in digits only, is refused."""
    with pytest.raises(ValidationError, match="decimal digits"):
        query.model_validate({name: text})
    assert getattr(query.model_validate({name: "10"}), name) == 10


@pytest.mark.parametrize("text", ["0_5", "+0.5", " 0.5", "nan", "inf"])
def test_a_decimal_number_has_no_signs_of_python(text: str) -> None:
    """A decimal number has digits, a point and an exponent."""
    with pytest.raises(ValidationError, match="decimal number"):
        EvaluationQuery.model_validate({"threshold": text})
    for same in ("0.5", ".5", "5e-1", "0.50"):
        assert EvaluationQuery.model_validate({"threshold": same}).threshold == 0.5


@pytest.mark.parametrize("query", [ListQuery, PageQuery])
@pytest.mark.parametrize("name", ["created_after", "created_before"])
@pytest.mark.parametrize(
    "text", ["2026", "0", "-1", "1.5", "99999999999999", "", "2026-11", "18:30", "P1D", "2026-11-30T18", "x"]
)
def test_a_time_is_no_number(query: type[ListQuery], name: str, text: str) -> None:
    """A time is written by RFC 3339; a number is not read as seconds since 1970."""
    with pytest.raises(ValidationError, match="RFC 3339"):
        query.model_validate({name: text})


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-30T18:30:00Z",
        "2026-11-30t18:30:00.000z",
        "2026-11-30 18:30:00",
        "2026-11-30T18:30",
        "2026-11-30 18:30",
        "2026-11-30T19:30:00+01:00",
        "2026-11-30T19:30:00 01:00",
        "2026-11-30T19:30:00 0100",
    ],
)
def test_a_time_is_in_utc_without_an_offset(text: str) -> None:
    """A time may have an offset, whose `+` may have become a space in the URL."""
    created = ListQuery.model_validate({"created_after": text}).created_after
    assert created == ListQuery.model_validate({"created_after": "2026-11-30T18:30:00Z"}).created_after


def test_a_date_is_its_midnight() -> None:
    """A date without a time is its midnight, in UTC."""
    created = ListQuery.model_validate({"created_after": "2026-11-30"}).created_after
    assert created is not None
    assert created.isoformat() == "2026-11-30T00:00:00+00:00"


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=30", 30),
        ("wait=61", 60),
        (f"wait={'9' * 20}", 60),
        (f"wait={'9' * 999}", 60),
        ('respond-async, wait="5"', 5),
        ("wait=-1", None),
        ("wait=1_0", None),
        ("wait", None),
    ],
)
def test_a_wait_is_limited(prefer: str, seconds: float | None) -> None:
    """A wait of any length is 60 seconds at most; what is no number of seconds is ignored."""
    scope = {"type": "http", "headers": [(b"prefer", prefer.encode())]}
    assert preferred_wait_seconds(Request(scope)) == seconds


def test_a_name_appears_once() -> None:
    """A name that appears twice in a small body is an error at its pointer."""
    assert list(refusal(lambda: parse(JobEdit, b'{"name": "one", "name": "two"}'))) == ["#/name"]
    assert parse(JobEdit, b'{"name": "one"}').name == "one"
