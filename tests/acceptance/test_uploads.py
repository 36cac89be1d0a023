"""Uploaded files: formats, compression, limits and effects on other requests."""

import gzip
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pytest
import safetensors.numpy

from tests.support.files import as_arrow, as_npz, as_parquet
from tests.support.fits import flowers, thermometer
from tests.support.problems import problem
from tests.support.server import Service, until
from tests.support.thermometer import T_C, T_U

CREATED, OK = httpx.codes.CREATED, httpx.codes.OK
URL = "/v1/datasets"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl says of --data-binary
MIB = 2**20


def bodies(service: Service) -> list[Path]:
    """Return the request bodies in the spool of a service."""
    return list((service.data_dir / "spool").rglob("body*"))


def artifacts(service: Service) -> set[Path]:
    """Return the stored datasets of a service."""
    return set((service.data_dir / "artifacts" / "datasets").glob("*"))


def penguins(**more: Any) -> pa.Table:
    """Return a table with every column type."""
    return pa.table(
        {
            "island": ["Biscoe", None, "Dream"],
            "bill": [39.1, None, 40.5],
            "female": [True, False, None],
            "seen": pa.array([0, 86_400_000_000, None], pa.timestamp("us")),
            **more,
        }
    )


AS_CSV = b"island,bill,female,seen\nBiscoe,39.1,true,1970-01-01\nNA,,false,1970-01-02\nDream,40.5,NaN,null\n"


def test_equal_content_is_one_dataset_in_every_form(service: Service) -> None:
    """Equal content in every file format, multipart or compressed, is stored once."""
    body = {
        "columns": {
            "island": ["Biscoe", None, "Dream"],
            "bill": [39.1, None, 40.5],
            "female": [True, False, None],
            "seen": ["1970-01-01", "1970-01-02", None],
        },
        "types": {"seen": "datetime"},
    }
    first = service.client.post(URL, json=body)
    assert first.status_code == CREATED, first.text
    assert [each["type"] for each in first.json()["columns"]] == [
        "categorical",
        "numeric",
        "boolean",
        "datetime",
    ]
    files = (AS_CSV, as_parquet(penguins()), as_arrow(penguins()), as_arrow(penguins(), stream=True))
    for content in files:
        packed = gzip.compress(content)
        answers = [
            service.client.post(URL, content=content),
            service.client.post(URL, content=content, headers=FORM),
            service.client.post(URL, files={"file": ("table", content)}),
            service.client.post(URL, content=packed, headers={"Content-Encoding": "gzip"}),
            service.client.post(URL, files={"file": ("table.gz", packed)}),
        ]
        for answer in answers:
            assert answer.status_code == OK, answer.text
            assert answer.json() == first.json()
    rows = service.read(first.json()["links"]["rows"], limit=1)["rows"]
    assert rows == [{"island": "Biscoe", "bill": 39.1, "female": True, "seen": "1970-01-01T00:00:00.000000Z"}]
    assert bodies(service) == []


def test_zstandard_is_decompressed(service: Service) -> None:
    """`Content-Encoding: zstd` is accepted."""
    packed = bytes(pa.Codec("zstd").compress(b"zstd,n\nx,1\n"))
    response = service.client.post(
        URL, content=packed, headers={"Content-Encoding": "zstd", "Content-Type": "text/csv"}
    )
    assert response.status_code == CREATED, response.text


@pytest.mark.parametrize("as_file", [as_npz, safetensors.numpy.save], ids=["npz", "safetensors"])
def test_tensor_files_train_and_predict(service: Service, as_file: Any) -> None:
    """Tensor files keep their dtypes, train a model and are accepted for predictions."""
    images = np.random.default_rng(0).integers(0, 255, (30, 1, 4, 4), np.uint8)
    content = as_file({"inputs": images, "targets": np.arange(30) % 3})
    dataset = service.client.post(URL, content=content).json()
    assert [(each["name"], each["dtype"]) for each in dataset["columns"]] == [
        ("input", "uint8"),
        ("targets", "int64"),
    ]
    layers = [{"type": "Flatten"}, {"type": "Linear", "out_features": 3}]
    body = thermometer(layers, loss="CrossEntropyLoss", epochs=2)
    job = service.succeeded({**body, "data": {"dataset_id": dataset["id"]}})
    answer = service.client.post(job["links"]["predictions"], content=as_file({"inputs": images[:2]}))
    assert answer.status_code == OK, answer.text
    assert answer.json() == service.predict(job["id"], {"inputs": images[:2].tolist()})


