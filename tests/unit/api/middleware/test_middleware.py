"""What every request meets before its route: hosts, origins, proxies, ids and headers."""

import asyncio
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from service.api.middleware.answer_headers import AnswerHeaders
from service.api.middleware.compression import Compression
from service.api.middleware.forwarded import Forwarded
from service.api.middleware.head import Head
from service.api.middleware.hosts import Hosts
from service.api.middleware.origins import Origins
from service.api.middleware.request_log import RequestLog
from tests.support.asgi import URL, Application
from tests.support.problems import problem

PAGE = "http://page.example"
LAB = "https://lab.example"


@pytest.fixture(scope="module")
def app() -> Application:
    """The application with default settings."""
    return Application()


@pytest.fixture(scope="module")
def open_app() -> Application:
    """An application that pages of another origin may use."""
    return Application(allowed_origins=LAB)


def post(app: Application, body: bytes = b"", **headers: str) -> httpx.Response:
    """POST to a path that answers 405 to every request that reaches it."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.request("POST", "/livez", content=body, headers=names)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": PAGE},
        {"Origin": "null"},
        {"Origin": "https://localhost:8000"},
        {"Origin": "http://localhost:9000"},
        {"Origin": "http://localhost"},
        {"Origin": "http://localhost:8000.page.example"},
        {"Origin": PAGE, "Sec_Fetch_Site": "same-origin"},
        {"Origin": URL, "Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "CROSS-SITE"},
        {"Sec_Fetch_Site": "another"},
        {"Origin": LAB},
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
def test_a_page_of_another_origin_changes_nothing(
    app: Application, headers: dict[str, str], content_type: str
) -> None:
    """A write by a page of another origin is refused, whatever it sends; it may not read answers either."""
    refused = post(app, b"{}", Content_Type=content_type, **headers)
    problem(refused, 403, "foreign-origin")
    assert "Access-Control-Allow-Origin" not in app.get("/livez", **headers).headers


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "QUERY"])
def test_any_write_of_another_origin_is_refused(app: Application, method: str) -> None:
    """Every method but GET, HEAD and OPTIONS counts as a write."""
    problem(app.request(method, "/v1/jobs", headers={"Origin": PAGE}), 403, "foreign-origin")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content_Type": "text/plain"},
        {"Origin": URL},
        {"Origin": URL.upper()},
        {"Origin": URL, "Sec_Fetch_Site": "same-origin", "Content_Type": "text/plain"},
        {"Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "none", "Content_Type": "application/json"},
    ],
)
def test_own_pages_and_programs_are_not_refused(app: Application, headers: dict[str, str]) -> None:
    """Pages of the service, the user and programs that send neither header may write."""
    problem(post(app, b"{}", **headers), 405, "method-not-allowed")


@pytest.mark.parametrize(
    "headers",
    [
        [("Origin", URL), ("Origin", PAGE)],
        [("Origin", PAGE), ("Origin", URL)],
        [("Origin", URL), ("Origin", URL)],
        [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
    ],
)
def test_several_origins_are_foreign(app: Application, headers: list[tuple[str, str]]) -> None:
    """A write with several origins is refused, also if the service's own is among them."""
    problem(app.request("POST", "/livez", headers=headers), 403, "foreign-origin")


def test_a_default_port_is_the_same_origin(app: Application) -> None:
    """`http://localhost:80` is `http://localhost`."""
    for origin, host in (("http://localhost:80", "localhost"), ("http://localhost", "localhost:80")):
        problem(post(app, Origin=origin, Host=host), 405, "method-not-allowed")


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "TEXT/plain;x=y", "multipart/form-data; boundary=a"]
)
def test_an_allowed_page_names_the_type_of_its_body(open_app: Application, content_type: str | None) -> None:
    """A body of an allowed page whose type browsers send without asking is 415."""
    headers = {} if content_type is None else {"Content_Type": content_type}
    problem(post(open_app, b"{}", Origin=LAB, **headers), 415, "unsupported-media-type")
    problem(post(open_app, b"{}", Origin=LAB, Content_Type="application/json"), 405, "method-not-allowed")
    problem(post(open_app, Origin=LAB, **headers), 405, "method-not-allowed")


