"""Datetimes, hash buckets and windows of time series, from the file to the prediction."""

import io
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from tests.support.script import threads
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


def sales_frame() -> pd.DataFrame:
    """Return the sales of two stores by day, in no order."""
    days = pd.date_range("2026-01-01", periods=40)
    stores = [
        pd.DataFrame({"day": days, "store": name, "sales": [(7 * i + shift) % 10 for i in range(40)]})
        for shift, name in enumerate(("Rome", "Oslo"))
    ]
    return pd.concat(stores).sample(frac=1, random_state=0)


def sales_request(dataset: str, engine: str = "eager", **data: Any) -> dict[str, Any]:
    """Return a request that predicts two days of sales from seven days, by store."""
    layers: list[dict[str, Any]] = [
        {"type": "Flatten"},
        {"type": "Linear", "out_features": 2},
        {"type": "Unflatten", "dim": 1, "unflattened_size": [2, 1]},
    ]
    window = {"type": "window", "order": "day", "by": ["store"], "lags": 7, "horizon": 2}
    return {
        "data": {
            "dataset_id": dataset,
            "features": ["sales"],
            "targets": ["sales"],
            "transforms": [{"type": "scale", "columns": ["sales"], "factor": 0.1}, window],
            "split": {"validation": 20, "test": 10},
            **data,
        },
        "architecture": {"type": "sequential", "layers": layers},
        "training": {"loss": "MSELoss", "optimizer": {"type": "SGD", "lr": 0.05}, "epochs": 60, "seed": 3},
        "engine": engine,
    }


@pytest.fixture(scope="module")
def sales(service: Service) -> str:
    """Upload the sales."""
    return upload(service, sales_frame().to_csv(index=False))