def test_predictions_accept_every_format(service: Service) -> None:
    """Files in every format have the predictions of the same rows as JSON."""
    job = service.succeeded(flowers(epochs=5))
    path = job["links"]["predictions"]
    table = pa.table({"extra": ["x", "y"], "sepal": [5.1, 7.0], "petal": [1.4, 4.7]})
    expected = service.predict(job["id"], {"columns": {"petal": [1.4, 4.7], "sepal": [5.1, 7.0]}})
    text = b"extra;sepal;petal\nx;5.1;1.4\ny;7.0;4.7\n"
    answers = [
        service.client.post(path, content=as_parquet(table)),
        service.client.post(path, content=as_arrow(table)),
        service.client.post(path, files={"file": ("rows.csv", text)}),
        service.client.post(path, content=gzip.compress(text), headers={"Content-Encoding": "gzip"}),
        service.client.post(path, content=text.decode().encode("utf-16")),
        service.client.post(
            path, files={"file": ("rows.parquet", as_parquet(table))}, data={"checkpoint": "last"}
        ),
        service.client.post(path, params={"types": "sepal:numeric"}, content=text.replace(b"5.1", b'"5.1"')),
    ]
    for answer in answers:
        assert answer.status_code == OK, answer.text
        assert answer.json() == expected
    missing = service.client.post(path, content=b"sepal\n1\n")
    assert "`petal` is missing" in problem(missing, 422, "invalid-request")[0]["detail"]


def test_options_come_in_the_query_or_as_parts(service: Service) -> None:
    """File options are accepted in the query, as multipart parts and in `Content-Type`."""
    content = "zip:größe\n01234:-999\n00001:2\n".encode("latin-1")
    options = {
        "delimiter": ":",
        "encoding": "latin-1",
        "missing": "-999",
        "types": "zip:categorical",
        "name": "zips",
    }
    first = service.client.post(URL, params=options, content=content)
    assert first.status_code == CREATED, first.text
    assert first.json()["name"] == "zips"
    assert service.read(first.json()["links"]["rows"])["rows"][0] == {"zip": "01234", "größe": None}
    again = service.client.post(
        URL, files={"file": ("zips", content)}, data={**options, "types": '{"zip": "categorical"}'}
    )
    assert again.json() == first.json()
    charset = {"Content-Type": "text/csv; charset=latin-1"}
    del options["encoding"]
    part = service.client.post(
        URL, params=options, files={"file": ("zips", content, charset["Content-Type"])}
    )
    assert part.json() == first.json()
    assert service.client.post(URL, params=options, content=content, headers=charset).json() == first.json()
    absent = {"Content-Type": "text/csv; header=absent"}
    for headless in (
        service.client.post(URL, params={"header": "false"}, content=b"1,a\n2,b\n"),
        service.client.post(URL, content=b"1,a\n2,b\n", headers=absent),
        service.client.post(URL, files={"file": ("rows", b"1,a\n2,b\n", absent["Content-Type"])}),
    ):
        assert [each["name"] for each in headless.json()["columns"]] == ["column_1", "column_2"]
    unknown = {"Content-Type": "text/csv; header=maybe"}
    problem(service.client.post(URL, content=b"a\n1\n", headers=unknown), 415, "unsupported-media-type")
    unknown = {"Content-Type": "text/csv; charset=klingon"}
    refused = service.client.post(URL, content=b"a\n1\n", headers=unknown)
    assert problem(refused, 422, "invalid-request")[0]["pointer"] == "Content-Type"
    named = service.client.post(URL, params={"encoding": "utf-8"}, content=b"a\n1\n", headers=unknown)
    assert named.is_success


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"delimiter": "ab"}, "?delimiter"),
        ({"delimiter": '"'}, "?delimiter"),
        ({"delimiter": "\0"}, "?delimiter"),
        ({"header": "perhaps"}, "?header"),
        ({"encoding": "rot13"}, "?encoding"),
        ({"types": "a:number"}, "?types"),
        ({"types": "a"}, "?types"),
        ({"types": '{"a": 1}'}, "?types"),
        ({"missing": ""}, "?missing"),
        ({"missing": ["1", "2"]}, "?missing"),
        ({"encoding": "utf-16"}, "?encoding"),
        ({"types": "b:numeric"}, "?types"),
        ({"delimeter": ";"}, "?delimeter"),
    ],
)
def test_invalid_options_are_named(service: Service, query: dict[str, Any], pointer: str) -> None:
    """An invalid option is 422 with its pointer."""
    response = service.client.post(URL, params=query, content=b"a\n1\n")
    assert problem(response, 422, "invalid-request")[0]["pointer"] == pointer


