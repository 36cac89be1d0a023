import hashlib
import json
from typing import Any

import pytest

from service.datasets.transforms import pipeline
from service.datasets.transforms.registry import from_document
from service.specs.transforms import Hash
from tests.support.columns import applied, fitted, numbers, text
from tests.support.field_errors import refusal

CITIES = text(["Rome", "Zürich", "Rome", ""])


def hashed(buckets: int = 1024, **arguments: Any) -> Hash:
    return Hash(type="hash", columns=["a"], buckets=buckets, **arguments)


def bucket(value: str, buckets: int = 1024) -> int:
    """Compute a bucket as the documentation describes it."""
    return int.from_bytes(hashlib.sha256(value.encode()).digest()[:8], "big") % buckets


def test_a_bucket_is_computed_as_documented() -> None:
    """The bucket is the first 8 bytes of the SHA-256 modulo the number of buckets."""
    assert applied(fitted(CITIES, hashed()), CITIES) == [bucket(city) for city in CITIES.to_pylist()]
    assert [bucket("Rome"), bucket("Zürich")] == [710, 565]  # the same for ever


def test_a_bucket_depends_on_the_value_only() -> None:
    """Values that the training rows do not have get a bucket, the same alone or with others."""
    chain = fitted(CITIES, hashed(7))
    assert applied(chain, text(["Oslo"])) == [bucket("Oslo", 7)]
    assert applied(chain, text(["Rome", "Oslo", "Rome"])) == [
        bucket(city, 7) for city in ("Rome", "Oslo", "Rome")
    ]
    assert applied(chain, text([])) == []


def test_numbers_are_hashed_as_their_text() -> None:
    """A number has the bucket of its text, an integer without a decimal point."""
    values = numbers([12.0, 0.5, -0.0, 1e300])
    assert applied(fitted(values, hashed()), values) == [
        bucket(each) for each in ("12", "0.5", "0", str(int(1e300)))
    ]


def test_buckets_may_be_columns() -> None:
    """With `columns`, each bucket is a column of 0 and 1."""
    chain = fitted(CITIES, hashed(3, output="columns"))
    rows = applied(chain, CITIES)
    assert [row.index(1.0) for row in rows] == [bucket(city, 3) for city in CITIES.to_pylist()]
    assert [sum(row) for row in rows] == [1.0] * 4
    assert pipeline.titles("a", chain) == ["a_bucket_0", "a_bucket_1", "a_bucket_2"]


def test_the_range_is_that_of_all_buckets() -> None:
    """An embedding needs a row for each bucket, whichever occur."""
    (index,) = fitted(CITIES, hashed(50))
    assert index.ranges() == [(0, 49, "has 50 buckets")]
    (columns,) = fitted(CITIES, hashed(2, output="columns"))
    assert columns.ranges() == [None, None]


def test_a_missing_value_is_an_error() -> None:
    """Missing values have no bucket; they need `impute` or `drop_rows`."""
    refused = refusal(lambda: applied(fitted(CITIES, hashed()), text(["Rome", None])))
    assert refused["#/a"] == "`a` in row 1 is missing, and no `impute` before the hash fills it."


def test_a_fitted_hash_survives_json() -> None:
    """A fitted hash is unchanged by serialization to JSON."""
    (transform,) = fitted(CITIES, hashed(output="columns"))
    assert from_document(json.loads(json.dumps(transform.to_document()))) == transform


@pytest.mark.parametrize("arguments", [{"buckets": 1}, {"buckets": 10_001, "output": "columns"}])
def test_too_few_or_too_many_buckets_are_refused(arguments: dict[str, Any]) -> None:
    """There are at least two buckets, and at most as many columns as a table has."""
    with pytest.raises(ValueError, match="bucket"):
        hashed(**arguments)
