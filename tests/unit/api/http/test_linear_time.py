"""The time of reading a request grows with its size, not faster, at every entrance but the check of a job.

(`tests/unit/preflight/test_linear_work.py` has that one.) A regular expression that backtracks makes no
calls, so that processor time is compared: of texts as long as the limits allow, which take some milliseconds
if every character is read a few times, and seconds if it is compared with all others.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from fastapi import Request
from pydantic import ValidationError

from service.api.http import requests
from service.api.http.conditions import Version
from service.api.http.downloads import Download
from service.api.http.negotiation import best_encoding, best_media_type
from service.api.http.page_tokens import page_token, position_of
from service.api.routes.datasets import DatasetQuery, PageQuery
from service.api.routes.jobs import ListQuery
from service.api.routes.results import EvaluationQuery, PredictQuery
from service.datasets.sources.csv_header import read_header
from service.datasets.sources.json import read_json
from service.datasets.sources.unsupported import refuse_unsupported
from service.datasets.validation import ErrorCollector, quote_name
from service.errors import FitserveError
from service.specs.job import JobEdit
from service.specs.upload import ReadOptions
from service.storage.timestamp import EPOCH
from tests.support.asgi import Application

Work = Callable[[int], object]

CHARACTERS = 8_000  # of the shorter text; the longer one is almost as long as a head may be
FACTOR = 4
FLOOR_SECONDS = 0.02  # shorter times are noise
END = "\0"  # what makes most patterns fail at the end of a text

VERSION = Version("1", EPOCH)
# Starts of patterns that a client can repeat, followed by what makes a match fail.
PIECES = (
    "a",
    " ",
    ",",
    ";",
    "=",
    '"',
    "\\",
    "W/",
    "a=b;",
    '",',
    "q=0.",
    "/",
    "..",
    "%",
    "-",
    "9",
    "é",
    "a-",
    "=?",
)


def head(*headers: tuple[str, str], path: str = "/livez", query: str = "") -> dict[str, Any]:
    """Return the scope of a request with headers, a path and a query."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"localhost:8000"), *((n.encode(), v.encode("latin-1")) for n, v in headers)],
        "client": ("127.0.0.1", 50000),
        "server": ("localhost", 8000),
    }


APPLICATION = Application(trusted_proxies=["127.0.0.1"], allowed_origins="http://lab.example")