def test_unusual_csv_is_read(service: Service) -> None:
    """Byte order marks, mixed line ends, quoted empty cells and time zones are accepted."""
    content = b'\xef\xbb\xbf"seen","n"\r\n"2020-01-01T02:00:00+02:00","1"\n"2020-01-02","" \r'
    table = service.client.post(URL, content=content).json()
    assert [(each["name"], each["type"]) for each in table["columns"]] == [
        ("seen", "datetime"),
        ("n", "numeric"),
    ]
    rows = service.read(table["links"]["rows"])["rows"]
    assert [row["n"] for row in rows] == [1.0, None]
    assert rows[0]["seen"] == "2020-01-01T00:00:00.000000Z"
    assert service.client.post(URL, content=b"single\n1").json()["rows"] == 1


def test_all_errors_of_a_table_are_reported_at_once(service: Service) -> None:
    """All errors of a table are reported with their locations; the same error in a column is one."""
    errors = problem(service.client.post(URL, content=b"a,,a\n1,2,3\ninf,2,3\n1\n"), 422, "invalid-request")
    assert [error["pointer"] for error in errors] == ["#", "#", "#/columns/a/1", "#"]
    assert [error["detail"][:7] for error in errors[:2]] == ["Line 1:", "Line 1:"]
    assert errors[3]["detail"].endswith("line 4 has 1.")
    (no_rows,) = problem(service.client.post(URL, content=b"a,b\r\n"), 422, "invalid-request")
    assert "no rows" in no_rows["detail"]
    many = service.client.post(URL, content=b"a\n" + b"x\n" * 250, params={"types": "a:numeric"})
    (error,) = problem(many, 422, "invalid-request")
    assert error["pointer"] == "#/columns/a/0"
    assert "249 more rows: 1, 2, 3, 4, 5, …" in error["detail"]


def test_the_content_determines_the_format(service: Service) -> None:
    """The content determines the format, and a wrong `Content-Type` is refused."""
    named = service.client.post(URL, files={"file": ("table.parquet", AS_CSV)})
    assert named.json()["rows"] == 3
    packed = as_parquet(penguins())
    assert service.client.post(URL, files={"file": ("table.bin", packed)}).json() == named.json()
    typed = service.client.post(URL, files={"file": ("table.csv", packed, "text/csv")})
    problem(typed, 415, "unsupported-media-type")


def test_columns_that_a_model_does_not_use_are_ignored(service: Service) -> None:
    """Predictions and evaluations ignore other columns and report invalid cells like uploads."""
    job = service.succeeded(thermometer(epochs=1))
    content = b",t_u,x,x,t_c\n0,35.7,inf,,0.5\n1,55.9,a,b,14\n"
    answers = [
        service.client.post(job["links"]["predictions"], content=content),
        service.client.post(f"{job['links']['self']}/evaluations", content=content),
    ]
    assert [answer.status_code for answer in answers] == [OK, OK], [answer.text for answer in answers]
    bad = content.replace(b"55.9", b"warm")
    pointers = [
        problem(answer, 422, "invalid-request")[0]["pointer"]
        for answer in (
            service.client.post(job["links"]["predictions"], content=bad),
            service.client.post(URL, content=b"t_u\n1\nwarm\n", params={"types": "t_u:numeric"}),
        )
    ]
    assert pointers == ["#/columns/t_u/1"] * 2


def test_json_refuses_file_options(service: Service) -> None:
    """File options are refused with JSON bodies."""
    job = service.succeeded(thermometer(epochs=1))
    for path in (URL, job["links"]["predictions"]):
        response = service.client.post(path, params={"delimiter": ";"}, json={"columns": {"t_u": [1.0]}})
        assert problem(response, 422, "invalid-request")[0]["pointer"] == "?delimiter"


@pytest.mark.parametrize(
    ("files", "data", "pointer"),
    [
        ({"data": b"a\n1\n"}, {}, "#/file"),
        ({"file": b"a\n1\n"}, {"delimeter": ";"}, "#/delimeter"),
        ({"file": b"a\n1\n"}, {"types": "a:number"}, "#/types"),
        ([("file", b"a\n1\n"), ("file", b"a\n2\n")], {}, "#/file"),
    ],
)
def test_invalid_parts_are_named(service: Service, files: Any, data: dict[str, str], pointer: str) -> None:
    """A missing, unknown, invalid or duplicate part is 422 with its pointer."""
    errors = problem(service.client.post(URL, files=files, data=data), 422, "invalid-request")
    assert pointer in [error["pointer"] for error in errors]


