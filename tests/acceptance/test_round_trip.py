"""Values of every column type survive upload, report, job and predictions, or a warning names the column."""

import io
from datetime import date
from typing import Any

import httpx
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.server import Service

ROWS = 6
URL = "/v1/datasets"

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "integer": st.integers(-1000, 1000),
    "large integer": st.integers(2**53 + 1, 2**62),
    "decimal": st.floats(-1e6, 1e6, allow_nan=False, width=32).map(lambda value: round(value, 3) + 0.0),
    "boolean": st.booleans(),
    "code": st.integers(0, 999).map(lambda value: f"{value:05d}"),
    "word": st.sampled_from(["a", "B", "ä ö", 'say "x"', "x,y", "=1", "none", "-"]),
    "date": st.dates(date(1950, 1, 1), date(2050, 1, 1)).map(str),
}
TYPES = {"integer": "numeric", "large integer": "numeric", "decimal": "numeric", "boolean": "boolean"}
TYPES |= {"code": "categorical", "word": "categorical", "date": "datetime"}
MEDIA_TYPES = {"csv": "text/csv", "parquet": "application/octet-stream", "json": "application/json"}


def file_of(columns: dict[str, list[Any]], form: str) -> dict[str, Any]:
    """Write columns as pandas does; texts are quoted in CSV, missing values are empty cells."""
    dtypes = {"integer": "Int64", "large integer": "Int64", "decimal": "Float64", "boolean": "boolean"}
    frame = pd.DataFrame(
        {name: pd.array(values, dtype=dtypes.get(name, "object")) for name, values in columns.items()}
    )
    if form == "json":
        return {"json": {"columns": columns}}
    if form == "parquet":
        sink = io.BytesIO()
        frame.to_parquet(sink)
        return {"content": sink.getvalue()}
    return {"content": frame.to_csv(index=False).encode(), "headers": {"Content-Type": MEDIA_TYPES[form]}}


def encodable(name: str, kind: str) -> list[dict[str, Any]]:
    """Return transforms that make numbers of a column, unknown categories and missing values included."""
    if TYPES[kind] == "categorical":
        return [
            {"type": "impute", "columns": [name], "strategy": "constant", "value": "?"},
            {"type": "one_hot", "columns": [name], "unknown": "zeros"},
        ]
    return [{"type": "impute", "columns": [name], "strategy": "constant", "value": 7}]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.lists(st.sampled_from([*VALUES]), min_size=1, max_size=4, unique=True))
def test_no_value_changes_without_a_warning(service: Service, data: st.DataObject, kinds: list[str]) -> None:
    """Types and values are the same in every format, and a model answers a stored row as the row itself."""
    columns: dict[str, list[Any]] = {}
    for kind in kinds:
        values = data.draw(st.lists(VALUES[kind], min_size=ROWS, max_size=ROWS), label=kind)
        gap = data.draw(st.integers(0, ROWS), label="gap")
        columns[kind] = [None if row == gap and row else value for row, value in enumerate(values)]
    columns["y"] = [row / 7 for row in range(ROWS)]
    datasets = {}
    for form in MEDIA_TYPES:
        answer = service.client.post(URL, **file_of(columns, form))
        assert answer.status_code in (httpx.codes.OK, httpx.codes.CREATED), answer.text
        datasets[form] = answer.json()
        types = {each["name"]: each["type"] for each in datasets[form]["columns"]}
        assert types == {**{kind: TYPES[kind] for kind in kinds}, "y": "numeric"}, form
        rows = service.read(f"{URL}/{datasets[form]['id']}/rows")["rows"]
        for kind in kinds:
            found = [row[kind] for row in rows]
            sent = [
                f"{value}T00:00:00.000000Z" if kind == "date" and value is not None else value
                for value in columns[kind]
            ]
            assert found == sent, (form, kind)
        if "large integer" in kinds:
            assert any("`large integer`" in each for each in datasets[form]["warnings"])
    features = [kind for kind in kinds if kind != "date"]
    if not features:
        return
    transforms = [each for kind in features for each in encodable(kind, kind)]
    job = service.succeeded(
        {
            "data": {
                "dataset_id": datasets["csv"]["id"],
                "features": features,
                "targets": ["y"],
                "transforms": transforms,
            },
            "architecture": {"type": "sequential", "layers": [{"type": "Linear", "out_features": 1}]},
            "training": {"loss": "MSELoss", "optimizer": "Adam", "epochs": 1, "seed": 0},
        }
    )
    rows = service.read(f"{URL}/{datasets['json']['id']}/rows")["rows"]
    expected = service.predict(job["id"], {"rows": rows})["outputs"]
    for form, dataset in datasets.items():
        assert service.predict(job["id"], {"dataset_id": dataset["id"]})["outputs"] == expected, form
        sent = file_of(columns, form)
        answer = service.client.post(f"/v1/jobs/{job['id']}/predictions", **sent)
        assert answer.json().get("outputs") == expected, (form, answer.text)
