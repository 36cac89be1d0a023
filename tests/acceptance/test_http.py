"""HTTP as its RFCs define it, on every operation of the OpenAPI document and on single ones."""

import gzip
import json
import threading
from typing import Any

import httpx
import pytest
from backports import zstd
from safetensors.numpy import load

from service.api.docs.openapi import operations_of
from service.app import create_app
from service.settings import Settings
from tests.support.fits import LONG, thermometer
from tests.support.problems import problem
from tests.support.server import Service, until

OPERATIONS = dict(operations_of(create_app(Settings()).openapi()))
PATHS = sorted({name.split()[1] for name in OPERATIONS})
READ = [name.split()[1] for name in OPERATIONS if name.startswith("GET ")]
CHANGING = {"date", "x-request-id", "server-timing", "transfer-encoding"}
NOT_MODIFIED, PRECONDITION_FAILED = httpx.codes.NOT_MODIFIED, httpx.codes.PRECONDITION_FAILED


@pytest.fixture(scope="module")
def job(service: Service) -> dict[str, Any]:
    """A job that has ended, with the parameter set of its model."""
    ended = service.succeeded(thermometer(epochs=3))
    uploaded = service.client.post(
        "/v1/parameters", content=service.client.get(ended["links"]["model"]).content
    )
    return {**ended, "parameter_set_id": uploaded.raise_for_status().json()["id"]}


def url(path: str, job: dict[str, Any]) -> str:
    """Fill the path of an operation with ids, or with a name of the catalog."""
    names = {"kind": "layers", "name": "Linear" if "/catalog/" in path else "0.weight"}
    ids = {"dataset_id": job["dataset_id"], "parameter_set_id": job.get("parameter_set_id", "par_none")}
    return path.format(job_id=job["id"], **ids, **names)