@pytest.mark.parametrize(
    "body", [b"", b"nothing", b"--x\r\n", b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\na']
)
def test_broken_multipart_is_400(service: Service, body: bytes) -> None:
    """A body that is not valid multipart is 400."""
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    problem(service.client.post(URL, content=body, headers=headers), 400, "bad-request")
    problem(
        service.client.post(URL, content=body, headers={"Content-Type": "multipart/form-data"}),
        400,
        "bad-request",
    )


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({"Content-Type": "text/html"}, b"<html>"),
        ({"Content-Type": "text/csv"}, as_parquet(penguins())),
        ({"Content-Type": "application/vnd.apache.parquet"}, AS_CSV),
        ({"Content-Encoding": "br"}, AS_CSV),
        ({}, b"\x80\x04\x95pickle"),
    ],
    ids=["unknown", "parquet as csv", "csv as parquet", "brotli", "pickle"],
)
def test_unsupported_content_is_415(service: Service, headers: dict[str, str], content: bytes) -> None:
    """A type or compression that is unsupported or does not match the content is 415."""
    problem(service.client.post(URL, content=content, headers=headers), 415, "unsupported-media-type")


def test_a_declared_compression_must_match(service: Service) -> None:
    """A body that is not compressed as declared is 422."""
    response = service.client.post(URL, content=AS_CSV, headers={"Content-Encoding": "gzip"})
    assert "gzip" in response.json()["detail"]
    problem(response, 422, "invalid-request")


def test_limits_are_413(narrow_service: Service) -> None:
    """Bodies that exceed a limit are 413 and leave no files."""
    before = artifacts(narrow_service)
    rows = b"n\n" + b"1\n" * (2 * MIB)

    def streamed() -> Iterator[bytes]:
        for start in range(0, len(rows), 65536):
            yield rows[start : start + 65536]

    numbers = pa.table({"n": pa.array(np.zeros(2 * MIB))})
    json = b'{"columns": {"n": [' + b"1," * 60_000 + b"1]}}"
    for sent in (
        {"content": rows},
        {"content": streamed()},
        {"files": {"file": rows}},
        {"content": gzip.compress(bytes(5 * MIB)), "headers": {"Content-Encoding": "gzip"}},
        {"content": as_parquet(numbers)},
        {"content": as_npz({"inputs": np.zeros((2 * MIB, 1))}, compressed=True)},
        {"content": json},
        {"content": json, "headers": {"Content-Type": "application/json"}},
    ):
        problem(narrow_service.client.post(URL, **sent), 413, "content-too-large")  # type: ignore[arg-type]
    assert bodies(narrow_service) == []
    assert artifacts(narrow_service) == before


def test_a_small_file_that_needs_gigabytes_is_refused(service: Service) -> None:
    """Small files that declare gigabytes, or only need them once they are read, are 422."""
    packed = as_arrow(pa.table({"a": np.zeros(10_000)}), rows_at_once=10_000, compression="lz4")
    length = (80_000).to_bytes(8, "little")
    assert length in packed
    long = pa.DictionaryArray.from_arrays(np.zeros(300_000, np.int8), ["x" * 200_000])
    declared = service.client.post(URL, content=packed.replace(length, (2**36).to_bytes(8, "little")))
    assert "a part of 68,719,476,736 bytes" in problem(declared, 422, "invalid-request")[0]["detail"]
    needed = service.client.post(URL, content=as_arrow(pa.table({"a": long}), 300_000))
    problem(needed, 422, "limit-exceeded")
    assert service.submit(thermometer(), validate_only=True).status_code == OK


def slow_file() -> bytes:
    """Return a CSV file with 10,000 columns that takes seconds to read."""
    names = ",".join(f"c{number}" for number in range(10_000))
    row = ",".join(str(number % 97) for number in range(10_000))
    return "\n".join([names, *[row] * 50]).encode()


@pytest.fixture(scope="module")
def hasty_service(start_module_service: Callable[..., Service]) -> Service:
    """Start a service without workers that has little time for uploads."""
    return start_module_service(workers=0, helpers=2, upload_timeout_seconds=0.1)


