"""Nanoseconds have one rule in every format: they are cut off with a warning, and kept in text."""

import io
import json
from collections.abc import Callable
from datetime import datetime

import pandas as pd
import pytest

from tests.support.files import read_with_warnings

FRAME = pd.DataFrame({"when": pd.to_datetime(["2024-01-05T10:00:00.123456789", "2024-01-05T10:00:00.1234"])})
TEXTS = ["2024-01-05T10:00:00.123456789Z", "2024-01-05T10:00:00.123400Z"]
TIMES = [datetime(2024, 1, 5, 10, 0, 0, 123456), datetime(2024, 1, 5, 10, 0, 0, 123400)]


def binary(write: Callable[[io.BytesIO], object]) -> bytes:
    """Return what `write` writes to a file."""
    sink = io.BytesIO()
    write(sink)
    return sink.getvalue()


FORMS = {
    "csv": FRAME.to_csv(index=False).encode(),
    "csv of text": "\n".join(["when", *TEXTS]).encode(),
    "parquet": binary(lambda sink: FRAME.to_parquet(sink, index=False)),
    "arrow": binary(FRAME.to_feather),
    "arrow of text": binary(pd.DataFrame({"when": TEXTS}).to_feather),
    "columns": json.dumps({"columns": {"when": TEXTS}}).encode(),
    "rows": json.dumps([{"when": text} for text in TEXTS]).encode(),
    "split": json.dumps({"dataframe_split": {"columns": ["when"], "data": [[t] for t in TEXTS]}}).encode(),
    "lines": "\n".join(json.dumps({"when": text}) for text in TEXTS).encode(),
}
form = pytest.mark.parametrize("form", FORMS)
declared = pytest.mark.parametrize("types", [{}, {"when": "datetime"}], ids=["inferred", "declared"])


@form
@declared
def test_nanoseconds_are_cut_off_with_a_warning(form: str, types: dict[str, str]) -> None:
    """A datetime column has microseconds; the report names the column and the type that keeps the digits."""
    table, warnings = read_with_warnings(FORMS[form], types=types)
    assert table["when"].to_pylist() == TIMES
    assert [each for each in warnings if "nanoseconds" in each] == [
        "`when` has times with nanoseconds, which are cut off: times have microseconds. To keep the digits "
        "as text, upload with `types=when:categorical`."
    ]


@pytest.mark.parametrize("form", ["parquet", "arrow", "csv of text", "columns"])
def test_nanoseconds_are_kept_as_text(form: str) -> None:
    """The advice of the warning works: two times that differ in nanoseconds are different texts."""
    table, warnings = read_with_warnings(FORMS[form], types={"when": "categorical"})
    assert table["when"].to_pylist() == TEXTS
    assert not warnings


def test_nothing_is_said_about_zeros() -> None:
    """Times of nanoseconds, as pandas has them, that are whole microseconds lose nothing."""
    whole = pd.DataFrame({"when": pd.to_datetime(["2024-01-05T10:00:00.123456000"])})
    for content in (binary(whole.to_feather), b"when\n2024-01-05T10:00:00.123456000\n"):
        table, warnings = read_with_warnings(content)
        assert table["when"].to_pylist() == [TIMES[0]]
        assert not warnings