def head_of(service: Service, method: str, path: str, **headers: str) -> httpx.Response:
    """Send a request; return the response without its body, which may be endless."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    with service.client.stream(method, path, headers=names) as response:
        return response


@pytest.mark.parametrize("path", READ)
@pytest.mark.parametrize("encoding", ["identity", "zstd"])
def test_head_is_get_without_a_body(service: Service, job: dict[str, Any], path: str, encoding: str) -> None:
    """HEAD has the status and the headers of GET, also where the body is endless."""
    get, head = (head_of(service, each, url(path, job), Accept_Encoding=encoding) for each in ("GET", "HEAD"))
    assert get.status_code == head.status_code == httpx.codes.OK
    both = [
        {name: each.headers[name] for name in each.headers if name not in CHANGING} for each in (get, head)
    ]
    assert both[0] == both[1]
    assert service.client.head(url(path, job)).content == b""


@pytest.mark.parametrize("path", PATHS)
def test_options_names_the_methods(service: Service, job: dict[str, Any], path: str) -> None:
    """OPTIONS names the documented methods of a path, as 405 does."""
    documented = {name.split()[0] for name in OPERATIONS if name.split()[1] == path}
    expected = documented | ({"HEAD"} if "GET" in documented else set()) | {"OPTIONS"}
    options = service.client.options(url(path, job))
    assert (options.status_code, options.content) == (httpx.codes.NO_CONTENT, b"")
    refused = service.client.request("TRACE", url(path, job))
    problem(refused, 405, "method-not-allowed")
    for answer in (options, refused):
        assert set(answer.headers["Allow"].split(", ")) == expected


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_the_common_headers(service: Service, job: dict[str, Any], name: str) -> None:
    """Every answer echoes the id, and has the headers of security and of what it depends on."""
    method, path = name.split()
    none = {"id": "job_none", "dataset_id": "ds_none", "parameter_set_id": "par_none"}
    path = url(path, {**job, **none} if method != "GET" else job)
    headers = head_of(service, method, path, X_Request_ID="abc-1").headers
    assert headers["X-Request-ID"] == "abc-1"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert {"Accept", "Accept-Encoding"} <= set(headers["Vary"].split(", "))
    assert "Content-Security-Policy" in headers
    assert "Server" not in headers


@pytest.mark.parametrize("path", READ)
def test_an_unknown_media_type_is_not_acceptable(service: Service, job: dict[str, Any], path: str) -> None:
    """A resource without an acceptable format answers 406 with those that it has."""
    refused = service.client.get(url(path, job), headers={"Accept": "image/png, */*;q=0"})
    problem(refused, 406, "not-acceptable")
    documented = OPERATIONS[f"GET {path}"]["responses"]["200"]["content"]
    assert all(media_type in refused.json()["detail"] for media_type in documented)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if not name.startswith("GET ")])
def test_a_page_of_another_origin_writes_nothing(service: Service, job: dict[str, Any], name: str) -> None:
    """Every write by a page of another origin is refused."""
    method, path = name.split()
    for headers in ({"Origin": "http://page.example"}, {"Sec-Fetch-Site": "cross-site"}):
        refused = service.client.request(method, url(path, job), headers=headers, content=b"{}")
        problem(refused, 403, "foreign-origin")


TABLES = sorted(
    name
    for name, operation in OPERATIONS.items()
    if {"application/json", "text/csv"} <= operation["responses"].get("200", {}).get("content", {}).keys()
)


def test_all_tables_are_known() -> None:
    """Each table of the API is among those that are tested."""
    paths = {name.rsplit("/", 1)[1] for name in TABLES}
    assert {
        "history",
        "predictions",
        "rows",
        "logs",
        "checkpoints",
        "split",
        "jobs",
        "datasets",
        "parameters",
    } <= paths


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_csv_by_header_and_by_parameter(service: Service, job: dict[str, Any], name: str) -> None:
    """Each table is CSV by `Accept` and by `?format=csv`, which takes precedence."""
    method, path = name.split()
    rows = {"columns": {"t_u": [1.0, 2.0], "t_c": [1.0, 2.0]}} if method == "POST" else None
    answers = [
        service.client.request(method, url(path, job), json=rows, params=params, headers={"Accept": accept})
        for params, accept in (
            ({}, "text/csv"),
            ({"format": "csv"}, "*/*"),
            ({"format": "csv"}, "application/json"),
            ({"format": "json"}, "text/csv"),
            ({}, "application/json, text/csv;q=0.1"),
        )
    ]
    assert all(answer.is_success for answer in answers), answers[0].text
    types = [answer.headers["Content-Type"].split(";")[0] for answer in answers]
    assert types == ["text/csv"] * 3 + ["application/json"] * 2
    header, *lines = answers[0].text.splitlines()
    assert "," in header or name.endswith("predictions")
    assert lines


def test_formulas_are_escaped_in_every_table(service: Service) -> None:
    """Names and cells that clients chose do not become formulas."""
    body = thermometer(epochs=1)
    columns = {"=x": [1.0, 2.0, 3.0], "@y": [1.0, 2.0, 3.0], "+z": ["=1", "-a", "b"]}
    data = {"columns": columns, "features": ["=x"], "targets": ["@y"], "id": ["+z"]}
    job = service.succeeded({**body, "name": "=cmd", "data": data})
    for name in TABLES:
        method, path = name.split()
        for formulas, expected in (("escape", False), ("keep", True)):
            params = {"format": "csv", "formulas": formulas}
            rows = {"columns": columns} if method == "POST" else None
            answer = service.client.request(method, url(path, job), json=rows, params=params)
            cells = [cell for line in answer.text.splitlines() for cell in line.replace('"', "").split(",")]
            found = [cell for cell in cells if cell.startswith(("=", "+", "@"))]
            assert not found or expected, (name, found)


def test_a_failed_precondition_changes_nothing(service: Service) -> None:
    """No write happens if its condition fails; with the current ETag, each does."""
    job_id = service.running(thermometer(epochs=LONG))
    path = f"/v1/jobs/{job_id}"
    writes = [("POST", f"{path}/pause"), ("POST", f"{path}/cancel"), ("DELETE", path), ("PATCH", path)]
    for method, target in writes:
        for headers in ({"If-Match": 'W/"1"'}, {"If-Match": '"nonsense"'}, {"If-None-Match": "*"}):
            refused = service.client.request(method, target, headers=headers, json={"name": "changed"})
            assert refused.status_code == PRECONDITION_FAILED, (target, headers, refused.text)
    assert service.job(job_id)["name"] is None
    service.client.post(f"{path}/pause")
    until(lambda: service.job(job_id)["status"] == "paused")
    etag = service.client.get(path).headers["ETag"]
    for method, target in (("PATCH", path), ("POST", f"{path}/resume"), ("POST", f"{path}/cancel")):
        current = service.client.get(path).headers["ETag"] if method == "POST" else etag
        body = {"json": {"name": "changed"}} if method == "PATCH" else {}
        answer = service.client.request(method, target, headers={"If-Match": current}, **body)
        if target.endswith("cancel") and answer.status_code == PRECONDITION_FAILED:
            continue  # the worker has changed the job since
        assert answer.is_success, answer.text
    (ended,) = service.cancelled(job_id)
    etag = service.client.get(path).headers["ETag"]
    weak = service.client.delete(path, headers={"If-Match": f"W/{etag}"})
    assert weak.status_code == PRECONDITION_FAILED
    assert ended["name"] == "changed"
    assert service.client.delete(path, headers={"If-Match": etag}).status_code == httpx.codes.NO_CONTENT


def test_a_dataset_has_a_version(service: Service) -> None:
    """A dataset's ETag makes reading cheap and deletion safe."""
    dataset = service.client.post("/v1/datasets", json={"columns": {"versioned": [1, 2, 3]}})
    path, etag = dataset.headers["Location"], dataset.headers["ETag"]
    assert service.client.get(path).headers["ETag"] == etag
    for known in (etag, f'"x", W/{etag}', "*"):
        assert service.client.get(path, headers={"If-None-Match": known}).status_code == NOT_MODIFIED
    for condition in ({"If-Match": '"nonsense"'}, {"If-Match": f"W/{etag}"}, {"If-None-Match": etag}):
        assert service.client.delete(path, headers=condition).status_code == PRECONDITION_FAILED
    assert service.client.delete(path, headers={"If-Match": etag}).status_code == httpx.codes.NO_CONTENT


