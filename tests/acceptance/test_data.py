"""Data sections from request to prediction: types, missing values, transforms and splits."""

import itertools
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score

from tests.support.fits import thermometer
from tests.support.server import Service

COLUMNS: dict[str, list[Any]] = {
    "size": [1.0, None, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
    "zip": [7, 8, 9, 7, 8, 9, 7, 8],
    "day": ["2026-11-27", "2026-11-20", *(f"2026-11-{day}" for day in range(21, 27))],
    "where": ["n", "n", "s", "s", "w", "w", "n", "e"],
    "set": ["train"] * 4 + ["validation", "test", "train", "validation"],
    "y": [2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0],
    "z": [1.0, 10.0, 100.0, 1000.0, 1.0, 10.0, 100.0, 1000.0],
}
DROP = {"columns": "all", "type": "drop_rows"}
LINEAR = [{"type": "Linear", "out_features": 1}]


def fit(
    *transforms: dict[str, Any],
    features: tuple[str, ...] = ("size",),
    layers: list[dict[str, Any]] = LINEAR,
    training: dict[str, Any] | None = None,
    **data: Any,
) -> dict[str, Any]:
    """Return a request for a short fit of `COLUMNS`."""
    body = thermometer(layers, epochs=3, **(training or {}))
    named = {"columns": COLUMNS, "features": list(features), "targets": ["y"]}
    body["data"] = {**named, "transforms": list(transforms), **data}
    return body


def answer(response: httpx.Response, status: int = httpx.codes.OK) -> dict[str, Any]:
    """Check the status of a response and return its document."""
    assert response.status_code == status, response.text
    return dict(response.json())


def preflight(service: Service, body: dict[str, Any]) -> dict[str, Any]:
    """Return the `validate_only` report of a valid request."""
    return answer(service.submit(body, validate_only=True))


def split_rows(service: Service, job: dict[str, Any]) -> dict[str, list[int]]:
    """Return the row numbers of each split in ascending order."""
    found = service.read(f"/v1/jobs/{job['id']}/split")
    return {split: sorted(part["rows"]) for split, part in found.items()}


def constants(service: Service, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the fitted transforms."""
    return list(service.read(f"/v1/jobs/{job['id']}/encoding")["transforms"])


def upload(service: Service, columns: dict[str, list[Any]]) -> str:
    """Upload a dataset and return its id."""
    response = service.client.post("/v1/datasets", json={"columns": columns})
    assert response.status_code in (httpx.codes.OK, httpx.codes.CREATED), response.text
    return str(response.json()["id"])


def test_rows_with_missing_values_are_dropped(service: Service) -> None:
    """Rows with missing values are in no split, and predictions refuse such rows."""
    job = service.succeeded(fit(DROP, split={"validation": 2}))
    assert not any(1 in rows for rows in split_rows(service, job).values())
    assert preflight(service, fit(DROP))["rows"] == {"train": 7, "validation": 0, "test": 0, "dropped": 1}
    refused = service.client.post(job["links"]["predictions"], json={"columns": {"size": [1.0, None]}})
    assert "the job has no `impute` to fill it" in answer(refused, 422)["errors"][0]["detail"]


def test_an_indicator_marks_missing_values(service: Service) -> None:
    """An indicator is a column beside the imputed one, in training and in predictions."""
    impute = {"columns": ["size"], "type": "impute", "strategy": "median", "indicator": True}
    body = fit(impute)
    (shape,) = preflight(service, body)["inputs"]
    assert shape["columns"] == ["size", "size_missing"]
    job = service.succeeded(body)
    filled, missing = service.predict(job["id"], {"columns": {"size": [5.0, None]}})["outputs"]
    weight = service.parameters(job["id"])["0.weight"]["values"][0][1]
    assert constants(service, job)[0]["value"] == 5.0
    assert missing[0] - filled[0] == pytest.approx(weight, rel=1e-4)


def test_types_of_a_job_override_the_dataset(service: Service) -> None:
    """Numbers declared as categorical are one-hot encoded, and text declared as numeric is refused."""
    one_hot = {"columns": "categorical", "type": "one_hot"}
    report = preflight(service, fit(one_hot, features=("zip",), types={"zip": "categorical"}))
    assert report["inputs"][0]["columns"] == ["zip=7", "zip=8", "zip=9"]
    refused = service.submit(fit(DROP, features=("where",), types={"where": "numeric"}))
    assert {error["pointer"] for error in answer(refused, 422)["errors"]} == {"#/data/columns/where/0"}


def test_transforms_are_applied_in_order(service: Service) -> None:
    """Clip and minmax are applied in order with constants of the training rows, also in predictions."""
    clip = {"columns": ["size"], "type": "clip", "min": 2.0, "max": 6.0}
    minmax = {"columns": ["size"], "type": "minmax"}
    job = service.succeeded(fit(DROP, clip, minmax))
    assert constants(service, job)[1] == {"type": "minmax", "column": "size", "min": 2.0, "max": 6.0}
    outputs = service.predict(job["id"], {"columns": {"size": [-5.0, 2.0, 6.0, 9.0]}})["outputs"]
    assert outputs[0] == outputs[1]
    assert outputs[2] == outputs[3] != outputs[0]


def test_an_unknown_category_is_all_zeros(service: Service) -> None:
    """An unknown category is encoded as zeros with `unknown: zeros` and refused otherwise."""
    one_hot = {"columns": ["where"], "type": "one_hot"}
    job = service.succeeded(fit({**one_hot, "unknown": "zeros"}, features=("where",)))
    (output,) = service.predict(job["id"], {"columns": {"where": ["mars"]}})["outputs"]
    assert output == service.parameters(job["id"])["0.bias"]["values"]
    strict = service.succeeded(fit(one_hot, features=("where",)))
    refused = service.client.post(strict["links"]["predictions"], json={"columns": {"where": ["mars"]}})
    assert '"unknown": "zeros"' in answer(refused, 422)["errors"][0]["detail"]


def test_an_unknown_category_has_a_row_of_an_embedding(service: Service) -> None:
    """With `unknown: extra` an unknown category has the last index, which the embedding must include."""
    ordinal = {"columns": ["where"], "type": "ordinal", "unknown": "extra"}
    layers: list[dict[str, Any]] = [
        {"type": "Embedding", "num_embeddings": 5, "embedding_dim": 2},
        {"type": "Flatten"},
        *LINEAR,
    ]
    body = fit(ordinal, features=("where",), layers=layers, dtypes={"input": "int64"})
    job = service.succeeded(body)
    rows = {"columns": {"where": ["mars", "venus", "n"]}}
    mars, venus, north = service.predict(job["id"], rows)["outputs"]
    assert mars == venus != north
    body["architecture"]["layers"][0]["num_embeddings"] = 4
    (error,) = answer(service.submit(body), 422)["errors"]
    assert error["pointer"] == "#/architecture/layers/0/num_embeddings"


def test_groups_stay_together(service: Service) -> None:
    """Rows with equal values of the group column are in one split."""
    job = service.succeeded(fit(features=("zip",), split={"group": "where", "validation": 3, "test": 2}))
    found = split_rows(service, job)
    assert sorted(itertools.chain(*found.values())) == list(range(8))
    assert all(found.values())
    groups = [{COLUMNS["where"][row] for row in rows} for rows in found.values()]
    assert sum(map(len, groups)) == 4


def test_a_column_determines_the_split(service: Service) -> None:
    """A split column assigns each row to its split."""
    job = service.succeeded(fit(features=("zip",), split={"column": "set"}))
    assert split_rows(service, job) == {"train": [0, 1, 2, 3, 6], "validation": [4, 7], "test": [5]}


def test_a_time_split_tests_on_the_latest_rows(service: Service) -> None:
    """A time split assigns the latest rows to test and the rows before them to validation."""
    split = {"time": "day", "validation": 1, "test": 1}
    job = service.succeeded(fit(features=("zip",), types={"day": "datetime"}, split=split))
    assert split_rows(service, job) == {"train": [1, 2, 3, 4, 5, 6], "validation": [7], "test": [0]}


def test_splits_can_be_other_datasets(service: Service) -> None:
    """Validation and test datasets are transformed with the constants of the training rows."""
    train = upload(service, {"x": [0.0, 10.0], "y": [1.0, 2.0]})
    validation = upload(service, {"y": [1.0, 2.0, 3.0], "x": [None, 5.0, 20.0]})
    test = upload(service, {"x": [5.0], "y": [7.0]})
    minmax = {"columns": ["x"], "type": "minmax"}
    body = fit(DROP, minmax, training={"metrics": ["mean_absolute_error"]})
    split = {"validation_dataset_id": validation, "test_dataset_id": test}
    body["data"] = {**body["data"], "dataset_id": train, "features": ["x"], "split": split}
    del body["data"]["columns"]
    job = service.succeeded(body)
    found = service.read(f"/v1/jobs/{job['id']}/split")
    assert {split: (part["dataset_id"], part["rows"]) for split, part in found.items()} == {
        "train": (train, found["train"]["rows"]),
        "validation": (validation, [1, 2]),
        "test": (test, [0]),
    }
    assert constants(service, job)[0]["max"] == 10.0
    (output,) = service.predict(job["id"], {"columns": {"x": [5.0]}}, checkpoint="last")["outputs"]
    assert job["test"]["metrics"]["mean_absolute_error"] == pytest.approx(abs(output[0] - 7.0), rel=1e-5)


def test_the_transforms_of_each_target_are_inverted(service: Service) -> None:
    """Outputs have the units of the targets, and metrics those of the transformed targets."""
    standardize = {"columns": ["y"], "type": "standardize"}
    log1p, minmax = ({"columns": ["z"], "type": name} for name in ("log1p", "minmax"))
    body = fit(
        {"columns": ["zip"], "type": "standardize"},
        *(standardize, log1p, minmax),
        features=("zip",),
        layers=[{"type": "Linear", "out_features": 2}],
        training={"metrics": ["mean_absolute_error", "r2_score"]},
        targets=["y", "z"],
    )
    job = service.succeeded(body)
    outputs = torch.tensor(service.predict(job["id"], {"columns": COLUMNS})["outputs"]).double()
    true = torch.tensor([COLUMNS["y"], COLUMNS["z"]], dtype=torch.float64).T

    def trained(values: torch.Tensor) -> np.ndarray[Any, Any]:
        y, z = values.unbind(dim=1)
        y = (y - true[:, 0].mean()) / true[:, 0].std(correction=0)
        low, high = true[:, 1].log1p().aminmax()
        return torch.stack([y, (z.log1p() - low) / (high - low)], dim=1).numpy()

    measured = answer(service.client.post(job["links"]["evaluations"], json={"columns": COLUMNS}))
    expected = {
        "mean_absolute_error": mean_absolute_error(trained(true), trained(outputs)),
        "r2_score": r2_score(trained(true), trained(outputs)),
    }
    assert measured["metrics"] == pytest.approx(expected, rel=1e-4)
    worst = measured["worst"][0]
    assert worst["target"] == [
        COLUMNS["y"][worst["row"]],
        pytest.approx(COLUMNS["z"][worst["row"]], rel=1e-5),
    ]


def test_an_evaluation_has_the_r2_of_the_history(service: Service) -> None:
    """The R² of targets far from 0 equals that of scikit-learn in history and evaluation."""
    far = [1e5 + 10 * value for value in COLUMNS["y"]]
    columns = {"x": list(range(8)), "y": far}
    training = {"metrics": ["r2_score"], "optimizer": {"type": "SGD", "lr": 1e-4}, "batch_size": 3}
    body = fit(features=("x",), training=training, columns=columns, split={"validation_rows": [1, 4, 6]})
    job = service.succeeded(body)
    rows = {name: [values[row] for row in (1, 4, 6)] for name, values in columns.items()}
    outputs = service.predict(job["id"], {"columns": rows}, checkpoint="last")["outputs"]
    query = {"checkpoint": "last"}
    measured = answer(service.client.post(job["links"]["evaluations"], json={"columns": rows}, params=query))
    history = service.history(job["id"])["metrics"]["r2_score"]["validation"]
    expected = r2_score(rows["y"], outputs)
    assert [measured["metrics"]["r2_score"], history[-1]] == pytest.approx([expected] * 2, rel=1e-5)


def test_one_row_is_fitted(service: Service) -> None:
    """Standardization of a single row is fitted and predicts its target."""
    columns = {"x": [5.0], "y": [3.0]}
    body = fit({"columns": ["x", "y"], "type": "standardize"}, features=("x",), columns=columns)
    job = service.succeeded(body)
    assert service.predict(job["id"], {"columns": {"x": [7.0]}})["outputs"] == [[3.0]]


@pytest.mark.parametrize(
    ("transform", "pointer", "words"),
    [
        ({"type": "drop_rows"}, "#/data/transforms/0/columns/0", "No row is left"),
        ({"type": "impute", "strategy": "mean"}, "#/data/transforms/0/columns/0", "has no value"),
        ({"type": "standardize"}, "#/data/features/0", "3 missing values"),
    ],
)
def test_a_column_without_values_is_refused(
    service: Service, transform: dict[str, Any], pointer: str, words: str
) -> None:
    """A column without values is an error at the transform or feature that uses it."""
    columns = {"x": [None] * 3, "y": [1, 2, 3]}
    body = fit({**transform, "columns": ["x"]}, features=("x",), columns=columns)
    found = {error["pointer"]: error["detail"] for error in answer(service.submit(body), 422)["errors"]}
    assert words in found[pointer]


def test_mapped_data_give_the_same_bits(service: Service, narrow_service: Service) -> None:
    """A job that reads mapped data has the bits of a job with data in memory."""
    impute = {"columns": ["size"], "type": "impute", "strategy": "mean"}
    training = {"batch_size": 3, "metrics": ["r2_score"], "optimizer": "Adam"}
    body = fit(impute, features=("size", "zip"), split={"validation": 3, "seed": 4}, training=training)
    in_memory, mapped = (each.succeeded(body) for each in (service, narrow_service))
    assert narrow_service.history(mapped["id"]) == service.history(in_memory["id"])
    assert narrow_service.parameters(mapped["id"]) == service.parameters(in_memory["id"])
