import json

from service.datasets.json_reader import read_json
from service.datasets.report import describe, rows
from tests.datasets.thermometer import T_C, T_U


def test_numeric_columns_have_their_statistics() -> None:
    """Numbers are described by range, mean and standard deviation."""
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


def test_other_columns_are_described_by_kind() -> None:
    """Booleans have a share of true, text its categories, and gaps are counted."""
    columns = {"flag": [True, False, None, True], "kind": ["b", "a", "b", None]}
    flag, kind = describe(read_json({"columns": columns}))["columns"]
    assert (flag["type"], flag["missing"], round(flag["mean"], 3)) == ("boolean", 1, 0.667)
    assert (kind["type"], kind["missing"], kind["distinct"], kind["categories"]) == (
        "categorical",
        1,
        2,
        ["a", "b"],
    )


def test_odd_columns_are_warned_about() -> None:
    """Constant and empty columns, and text among numbers, are told in sentences."""
    columns = {"same": [1, 1, 1], "none": [None, None, None], "almost": ["1", "x", "2"], "fine": [1, 2, None]}
    same, none, almost = describe(read_json({"columns": columns}))["warnings"]
    assert "`same` is constant" in same
    assert "`none` holds no values" in none
    assert '"x" in row 1' in almost


def test_statistics_beyond_a_double_are_null() -> None:
    """A report is JSON even where the mean of doubles overflows."""
    (column,) = describe(read_json({"columns": {"a": [1.7e308, 1.7e308]}}))["columns"]
    assert (column["max"], column["mean"]) == (1.7e308, None)
    json.dumps(column, allow_nan=False)


def test_tensors_have_shape_and_type() -> None:
    """Tensors are described as wholes, the targets after the inputs."""
    dataset = read_json({"inputs": [[1.5, 2], [3, 4]], "targets": [0, 1]})
    inputs, targets = describe(dataset)["columns"]
    assert (inputs["name"], inputs["shape"], inputs["dtype"]) == ("input", [2, 2], "float64")
    assert (targets["name"], targets["shape"], targets["max"]) == ("targets", [2], 1.0)


def test_rows_are_pages_of_objects() -> None:
    """Rows come from an offset, at most so many, and end where the data ends."""
    table = read_json({"columns": {"t_u": T_U, "t_c": T_C}})
    assert rows(table, 9, 5) == [{"t_u": 60.4, "t_c": 13.0}, {"t_u": 68.4, "t_c": 21.0}]
    assert rows(table, 11, 5) == []
    tensors = read_json({"inputs": [[1, 2], [3, 4]], "targets": [0, 1]})
    assert rows(tensors, 1, 5) == [{"inputs": {"input": [3, 4]}, "targets": 1}]