def windows(frame: pd.DataFrame, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the windows whose targets are days first to last: inputs [B, 7, 1] and targets [B, 2, 1]."""
    inputs, targets = [], []
    for _, store in frame.sort_values("day").groupby("store"):
        values = 0.1 * torch.tensor(store["sales"].tolist(), dtype=torch.float32)
        for day in range(max(7, first), last):
            inputs.append(values[day - 7 : day, None])
            targets.append(values[day : day + 2, None])
    return torch.stack(inputs), torch.stack(targets)


def test_windows_train_like_a_plain_loop(service: Service, sales: str) -> None:
    """Losses on windows of two stores, split by time, equal those of a plain PyTorch loop bit for bit."""
    job = service.succeeded(sales_request(sales))
    frame = sales_frame()
    with threads(1):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Flatten(), nn.Linear(7, 2), nn.Unflatten(1, (2, 1)))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        (x, y), (x_validation, y_validation) = windows(frame, 0, 24), windows(frame, 25, 34)
        losses = []
        for _ in range(60):
            loss = nn.functional.mse_loss(model(x), y)
            with torch.no_grad():
                losses.append([loss.item(), nn.functional.mse_loss(model(x_validation), y_validation).item()])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    history = service.read(f"/v1/jobs/{job['id']}/history")
    assert [
        list(pair) for pair in zip(history["train_loss"], history["validation_loss"], strict=True)
    ] == losses
    assert job["test"]["loss"] is not None
    compiled = service.succeeded(sales_request(sales, "compiled"))
    assert compiled["latest"]["validation_loss"] == pytest.approx(losses[-1][1], rel=1e-4)


def test_a_forecast_is_identified_by_its_last_row(service: Service, sales: str) -> None:
    """Every format gives the same forecasts, one for each complete window, by its last row."""
    job = service.succeeded(sales_request(sales))
    predictions = f"/v1/jobs/{job['id']}/predictions"
    latest = sales_frame().query("day >= '2026-02-02'")
    answer = service.client.post(
        predictions, content=latest.to_csv(index=False), headers={"Content-Type": "text/csv"}
    ).json()
    assert answer["windows"] == {
        "day": ["2026-02-08T00:00:00.000000Z", "2026-02-09T00:00:00.000000Z"] * 2,
        "store": ["Oslo", "Oslo", "Rome", "Rome"],
    }
    parquet = io.BytesIO()
    latest.to_parquet(parquet, index=False)
    headers = {"Content-Type": "application/octet-stream"}
    same = service.client.post(predictions, content=parquet.getvalue(), headers=headers).json()
    rows = latest.assign(day=latest["day"].dt.strftime("%Y-%m-%d")).to_dict("records")
    assert answer == same == service.predict(job["id"], {"rows": rows})
    table = service.client.post(
        predictions,
        content=latest.to_csv(index=False),
        headers={"Content-Type": "text/csv", "Accept": "text/csv"},
    )
    frame = pd.read_csv(io.StringIO(table.text))
    assert list(frame) == ["day", "store", "sales_1", "sales_2"]
    assert frame[["sales_1", "sales_2"]].to_numpy().reshape(4, 2, 1).tolist() == answer["outputs"]


def test_a_long_forecast_is_one_answer(service: Service, sales: str) -> None:
    """Forecasts of more windows than are computed at once are joined, with the columns that identify them."""
    job = service.succeeded(sales_request(sales))
    days = pd.date_range("1990-01-01", periods=5000).strftime("%Y-%m-%d").tolist()
    columns = {"day": days, "store": ["Rome"] * 5000, "sales": [1.0] * 5000}
    answer = service.predict(job["id"], {"columns": columns})
    assert len(answer["outputs"]) == 4994
    assert answer["windows"]["day"] == [f"{day}T00:00:00.000000Z" for day in days[6:]]
    assert answer["windows"]["store"] == ["Rome"] * 4994


def test_an_evaluation_uses_the_windows_with_targets(service: Service, sales: str) -> None:
    """An evaluation of all rows has all windows; its worst rows are the last rows of windows."""
    job = service.succeeded(sales_request(sales))
    content = sales_frame().sort_values(["store", "day"]).to_csv(index=False)
    evaluation = service.client.post(
        f"/v1/jobs/{job['id']}/evaluations?worst=64", content=content, headers={"Content-Type": "text/csv"}
    ).json()
    assert evaluation["rows"] == 64
    assert sorted(row["row"] for row in evaluation["worst"]) == [*range(6, 38), *range(46, 78)]
    assert {len(row["target"]) for row in evaluation["worst"]} == {2}


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_own_windows_are_evaluated_in_target_units(service: Service, engine: str) -> None:
    """Windows of two transformed targets have metrics in their units, also for the job's own split."""
    frame = sales_frame().assign(visits=lambda rows: 100 * rows["sales"] + 7)
    body = sales_request(upload(service, frame.to_csv(index=False)), engine)
    body["data"] |= {"features": ["sales", "visits"], "targets": ["sales", "visits"]}
    body["data"]["transforms"] = [
        {"type": "standardize", "columns": ["sales", "visits"]},
        body["data"]["transforms"][1],
    ]
    body["architecture"]["layers"][1:] = [
        {"type": "Linear", "out_features": 4},
        {"type": "Unflatten", "dim": 1, "unflattened_size": [2, 2]},
    ]
    body["training"]["metrics"] = ["mean_absolute_error"]
    job = service.succeeded(body)
    own = service.client.post(f"/v1/jobs/{job['id']}/evaluations?split=test&worst=8").json()
    assert own["rows"] == 8
    assert own["loss"] == pytest.approx(job["test"]["loss"], rel=1e-5)
    errors = torch.tensor([row["output"] for row in own["worst"]]) - torch.tensor(
        [row["target"] for row in own["worst"]]
    )
    in_units = own["in_target_units"]["metrics"]["mean_absolute_error"]
    assert in_units == pytest.approx(errors.abs().mean().item(), rel=1e-5)
    assert [each["target"] for each in own["residuals"]] == ["sales_1", "visits_1", "sales_2", "visits_2"]


def test_the_job_shows_its_windows(service: Service, sales: str) -> None:
    """The split is by time unless the request says how, and a random one is warned of."""
    checked = service.submit(sales_request(sales), validate_only=True).json()
    assert checked["rows"] == {"train": 34, "validation": 18, "test": 8, "dropped": 0}
    assert checked["data"]["split"]["time"] == "day"
    assert checked["inputs"][0]["shape"] == [None, 7, 1]
    assert checked["warnings"] == []
    shuffled = sales_request(sales, split={"validation": 20, "shuffle": True})
    (warning,) = service.submit(shuffled, validate_only=True).json()["warnings"]
    assert '"time": "day"' in warning["detail"]
