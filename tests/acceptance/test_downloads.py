"""Downloads of datasets, datasets found by the digest of their upload, and formulas in CSV answers."""

import hashlib
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.files import as_npz
from tests.support.fits import thermometer
from tests.support.problems import problem
from tests.support.server import Service

CREATED, OK = httpx.codes.CREATED, httpx.codes.OK
URL = "/v1/datasets"
TABLE = {
    "columns": {
        "zip": ["00012", None, "450"],
        "text": ["NA", "=1+1", 'ä,"b"\n'],
        "n": [1.5, None, -0.0],
        "flag": [True, None, False],
        "when": ["2026-11-23", None, "2026-11-23T18:30:00.25Z"],
    },
    "types": {"when": "datetime"},
}


@pytest.mark.parametrize(
    ("name", "media_type"), [("csv", "text/csv"), ("parquet", "application/vnd.apache.parquet")]
)
def test_an_upload_of_a_download_is_the_same_dataset(service: Service, name: str, media_type: str) -> None:
    """A table is downloaded as a file with a name, and the file is the same dataset again."""
    dataset = service.client.post(URL, json=TABLE).json()
    file = service.client.get(dataset["links"]["content"], params={"format": name, "formulas": "keep"})
    assert file.headers["Content-Type"].startswith(media_type)
    assert file.headers["Content-Disposition"] == f'attachment; filename="{dataset["id"]}.{name}"'
    assert service.client.post(URL, content=file.content).json()["id"] == dataset["id"]
    escaped = service.client.get(dataset["links"]["content"], params={"format": "csv"}).text
    assert '"\'=1+1"' in escaped
    assert "-0.0" in escaped
    assert "'-0.0" not in escaped


def test_tensors_are_downloaded_as_npz(service: Service) -> None:
    """Tensors have a format of their own; another one is refused."""
    body = {"inputs": [[1.5, 2.0], [3.0, 4.0]], "targets": [0, 1]}
    dataset = service.client.post(URL, json=body).json()
    file = service.client.get(dataset["links"]["content"])
    assert file.headers["Content-Disposition"].endswith('.npz"')
    assert service.client.post(URL, content=file.content).json()["id"] == dataset["id"]
    refused = service.client.get(dataset["links"]["content"], params={"format": "parquet"})
    assert problem(refused, 422, "invalid-request")[0]["pointer"] == "?format"
    problem(service.client.get(f"{URL}/ds_1/content"), 404, "dataset-not-found")


def found(service: Service, content: bytes, **options: Any) -> list[str]:
    """Return the ids of the datasets that were uploaded as these bytes with these options."""
    digest = f"sha-256:{hashlib.sha256(content).hexdigest()}"
    return [each["id"] for each in service.read(URL, digest=digest, **options)["items"]]


def test_an_upload_is_found_by_its_digest(service: Service) -> None:
    """The digest of the bytes and the options of an upload find its dataset, until it is deleted."""
    content = b"zip,n\n00012,1\n00450,2\n"
    assert found(service, content) == []
    plain = service.client.post(URL, content=content).json()["id"]
    options = {"types": "zip:categorical"}
    typed = service.client.post(URL, files={"file": ("zips", content)}, data=options).json()["id"]
    assert found(service, content) == [plain]
    assert (
        found(service, content, **options)
        == found(service, content, types='{"zip": "categorical"}')
        == [typed]
    )
    assert found(service, content, header="false") == []
    tensors = as_npz({"inputs": np.ones((2, 1), np.float32)})
    again = as_npz({"inputs": np.ones((2, 1), np.float32)}, compressed=True)
    ids = [service.client.post(URL, content=each).json()["id"] for each in (tensors, again)]
    assert found(service, tensors) == found(service, again) == ids[:1] == ids[1:]
    service.client.delete(f"{URL}/{plain}")
    assert found(service, content) == []
    for query, pointer in (({"digest": "sha-256:12"}, "?digest"), ({"types": "a:numeric"}, "?types")):
        assert problem(service.client.get(URL, params=query), 422, "invalid-request")[0]["pointer"] == pointer


def test_formulas_are_escaped_in_predictions_as_csv(service: Service) -> None:
    """Labels and names that a spreadsheet would run get an apostrophe unless `formulas=keep` is set."""
    columns = {"x": [0, 1, 2, 3], "y": ["-a", "=b", "-a", "=b"], "@z": [1, 2, 3, 4]}
    body = thermometer([{"type": "Linear", "out_features": 2}], loss="CrossEntropyLoss", epochs=1)
    classes = service.succeeded({**body, "data": {"columns": columns, "features": ["x"], "targets": ["y"]}})
    body = thermometer([{"type": "Linear", "out_features": 1}], epochs=1)
    values = service.succeeded({**body, "data": {"columns": columns, "features": ["x"], "targets": ["@z"]}})
    accept = {"Accept": "text/csv"}

    def lines(job: dict[str, Any], **params: str) -> list[str]:
        path = job["links"]["predictions"]
        answer = service.client.post(path, json={"columns": {"x": [0, -100]}}, params=params, headers=accept)
        return answer.text.splitlines()

    assert all(line.startswith(("'-a,", "'=b,")) for line in lines(classes)[1:])
    assert all(line.startswith(("-a,", "=b,")) for line in lines(classes, formulas="keep")[1:])
    assert lines(values)[0] == "'@z"
    assert lines(values, formulas="keep")[0] == "@z"
    assert {float(line) for line in lines(values)[1:]} == {
        float(line) for line in lines(values, formulas="keep")[1:]
    }


def test_a_read_of_another_version_is_refused(service: Service) -> None:
    """A condition that is false is 412 on every resource with a version, also for a part of a file."""
    links = service.client.post(URL, json=TABLE).json()["links"]
    job = service.succeeded(thermometer(epochs=1))
    for path in (links["self"], links["content"], job["links"]["self"], job["links"]["model"]):
        for name, value in (
            ("If-Match", '"other"'),
            ("If-Unmodified-Since", "Mon, 01 Jan 2001 00:00:00 GMT"),
        ):
            answer = service.client.get(path, headers={name: value, "Range": "bytes=0-1"})
            problem(answer, 412, "precondition-failed")
        etag = service.client.get(path).headers["ETag"]
        assert service.client.get(path, headers={"If-Match": etag}).status_code == OK