def test_an_allowed_page_reads_answers(open_app: Application) -> None:
    """Answers to an allowed origin name it, and the headers that its scripts may read."""
    answer = open_app.get("/livez", Origin=LAB)
    assert answer.headers["Access-Control-Allow-Origin"] == LAB
    assert {"ETag", "Location", "Retry-After", "X-Request-ID"} <= set(
        answer.headers["Access-Control-Expose-Headers"].split(", ")
    )
    assert "Origin" in answer.headers["Vary"]
    assert "Access-Control-Allow-Origin" not in open_app.get("/livez", Origin=PAGE).headers
    refused = open_app.request("PUT", "/v1/jobs", headers={"Origin": LAB})
    assert refused.headers["Access-Control-Allow-Origin"] == LAB


def preflight(app: Application, origin: str, method: str, headers: str) -> httpx.Response:
    """Ask like a browser whether a page may send a request."""
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }
    return app.request("OPTIONS", "/v1/jobs", headers=asked)


def test_a_preflight_is_answered(open_app: Application, app: Application) -> None:
    """An allowed page may send all methods and headers of the API; others are refused."""
    names = "content-type,content-encoding,if-match,idempotency-key,last-event-id,prefer,range"
    for method in ("POST", "PATCH", "DELETE"):
        allowed = preflight(open_app, LAB, method, names)
        assert allowed.is_success
        assert allowed.headers["Access-Control-Allow-Origin"] == LAB
        assert method in allowed.headers["Access-Control-Allow-Methods"]
    problem(preflight(open_app, PAGE, "POST", names), 403, "foreign-origin")
    problem(preflight(open_app, LAB, "POST", "x-other"), 403, "foreign-origin")
    without = preflight(app, LAB, "POST", names)
    assert (without.status_code, without.headers["Allow"]) == (204, "GET, HEAD, POST, OPTIONS")
    assert "Access-Control-Allow-Origin" not in without.headers


@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        ({}, "localhost", 200),
        ({}, "LocalHost:8000", 200),
        ({}, "localhost.", 200),
        ({}, "127.0.0.1:1", 200),
        ({}, "[::1]:8000", 200),
        ({}, "app.localhost", 200),
        ({}, "page.example", 400),
        ({}, "localhost.page.example", 400),
        ({}, "127.0.0.1.page.example", 400),
        ({}, "notlocalhost", 400),
        ({}, "", 400),
        ({}, "localhost/x", 400),
        ({}, "user@localhost", 400),
        ({}, "localhost, page.example", 400),
        ({"host": "127.0.0.5"}, "127.0.0.5", 200),
        ({"host": "0.0.0.0"}, "page.example", 200),
        ({"host": "0.0.0.0"}, "a b", 400),
        ({"host": "0.0.0.0", "allowed_hosts": "fit.example, *.lab.example"}, "fit.example", 200),
        ({"host": "0.0.0.0", "allowed_hosts": "fit.example, *.lab.example"}, "a.LAB.example:80", 200),
        ({"host": "0.0.0.0", "allowed_hosts": "fit.example, *.lab.example"}, "lab.example", 400),
        ({"host": "0.0.0.0", "allowed_hosts": "fit.example, *.lab.example"}, "localhost", 400),
        ({"allowed_hosts": "*"}, "page.example", 200),
    ],
)
def test_a_host_is_checked(settings: dict[str, str], host: str, status: int) -> None:
    """The service answers under its allowed hosts only: by default loopback names on loopback, else any."""
    answer = Application(**settings).get("/livez", Host=host)
    assert answer.status_code == status
    if status == 400:
        problem(answer, 400, "host-not-allowed")


def test_a_host_is_sent_exactly_once(app: Application) -> None:
    """Two hosts are refused."""
    twice = app.request("GET", "/livez", headers=[("Host", "localhost"), ("Host", "localhost")])
    problem(twice, 400, "host-not-allowed")


@pytest.mark.parametrize("path", ["/", "/livez", "/docs", "/problems", "/nothing", "/openapi.json"])
def test_every_answer_has_the_headers(app: Application, path: str) -> None:
    """Answers, pages and errors have an id and the headers for browsers and caches."""
    headers = app.get(path, Accept="text/html, */*;q=0.1").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-cache"
    assert {"Accept", "Accept-Encoding"} <= set(headers["Vary"].split(", "))
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Server" not in headers
    assert re.fullmatch(r"app;dur=\d+\.\d", headers["Server-Timing"])
    is_page = headers["Content-Type"].startswith("text/html")
    assert is_page == ("script-src 'self'" in headers["Content-Security-Policy"])


def test_the_policy_of_a_page_names_its_script(app: Application) -> None:
    """The reference may run its own inline script and files of the service, and nothing else."""
    page = app.get("/docs")
    policy = page.headers["Content-Security-Policy"]
    assert len(re.findall(r"'sha256-", policy)) == page.text.count("<script>") == 1
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