@pytest.mark.parametrize("part", ["model", "content"])
def test_a_download_has_ranges_and_a_version(service: Service, job: dict[str, Any], part: str) -> None:
    """A download can be resumed, and is not sent again to a client that has it."""
    path = job["links"]["model"] if part == "model" else f"/v1/datasets/{job['dataset_id']}/content"
    whole = service.client.get(path)
    size, etag, modified = len(whole.content), whole.headers["ETag"], whole.headers["Last-Modified"]
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert "attachment" in whole.headers["Content-Disposition"]
    assert "Content-Encoding" not in whole.headers

    def ranged(wanted: str, **headers: str) -> httpx.Response:
        return service.client.get(path, headers={"Range": wanted, **headers})

    for wanted, start, end in (("0-7", 0, 8), ("8-", 8, size), ("-5", size - 5, size), ("0-999999", 0, size)):
        answer = ranged(f"bytes={wanted}")
        assert answer.status_code == httpx.codes.PARTIAL_CONTENT
        assert answer.content == whole.content[start:end]
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
    for malformed in ("bytes=7-3", "lines=1-2", "bytes=x", "7-8"):
        assert ranged(malformed).content == whole.content
    beyond = ranged(f"bytes={size}-")
    problem(beyond, 416, "range-not-satisfiable")
    assert beyond.headers["Content-Range"] == f"bytes */{size}"
    partial = {etag: 206, modified: 206, f"W/{etag}": 200, '"other"': 200}
    assert {each: ranged("bytes=0-7", **{"If-Range": each}).status_code for each in partial} == partial
    for known in ({"If-None-Match": f"W/{etag}"}, {"If-Modified-Since": modified}):
        answer = service.client.get(path, headers=known)
        assert (answer.status_code, answer.content) == (NOT_MODIFIED, b"")
        assert answer.headers["ETag"] == etag


def test_downloads_leave_no_files(service: Service, job: dict[str, Any]) -> None:
    """The file of a download is deleted once it is sent, in whole, in part, or not at all."""
    path = job["links"]["model"]
    for headers in ({}, {"Range": "bytes=0-1"}, {"Range": "bytes=999999-"}, {"If-None-Match": "*"}):
        service.client.get(path, headers=headers)
    service.client.head(path)
    until(lambda: [each.name for each in (service.data_dir / "spool").glob("*/*")] == ["lock"])


def test_the_model_is_chosen_by_its_type(service: Service, job: dict[str, Any]) -> None:
    """`/model` is safetensors or Python by `Accept` or `format`, and each has an ETag of its own."""
    path = job["links"]["model"]
    weights = service.client.get(path)
    assert weights.headers["Content-Type"] == "application/x-safetensors"
    assert sorted(load(weights.content)) == ["0.bias", "0.weight"]
    source = service.client.get(path, headers={"Accept": "text/x-python"})
    assert source.text == service.client.get(path, params={"format": "python"}).text
    assert source.headers["ETag"] != weights.headers["ETag"]


