"""Text that spreadsheets would run as a formula."""

import pyarrow as pa
import pytest

from service.datasets.formulas import without_formula, without_formulas


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-a", "@SUM(A1)", "\tx", "\rx", "\nx", "\uff1dx", "a=b", "", "'=1", " =1", "x\n=1"]
)
def test_text_is_escaped_by_its_first_character(text: str) -> None:
    """Text that begins like a formula gets an apostrophe, alone and in a column."""
    expected = f"'{text}" if text[:1] in [*"=+-@\t\r\n\uff1d"] else text
    assert without_formula(text) == expected
    assert without_formulas(pa.array([text, None], pa.large_string())).to_pylist() == [expected, None]


@pytest.mark.parametrize("number", [-1, -1.5, None, True])
def test_other_values_are_never_escaped(number: object) -> None:
    """Negative numbers are no formulas."""
    assert without_formula(number) is number
