"""The forms of a table in a request: rows as a list or as lines, pandas' split form, reading options."""

import io
import json
from typing import Any
from zipfile import ZipFile

import httpx
import pyarrow as pa
import pytest

from tests.support.files import as_parquet
from tests.support.fits import LINEAR, thermometer
from tests.support.problems import problem
from tests.support.server import Service

CREATED, OK = httpx.codes.CREATED, httpx.codes.OK
ROWS = [{"t_u": 35.7, "t_c": 0.5}, {"t_u": 55.9, "t_c": 14.0}]
COLUMNS = {"columns": {"t_u": [35.7, 55.9], "t_c": [0.5, 14.0]}}
LINES = "\n".join(map(json.dumps, ROWS)).encode()
SPLIT = {"dataframe_split": {"columns": ["t_c", "t_u"], "index": [4, 7], "data": [[0.5, 35.7], [14.0, 55.9]]}}
JSON = "application/json"
BODIES: list[tuple[bytes, str | None]] = [
    (json.dumps(ROWS).encode(), JSON),
    (json.dumps(ROWS).encode(), None),
    (json.dumps(SPLIT).encode(), JSON),
    *((LINES, media_type) for media_type in (JSON, "application/x-ndjson", "application/jsonl", None)),
]


def workbook() -> bytes:
    """Return a zip archive with the files of an Excel workbook."""
    sink = io.BytesIO()
    with ZipFile(sink, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return sink.getvalue()


def send(service: Service, path: str, content: bytes, media_type: str | None) -> list[httpx.Response]:
    """Send a body, and the same as a file of a multipart form."""
    headers = {"Content-Type": media_type} if media_type else {}
    file = ("rows", content, media_type) if media_type else ("rows", content)
    return [
        service.client.post(path, content=content, headers=headers),
        service.client.post(path, files={"file": file}),
    ]


@pytest.fixture(scope="module")
def job(service: Service) -> dict[str, Any]:
    """Train on the thermometer."""
    return service.succeeded(thermometer(LINEAR, epochs=5))


@pytest.mark.parametrize(("content", "media_type"), BODIES)
def test_every_form_is_accepted_wherever_a_table_is(
    service: Service, job: dict[str, Any], content: bytes, media_type: str | None
) -> None:
    """Datasets, predictions and evaluations take rows as a list, as lines and in pandas' split form."""
    predictions = service.predict(job["id"], COLUMNS)
    evaluation = service.client.post(job["links"]["evaluations"], json=COLUMNS).json()
    for response in send(service, "/v1/datasets", content, media_type):
        assert response.status_code in (CREATED, OK), response.text
        rows = service.read(response.json()["links"]["rows"])["rows"]
        assert rows == ROWS
    for response in send(service, job["links"]["predictions"], content, media_type):
        assert response.json() == predictions
    for response in send(service, job["links"]["evaluations"], content, media_type):
        assert response.json() == evaluation


def test_a_job_takes_the_split_form(service: Service, job: dict[str, Any]) -> None:
    """The data section may hold `dataframe_split`; its errors point into it."""
    body = thermometer(LINEAR, epochs=5)
    columns = body["data"].pop("columns")
    data = [list(row) for row in zip(*columns.values(), strict=True)]
    body["data"]["dataframe_split"] = {"columns": list(columns), "data": data}
    assert service.succeeded(body)["latest"] == job["latest"]
    data[2][0] = "hot"
    response = service.client.post("/v1/jobs", json=body)
    assert problem(response, 422, "invalid-request")[0]["pointer"] == "#/data/dataframe_split/data/2/0"


def test_errors_point_into_the_form_that_was_sent(service: Service, job: dict[str, Any]) -> None:
    """Errors have the pointers of the body, and those of JSON Lines name the line."""
    for body, pointer in (
        ([{"t_u": 1}, {"t_u": None}], "#/1/t_u"),
        (
            {"dataframe_split": {"columns": ["x", "t_u"], "data": [[1, 1], [1, None]]}},
            "#/dataframe_split/data/1/1",
        ),
        ({"dataframe_split": {"columns": ["t_x"], "data": [[1]]}}, "#/dataframe_split"),
        ([{"t_x": 1}], "#"),
    ):
        response = service.client.post(job["links"]["predictions"], json=body)
        assert problem(response, 422, "invalid-request")[0]["pointer"] == pointer
    lines = {"content": b'{"t_u": 1}\n\n{"t_u": "hot"}\n', "headers": {"Content-Type": "application/jsonl"}}
    (error,) = problem(service.client.post("/v1/datasets", **lines), 422, "invalid-request")
    assert error["pointer"] == "#/1/t_u"
    assert error["detail"].startswith("Line 3: ")


def test_options_of_the_container_come_in_the_query_or_as_parts(service: Service) -> None:
    """Lines, an index and columns are left out by options, in the query and in multipart parts."""
    content = b"Report of May\n;a;b;c\n5;1;x;2\n7;3;y;4\n"
    options = {"skip_lines": "1", "index": "keep", "ignore": "b"}
    for response in (
        service.client.post("/v1/datasets", params=options, content=content),
        service.client.post("/v1/datasets", files={"file": ("may", content)}, data=options),
        service.client.post(
            "/v1/datasets", files={"file": ("may", content)}, data={**options, "ignore": '["b"]'}
        ),
    ):
        assert [column["name"] for column in response.json()["columns"]] == ["index", "a", "c"], response.text
    left_out = service.client.post("/v1/datasets", params={"skip_lines": 1}, content=content).json()
    assert [column["name"] for column in left_out["columns"]] == ["a", "b", "c"]
    assert "`?index=keep`" in left_out["warnings"][0]
    without = service.client.post("/v1/datasets", content=b"a,b,c\n1,x,2\n3,y,4\n").json()
    indexed = service.client.post("/v1/datasets", content=b",a,b,c\n5,1,x,2\n7,3,y,4\n").json()
    assert without["id"] == indexed["id"]
    assert "`?index=keep`" in indexed["warnings"][0]
    # Warnings about the reading belong to the file, not to the content that two files have.
    assert not any("index" in each for each in without["warnings"])
    stored = service.read(f"/v1/datasets/{without['id']}")
    assert stored["warnings"] == without["warnings"]
    bad = {"skip_lines": "-1", "index": "yes", "ignore": "a,,b", "delimiter": "space s"}
    errors = problem(service.client.post("/v1/datasets", params=bad, content=content), 422, "invalid-request")
    assert {error["pointer"] for error in errors} == {f"?{name}" for name in bad}
    table = as_parquet(pa.table({"a": [1]}))
    for option in ({"skip_lines": 1}, {"delimiter": "spaces"}):
        response = service.client.post("/v1/datasets", params=option, content=table)
        assert problem(response, 422, "invalid-request")[0]["pointer"] == f"?{next(iter(option))}"


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_bad_cells_hide_no_missing_column(service: Service, job: dict[str, Any], form: str) -> None:
    """A table of each format with cells that can't be read and without a column is refused for both."""
    texts = {"t_u": ["35.7", "abc"]}
    content = {
        "csv": b"t_u\n35.7\nabc\n",
        "parquet": as_parquet(pa.table(texts)),
        "json": json.dumps({"columns": texts}).encode(),
    }[form]
    headers = {"Content-Type": JSON} if form == "json" else {}
    path = f"{job['links']['self']}/evaluations"
    response = service.client.post(path, content=content, headers=headers)
    details = [error["detail"] for error in problem(response, 422, "invalid-request")]
    assert len(details) == 2, details
    assert any('"abc" can\'t be read as a number' in each for each in details)
    assert any("The column `t_c` is missing" in each for each in details)


def test_predictions_skip_lines_and_the_index(service: Service, job: dict[str, Any]) -> None:
    """A table sent to a model may have lines before it, an index, and any number of spaces."""
    expected = service.predict(job["id"], {"columns": {"t_u": [35.7, 55.9]}})
    path = job["links"]["predictions"]
    for content, options in (
        (b"title\n,t_u\n8,35.7\n9,55.9\n", {"skip_lines": 1}),
        (b"  t_u  x\n 35.7  1\n 55.9 10\n", {}),
        (b'"t_u" "x"\n"1" 35.7 1\n"2" 55.9 10\n', {"delimiter": "spaces"}),
    ):
        response = service.client.post(path, params=options, content=content)
        assert response.json() == expected, response.text


@pytest.mark.parametrize(
    ("content", "media_type", "words"),
    [
        (
            workbook(),
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            "an Excel workbook",
        ),
        (workbook(), "text/csv", "an Excel workbook; save the sheet as CSV"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png", "an image; send its pixels"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "text/csv", "an image; send its pixels"),
        (b'[{"a": 1}]', "text/csv", "the body is JSON"),
    ],
)
def test_other_files_are_named(service: Service, content: bytes, media_type: str, words: str) -> None:
    """A file that is not a table is named by its content, whatever its media type is."""
    response = service.client.post("/v1/datasets", content=content, headers={"Content-Type": media_type})
    assert response.status_code == 415
    assert words in response.json()["detail"]


def test_a_model_keeps_the_options_of_its_training_data(service: Service) -> None:
    """A model keeps the delimiter and the lines to skip, which other files need not have."""
    content = b"title\n;t_u;t_c;junk\n5;1;2;x\n7;3;4;y\n9;5;6;z\n"
    options = {"skip_lines": 1, "ignore": "junk", "delimiter": ";"}
    dataset = service.client.post("/v1/datasets", params=options, content=content).json()
    data = {"dataset_id": dataset["id"], "features": ["t_u"], "targets": ["t_c"]}
    job = service.succeeded({**thermometer(LINEAR, epochs=5), "data": data})
    expected = service.predict(job["id"], {"columns": {"t_u": [1, 3]}})
    bodies: list[tuple[bytes, dict[str, Any]]] = [
        (content.replace(b"9;5;6;z\n", b""), {}),
        (b"t_u;x\n1;2\n3;4\n", {}),
        (b"t_u,x\n1,2\n3,4\n", {"delimiter": ","}),
        (b"title\nt_u;x\n1;2\n3;4\n", {"skip_lines": 1}),
        (as_parquet(pa.table({"t_u": [1, 3]})), {}),
        (b'[{"t_u": 1}, {"t_u": 3}]', {}),
        (b'{"t_u": 1}\n{"t_u": 3}\n', {}),
    ]
    for rows, params in bodies:
        response = service.client.post(job["links"]["predictions"], params=params, content=rows)
        assert response.json() == expected, response.text


def test_rows_may_lack_keys_where_a_model_is_trained(service: Service) -> None:
    """A key that a row lacks is a missing value, with a warning; rows for the model need its columns."""
    rows = [{"t_u": 35.7, "t_c": 0.5}, {"t_c": 14.0}, {"t_u": 58.2, "t_c": 15.0, "when": 1}]
    lines = "\n".join(map(json.dumps, rows)).encode()
    expected = "The value of a key that a row lacks is missing: `t_u` in 1 of 3 rows, the first row 1; "
    for body, media_type in ((json.dumps(rows).encode(), JSON), (lines, "application/jsonl")):
        dataset = service.client.post("/v1/datasets", content=body, headers={"Content-Type": media_type})
        assert dataset.json()["warnings"][0].startswith(expected), dataset.text
    body = thermometer(LINEAR, epochs=5)
    transforms = [{"columns": ["t_u"], "type": "impute", "strategy": "mean"}]
    body["data"] = {"rows": rows, "features": ["t_u"], "targets": ["t_c"], "transforms": transforms}
    job = service.succeeded(body)
    assert job["warnings"][0]["pointer"] == "#/data"
    assert job["warnings"][0]["detail"].startswith(expected)
    response = service.client.post(job["links"]["predictions"], json=rows)
    (error,) = problem(response, 422, "invalid-request")
    assert error["pointer"] == "#/1"
    complete = [{"t_u": None, **row} for row in rows]
    assert service.client.post(job["links"]["predictions"], json=complete).status_code == OK
