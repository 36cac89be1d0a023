import pyarrow as pa
import pytest

from service.datasets.sources.cell_texts import trimmed
from service.datasets.sources.columns import BOOLEAN, DATETIME, NUMBER, TEXT
from service.datasets.sources.text_columns import find_type_mismatches, infer_text_type
from service.datasets.sources.text_hints import explain_texts
from service.specs.reading import CellOptions


def cells(*texts: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, TEXT)])


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1", " 2.5", None, "", "NA"], NUMBER),
        (["TRUE", "false", ""], BOOLEAN),
        (["2020-01-01", "2020-01-01T10:00+02:00", ""], DATETIME),
        (["2020-02-30", "2020-02-28"], TEXT),
        (["yes", "no"], TEXT),
        (["true", "1"], TEXT),
        (["", None, "null"], None),
    ],
)
def test_types_of_texts_are_inferred(texts: list[str | None], expected: pa.DataType | None) -> None:
    """Texts have the one type that all of them match, otherwise text; missing ones are ignored."""
    assert infer_text_type(cells(*texts), CellOptions()) == expected


@pytest.mark.parametrize(
    ("texts", "noun", "rows"),
    [
        (["1", "x", " 2", None], "number", [1]),
        (["true", "false", "maybe", "", "true"], "boolean", [2]),
        (["2020-01-01", "2020-01-02", "2020-02-30"], "time", [2]),
    ],
)
def test_type_mismatches_are_a_minority_of_the_values(texts: list[str], noun: str, rows: list[int]) -> None:
    """Mismatches are found only if more than half of the values have the other type."""
    mismatches = find_type_mismatches(cells(*texts), cells(*texts), CellOptions())
    assert mismatches is not None
    assert (mismatches.noun, mismatches.rows.tolist()) == (noun, rows)
    few = cells("a", "b", *texts[:1])
    assert find_type_mismatches(few, few, CellOptions()) is None


@pytest.mark.parametrize("pattern", ["2020-01-01 ", "1", "1,000.5 ", "a"])
def test_a_long_text_has_no_format(pattern: str) -> None:
    """A text of megabytes is text; it is compared with no formats."""
    text = pattern * (2_000_000 // len(pattern))
    column = cells(text, None)
    assert infer_text_type(column, CellOptions(dates=["%d.%m.%Y"], units=["kg"])) == TEXT
    assert infer_text_type(cells("1", text, "2"), CellOptions(missing=["?"])) == TEXT
    assert explain_texts(column, CellOptions(), column) is None
    assert trimmed(column, CellOptions()).to_pylist() == ["?", None]