def test_a_reader_waits_for_the_end(service: Service) -> None:
    """`Prefer: wait` on GET waits for the end, with `If-None-Match` for a change, and 304 after the time."""
    path = f"/v1/jobs/{service.queued(thermometer(epochs=100))}"
    ended = service.client.get(path, headers={"Prefer": "wait=60"})
    assert (ended.json()["status"], ended.headers["Preference-Applied"]) == ("succeeded", "wait=60")
    assert "Retry-After" not in ended.headers
    etag = ended.headers["ETag"]
    unchanged = service.client.get(path, headers={"Prefer": "wait=1", "If-None-Match": etag})
    assert (unchanged.status_code, unchanged.headers["Preference-Applied"]) == (NOT_MODIFIED, "wait=1")
    change = threading.Timer(0.3, lambda: service.client.patch(path, json={"name": "renamed"}))
    change.start()
    changed = service.client.get(path, headers={"Prefer": "wait=60", "If-None-Match": etag})
    assert changed.json()["name"] == "renamed"
    change.join()


def test_retry_after_is_sent_until_the_end(service: Service) -> None:
    """Answers with a job that has not ended say when to ask again, others don't."""
    job_id = service.running(thermometer(epochs=LONG))
    path = f"/v1/jobs/{job_id}"
    assert service.client.get(path).headers["Retry-After"].isdigit()
    service.cancelled(job_id)
    for answer in (service.client.get(path), service.client.post(f"{path}/cancel")):
        assert "Retry-After" not in answer.headers
    done = service.submit(thermometer(epochs=1), headers={"Prefer": "wait=60"})
    assert "Retry-After" not in done.headers


def test_a_job_is_edited(narrow_service: Service) -> None:
    """PATCH changes the name at any time and the priority while the job waits; null is the default."""
    service = narrow_service
    running = service.running(thermometer(epochs=LONG))
    first, second = (service.queued(thermometer(epochs=1)) for _ in range(2))

    def edit(job_id: str, **fields: Any) -> httpx.Response:
        body = json.dumps(fields).encode()
        headers = {"Content-Type": "application/merge-patch+json"}
        return service.client.patch(f"/v1/jobs/{job_id}", content=body, headers=headers)

    try:
        assert edit(second, priority=5, name="b").json()["queue_position"] == 1
        assert service.job(first)["queue_position"] == 2
        assert edit(second, priority=None, name=None).json()["queue_position"] == 2
        assert service.job(second)["name"] is None
        before = service.client.get(f"/v1/jobs/{first}").headers["ETag"]
        assert edit(first).headers["ETag"] == before
        problem(edit(running, priority=1), 409, "job-not-waiting")
        assert edit(running, name="runs").json()["name"] == "runs"
        errors = problem(edit(first, priority=101, nam="x"), 422, "invalid-request")
        assert {error["pointer"] for error in errors} == {"#/priority", "#/nam"}
        problem(edit("job_none", name="x"), 404, "job-not-found")
    finally:
        service.cancelled(running, first, second)


