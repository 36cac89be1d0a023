"""Real data sets from the file to the prediction."""

import io
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from tests.support import penguins
from tests.support.script import threads
from tests.support.server import Service

OK = (httpx.codes.OK, httpx.codes.CREATED)


def mlp(hidden: int, outputs: int) -> dict[str, Any]:
    """Return an architecture with one hidden layer."""
    layers = [
        {"type": "Linear", "out_features": hidden},
        {"type": "ReLU"},
        {"type": "Linear", "out_features": outputs},
    ]
    return {"type": "sequential", "layers": layers}


def upload(service: Service, content: bytes | str, media_type: str = "text/csv") -> dict[str, Any]:
    """Upload a file as a dataset."""
    response = service.client.post("/v1/datasets", content=content, headers={"Content-Type": media_type})
    assert response.status_code in OK, response.text
    return dict(response.json())


def csv_of(frame: pd.DataFrame) -> str:
    """Return a frame as CSV with a header."""
    return str(frame.to_csv(index=False))


PENGUIN_TRANSFORMS = [
    {"columns": "numeric", "type": "impute", "strategy": "mean"},
    {"columns": "numeric", "type": "standardize"},
    {"columns": "categorical", "type": "impute", "strategy": "mode"},
    {"columns": "categorical", "type": "one_hot"},
]


@pytest.fixture(scope="module")
def penguin_dataset(service: Service) -> dict[str, Any]:
    """Upload the file of the penguins."""
    return upload(service, penguins.CSV.read_bytes())


def penguin_fit(dataset: dict[str, Any], **data: Any) -> dict[str, Any]:
    """Return a request that predicts the species from measurements, island and sex."""
    return {
        "data": {
            "dataset_id": dataset["id"],
            "features": [*penguins.NUMBERS, *penguins.CATEGORIES],
            "targets": ["species"],
            "transforms": PENGUIN_TRANSFORMS,
            "split": {"validation": 0.2, "seed": 0},
            **data,
        },
        "architecture": mlp(penguins.HIDDEN, 3),
        "training": {
            "loss": "CrossEntropyLoss",
            "optimizer": {"type": "Adam", "lr": penguins.LEARNING_RATE},
            "metrics": ["accuracy"],
            "epochs": penguins.EPOCHS,
            "batch_size": penguins.BATCH_SIZE,
            "seed": penguins.SEED,
        },
        "engine": "eager",
    }


@pytest.fixture(scope="module")
def penguin_job(service: Service, penguin_dataset: dict[str, Any]) -> dict[str, Any]:
    """Train on the penguins."""
    return service.succeeded(penguin_fit(penguin_dataset))


@pytest.fixture(scope="module")
def by_hand() -> penguins.PenguinFit:
    """Fit the penguins with pandas, scikit-learn and PyTorch."""
    with threads(1):
        return penguins.fit_penguins()


def test_column_types_and_missing_values_are_detected(penguin_dataset: dict[str, Any]) -> None:
    """NA is a missing value in numeric and categorical columns."""
    columns = {each["name"]: each for each in penguin_dataset["columns"]}
    assert penguin_dataset["rows"] == 344
    assert {name: each["type"] for name, each in columns.items()} == {
        "species": "categorical",
        "island": "categorical",
        **dict.fromkeys(penguins.NUMBERS, "numeric"),
        "sex": "categorical",
        "year": "numeric",
    }
    assert {name: each["missing"] for name, each in columns.items() if each["missing"]} == {
        **dict.fromkeys(penguins.NUMBERS, 2),
        "sex": 11,
    }


