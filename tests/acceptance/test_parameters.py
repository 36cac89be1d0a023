"""Parameter sets: upload, reading, deletion, and jobs that start with them."""

import gzip
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import save
from torch import nn

from tests.support.fits import LONG, SEQUENTIAL, thermometer
from tests.support.long_fits import interruptible
from tests.support.problems import problem
from tests.support.processes import workers
from tests.support.server import Service, until

URL = "/v1/parameters"
SAFETENSORS = {"Content-Type": "application/x-safetensors"}


def units(seed: int) -> nn.Sequential:
    """Draw the parameters of `SEQUENTIAL`."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(1, 13), nn.Tanh(), nn.Linear(13, 1))


def file_of(model: nn.Module) -> bytes:
    """Return the file of a model's parameters and buffers."""
    return save(dict(model.state_dict()))


def upload(service: Service, content: bytes, **query: str) -> dict[str, Any]:
    """Upload a file; return the parameter set."""
    response = service.client.post(URL, content=content, headers=SAFETENSORS, params=query)
    assert response.is_success, response.text
    return dict(response.json())


def stored(service: Service) -> int:
    """Return the number of files of parameter sets."""
    return sum(path.is_file() for path in (service.data_dir / "artifacts" / "parameters").glob("*"))


def test_a_file_is_described(service: Service) -> None:
    """The answer has the digest, the size and the tensors of the file, and the path of the resource."""
    content = file_of(units(1))
    response = service.client.post(URL, content=content, headers=SAFETENSORS, params={"name": "first"})
    assert response.status_code == httpx.codes.CREATED
    document = response.json()
    assert response.headers["Location"] == document["links"]["self"] == f"{URL}/{document['id']}"
    assert document["digest"] == f"sha-256:{hashlib.sha256(content).hexdigest()}"
    assert (document["name"], document["bytes"], document["tensor_count"]) == ("first", len(content), 4)
    assert document["tensors"][1] == {
        "name": "0.weight",
        "shape": [13, 1],
        "dtype": "float32",
        "finite": True,
    }
    assert service.read(document["links"]["self"]) == document


def test_equal_content_is_one_parameter_set(service: Service) -> None:
    """A file in a form, compressed or of an unnamed type is the same parameter set, and stored once."""
    content = file_of(units(2))
    first = upload(service, content)
    before = stored(service)
    again = [
        service.client.post(URL, content=content),
        service.client.post(URL, files={"file": content}, data={"name": "again"}),
        service.client.post(URL, content=gzip.compress(content), headers={"Content-Encoding": "gzip"}),
        service.client.post(URL, content=gzip.compress(content)),
    ]
    for response in again:
        assert (response.status_code, response.json()) == (httpx.codes.OK, first)
    assert stored(service) == before


def test_concurrent_uploads_of_one_file_store_it_once(service: Service) -> None:
    """Several clients that send the same file at once get the same id, and one of them 201."""
    content, before = file_of(units(3)), stored(service)
    with ThreadPoolExecutor(6) as threads:
        responses = [*threads.map(lambda _: service.client.post(URL, content=content), range(6))]
    assert sorted(response.status_code for response in responses) == [200] * 5 + [201]
    assert len({response.json()["id"] for response in responses}) == 1
    assert stored(service) == before + 1


def test_a_file_is_downloaded_as_it_was_sent(service: Service) -> None:
    """The content is a file with a name, ranges and an ETag."""
    content = file_of(units(4))
    document = upload(service, content)
    path = document["links"]["content"]
    whole = service.client.get(path)
    assert whole.content == content
    assert whole.headers["Content-Disposition"] == f'attachment; filename="{document["id"]}.safetensors"'
    part = service.client.get(path, headers={"Range": "bytes=8-15"})
    assert (part.status_code, part.content) == (httpx.codes.PARTIAL_CONTENT, content[8:16])
    known = {"If-None-Match": whole.headers["ETag"]}
    for each in (path, document["links"]["self"]):
        assert service.client.get(each, headers=known).status_code == httpx.codes.NOT_MODIFIED
    assert service.client.get(path, headers={"Range": "bytes=99999-"}).status_code == 416