@pytest.mark.parametrize("given", ["abc", "A-1.b_c:d/e+f=@", "x" * 128])
def test_an_id_is_echoed(app: Application, given: str) -> None:
    """`X-Request-ID` is in the answer, in problems and in log lines."""
    with capture_logs() as lines:
        answer = app.get("/nothing", X_Request_ID=given)
    problem(answer, 404, "not-found")
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == given
    (line,) = lines
    assert (line["event"], line["status"], line["path"]) == ("request", 404, "/nothing")


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "é", "a\tb", '"a"', "<a>"])
def test_an_unsuitable_id_is_replaced(app: Application, given: str) -> None:
    """An id that is long or has other characters is replaced by a new one, as is a missing one."""
    first, second = (app.request("GET", "/livez", headers={b"X-Request-ID": given.encode()}) for _ in "12")
    assert len({first.headers["X-Request-ID"], second.headers["X-Request-ID"], given}) == 3


def test_a_log_line_shows_the_path_as_sent(app: Application) -> None:
    """Line feeds and control characters of a path stay percent-encoded, and the query is left out."""
    with capture_logs() as lines:
        app.get("/a%0Ab%1B[31m?secret=1")
    assert [line["path"] for line in lines] == ["/a%0Ab%1B[31m"]


def test_the_access_log_can_be_switched_off() -> None:
    """Without the access log, a request is not logged."""
    with capture_logs() as lines:
        Application(access_log=False).get("/livez")
    assert lines == []


def links(app: Application, path: str = "/", **headers: str) -> Any:
    """Return the link to the jobs."""
    return app.get(path, **headers).json()["links"]["jobs"]


def test_links_have_the_prefix_of_the_setting() -> None:
    """A root path begins links, problem types and the files of the reference."""
    app = Application(root_path="/fit")
    assert links(app) == links(app, "/fit") == links(app, "/fit/") == "/fit/v1/jobs"
    missing = app.get("/fit/nothing").json()
    assert (missing["type"], missing["instance"]) == ("/fit/problems/not-found", "/fit/nothing")
    page = app.get("/fit/docs").text
    assert page.count("/fit/static-offline-docs/") == 3
    assert "'/fit/openapi.json'" in page
    assert app.get("/fit/static-offline-docs/swagger-ui.css").is_success
    assert app.get("/openapi.json").json()["servers"][0] == {"url": "/fit"}


@pytest.mark.parametrize(
    ("address", "prefix", "expected"),
    [
        ("10.1.2.3", "/a/b", "/a/b/v1/jobs"),
        ("10.1.2.3", "/a/", "/a/v1/jobs"),
        ("10.1.2.3", "/a, /b", "/a/v1/jobs"),
        ("10.1.2.3", "//evil.example", "/fit/v1/jobs"),
        ("10.1.2.3", "https://evil.example", "/fit/v1/jobs"),
        ("10.1.2.3", "/a?b", "/fit/v1/jobs"),
        ("10.1.2.3", "/../x", "/fit/v1/jobs"),
        ("10.1.2.3", "/x/..", "/fit/v1/jobs"),
        ("10.1.2.3", "/./x", "/fit/v1/jobs"),
        ("10.1.2.3", "/.x/y..", "/.x/y../v1/jobs"),
        ("10.1.2.3", "", "/fit/v1/jobs"),
        ("192.0.2.1", "/a", "/fit/v1/jobs"),
    ],
)
def test_a_prefix_is_read_from_trusted_proxies_only(address: str, prefix: str, expected: str) -> None:
    """`X-Forwarded-Prefix` replaces the setting if a trusted proxy sends a path."""
    app = Application(address, trusted_proxies="10.0.0.0/8", root_path="/fit")
    assert links(app, X_Forwarded_Prefix=prefix) == expected


def test_a_forwarded_host_is_the_own_origin() -> None:
    """Behind a trusted proxy, pages of the public host may write; `Host` itself is checked nevertheless."""
    headers = {"Origin": LAB, "X_Forwarded_Host": "lab.example", "X_Forwarded_Proto": "https"}
    trusting = Application(trusted_proxies="127.0.0.1")
    problem(post(trusting, **headers), 405, "method-not-allowed")
    problem(post(Application(), **headers), 403, "foreign-origin")
    problem(post(trusting, Host="page.example", X_Forwarded_Host="localhost"), 400, "host-not-allowed")


