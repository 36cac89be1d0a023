"""Datetimes, hash buckets and windows of time series, from the file to the prediction."""

from typing import Any

import pytest

from tests.support.server import Service

RIDES = "".join(
    f"2026-{month:02}-{day:02}T{hour:02}:30,{city},{month + day + hour}\n"
    for month, day, hour, city in zip(
        range(1, 13), range(5, 29, 2), range(8, 20), ["Rome", "Oslo", "Bonn"] * 4, strict=True
    )
)
NET = {
    "type": "module",
    "inputs": ["city", "numbers"],
    "submodules": {
        "embedding": {"type": "Embedding", "num_embeddings": 50, "embedding_dim": 2},
        "output": {"type": "Linear", "in_features": 7, "out_features": 1},
    },
    "forward": "return self.output(torch.cat([self.embedding(city[:, 0]), numbers], dim=1))",
}
TRANSFORMS = [
    {
        "type": "date_parts",
        "columns": ["when"],
        "parts": ["month", "hour"],
        "cyclic": True,
        "since": "2026-01-01",
    },
    {"type": "minmax", "columns": ["when"]},
    {"type": "hash", "columns": ["city"], "buckets": 50},
]


def upload(service: Service, content: str) -> str:
    """Upload CSV; return the id of the dataset."""
    response = service.client.post("/v1/datasets", content=content, headers={"Content-Type": "text/csv"})
    assert response.is_success, response.text
    return str(response.json()["id"])


def rides(service: Service, engine: str = "eager") -> dict[str, Any]:
    """Return a request that predicts rides from the time and the city."""
    return {
        "data": {
            "dataset_id": upload(service, f"when,city,rides\n{RIDES}"),
            "feature_groups": {"city": ["city"], "numbers": ["when"]},
            "targets": ["rides"],
            "dtypes": {"city": "int64"},
            "transforms": TRANSFORMS,
            "split": {"validation": 3, "time": "when"},
        },
        "architecture": NET,
        "training": {"loss": "MSELoss", "optimizer": {"type": "Adam", "lr": 0.1}, "epochs": 50, "seed": 0},
        "engine": engine,
    }


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_times_and_hashed_cities_are_features(service: Service, engine: str) -> None:
    """Parts of a datetime and hash buckets train a model and are the same in predictions of every format."""
    job = service.succeeded(rides(service, engine))
    encoding = service.read(f"/v1/jobs/{job['id']}/encoding")
    columns = {each["name"]: each["columns"] for each in encoding["inputs"]}
    parts = ["month_sin", "month_cos", "hour_sin", "hour_cos", "days"]
    assert columns == {"city": ["city"], "numbers": [f"when_{part}" for part in parts]}
    row = {"when": "2026-05-13T12:30:00Z", "city": "Atlantis"}
    as_rows = service.predict(job["id"], {"rows": [row]})["outputs"]
    as_columns = service.predict(job["id"], {"columns": {name: [value] for name, value in row.items()}})
    as_csv = service.client.post(
        f"/v1/jobs/{job['id']}/predictions",
        content=f"city,when\nAtlantis,{row['when']}\nRome,2026-05-13\n",
        headers={"Content-Type": "text/csv"},
    ).json()["outputs"]
    assert as_rows == as_columns["outputs"] == as_csv[:1]


def test_an_embedding_needs_a_row_for_each_bucket(service: Service) -> None:
    """The error of an embedding with too few rows has the number of buckets."""
    body = rides(service)
    body["architecture"] = {**NET, "submodules": {**NET["submodules"]}}
    body["architecture"]["submodules"]["embedding"] = {**NET["submodules"]["embedding"], "num_embeddings": 9}
    response = service.submit(body, validate_only=True)
    (error,) = response.json()["errors"]
    assert error["pointer"] == "#/architecture/submodules/embedding/num_embeddings"
    assert "set num_embeddings to 50, since `city` has 50 buckets" in error["detail"]
