"""A service with little room: what it can't store is refused with nothing left, and `/readyz` says so."""

import gzip
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save

from tests.support.fits import thermometer
from tests.support.server import Service, until

QUOTA_BYTES = 2_000_000
CSV = {"Content-Type": "text/csv"}


@pytest.fixture(scope="module")
def tight_service(start_module_service: Callable[..., Service]) -> Service:
    """A service that may store 2 MB."""
    return start_module_service(workers=1, helpers=1, max_stored_bytes=QUOTA_BYTES)


def files(service: Service) -> set[Path]:
    """Return the files of request bodies, datasets and parameter sets."""
    artifacts = service.data_dir / "artifacts"
    folders = [service.data_dir / "spool", artifacts / "datasets", artifacts / "parameters"]
    found = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    return {path for path in found if path.name != "lock"}


def assert_full(response: httpx.Response) -> None:
    """Check that a response says what to do about a full storage."""
    problem = response.json()
    assert (response.status_code, problem["type"]) == (503, "/problems/storage-full"), problem
    assert "FITSERVE_MAX_STORED_BYTES" in problem["detail"]
    assert int(response.headers["Retry-After"]) > 0


def ones(rows: int) -> bytes:
    """Return a CSV file with equal rows."""
    return b"a,b\n" + b"1,2\n" * rows


@pytest.mark.parametrize("compression", ["gzip", "parquet", "npz"])
def test_a_small_file_of_large_content_is_refused(
    tight_service: Service, compression: str, tmp_path: Path
) -> None:
    """What counts is the size as stored, not as sent; nothing of the file is left."""
    before, rows = files(tight_service), 400_000
    headers = CSV | {"Content-Encoding": "gzip"}
    body = gzip.compress(ones(rows))
    if compression != "gzip":
        headers = {"Content-Type": "application/octet-stream"}
        path = tmp_path / "file"
        if compression == "parquet":
            pq.write_table(pa.table({"a": np.ones(rows), "b": np.zeros(rows)}), path)
        else:
            with path.open("wb") as file:
                np.savez_compressed(file, inputs=np.ones((rows, 2)), targets=np.zeros((rows, 1)))
        body = path.read_bytes()
    assert len(body) < QUOTA_BYTES / 10
    assert_full(tight_service.client.post("/v1/datasets", content=body, headers=headers))
    assert tight_service.read("/v1/datasets")["items"] == []
    assert files(tight_service) == before


def test_a_body_without_room_is_refused_before_it_is_sent(tight_service: Service) -> None:
    """A Content-Length beyond the quota is answered before the first byte of the body."""
    url = tight_service.client.base_url
    for path in ("datasets", "parameters", "jobs"):
        with socket.create_connection((url.host, url.port or 0), timeout=30) as client:
            head = f"POST /v1/{path} HTTP/1.1\r\nHost: {url.host}\r\nContent-Length: {QUOTA_BYTES + 1}\r\n"
            kind = "application/octet-stream" if path == "parameters" else "application/json"
            client.sendall(f"{head}Content-Type: {kind}\r\n\r\n".encode())
            answer = client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 503")
            while b"storage-full" not in answer:
                answer += client.recv(65536)


def test_parameters_without_room_are_refused(tight_service: Service) -> None:
    """A compressed file of parameters that exceeds the quota is refused, and one that fits counts for it."""
    url, before = "/v1/parameters", files(tight_service)
    assert_full(tight_service.client.post(url, content=gzip.compress(save({"w": torch.zeros(600_000)}))))
    assert files(tight_service) == before
    stored = tight_service.client.post(url, content=save({"w": torch.zeros(300_000)})).raise_for_status()
    assert_full(tight_service.client.post(url, content=save({"w": torch.ones(300_000)})))
    tight_service.client.delete(stored.json()["links"]["self"]).raise_for_status()
    assert files(tight_service) == before


def test_requests_are_accepted_again_after_a_deletion(tight_service: Service) -> None:
    """With a full quota jobs are refused and `/readyz` says why; after a deletion they are accepted."""
    service = tight_service
    rows = np.arange(200_000).reshape(-1, 2)
    body = b"a,b\n" + b"\n".join(b"%d,%d" % (a, b) for a, b in rows)
    first = service.client.post("/v1/datasets", content=body, headers=CSV)
    assert first.status_code == 201, first.text
    assert 1_500_000 < first.json()["bytes"] <= QUOTA_BYTES
    large = thermometer(epochs=1)
    large["data"]["columns"] = {name: [*range(40_000)] for name in large["data"]["columns"]}
    before = files(service)
    assert_full(service.submit(large))
    assert files(service) == before
    service.client.delete(f"/v1/datasets/{first.json()['id']}").raise_for_status()
    assert service.succeeded(thermometer(epochs=1))


def failing(service: Service) -> set[str]:
    """Return the checks of `/readyz` that fail."""
    ready = service.client.get("/readyz")
    failed = {name for name, result in ready.json()["checks"].items() if result != "ok"}
    assert ready.status_code == (httpx.codes.SERVICE_UNAVAILABLE if failed else httpx.codes.OK)
    return failed


def test_a_moved_data_folder_is_reported(tight_service: Service) -> None:
    """While the data folder is away `/readyz` and requests are 503; when it is back all works again."""
    service = tight_service
    job = service.succeeded(thermometer(epochs=1))
    elsewhere = service.data_dir.with_name("elsewhere")
    service.data_dir.rename(elsewhere)
    try:
        until(lambda: {"database", "artifacts", "requests"} <= failing(service))
        responses = (
            service.submit(thermometer(epochs=1)),
            service.client.post("/v1/datasets", content=ones(3), headers=CSV),
        )
        assert not service.data_dir.exists()
    finally:
        elsewhere.rename(service.data_dir)
    assert {response.status_code for response in responses} == {503}
    until(service.is_ready)
    assert service.predict(job["id"], {"columns": {"t_u": [35.7]}})
    assert service.succeeded(thermometer(epochs=1))