def test_slow_uploads_end_and_leave_no_files(hasty_service: Service) -> None:
    """Slow uploads are 422, and uploads that wait too long are 503 with `Retry-After`."""
    service = hasty_service
    content, url = slow_file(), f"{service.client.base_url}{URL}"
    with ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(lambda _: httpx.post(url, content=content, timeout=60), range(12)))
    assert {answer.status_code for answer in answers} == {422, 503}, [answer.text for answer in answers]
    for answer in answers:
        slug = "limit-exceeded" if answer.status_code == 422 else "unavailable"
        problem(answer, answer.status_code, slug)
        assert (answer.status_code == 503) == ("Retry-After" in answer.headers)
    assert bodies(service) == []
    assert artifacts(service) == set()


def test_a_disconnected_client_leaves_no_dataset(service: Service) -> None:
    """An upload whose client disconnects leaves no dataset."""
    content, before = slow_file(), artifacts(service)
    with pytest.raises(httpx.ReadTimeout):
        service.client.post(URL, content=content, timeout=httpx.Timeout(10.0, read=0.2))
    until(lambda: not bodies(service))
    assert artifacts(service) == before


def test_slow_uploads_do_not_delay_other_requests(service: Service) -> None:
    """A helper remains available for requests while files are read."""
    content = slow_file()
    with ThreadPoolExecutor(2) as clients:
        uploads = [
            clients.submit(
                httpx.post, f"{service.client.base_url}{URL}", content=content + b"\n%d" % number, timeout=60
            )
            for number in range(2)
        ]
        until(lambda: len(bodies(service)) == 2)
        assert service.submit(thermometer(), validate_only=True).status_code == OK
        assert not any(upload.done() for upload in uploads)
        assert {upload.result().status_code for upload in uploads} == {422}  # each has a ragged last line


def as_multipart(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield a body as the part `file` of a multipart body."""
    yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="f.csv"\r\n\r\n'
    yield from pieces
    yield b"\r\n--x--\r\n"


def packed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """A body as gzip, which is as large."""
    return (gzip.compress(piece, 0) for piece in pieces)


@pytest.mark.parametrize(
    ("form", "headers", "chunks"),
    [
        (iter, {"Content-Type": "text/csv"}, 200),
        (as_multipart, {"Content-Type": "multipart/form-data; boundary=x"}, 150),
        (packed, {"Content-Encoding": "gzip"}, 150),
    ],
    ids=["raw", "multipart", "packed"],
)
def test_the_api_holds_no_upload_in_memory(
    service: Service, form: Callable[..., Iterator[bytes]], headers: dict[str, str], chunks: int
) -> None:
    """The API process uses a fraction of the memory of a large upload."""
    process, chunk, largest = service.process, b"0.125,0.25,0.5,1.0,2.0,4.0,8.0,16.0\n" * 29_000, [0]
    idle_bytes, done = process.memory_info().rss, threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            largest[0] = max(largest[0], process.memory_info().rss)

    def body() -> Iterator[bytes]:
        yield b"a,b,c,d,e,f,g,%s\n" % form.__name__.encode()
        for _ in range(chunks):
            yield chunk

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        response = service.client.post(URL, content=form(body()), headers=headers)
    finally:
        done.set()
        watcher.join()
    assert response.status_code == CREATED, response.text
    assert response.json()["rows"] == chunks * 29_000
    assert largest[0] - idle_bytes < 100 * MIB


def test_a_restart_removes_received_bodies(hasty_service: Service) -> None:
    """A service that was killed removes its received bodies when it starts again."""
    service = hasty_service
    half = threading.Event()

    def body() -> Iterator[bytes]:
        yield b"a\n" + b"1\n" * MIB
        half.set()
        until(lambda: not psutil.pid_exists(pid))

    pid = service.process.pid
    url = f"{service.client.base_url}{URL}"
    with ThreadPoolExecutor(1) as clients:
        upload = clients.submit(httpx.post, url, content=body(), timeout=60)
        half.wait()
        until(lambda: bodies(service))
        service.kill()
        assert isinstance(upload.exception(), httpx.HTTPError)
    assert bodies(service)
    service.launch()
    assert bodies(service) == []


@pytest.mark.parametrize("name", ["t_u", "t_c"])
def test_a_file_trains_like_the_same_columns(service: Service, name: str) -> None:
    """A job on a Parquet file has the history of a job on the same JSON columns."""
    table = pa.table({"t_u": T_U, "t_c": T_C, "noise": [name] * 11})
    dataset = service.client.post(URL, content=as_parquet(table)).json()
    body = thermometer(epochs=20)
    inline = service.succeeded(body)
    data = {key: value for key, value in body["data"].items() if key != "columns"}
    job = service.succeeded({**body, "data": {"dataset_id": dataset["id"], **data}})
    assert service.history(job["id"]) == service.history(inline["id"])