def test_parameter_sets_are_listed_and_found_by_their_digest(service: Service) -> None:
    """A list has no tensors; a digest selects one file; CSV is a table."""
    document = upload(service, file_of(units(5)))
    (newest,) = service.read(URL, page_size=1)["items"]
    assert newest == {name: value for name, value in document.items() if name != "tensors"}
    assert service.read(URL, digest=document["digest"])["items"] == [newest]
    assert service.read(URL, digest=f"sha-256:{'0' * 64}")["items"] == []
    table = service.client.get(URL, params={"format": "csv", "page_size": 1}).text
    assert table.startswith("id,name,digest,bytes,tensor_count,created_at\n")
    (error,) = problem(service.client.get(URL, params={"digest": "x"}), 422, "invalid-request")
    assert error["pointer"] == "?digest"


def test_a_parameter_set_is_deleted(service: Service) -> None:
    """A deleted parameter set does not exist; one with another ETag stays."""
    document = upload(service, file_of(units(6)))
    path, before = document["links"]["self"], stored(service)
    refused = service.client.delete(path, headers={"If-Match": '"other"'})
    problem(refused, 412, "precondition-failed")
    assert service.client.delete(path).status_code == httpx.codes.NO_CONTENT
    assert stored(service) == before - 1
    for method, gone in (("GET", path), ("GET", f"{path}/content"), ("DELETE", path)):
        problem(service.client.request(method, gone), 404, "parameter-set-not-found")


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"", SAFETENSORS, 422),
        (file_of(units(7))[:-1], SAFETENSORS, 422),
        (file_of(units(7)) + b"x", {}, 422),
        (b"a,b\n1,2\n", {"Content-Type": "text/csv"}, 415),
        (b"{}", {"Content-Type": "application/json"}, 415),
        (b"a,b\n1,2\n", {}, 422),
        (gzip.compress(file_of(units(7)))[:-9], {}, 422),
        (file_of(units(7)), {"Content-Encoding": "gzip"}, 422),
    ],
    ids=["empty", "cut", "longer", "csv", "json", "text", "cut gzip", "not gzip"],
)
def test_other_files_are_refused(
    service: Service, content: bytes, headers: dict[str, str], status: int
) -> None:
    """A file that can't be read is refused, and nothing of it is stored."""
    before = stored(service), service.read(URL)
    response = service.client.post(URL, content=content, headers=headers)
    assert response.status_code == status, response.text
    assert (stored(service), service.read(URL)) == before


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_a_job_starts_with_a_parameter_set(service: Service, engine: str) -> None:
    """A job without epochs has the parameters; one with epochs trains them further."""
    model = units(8)
    initial = upload(service, file_of(model))["id"]
    for epochs in (0, 3):
        section = {"epochs": epochs, "initial_parameters": initial}
        job = service.succeeded({**thermometer(SEQUENTIAL, **section), "engine": engine})
        assert job["training"]["initial_parameters"] == initial
        parameters = service.parameters(job["id"])
        for name, parameter in model.named_parameters():
            assert (parameters[name]["values"] == parameter.tolist()) is (epochs == 0)
    drawn = service.succeeded({**thermometer(SEQUENTIAL, epochs=3), "engine": engine})
    assert service.history(drawn["id"]) != service.history(job["id"])


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_a_job_with_given_parameters_is_continued(service: Service, engine: str) -> None:
    """Its continuation, which names no parameter set, equals a job of all epochs that starts with it."""
    initial = upload(service, file_of(units(9)))["id"]
    section = {"batch_size": 4, "optimizer": {"type": "Adam", "lr": 0.01}}

    def fit(**more: Any) -> dict[str, Any]:
        return service.succeeded({**thermometer(SEQUENTIAL, **section, **more), "engine": engine})

    first, whole = (fit(epochs=epochs, initial_parameters=initial) for epochs in (10, 30))
    second = fit(epochs=30, from_job=first["id"], resume=True)
    assert service.history(second["id"]) == service.history(whole["id"])
    assert service.parameters(second["id"]) == service.parameters(whole["id"])


