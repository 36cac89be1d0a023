from typing import Any

import pandas as pd
import pytest

from service.datasets.dataset import TabularDataset, TensorDataset
from service.datasets.sources.json import read_json
from service.datasets.sources.json_lines import JsonLines
from tests.support.field_errors import refusal
from tests.support.thermometer import T_C, T_U


def refused(**document: Any) -> dict[str, str]:
    return refusal(lambda: read_json(document))


def test_thermometer_columns_are_read() -> None:
    """Columns are read in order with their values."""
    dataset = read_json(
        {"columns": {"t_u": T_U, "t_c": T_C}, "features": ["t_u"], "targets": ["t_c"]}, "#/data"
    )
    assert isinstance(dataset, TabularDataset)
    assert dataset.table.to_pydict() == {"t_u": T_U, "t_c": T_C}
    assert dataset.rows == 11


def test_exactly_one_form_is_accepted() -> None:
    """A body without data, or with data in two forms, is refused."""
    assert "none of them" in refused(name="x")["#"]
    assert "`columns` and `rows`" in refused(columns={"a": [1]}, rows=[{"a": 1}])["#"]


def test_columns_of_different_lengths_are_refused() -> None:
    """A column of another length than the first has an error with both lengths."""
    assert refused(columns={"t_u": [1, 2], "t_c": [1]}) == {
        "#/columns/t_c": "`t_c` has 1 value, `t_u` has 2; all columns must have the same length."
    }


def test_bad_cells_of_all_columns_are_reported_together() -> None:
    """Errors in several columns are reported in one response, with names escaped in pointers."""
    found = refused(columns={"a/b": [1, 2, "x"], "c": [True, False, 1], "d": 3})
    assert list(found) == ["#/columns/d", "#/columns/a~1b/2", "#/columns/c/2"]


@pytest.mark.parametrize("columns", [{}, [], None, 3, {"a": []}])
def test_empty_columns_are_refused(columns: Any) -> None:
    """A table must have at least one column and one row."""
    assert list(refused(columns=columns)) == ["#/columns"]


@pytest.mark.parametrize("rows", [[], {}, None, "x"])
def test_empty_rows_are_refused(rows: Any) -> None:
    """A table must have at least one row."""
    assert list(refused(rows=rows)) == ["#/rows"]


def test_rows_with_other_keys_are_refused() -> None:
    """A row that is no object is an error beside those of the cells of others."""
    assert list(refused(rows=[{"t_u": 1, "t_c": 2}, {"t_u": "x"}, 3])) == ["#/rows/2", "#/rows/1/t_u"]


@pytest.mark.parametrize(
    "form", [list, lambda rows: {"rows": rows}, lambda rows: JsonLines(dict(enumerate(rows, 1)))]
)
def test_a_key_that_a_row_lacks_is_a_missing_value(form: Any) -> None:
    """The columns are all keys, as in pandas; a warning names the rows, and a similar key of a rare one."""
    rows = [{"height": 1, "w": "x"}, {"height": 2, "k": 2.5, "w": None}, {"hieght": 3, "w": "y"}]
    dataset = read_json(form(rows))
    assert isinstance(dataset, TabularDataset)
    frame = pd.DataFrame(rows)
    assert dataset.table.column_names == [*frame]
    assert dataset.table.to_pylist() == frame.astype(object).where(frame.notna(), None).to_dict("records")
    assert dataset.warnings == [
        "The value of a key that a row lacks is missing: `height` in 1 of 3 rows, the first row 2; `k` in 2 "
        "of 3 rows, the first row 0; `hieght` in 2 of 3 rows, the first row 0: did you mean `height`?"
    ]


def test_rows_for_a_model_need_its_columns() -> None:
    """A row has the same answer alone and among others, so that a key which one lacks is an error."""
    rows = [{"a": 1, "b": 2}, {"a": 1, "c": 3}, {"b": 2, "a": 3}]
    found = refusal(lambda: read_json(rows, selected=["a", "b"], known={}))
    assert list(found) == ["#/1"]
    assert found["#/1"].startswith("`b` is missing; ")


def test_rows_that_lack_most_keys_are_refused() -> None:
    """A small request can't ask for a table that is millions of times larger."""
    found = refusal(lambda: read_json([{f"c{n}": 1} for n in range(5000)]))
    assert "5000 different keys" in found["#"]


def test_pointers_to_cells_of_rows_include_the_row() -> None:
    """The pointer to a cell in `rows` has its row, then its column."""
    assert list(refused(rows=[{"a": 1}, {"a": "x"}, {"a": 2}])) == ["#/rows/1/a"]


def test_a_row_without_columns_is_refused() -> None:
    """Rows that are empty objects are refused."""
    assert list(refused(rows=[{}, {}])) == ["#/rows/0"]


def test_single_input_is_called_input() -> None:
    """A nested list is the single input, called `input`; 1-D integer targets are accepted."""
    dataset = read_json({"inputs": [[1.5, 2.5], [3.5, 4.5]], "targets": [0, 1]})
    assert isinstance(dataset, TensorDataset)
    assert dataset.inputs["input"].tolist() == [[1.5, 2.5], [3.5, 4.5]]
    assert dataset.targets is not None
    assert dataset.targets.tolist() == [0, 1]


