import json
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from service.datasets.dataset import TabularDataset
from service.datasets.profile.report import describe, read_rows
from service.datasets.sources.columns import TEXT
from service.datasets.sources.json import read_json
from tests.support.files import as_arrow, as_parquet, read
from tests.support.thermometer import T_C, T_U


def test_numeric_columns_have_their_statistics() -> None:
    """A numeric column has its range, mean and standard deviation."""
    report = describe(read_json({"columns": {"t_u": T_U, "t_c": T_C}}))
    assert report["rows"] == 11
    assert report["warnings"] == []
    t_c = report["columns"][1]
    assert (t_c["name"], t_c["type"], t_c["missing"], t_c["min"], t_c["max"]) == (
        "t_c",
        "numeric",
        0,
        -4.0,
        28.0,
    )
    assert (t_c["mean"], round(t_c["std"], 3)) == (10.5, 8.783)


def test_other_columns_are_described_by_type() -> None:
    """Booleans have the share of true, text its categories by frequency; missing values are counted."""
    columns = {"flag": [True, False, None, True], "kind": ["b", "a", "b", None]}
    flag, kind = describe(read_json({"columns": columns}))["columns"]
    assert (flag["type"], flag["count"], flag["missing"], round(flag["mean"], 3)) == ("boolean", 3, 1, 0.667)
    assert (kind["type"], kind["count"], kind["missing"], kind["distinct"]) == ("categorical", 3, 1, 2)
    assert (kind["categories"], kind["category_counts"]) == (["b", "a"], [2, 1])


def test_long_categories_are_cut() -> None:
    """A long category is cut after 200 characters."""
    (column,) = describe(read_json({"columns": {"text": ["x" * 10_000, "y"]}}))["columns"]
    assert column["categories"] == ["x" * 200 + "…", "y"]


def test_times_have_a_range() -> None:
    """A column of times has its first and last time in RFC 3339."""
    table = read(b"when,n\n2020-01-02T10:00:00Z,1\n,2\n2019-12-31T00:00:00.5Z,3\n")
    (when, _) = describe(TabularDataset(table))["columns"]
    assert (when["type"], when["count"], when["missing"], when["distinct"]) == ("datetime", 2, 1, 2)
    assert (when["min"], when["max"]) == ("2019-12-31T00:00:00.500000Z", "2020-01-02T10:00:00.000000Z")
    assert read_rows(TabularDataset(table), 0, 2) == [
        {"when": "2020-01-02T10:00:00.000000Z", "n": 1.0},
        {"when": None, "n": 2.0},
    ]


def test_statistics_equal_those_of_numpy() -> None:
    """Range, mean and standard deviation equal those of numpy for any batches."""
    values = np.random.default_rng(0).normal(1e6, 1.0, 10_000)
    table = pa.table({"x": pa.chunked_array([values[:7], values[7:9000], values[9000:]])})
    (x,) = describe(TabularDataset(table))["columns"]
    assert (x["min"], x["max"]) == (values.min(), values.max())
    assert x["mean"] == pytest.approx(values.mean(), rel=1e-14)
    assert x["std"] == pytest.approx(values.std(), rel=1e-12)
    counts, edges = np.histogram(values, 20)
    assert x["histogram"]["counts"] == counts.tolist()
    assert x["histogram"]["edges"] == pytest.approx(edges.tolist())


@pytest.mark.parametrize(
    "values", [[1.0], [1.0, 1.0], [-1.7e308, 1.7e308], [0.0, 5e-324], [1.0, 1.0000000000000002]]
)
def test_a_histogram_that_is_not_possible_is_null(values: list[float]) -> None:
    """Equal values, and ranges that contain fewer than 20 doubles, have no histogram."""
    (column,) = describe(read_json({"columns": {"a": values}}))["columns"]
    assert column["histogram"] is None
    json.dumps(column, allow_nan=False)


def test_suspicious_columns_are_warned_about() -> None:
    """Constant and empty columns, and text among numbers, have a warning."""
    columns = {"same": [1, 1, 1], "none": [None, None, None], "almost": ["1", "x", "2"], "fine": [1, 2, None]}
    same, none, almost = describe(read_json({"columns": columns}))["warnings"]
    assert "`same` is constant" in same
    assert "`none` has no values" in none
    assert '"x" in row 1' in almost