def test_differences_from_the_model_are_reported_at_once(service: Service) -> None:
    """Missing, unexpected, other and infinite tensors are listed, beside the errors of other sections."""
    tensors = {
        "0.weigth": torch.zeros(13, 1),
        "0.bias": torch.zeros(12),
        "2.weight": torch.zeros(1, 13, dtype=torch.float64),
        "2.bias": torch.full((1,), float("inf")),
    }
    initial = upload(service, save(tensors))["id"]
    response = service.submit(thermometer(SEQUENTIAL, initial_parameters=initial, optimizer="Adan"))
    errors = problem(response, 422, "invalid-request")
    found = [error["detail"] for error in errors if error["pointer"] == "#/training/initial_parameters"]
    assert found == [
        "`0.weight` is missing; in the model it is float32 [13, 1].",
        "`0.bias` is float32 [12]; in the model it is float32 [13].",
        "The model has no `0.weigth`, here float32 [13, 1]: did you mean `0.weight`?",
        "`2.bias` has infinite values, with which no training can start.",
        "`2.weight` is float64 [1, 13]; in the model it is float32 [1, 13].",
    ]
    assert "#/training/optimizer" in {error["pointer"] for error in errors}


def test_an_unknown_parameter_set_and_two_starts_are_refused(service: Service) -> None:
    """A parameter set must exist, and is not given together with `from_job`."""
    initial, first = upload(service, file_of(units(10)))["id"], service.succeeded(thermometer(SEQUENTIAL))
    for section in (
        {"initial_parameters": "par_gone"},
        {"initial_parameters": initial, "from_job": first["id"]},
    ):
        (error,) = problem(service.submit(thermometer(SEQUENTIAL, **section)), 422, "invalid-request")
        assert error["pointer"] == "#/training/initial_parameters"


def test_a_parameter_set_in_use_is_not_deleted(service: Service) -> None:
    """A parameter set is 409 while a job with it has not ended; the ended job keeps its id."""
    document = upload(service, file_of(units(11)))
    path = document["links"]["self"]
    job = service.running(thermometer(SEQUENTIAL, epochs=LONG, initial_parameters=document["id"]))
    problem(service.client.delete(path), 409, "parameter-set-in-use")
    service.cancelled(job)
    assert service.client.delete(path).status_code == httpx.codes.NO_CONTENT
    assert service.job(job)["training"]["initial_parameters"] == document["id"]


def test_an_idempotency_key_belongs_to_the_parameters(service: Service) -> None:
    """The same key with other initial parameters is refused."""
    bodies = [
        thermometer(SEQUENTIAL, epochs=0, initial_parameters=upload(service, file_of(units(seed)))["id"])
        for seed in (12, 13)
    ]
    key = {"Idempotency-Key": "started"}
    first = service.submit(bodies[0], key)
    assert service.submit(bodies[0], key).json()["id"] == first.json()["id"]
    problem(service.submit(bodies[1], key), 422, "idempotency-key-reused")


def test_a_job_of_a_killed_worker_keeps_its_initial_parameters(narrow_service: Service) -> None:
    """A job whose worker is killed ends with the bits of an undisturbed job."""
    service = narrow_service
    model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 1))
    initial = upload(service, file_of(model))["id"]
    body = interruptible(epochs=1500, initial_parameters=initial)
    twin = service.succeeded(body)
    job_id = service.running(body)
    for worker in workers(service):
        worker.kill()
    until(lambda: service.job(job_id)["attempt"] == 2)
    assert service.ended(job_id)["status"] == "succeeded"
    assert service.history(job_id, every=100) == service.history(twin["id"], every=100)
    assert service.parameters(job_id) == service.parameters(twin["id"])