def answered(scope: dict[str, Any]) -> None:
    """Send a request without a body through all middleware."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    asyncio.run(APPLICATION.app(scope, receive, send))


def request_with(name: str, value: str) -> Request:
    """Return a request with a header."""
    return Request(head((name, value)))


def csv_header(text: str) -> None:
    """Read the header of a CSV file."""
    read_header((text + "\n1\n").encode(), ReadOptions(), None, ErrorCollector())


def repeated(piece: str, characters: int) -> str:
    """Return a text of so many characters."""
    return (piece * characters)[:characters]


# What reads a header, by its name.
HEADERS: dict[str, Callable[[str], object]] = {
    "Accept": lambda text: best_media_type([text], ["application/json", "text/csv"]),
    "Accept-Encoding": lambda text: best_encoding([text], ["zstd", "gzip"]),
    "If-None-Match": lambda text: VERSION.is_known(request_with("if-none-match", text)),
    "If-Match": lambda text: VERSION.check_read(request_with("if-match", text)),
    "If-Modified-Since": lambda text: VERSION.is_known_since(request_with("if-modified-since", text)),
    "Range": lambda text: Download._parse_range_header(f"bytes={text}", 1000),
    "Prefer": lambda text: requests.preferred_wait_seconds(request_with("prefer", text)),
    "Content-Type": lambda text: requests.check_json(request_with("content-type", "application/json" + text)),
    "Idempotency-Key": requests.idempotency_key,
}
# Headers that middleware reads.
OF_MIDDLEWARE = (
    "Accept",
    "Accept-Encoding",
    "Host",
    "Origin",
    "Sec-Fetch-Site",
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Prefix",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Request-ID",
    "Traceparent",
    "Cookie",
    "Connection",
)
# What reads other texts.
TEXTS: dict[str, Callable[[str], object]] = {
    "page token": lambda text: position_of("jobs", text, str),
    "valid page token": lambda text: position_of("jobs", page_token("jobs", text), str),
    "delimiter": lambda text: DatasetQuery(delimiter=text),
    "ignore": lambda text: DatasetQuery(ignore=text),
    "ignore as a list": lambda text: DatasetQuery(ignore=f"[{text}"),
    "missing": lambda text: DatasetQuery(missing=text),
    "units": lambda text: DatasetQuery(units=text),
    "types": lambda text: DatasetQuery(types=text),
    "types as an object": lambda text: DatasetQuery(types="{" + text),
    "dates": lambda text: DatasetQuery(dates=[text]),
    "encoding": lambda text: DatasetQuery(encoding=text),
    "digest": lambda text: PageQuery(digest=text),
    "threshold": lambda text: EvaluationQuery.model_validate({"threshold": text}),
    "created after": lambda text: ListQuery(created_after=text),
    "status": lambda text: ListQuery(status=[text]),
    "checkpoint": lambda text: PredictQuery(checkpoint=text),
    "page size": lambda text: ListQuery.model_validate({"page_size": text}),
    "body of a PATCH": lambda text: requests.parse(JobEdit, text.encode()),
    "name in a PATCH": lambda text: requests.parse(JobEdit, b'{"name": "%s"}' % text.encode()),
    "field of a PATCH": lambda text: requests.parse(JobEdit, b'{"%s": 1}' % text.encode()),
    "fields of a PATCH": lambda text: requests.parse(
        JobEdit, b"{%s}" % b",".join(b'"k%d":1' % number for number in range(len(text) // 8))
    ),
    "CSV header": csv_header,
    "CSV cells": lambda text: csv_header(f"a,b\n{text},{text}\n1,2"),
    "CSV header in quotes": lambda text: csv_header(f'"{text}"'),
    "CSV header with an open quote": lambda text: csv_header(f'a,"{text}'),
    "name of a column": lambda text: read_json({"columns": {text: [1]}}),
    "names of columns": lambda text: read_json(
        {"columns": {f"{text[:9]}{n}": [1] for n in range(len(text) // 9)}}
    ),
    "quoted name": quote_name,
    "start of a file": lambda text: refuse_unsupported(None, text.encode()),  # type: ignore[arg-type]
}
# Whole queries, by what they repeat.
QUERIES: dict[str, Callable[[str], str]] = {
    "pieces": lambda text: text,
    "name": lambda text: f"{text}=1",
    "value": lambda text: f"page_token={text}",
    "escapes": lambda text: "page_token=" + "%41" * (len(text) // 3) + END,
    "unknown names": lambda text: "&".join(f"q{number}=1" for number in range(len(text) // 6)),
    "one name": lambda text: "status=queued&" * (len(text) // 14) + END,
    "separators": lambda text: "&" * len(text) + END,
}
# Whole paths that lead nowhere, by what they repeat.
PATHS: dict[str, Callable[[str], str]] = {
    "pieces": lambda text: f"/v1/jobs/{text}/nothing",
    "segments": lambda text: "/v1/jobs" + "/a" * (len(text) // 2),
    "slashes": lambda text: "/" * len(text) + "v1/jobs",
    "dots": lambda text: "/v1/jobs" + "/.." * (len(text) // 3),
    "the name of a parameter": lambda text: f"/v1/jobs/a/named_parameters/{text}/b/../nothing/",
}


def seconds(work: Callable[[str], object], text: str) -> float:
    """Return the processor time of reading a text, which may be refused."""
    start = time.process_time()
    with suppress(FitserveError, ValidationError):
        work(text)
    return time.process_time() - start


def assert_linear(work: Callable[[str], object], pieces: Sequence[str] = PIECES) -> None:
    """Assert that four times as long a text takes about four times as long, whatever is repeated in it."""
    seconds(work, "")
    for piece in pieces:
        short, long = (repeated(piece, size) + END for size in (CHARACTERS, FACTOR * CHARACTERS))
        most = 2 * FACTOR * max(FLOOR_SECONDS, seconds(work, short))
        # Again, if another process disturbed it.
        assert any(seconds(work, long) <= most for _ in range(3)), piece


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_is_read_in_linear_time(name: str) -> None:
    """A header may be as long as the head."""
    assert_linear(HEADERS[name])


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_read_in_linear_time(name: str) -> None:
    """So may a parameter of the query; a body, a name or the header of a file may be longer."""
    assert_linear(TEXTS[name])


@pytest.mark.parametrize("name", OF_MIDDLEWARE)
def test_middleware_takes_linear_time(name: str) -> None:
    """Each request passes all middleware."""
    assert_linear(
        lambda text: answered(head((name.lower(), text.encode("ascii", "replace").decode()))), ("",)
    )


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_read_in_linear_time(name: str) -> None:
    """A whole query is split, decoded and refused in linear time."""
    make = QUERIES[name]
    assert_linear(lambda text: answered(head(query=make(text))), PIECES if name == "pieces" else ("a",))


@pytest.mark.parametrize("name", PATHS)
def test_a_path_is_routed_in_linear_time(name: str) -> None:
    """A whole path is compared with all routes in linear time."""
    make = PATHS[name]
    assert_linear(lambda text: answered(head(path=make(text))), PIECES if name == "pieces" else ("a",))