def test_suspicious_tables_are_warned_about() -> None:
    """Ids, imbalanced classes and repeated rows have a warning."""
    columns = {
        "number": list(range(100)),
        "code": [f"c{row}" for row in range(100)],
        "fraud": [row == 7 for row in range(100)],
        "kind": ["usual"] * 97 + ["odd"] * 3,
        "value": [row / 7 for row in range(100)],
    }
    number, code, fraud, kind = describe(read_json({"columns": columns}))["warnings"]
    assert "`number` has a different value in each row" in number
    assert "`code` has a different value in each row" in code
    assert "`fraud` is imbalanced: false occurs 99 times, true 1" in fraud
    assert '`kind` is imbalanced: "usual" occurs 97 times, "odd" 3' in kind
    twice = {"a": [1, 2, 1, None, None], "b": ["x", "y", "x", "z", "z"], "c": [True, False, True, None, None]}
    assert describe(read_json({"columns": twice}))["warnings"] == ["2 of 5 rows repeat an earlier one."]


def test_a_column_sorted_by_class_is_not_constant() -> None:
    """Categories are counted in all rows, not only in the first ones."""
    table = pa.table({"a": pa.array(["x"] * 100_000 + ["y"] * 200_000, TEXT)})
    report = describe(TabularDataset(table))
    (a,) = report["columns"]
    assert (a["distinct"], a["categories"], a["category_counts"]) == (2, ["y", "x"], [200_000, 100_000])
    assert [warning for warning in report["warnings"] if "`a`" in warning] == []


def test_ids_have_a_different_value_in_each_row() -> None:
    """A column whose last value repeats an earlier one is not an id."""
    numbers = np.arange(120_000.0)
    texts = [f"c{row}" for row in range(120_000)]
    table = pa.table(
        {
            "number": numbers,
            "almost": np.append(numbers[:-1], 7.0),
            "code": pa.array(texts, TEXT),
            "nearly": pa.array([*texts[:-1], "c7"], TEXT),
        }
    )
    warnings = describe(TabularDataset(table))["warnings"]
    assert [warning.split(" like an id")[0] for warning in warnings] == [
        "`number` has a different value in each row,",
        "`code` has a different value in each row,",
    ]


@pytest.mark.parametrize(
    ("usual", "mismatch", "noun"),
    [("1.5", "oops", "number"), ("true", "maybe", "boolean"), ("2020-01-01", "2020-02-30", "time")],
)
def test_a_late_cell_that_makes_a_column_text_is_reported(usual: str, mismatch: str, noun: str) -> None:
    """A cell that keeps a column from being numbers, booleans or times is reported with its row."""
    table = read("\n".join(["a", *[usual] * 120_000, mismatch, usual]).encode())
    *_, warning = (each for each in describe(TabularDataset(table))["warnings"] if "`a`" in each)
    assert warning == (
        f"`a` is read as text because 1 value of 120002 can't be read as a {noun}, "
        f'the first "{mismatch}" in row 120000.'
    )


def test_names_that_are_numbers_are_warned_about() -> None:
    """Column names that are numbers have a warning that proposes `?header=false`."""
    (warning,) = describe(TabularDataset(read(b"1,2\n3,4\n5,6\n")))["warnings"]
    assert "`?header=false`" in warning


def test_imbalanced_classes_of_tensors_are_warned_about() -> None:
    """A rare class of integer targets has a warning."""
    body = {"inputs": [[1.0]] * 50, "targets": [0] * 48 + [1] * 2}
    (warning,) = describe(read_json(body))["warnings"]
    assert "`targets` is imbalanced" in warning


def test_statistics_beyond_a_double_are_null() -> None:
    """The report is valid JSON even if the mean of doubles overflows."""
    (column,) = describe(read_json({"columns": {"a": [1.7e308, 1.7e308]}}))["columns"]
    assert (column["max"], column["mean"]) == (1.7e308, None)
    json.dumps(column, allow_nan=False)


def test_tensors_have_shape_and_type() -> None:
    """Each tensor has one entry, the targets after the inputs."""
    dataset = read_json({"inputs": [[1.5, 2], [3, 4]], "targets": [0, 1]})
    inputs, targets = describe(dataset)["columns"]
    assert (inputs["name"], inputs["shape"], inputs["dtype"]) == ("input", [2, 2], "float64")
    assert (targets["name"], targets["shape"], targets["max"]) == ("targets", [2], 1.0)