def test_lists_are_filtered(service: Service) -> None:
    """Several statuses and a period of time select jobs, and `Link` leads to the next page."""
    ids = [service.succeeded({**thermometer(epochs=1), "name": "filtered"})["id"] for _ in range(3)]

    def found(**params: Any) -> list[str]:
        return [each["id"] for each in service.read("/v1/jobs", name="filtered", **params)["items"]]

    assert found() == found(status="failed,succeeded") == found(status=["failed", "succeeded"]) == ids[::-1]
    assert found(status="queued,running") == []
    times = [service.job(job_id)["created_at"] for job_id in ids]
    assert found(created_after=times[0]) == ids[:0:-1]
    assert found(created_before=times[2], created_after=times[0].replace("Z", "+00:00")) == [ids[1]]
    page = service.client.get("/v1/jobs", params={"name": "filtered", "page_size": 2})
    rest = service.client.get(page.links["next"]["url"])
    assert [each["id"] for each in rest.json()["items"]] == ids[:1]
    assert "Link" not in rest.headers
    for params, pointer in (
        ({"status": "queued,done"}, "?status.1"),
        ({"created_after": "x"}, "?created_after"),
    ):
        refused = service.client.get("/v1/jobs", params=params)
        assert problem(refused, 422, "invalid-request")[0]["pointer"] == pointer


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("entrance", ["jobs", "predictions", "evaluations", "datasets", "patch"])
def test_a_compressed_body_is_read_everywhere(
    service: Service, job: dict[str, Any], encoding: str, entrance: str
) -> None:
    """Every entrance reads compressed JSON, and names the encodings that it supports."""
    rows = {"columns": {"t_u": [1.0, 2.0], "t_c": [1.0, 2.0]}}
    body = {"jobs": thermometer(epochs=1), "patch": {"name": "small"}}.get(entrance, rows)
    path = {"jobs": "/v1/jobs", "datasets": "/v1/datasets", "patch": f"/v1/jobs/{job['id']}"}.get(
        entrance, f"/v1/jobs/{job['id']}/{entrance}"
    )
    method = "PATCH" if entrance == "patch" else "POST"
    packed = (gzip.compress if encoding == "gzip" else zstd.compress)(json.dumps(body).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    answer = service.client.request(method, path, content=packed, headers=headers)
    assert answer.is_success, answer.text
    damaged = service.client.request(method, path, content=packed[:-3], headers=headers)
    assert damaged.status_code in (400, 422), damaged.text
    refused = service.client.request(
        method, path, content=packed, headers={**headers, "Content-Encoding": "br"}
    )
    problem(refused, 415, "unsupported-media-type")
    assert refused.headers["Accept-Encoding"] == "gzip, zstd"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_refused(narrow_service: Service, encoding: str) -> None:
    """A small body that decompresses to more than a body may have is refused."""
    bomb = (gzip.compress if encoding == "gzip" else zstd.compress)(b" " * 50_000_000)
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    problem(narrow_service.client.post("/v1/jobs", content=bomb, headers=headers), 413, "content-too-large")


def test_an_unsuitable_content_type_names_the_header(service: Service) -> None:
    """415 names the header and what to send; JSON with a suffix is JSON, in UTF-8 only."""
    body = json.dumps(thermometer(epochs=1)).encode()

    def answer(content_type: str) -> httpx.Response:
        headers = {"Content-Type": content_type}
        return service.client.post("/v1/jobs?validate_only=true", content=body, headers=headers)

    by_curl = answer("application/x-www-form-urlencoded")
    problem(by_curl, 415, "unsupported-media-type")
    assert "-H 'Content-Type: application/json'" in by_curl.json()["detail"]
    assert by_curl.headers["Accept"] == "application/json"
    for accepted in ("application/vnd.fit+json", "APPLICATION/JSON; charset=UTF-8"):
        assert answer(accepted).is_success
    for refused in ("application/json; charset=utf-16", "text/json+csv", "application/vnd.fit+xml"):
        problem(answer(refused), 415, "unsupported-media-type")


def test_a_wrong_header_is_named(service: Service) -> None:
    """The pointer of an error in a header is its name."""
    refused = service.submit(thermometer(), headers={"Idempotency-Key": "x" * 256})
    assert problem(refused, 422, "invalid-request")[0]["pointer"] == "Idempotency-Key"


def test_a_client_that_leaves_is_a_line_at_info(service: Service) -> None:
    """A client that disconnects while it sends a body is logged without a traceback."""
    before = len(service.log.read_bytes())
    with pytest.raises(httpx.HTTPError):
        service.client.post("/v1/jobs", content=_interrupted(), headers={"Content-Type": "application/json"})
    until(lambda: b'"client disconnected"' in service.log.read_bytes()[before:])
    added = service.log.read_text()[before:]
    assert "Traceback" not in added
    (line,) = [line for line in added.splitlines() if '"client disconnected"' in line]
    assert json.loads(line)["level"] == "info"


def _interrupted() -> Any:
    yield b"{"
    raise httpx.WriteError("gone")


def test_the_methods_of_the_service_as_a_whole_are_named(service: Service) -> None:
    """`OPTIONS *` is answered (RFC 9110, section 9.3.7)."""
    answer = service.client.request("OPTIONS", "/", extensions={"target": b"*"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Allow"] == "GET, HEAD, POST, PATCH, DELETE, OPTIONS"
