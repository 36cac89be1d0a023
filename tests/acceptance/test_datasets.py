"""Datasets: upload, description, reading, use and deletion."""

import statistics
from typing import Any

import httpx
import pytest

from tests.support.fits import LINEAR, LONG, thermometer
from tests.support.problems import problem
from tests.support.server import Service
from tests.support.thermometer import T_C, T_U

CREATED, OK = httpx.codes.CREATED, httpx.codes.OK


def upload(service: Service, body: Any) -> dict[str, Any]:
    """Upload a new dataset from JSON and return its document."""
    response = service.client.post("/v1/datasets", json=body)
    assert response.status_code == CREATED, response.text
    assert response.headers["Location"] == f"/v1/datasets/{response.json()['id']}"
    return dict(response.json())


def column(dataset: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the column of a dataset with this name."""
    return next(each for each in dataset["columns"] if each["name"] == name)


def test_columns_are_described(service: Service) -> None:
    """A dataset of columns has the type and statistics of each column."""
    body = {
        "name": "thermometer",
        "columns": {"t_u": T_U, "warm": [c > 10 for c in T_C], "place": ["in", "out"] * 5 + [None]},
    }
    dataset = upload(service, body)
    assert (dataset["name"], dataset["kind"], dataset["rows"]) == ("thermometer", "tabular", 11)
    assert [each["name"] for each in dataset["columns"]] == ["t_u", "warm", "place"]
    t_u = column(dataset, "t_u")
    assert (t_u["type"], t_u["missing"], t_u["min"], t_u["max"]) == ("numeric", 0, 21.8, 81.9)
    assert t_u["mean"] == pytest.approx(statistics.fmean(T_U))
    assert t_u["std"] == pytest.approx(statistics.pstdev(T_U))
    assert column(dataset, "warm")["type"] == "boolean"
    category = column(dataset, "place")
    assert (category["type"], category["missing"], category["categories"]) == (
        "categorical",
        1,
        ["in", "out"],
    )
    assert service.read(dataset["links"]["self"]) == dataset


def test_rows_and_columns_of_equal_content_are_one_dataset(service: Service) -> None:
    """Equal content as rows, columns or CSV is stored once and returned with 200."""
    first = upload(service, {"columns": {"a": [1.5, 2.5], "b": [3, 4]}})
    again = service.client.post("/v1/datasets", json={"rows": [{"a": 1.5, "b": 3}, {"a": 2.5, "b": 4}]})
    csv = service.client.post(
        "/v1/datasets", content="a,b\n1.5,3\n2.5,4\n", headers={"Content-Type": "text/csv"}
    )
    for response in (again, csv):
        assert response.status_code == OK
        assert response.json() == first
        assert response.headers["Location"] == f"/v1/datasets/{first['id']}"


def test_other_content_is_another_dataset(service: Service) -> None:
    """Datasets that differ in column order, a name or a value have different ids."""
    ids = {
        upload(service, {"columns": columns})["id"]
        for columns in (
            {"c": [1], "d": [2]},
            {"d": [2], "c": [1]},
            {"c": [1], "e": [2]},
            {"c": [1], "d": [3]},
        )
    }
    assert len(ids) == 4


def test_tensors_are_described(service: Service) -> None:
    """A dataset of nested lists has the shapes of its tensors, and its rows are samples."""
    dataset = upload(service, {"inputs": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]], "targets": [[0.5], [1.5]]})
    assert (dataset["kind"], dataset["rows"]) == ("tensors", 2)
    assert [each["shape"] for each in dataset["columns"]] == [[2, 2, 2], [2, 1]]
    assert {each["type"] for each in dataset["columns"]} == {"tensor"}
    rows = service.read(dataset["links"]["rows"])["rows"]
    assert rows[1] == {"inputs": {"input": [[5, 6], [7, 8]]}, "targets": [1.5]}


def test_csv_has_a_name_and_column_types(service: Service) -> None:
    """A CSV body becomes numeric, boolean and categorical columns, and `?name=` names it."""
    text = 'x,flag,label\r\n1.5,true,red\r\n,false,"blue, dark"\r\n'
    response = service.client.post(
        "/v1/datasets", params={"name": "paint"}, content=text, headers={"Content-Type": "text/csv"}
    )
    assert response.status_code == CREATED, response.text
    dataset = response.json()
    assert dataset["name"] == "paint"
    types = [each["type"] for each in dataset["columns"]]
    assert types == ["numeric", "boolean", "categorical"]
    assert service.read(dataset["links"]["rows"])["rows"] == [
        {"x": 1.5, "flag": True, "label": "red"},
        {"x": None, "flag": False, "label": "blue, dark"},
    ]


def test_rows_are_read_by_offset_and_limit(service: Service) -> None:
    """`/rows` returns a window of rows in order with exact floats."""
    values = [0.1 * i for i in range(250)]
    dataset = upload(service, {"columns": {"x": values}})
    window = service.read(dataset["links"]["rows"], offset=240, limit=100)
    assert (window["offset"], window["total"]) == (240, 250)
    assert [row["x"] for row in window["rows"]] == values[240:]
    assert len(service.read(dataset["links"]["rows"])["rows"]) == 100
    assert service.read(dataset["links"]["rows"], offset=250)["rows"] == []


def test_list_is_paged_newest_first(service: Service) -> None:
    """Pages list each dataset once, newest first, and end with a null token."""
    made = [upload(service, {"columns": {"page": [number]}})["id"] for number in range(1000, 1005)]
    seen: list[str] = []
    token: str | None = ""
    while token is not None and not set(made) <= set(seen):
        page = service.read("/v1/datasets", page_size=2, **({"page_token": token} if token else {}))
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        token = page["next_page_token"]
    assert seen[:5] == made[::-1]
    everything = service.read("/v1/datasets", page_size=1000)
    assert everything["next_page_token"] is None


def test_a_job_uses_a_dataset_by_id(service: Service) -> None:
    """A job with `dataset_id` has the history of a job with the same data inline."""
    dataset = upload(service, {"columns": {"t_u": T_U, "t_c": T_C, "noise": list(range(11))}})
    body = thermometer(epochs=50)
    inline = service.succeeded(body)
    data = {key: value for key, value in body["data"].items() if key != "columns"}
    job = service.succeeded({**body, "data": {"dataset_id": dataset["id"], **data}})
    assert job["dataset_id"] == dataset["id"]
    assert service.history(job["id"]) == service.history(inline["id"])


def test_inline_data_is_stored_as_a_dataset_once(service: Service) -> None:
    """Equal inline data of two jobs is stored as one dataset."""
    first, second = (service.succeeded(thermometer(epochs=epochs)) for epochs in (1, 2))
    assert first["dataset_id"] == second["dataset_id"]
    dataset = service.read(first["links"]["dataset"])
    assert [each["name"] for each in dataset["columns"]] == ["t_u", "t_c"]
    assert "columns" not in first["data"]


def test_deletion_succeeds_though_a_file_remains(service: Service) -> None:
    """A job and a dataset are deleted although their files cannot be removed."""
    artifacts = service.data_dir / "artifacts"
    before = set(artifacts.glob("datasets/*"))
    dataset = upload(service, {"columns": {"u": [1.5, 2.5, 3.5], "c": [2.5, 4.5, 6.5]}})
    body = thermometer(LINEAR, epochs=1)
    body["data"] = {"dataset_id": dataset["id"], "features": ["u"], "targets": ["c"]}
    job = service.succeeded(body)
    for file in {*artifacts.glob("datasets/*"), *artifacts.glob(f"checkpoints/{job['id']}/*")} - before:
        file.unlink()
        file.mkdir()
    for path in (job["links"]["self"], dataset["links"]["self"]):
        assert service.client.delete(path).status_code == httpx.codes.NO_CONTENT
        assert service.client.get(path).status_code == httpx.codes.NOT_FOUND


def test_a_dataset_in_use_is_not_deleted(service: Service) -> None:
    """Deletion of a dataset is 409 until its job has ended, and the job stays readable."""
    dataset = upload(service, {"columns": {"u": [1.0, 2.0, 3.0], "c": [2.0, 4.0, 6.0]}})
    body = thermometer(LINEAR, epochs=LONG)
    body["data"] = {"dataset_id": dataset["id"], "features": ["u"], "targets": ["c"]}
    job_id = service.running(body)
    path = dataset["links"]["self"]
    refused = service.client.delete(path)
    assert refused.status_code == httpx.codes.CONFLICT
    assert refused.json()["type"] == "/problems/dataset-in-use"
    assert service.read(path) == dataset
    service.cancelled(job_id)
    assert service.client.delete(path).status_code == httpx.codes.NO_CONTENT
    for gone in (path, f"{path}/rows"):
        assert service.client.get(gone).status_code == httpx.codes.NOT_FOUND
    assert service.client.delete(path).status_code == httpx.codes.NOT_FOUND
    assert service.submit(body).status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert len(service.predict(job_id, {"inputs": [[1.0]]})["outputs"]) == 1


def test_deleted_content_can_be_uploaded_again(service: Service) -> None:
    """Deleted content that is uploaded again is a new dataset."""
    content = {"columns": {"again": [1.0, 2.0]}}
    first = upload(service, content)
    assert service.client.delete(first["links"]["self"]).status_code == httpx.codes.NO_CONTENT
    second = upload(service, content)
    assert second["id"] != first["id"]
    assert service.read(second["links"]["rows"])["rows"] == [{"again": 1.0}, {"again": 2.0}]


def test_an_idempotency_key_gives_the_same_dataset(service: Service) -> None:
    """A repeated upload finds its dataset, in any format of the same content; another one is refused."""
    headers = {"Idempotency-Key": '"upload"'}

    def upload(content: bytes, media_type: str = "text/csv", name: str = "keyed") -> httpx.Response:
        given = {**headers, "Content-Type": media_type}
        return service.client.post("/v1/datasets", params={"name": name}, content=content, headers=given)

    first = upload(b"a,b\n1,x\n2,keyed\n")
    assert first.status_code == httpx.codes.CREATED
    assert "Idempotency-Replayed" not in first.headers
    for again in (
        upload(b"a,b\n1,x\n2,keyed\n"),
        upload(b'"a";"b"\r\n1;x\r\n2;keyed\r\n'),
        upload(b'{"columns": {"a": [1, 2], "b": ["x", "keyed"]}}', "application/json"),
    ):
        assert (again.status_code, again.json()["id"]) == (httpx.codes.OK, first.json()["id"])
        assert again.headers["Idempotency-Replayed"] == "true"
    for other in (upload(b"a,b\n1,x\n3,keyed\n"), upload(b"a,b\n1,x\n2,keyed\n", name="other")):
        assert problem(other, 422, "idempotency-key-reused")[0]["pointer"] == "Idempotency-Key"
    assert upload(b"a,b\n1\n").json()["type"] == "/problems/invalid-request"
    assert service.client.delete(f"/v1/datasets/{first.json()['id']}").status_code == httpx.codes.NO_CONTENT
    assert upload(b"a,b\n1,x\n3,keyed\n").status_code == httpx.codes.CREATED
    headers = {"Idempotency-Key": "k" * 256}
    assert upload(b"a,b\n1,x\n").json()["errors"][0]["pointer"] == "Idempotency-Key"