@pytest.mark.parametrize("path", ["/livez/", "/livez//", "/problems/not-found/"])
def test_a_slash_at_the_end_is_ignored(app: Application, path: str) -> None:
    """A path with a slash at its end is answered without a redirect."""
    assert app.get(path).is_success


@pytest.mark.parametrize("path", ["/", "/livez", "/docs", "/problems", "/openapi.json", "/nothing"])
def test_head_is_get_without_the_body(app: Application, path: str) -> None:
    """HEAD has the status and the headers of GET, compressed or not."""
    for encoding in ("identity", "gzip"):
        answers = [
            app.request(method, path, headers={"Accept-Encoding": encoding, "X-Request-ID": "a"})
            for method in ("GET", "HEAD")
        ]
        get, head = ({**each.headers, "server-timing": ""} for each in answers)
        assert get == head
        assert answers[0].status_code == answers[1].status_code


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/jobs", "GET, HEAD, POST, OPTIONS"),
        ("/v1/jobs/x", "GET, HEAD, PATCH, DELETE, OPTIONS"),
        ("/v1/jobs/x/cancel", "POST, OPTIONS"),
        ("/v1/jobs/x/named_parameters/a/b", "GET, HEAD, OPTIONS"),
        ("/docs", "GET, HEAD, OPTIONS"),
        ("/static-offline-docs/swagger-ui.css", "GET, HEAD, OPTIONS"),
    ],
)
def test_the_methods_of_a_path_are_named(app: Application, path: str, allowed: str) -> None:
    """OPTIONS and 405 name the methods of a path."""
    options = app.request("OPTIONS", path)
    assert (options.status_code, options.headers["Allow"]) == (204, allowed)
    refused = app.request("PUT", path)
    problem(refused, 405, "method-not-allowed")
    assert refused.headers["Allow"] == allowed
    assert refused.json()["detail"] == f"PUT is not supported here; this path supports {allowed}."


def test_a_browser_gets_pages_and_a_program_json(app: Application) -> None:
    """`/` and `/problems` are pages for browsers and JSON for programs."""
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    for path in ("/", "/problems", "/problems/not-json"):
        assert app.get(path, Accept=browser).headers["Content-Type"] == "text/html; charset=utf-8"
        assert app.get(path, Accept="application/json").headers["Content-Type"] == "application/json"
        problem(app.get(path, Accept="image/png"), 406, "not-acceptable")
    assert app.get("/").headers["Content-Type"] == "application/json"
    assert json.loads(app.get("/problems/not-json", Accept="application/json").content)["status"] == 400


def test_answers_are_compressed_as_accepted(app: Application) -> None:
    """A large answer is compressed with the best coding, a small one is not."""
    plain = app.get("/openapi.json", Accept_Encoding="identity")
    packed = app.get("/openapi.json", Accept_Encoding="gzip;q=0.5, br")
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 4
    assert packed.json() == plain.json()
    assert "Content-Encoding" not in app.get("/livez", Accept_Encoding="gzip").headers


def test_static_files_are_compressed_as_a_whole(app: Application) -> None:
    """Compressed, a file has no ranges and a weak ETag; a part of it is sent as it is."""
    path = "/static-offline-docs/swagger-ui.css"
    plain = app.get(path, Accept_Encoding="identity")
    packed = app.get(path, Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.content == plain.content
    assert packed.headers["ETag"] == f"W/{plain.headers['ETag']}"
    assert "Accept-Ranges" not in packed.headers
    for etag in (plain.headers["ETag"], packed.headers["ETag"]):
        assert app.get(path, Accept_Encoding="gzip", If_None_Match=etag).status_code == 304
    part = app.get(path, Accept_Encoding="gzip", Range="bytes=0-9")
    assert (part.status_code, part.content) == (206, plain.content[:10])
    assert "Content-Encoding" not in part.headers


@pytest.mark.parametrize(
    "middleware",
    [
        AnswerHeaders,
        Compression,
        partial(Forwarded, trusted_proxies=[], root_path=""),
        Head,
        partial(Hosts, allowed=["localhost"]),
        partial(Origins, allowed=[LAB]),
        partial(RequestLog, access_log=True),
    ],
)
def test_the_lifespan_passes(middleware: Callable[[Any], Any]) -> None:
    """The start and the end of the service are no requests."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(middleware(app)({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]


def test_head_does_not_wait_for_a_body() -> None:
    """The answer to HEAD is complete with its headers, also if the body of GET has no piece yet."""
    sent: list[Message] = []

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(Head(silent)({"type": "http", "method": "HEAD"}, None, send))  # type: ignore[arg-type]
    assert len(sent) == 2
