from typing import Any

import pytest

from service.datasets.dataset import TabularDataset, TensorDataset
from service.datasets.sources.json import read_json
from tests.support.field_errors import refusal
from tests.support.thermometer import T_C, T_U


def refused(**document: Any) -> dict[str, str]:
    return refusal(lambda: read_json(document))


def test_thermometer_columns_are_read() -> None:
    """Columns come in order with their values."""
    dataset = read_json(
        {"columns": {"t_u": T_U, "t_c": T_C}, "features": ["t_u"], "targets": ["t_c"]}, "#/data"
    )
    assert isinstance(dataset, TabularDataset)
    assert dataset.table.to_pydict() == {"t_u": T_U, "t_c": T_C}
    assert dataset.rows == 11


def test_exactly_one_form_is_taken() -> None:
    """Neither no data nor data in two forms is read."""
    assert "none of them" in refused(name="x")["#"]
    assert "`columns` and `rows`" in refused(columns={"a": [1]}, rows=[{"a": 1}])["#"]


def test_unequal_columns_tell_both_lengths() -> None:
    """A column of another length is pointed at with both lengths."""
    assert refused(columns={"t_u": [1, 2], "t_c": [1]}) == {
        "#/columns/t_c": "`t_c` has 1 value, `t_u` has 2: columns are equally long."
    }


def test_bad_cells_of_all_columns_are_told_at_once() -> None:
    """ErrorCollector in several columns come in one answer, names escaped in pointers."""
    found = refused(columns={"a/b": [1, 2, "x"], "c": [True, False, 1], "d": 3})
    assert list(found) == ["#/columns/d", "#/columns/a~1b/2", "#/columns/c/2"]


@pytest.mark.parametrize("columns", [{}, [], None, 3, {"a": []}])
def test_empty_columns_are_refused(columns: Any) -> None:
    """A table has at least one column and one row."""
    assert list(refused(columns=columns)) == ["#/columns"]


@pytest.mark.parametrize("rows", [[], {}, None, "x"])
def test_empty_rows_are_refused(rows: Any) -> None:
    """A table has at least one row."""
    assert list(refused(rows=rows)) == ["#/rows"]


def test_rows_with_other_keys_are_refused() -> None:
    """Missing and extra columns of a row are named, with a suggestion where one is near."""
    found = refused(rows=[{"t_u": 1, "t_c": 2}, {"t_u": 1, "tc": 2}, 3])
    assert "`t_c` is missing" in found["#/rows/1"]
    assert "did you mean `t_c`?" in found["#/rows/1/tc"]
    assert "found 3" in found["#/rows/2"]


def test_bad_cells_of_rows_are_pointed_at_by_row() -> None:
    """The pointer of a cell in rows goes through its row."""
    assert list(refused(rows=[{"a": 1}, {"a": "x"}, {"a": 2}])) == ["#/rows/1/a"]


def test_a_row_without_columns_is_refused() -> None:
    """Objects with nothing in them are no rows."""
    assert list(refused(rows=[{}, {}])) == ["#/rows/0"]


def test_single_input_is_called_input() -> None:
    """A nested list is the one input; 1-D integer targets are classes."""
    dataset = read_json({"inputs": [[1.5, 2.5], [3.5, 4.5]], "targets": [0, 1]})
    assert isinstance(dataset, TensorDataset)
    assert dataset.inputs["input"].tolist() == [[1.5, 2.5], [3.5, 4.5]]
    assert dataset.targets is not None
    assert dataset.targets.tolist() == [0, 1]


def test_a_flat_list_of_samples_shows_the_fix() -> None:
    """A 1-D list is never a silent broadcast: the error wraps the client's own first values."""
    found = refused(inputs=T_U, targets=T_C)
    assert found["#/inputs"] == "Samples are [B, k]: wrap each value, [[35.7], [55.9], …]."
    assert found["#/targets"].endswith("wrap each value, [[0.5], [14.0], …].")


def test_inputs_and_targets_hold_as_many_samples() -> None:
    """Every tensor has the samples of the first."""
    found = refused(inputs={"a": [[1], [2]], "b": [[1]]}, targets=[1, 2, 3])
    assert found["#/inputs/b"] == "`b` holds 1 sample, `a` holds 2."
    assert found["#/targets"] == "`targets` holds 3 samples, `a` holds 2."


def test_no_named_input_is_refused() -> None:
    """An object of inputs names at least one, and no name is empty."""
    assert list(refused(inputs={})) == ["#/inputs"]
    assert list(refused(inputs={"": [[1]]})) == ["#/inputs/"]


def test_json_has_as_many_columns_as_a_file() -> None:
    """The limit is that of the other formats."""
    columns = {f"c{number}": [1] for number in range(10_001)}
    for document, place in (({"columns": columns}, "#/columns"), ({"rows": [columns]}, "#/rows/0")):
        assert refused(**document)[place] == "There are 10001 columns; at most 10000 are taken."