def test_flat_lists_are_samples_of_one_number() -> None:
    """Inputs and targets may be [B], for a model that takes and returns them."""
    dataset = read_json({"inputs": T_U, "targets": T_C})
    assert isinstance(dataset, TensorDataset)
    assert dataset.inputs["input"].shape == (len(T_U),)
    assert dataset.targets is not None
    assert dataset.targets.shape == (len(T_C),)


def test_inputs_and_targets_must_have_equal_sample_counts() -> None:
    """Every tensor must have as many samples as the first input."""
    found = refused(inputs={"a": [[1], [2]], "b": [[1]]}, targets=[1, 2, 3])
    assert found["#/inputs/b"] == "`b` has 1 sample, `a` has 2."
    assert found["#/targets"] == "`targets` has 3 samples, `a` has 2."


def test_no_named_input_is_refused() -> None:
    """An object of inputs must have at least one, and no empty name."""
    assert list(refused(inputs={})) == ["#/inputs"]
    assert list(refused(inputs={"": [[1]]})) == ["#/inputs/"]


def test_the_limit_of_columns_applies_to_json() -> None:
    """JSON has the same maximum number of columns as files."""
    columns = {f"c{number}": [1] for number in range(10_001)}
    for document, pointer in (({"columns": columns}, "#/columns"), ({"rows": [columns]}, "#/rows")):
        assert refused(**document)[pointer] == "There are 10001 columns; at most 10000 are supported."


def split(**changes: Any) -> dict[str, Any]:
    return {
        "dataframe_split": {"columns": ["a", "b"], "index": [5, 6], "data": [[1, "x"], [2, "y"]], **changes}
    }


@pytest.mark.parametrize(
    "document",
    [
        [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],
        JsonLines({1: {"a": 1, "b": "x"}, 3: {"b": "y", "a": 2}}),
        {"rows": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]},
        split(),
        pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}).pipe(
            lambda frame: {"dataframe_split": frame.to_dict("split")}
        ),
    ],
)
def test_rows_have_several_forms(document: Any) -> None:
    """A list of rows, JSON Lines and pandas' split form are the same table."""
    dataset = read_json(document)
    assert isinstance(dataset, TabularDataset)
    assert dataset.table.to_pydict() == {"a": [1.0, 2.0], "b": ["x", "y"]}


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"columns": {}}, "#/dataframe_split/columns"),
        ({"columns": ["a", 2.5]}, "#/dataframe_split/columns"),
        ({"columns": ["a", True]}, "#/dataframe_split/columns"),
        ({"columns": ["1", 1]}, "#/dataframe_split/columns/1"),
        ({"columns": ["a", "a"]}, "#/dataframe_split/columns/1"),
        ({"columns": ["a", ""]}, "#/dataframe_split/columns/1"),
        ({"data": []}, "#/dataframe_split/data"),
        ({"data": [[1, "x"], [2], 3]}, "#/dataframe_split/data/1"),
        ({"data": [[1, "x"], [2, 3], [3, "y"]]}, "#/dataframe_split/data/1/1"),
        ({"dat": []}, "#/dataframe_split/dat"),
    ],
)
def test_errors_of_the_split_form_have_pointers(changes: dict[str, Any], pointer: str) -> None:
    """Names, rows and cells are named by their place; several short rows are one error."""
    assert list(refused(**split(**changes))) == [pointer]
    for broken in (3, [], {"columns": ["a"]}, {"data": [[1]]}):
        assert list(refused(dataframe_split=broken)) == ["#/dataframe_split"]


def test_integers_name_columns_of_the_split_form() -> None:
    """Columns that pandas has numbered are called `0`, `1`, …, and so in pointers to their cells."""
    frame = pd.DataFrame([[1, "x"], [2, "y"]])
    dataset = read_json({"dataframe_split": frame.to_dict("split")})
    assert isinstance(dataset, TabularDataset)
    assert dataset.table.to_pydict() == {"0": [1, 2], "1": ["x", "y"]}
    split = pd.DataFrame([[1, "x"], [2, 7]]).to_dict("split")
    assert list(refused(dataframe_split=split)) == ["#/dataframe_split/data/1/1"]


def test_the_same_error_of_many_rows_is_one_error() -> None:
    """A column that many rows lack is one error with their number and the first rows."""
    rows = [{"a": 1, "b": 2}, *[{"a": 1, "c": 2}] * 178]
    found = refusal(lambda: read_json(rows, selected=["a", "b"], known={}))
    assert list(found) == ["#/1"]
    assert found["#/1"].endswith("The same is wrong in 177 more rows: 2, 3, 4, 5, 6, ….")


def test_errors_of_json_lines_name_the_line() -> None:
    """An error in a row of JSON Lines names its line, which may follow empty ones."""
    lines = JsonLines({1: {"a": 1}, 4: {"a": "x"}, 5: {"b": 1}, 6: {"a": 1}, 7: {"b": 2}})
    found = refusal(lambda: read_json(lines, selected=["a"], known={}))
    assert found["#/1/a"].startswith('Line 4: "x" is not allowed')
    assert found["#/2"].startswith("Line 5: `a` is missing;")


@pytest.mark.parametrize("document", [[], [1, 2], [[1, 2]], ["x"]])
def test_a_list_without_rows_is_refused(document: list[Any]) -> None:
    """A list must contain objects; for numbers the error names `inputs`."""
    found = refusal(lambda: read_json(document))
    assert list(found) == ["#"]
    assert not document or "inputs" in found["#"] or "object" in found["#"]