def test_missing_values_without_a_transform_are_refused(
    service: Service, penguin_dataset: dict[str, Any]
) -> None:
    """Missing values without a transform are errors with their count and the transform to add."""
    transforms = [each for each in PENGUIN_TRANSFORMS if each["type"] != "impute"]
    refused = service.submit(penguin_fit(penguin_dataset, transforms=transforms))
    assert refused.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    details = {each["pointer"]: each["detail"] for each in refused.json()["errors"]}
    assert list(details) == [f"#/data/features/{number}" for number in (0, 1, 2, 3, 5)]
    assert "`sex` has 11 missing values, the first in row 3" in details["#/data/features/5"]
    assert '{"type": "impute", "columns": ["sex"], "strategy": "mode"}' in details["#/data/features/5"]


def test_penguins_equal_a_script_with_pandas_and_scikit_learn(
    service: Service, penguin_job: dict[str, Any], by_hand: penguins.PenguinFit
) -> None:
    """Splits, fitted constants and losses equal those of a script with pandas and scikit-learn."""
    split = service.read(f"/v1/jobs/{penguin_job['id']}/split")
    assert split["train"]["rows"] == by_hand.train
    assert split["validation"]["rows"] == by_hand.validation
    encoding = service.read(f"/v1/jobs/{penguin_job['id']}/encoding")
    fitted = {(each["column"], each["type"]): each for each in encoding["transforms"]}
    imputer, scaler = by_hand.preprocessing.named_transformers_["numbers"]
    for number, name in enumerate(penguins.NUMBERS):
        assert fitted[name, "impute"]["value"] == pytest.approx(imputer.statistics_[number], rel=1e-12)
        assert fitted[name, "standardize"]["mean"] == pytest.approx(scaler.mean_[number], rel=1e-12)
        assert fitted[name, "standardize"]["std"] == pytest.approx(scaler.scale_[number], rel=1e-12)
    mode, one_hot = by_hand.preprocessing.named_transformers_["categories"]
    for number, name in enumerate(penguins.CATEGORIES):
        assert fitted[name, "impute"]["value"] == mode.statistics_[number]
        assert fitted[name, "one_hot"]["categories"] == one_hot.categories_[number].tolist()
    history = service.history(penguin_job["id"])
    assert history["train_loss"] == pytest.approx(by_hand.script.train_loss, abs=1e-6)
    assert history["validation_loss"] == pytest.approx(by_hand.script.validation_loss, abs=1e-6)


def test_species_are_classified(penguin_job: dict[str, Any], by_hand: penguins.PenguinFit) -> None:
    """The accuracy on the validation rows equals that of the script and is at least 95 %."""
    accuracy = penguin_job["latest"]["metrics"]["accuracy"]["validation"]
    assert accuracy == pytest.approx(by_hand.accuracy)
    assert accuracy >= 0.95


def test_predictions_accept_columns_in_any_order(
    service: Service, penguin_job: dict[str, Any], penguin_dataset: dict[str, Any]
) -> None:
    """Predictions accept columns in any order, ignore others and impute missing values."""
    with penguins.CSV.open() as file:
        frame = pd.read_csv(file, keep_default_na=False)
    frame = frame[sorted(frame.columns, reverse=True)].assign(remark="none")
    path = f"/v1/jobs/{penguin_job['id']}/predictions"
    headers = {"Content-Type": "text/csv"}
    raw = service.client.post(path, content=csv_of(frame), headers=headers)
    assert raw.status_code == httpx.codes.OK, raw.text
    assert raw.json() == service.predict(penguin_job["id"], {"dataset_id": penguin_dataset["id"]})
    right = np.mean(np.array(raw.json()["labels"]) == frame["species"])
    assert right >= 0.95


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.drop(columns="sex"), "The column `sex` is missing"),
        (lambda frame: frame.assign(island="Atlantis"), '`island` in row 0 is "Atlantis"'),
        (
            lambda frame: frame.assign(body_mass_g="heavy"),
            '"heavy" can\'t be read as a number. The same is wrong in 2 more rows',
        ),
    ],
    ids=("missing column", "unknown category", "no number"),
)
def test_files_that_do_not_fit_are_refused(
    service: Service, penguin_job: dict[str, Any], change: Any, words: str
) -> None:
    """Files that do not fit are refused with the column, row and value of the error."""
    with penguins.CSV.open() as file:
        frame = change(pd.read_csv(file, keep_default_na=False).head(3))
    refused = service.client.post(
        f"/v1/jobs/{penguin_job['id']}/predictions",
        content=csv_of(frame),
        headers={"Content-Type": "text/csv"},
    )
    assert refused.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert words in refused.json()["errors"][0]["detail"]