def test_rows_are_read_in_pages_of_objects() -> None:
    """A page starts at its offset and ends at its limit or at the end of the data."""
    table = read_json({"columns": {"t_u": T_U, "t_c": T_C}})
    assert read_rows(table, 9, 5) == [{"t_u": 60.4, "t_c": 13.0}, {"t_u": 68.4, "t_c": 21.0}]
    assert read_rows(table, 11, 5) == []
    tensors = read_json({"inputs": [[1, 2], [3, 4]], "targets": [0, 1]})
    assert read_rows(tensors, 1, 5) == [{"inputs": {"input": [3, 4]}, "targets": 1}]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["USD 1", "USD 25"], "numbers with `USD`; upload with `units=USD`"),
        (["1 USD", "25 USD"], "numbers with `USD`; upload with `units=USD`"),
        (["R$ 1", "R$ 25"], "numbers with `R$`; upload with `units=R$`"),
        (["(1)", "2"], "numbers of which negative ones are in parentheses; write these with a minus sign"),
        (["($1,234.50)", "$2.00"], "numbers of which negative ones are in parentheses"),
    ],
)
def test_numbers_of_accounts_are_recognized(values: list[str], words: str) -> None:
    """A currency names the option, and parentheses what to write instead."""
    (warning,) = describe(read_json({"columns": {"a": values}}))["warnings"]
    assert words in warning


@pytest.mark.parametrize("values", [["Q1", "Q2"], ["A1", "B2"], ["(a)", "(b)"], ["x 1", "x 2"]])
def test_codes_are_no_numbers(values: list[str]) -> None:
    """A letter before digits is no unit."""
    assert describe(read_json({"columns": {"a": values}}))["warnings"] == []


def test_a_late_date_decides_the_order_of_day_and_month() -> None:
    """Of two formats that the first dates have, the hint names the one that all have."""
    dates = ["01/02/2024"] * 50_000 + ["25/02/2024"] + ["03/02/2024"] * 50_000
    warnings = describe(read_json({"columns": {"d": dates}}))["warnings"]
    (warning,) = [each for each in warnings if "dates" in each]
    assert "dates in the format `%d/%m/%Y`; upload with `dates=%25d/%25m/%25Y`" in warning


def test_columns_with_the_same_remedy_have_one_warning() -> None:
    """The types of all columns are one option, and so is a decimal comma."""
    strings = {name: ["1", "2"] for name in "abcdefg"}
    (warning,) = describe(read_json({"columns": strings}))["warnings"]
    assert warning.startswith(
        "`a`, `b`, `c`, `d`, `e` and 2 more columns are read as text and look like numbers"
    )
    query = ",".join(f"{name}:numeric" for name in "abcdefg")
    assert f"`types={query}` to read them so." in warning
    commas = describe(read_json({"columns": {"a": ["1,5", "2"], "b": ["2,5", "3"], "c": ["x", "y"]}}))
    (warning,) = commas["warnings"]
    assert warning.startswith("`a` and `b` are read as text and look like numbers with a decimal comma")


@pytest.mark.parametrize(
    "form",
    [lambda table: b"d,n\n20240105,1\n20231231,2\n", as_parquet, as_arrow],
    ids=["csv", "parquet", "arrow"],
)
def test_integers_that_look_like_dates_are_warned_of(form: Any) -> None:
    """The option of the warning reads them; other integers of eight digits have none."""
    content = form(pa.table({"d": [20240105, 20231231], "n": [1, 2]}))
    (warning,) = describe(TabularDataset(read(content)))["warnings"]
    assert "such as 20231231; upload with `types=d:datetime&dates=%25Y%25m%25d`" in warning
    typed = read(content, types={"d": "datetime"}, dates=["%Y%m%d"])
    assert typed["d"].to_pylist() == [datetime(2024, 1, 5), datetime(2023, 12, 31)]
    assert typed["n"].to_pylist() == [1, 2]
    assert describe(read_json({"columns": {"d": [20240105, 20241301]}}))["warnings"] == []