def test_categories_can_be_embedded(service: Service, penguin_dataset: dict[str, Any]) -> None:
    """A category can be an int64 input of an embedding beside the numeric input."""
    body = penguin_fit(
        penguin_dataset,
        features=None,
        feature_groups={"island": ["island"], "numbers": penguins.NUMBERS},
        dtypes={"island": "int64"},
        transforms=[*PENGUIN_TRANSFORMS[:2], {"columns": ["island"], "type": "ordinal"}],
    )
    del body["data"]["features"]
    body["architecture"] = {
        "type": "module",
        "inputs": ["island", "numbers"],
        "submodules": {
            "embedding": {"type": "Embedding", "num_embeddings": 3, "embedding_dim": 2},
            "hidden": {"type": "Linear", "in_features": 6, "out_features": 16},
            "output": {"type": "Linear", "in_features": 16, "out_features": 3},
        },
        "forward": "x = torch.cat([self.embedding(island[:, 0]), numbers], dim=1)\n"
        "return self.output(torch.relu(self.hidden(x)))",
    }
    job = service.succeeded(body)
    assert job["latest"]["metrics"]["accuracy"]["validation"] >= 0.95
    row = {"island": "Biscoe", **dict.fromkeys(penguins.NUMBERS)}
    assert len(service.predict(job["id"], {"rows": [row]})["labels"]) == 1


def test_iris_is_split_by_strata(service: Service) -> None:
    """A stratified split has equal shares of each species in validation and test."""
    iris = datasets.load_iris(as_frame=True)
    frame = iris.data.assign(species=iris.target_names[iris.target])
    dataset = upload(service, csv_of(frame))
    body = penguin_fit(
        dataset,
        features=list(iris.data.columns),
        transforms=[{"columns": "numeric", "type": "standardize"}],
        split={"validation": 30, "test": 30, "stratify": "species"},
    )
    job = service.succeeded(body)
    split = service.read(f"/v1/jobs/{job['id']}/split")
    for part in ("validation", "test"):
        assert frame["species"].iloc[split[part]["rows"]].value_counts().tolist() == [10, 10, 10]
    assert job["latest"]["metrics"]["accuracy"]["validation"] >= 0.9
    assert job["test"]["metrics"]["accuracy"] >= 0.9


def test_digits_are_classified_from_images(service: Service) -> None:
    """Images of a tensor file are scaled by the service and train a convolution."""
    digits = datasets.load_digits()
    file = io.BytesIO()
    np.savez(file, inputs=digits.images[:, None].astype(np.uint8), targets=digits.target)
    dataset = upload(service, file.getvalue(), "application/octet-stream")
    layers = [
        {"type": "Conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1},
        {"type": "ReLU"},
        {"type": "MaxPool2d", "kernel_size": 2},
        {"type": "Flatten"},
        {"type": "Linear", "out_features": 10},
    ]
    job = service.succeeded(
        {
            "data": {
                "dataset_id": dataset["id"],
                "transforms": [{"columns": ["input"], "type": "scale", "factor": 1 / 16}],
                "split": {"validation": 0.2},
            },
            "architecture": {"type": "sequential", "layers": layers},
            "training": {
                "loss": "CrossEntropyLoss",
                "optimizer": {"type": "Adam", "lr": 0.01},
                "metrics": ["accuracy"],
                "epochs": 5,
                "batch_size": 32,
                "seed": 0,
            },
        }
    )
    assert job["latest"]["metrics"]["accuracy"]["validation"] >= 0.95
    answer = service.predict(job["id"], {"inputs": digits.images[:20, None].tolist()})
    assert np.mean(np.array(answer["labels"]) == digits.target[:20]) >= 0.9


def test_diabetes_is_predicted_in_the_units_of_the_target(service: Service) -> None:
    """Predictions of a transformed target have its original units."""
    diabetes = datasets.load_diabetes(as_frame=True)
    dataset = upload(service, csv_of(diabetes.frame))
    body = penguin_fit(
        dataset,
        features=list(diabetes.data.columns),
        targets=["target"],
        transforms=[
            {"columns": "numeric", "type": "standardize"},
            {"columns": ["target"], "type": "log1p"},
            {"columns": ["target"], "type": "standardize"},
        ],
    )
    body["architecture"] = mlp(4, 1)
    body["training"] |= {"loss": "MSELoss", "metrics": ["r2_score"]}
    job = service.succeeded(body)
    assert job["latest"]["metrics"]["r2_score"]["validation"] >= 0.3
    outputs = np.array(service.predict(job["id"], {"dataset_id": dataset["id"]})["outputs"])[:, 0]
    assert np.corrcoef(outputs, diabetes.target)[0, 1] >= 0.6
    assert abs(outputs.mean() - diabetes.target.mean()) < 20


def test_multiple_labels_are_predicted(service: Service) -> None:
    """Boolean target columns are the labels of a multi-label task."""
    x, y = datasets.make_multilabel_classification(
        n_samples=400, n_features=12, n_classes=3, n_labels=1, random_state=0
    )
    columns = {f"x{number}": x[:, number].tolist() for number in range(12)}
    labels = {name: (y[:, number] == 1).tolist() for number, name in enumerate(("sport", "art", "food"))}
    body = penguin_fit(
        {"id": None},
        features=list(columns),
        targets=list(labels),
        transforms=[{"columns": "numeric", "type": "standardize"}],
    )
    body["data"] = {**body["data"], "columns": columns | labels}
    del body["data"]["dataset_id"]
    body["training"]["loss"] = "BCEWithLogitsLoss"
    job = service.succeeded(body)
    always_the_more_frequent = np.maximum(y.mean(axis=0), 1 - y.mean(axis=0)).mean()
    assert job["latest"]["metrics"]["accuracy"]["validation"] >= always_the_more_frequent + 0.1
    answer = service.predict(job["id"], {"columns": columns})
    assert answer["classes"] == list(labels)
    assert np.mean(np.array(answer["labels"]) == y) >= always_the_more_frequent + 0.1


def test_a_time_split_trains_on_the_past(service: Service) -> None:
    """A time split trains on the earlier days in any order of the rows."""
    days = pd.date_range("2023-01-01", periods=200, freq="D")
    season = np.sin(2 * np.pi * days.day_of_year / 365)
    frame = pd.DataFrame({"day": days.strftime("%Y-%m-%d"), "season": season, "t_c": 10 + 12 * season})
    shuffled = frame.sample(frac=1, random_state=0).reset_index(drop=True)
    body = penguin_fit(
        upload(service, csv_of(shuffled)),
        features=["season"],
        targets=["t_c"],
        transforms=[],
        split={"validation": 0.1, "test": 0.1, "time": "day"},
    )
    body["architecture"] = mlp(4, 1)
    body["training"] |= {"loss": "MSELoss", "metrics": []}
    job = service.succeeded(body)
    split = service.read(f"/v1/jobs/{job['id']}/split")
    days_by_split = [shuffled["day"].iloc[split[part]["rows"]] for part in ("train", "validation", "test")]
    assert [len(part) for part in days_by_split] == [160, 20, 20]
    assert days_by_split[0].max() < days_by_split[1].min()
    assert days_by_split[1].max() < days_by_split[2].min()
    assert job["test"]["loss"] is not None
