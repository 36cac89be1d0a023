import pytest

from service.datasets.csv_reader import read_csv
from service.datasets.json_reader import read_json
from service.errors import InvalidRequest
from tests.datasets.mistaken import refusal
from tests.datasets.thermometer import T_C, T_U


def test_thermometer_csv_equals_its_columns() -> None:
    """The running example is the same dataset as CSV and as JSON."""
    lines = ["t_u,t_c", *(f"{t_u},{t_c}" for t_u, t_c in zip(T_U, T_C, strict=True))]
    assert (
        read_csv("\n".join(lines).encode()).digest()
        == read_json({"columns": {"t_u": T_U, "t_c": T_C}}).digest()
    )


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_usual_dialects_are_read(delimiter: str, end: str, mark: bytes) -> None:
    """Delimiters, line ends, a byte order mark and empty lines make no difference."""
    lines = ["", f"a{delimiter} b ", f"1{delimiter}x", "", f"2{delimiter}"]
    assert read_csv(mark + end.join(lines).encode()).table.to_pydict() == {"a": [1.0, 2.0], "b": ["x", None]}


def test_quotes_hold_delimiters_line_ends_and_the_empty_text() -> None:
    """In a column of text, a quoted empty cell is the empty text, and an empty cell is missing."""
    body = b'"a,1","b"\n1,"x, ""y""\nz"\n2,""\n3,\n'
    assert read_csv(body).table.to_pydict() == {"a,1": [1.0, 2.0, 3.0], "b": ['x, "y"\nz', "", None]}


def test_a_quote_within_a_cell_is_text() -> None:
    """A quote that doesn't begin its cell opens nothing."""
    assert read_csv(b'a,b\n1,5" disk\n').table.to_pydict() == {"a": [1.0], "b": ['5" disk']}


def test_ragged_lines_are_told_by_number() -> None:
    """Each line with too many or too few values is named, lines within quotes counted."""
    with pytest.raises(InvalidRequest) as raised:
        read_csv(b'a,b\n1,"x\ny"\n1,2,3\n4\n')
    assert [error.detail for error in raised.value.errors] == [
        "Line 4: 3 values where the header has 2.",
        "Line 5: 1 value where the header has 2.",
    ]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"a,b\n", "no row"),
        (b"a,,b\n1,2,3\n", "Line 1: column 2 has no name."),
        (b"\na,b,a\n1,2,3\n", "Line 2: columns 1 and 3 are both called `a`."),
        (b"a,b\n1,\xff\n", "Line 2 is not UTF-8: found the byte 0xff."),
        (b'a,b\n1,2\n3,"4\n5,6\n', "from line 3 on"),
        (b'"' + b"a" * 200_000 + b"\n1\n", "header can't be read"),
        (b"a,b\n1," + b"a" * 200_000 + b"\n1\n", "lines can't be read"),
    ],
)
def test_bodies_that_are_no_table_are_refused(body: bytes, words: str) -> None:
    """What can't be a table says why and in which line."""
    assert words in refusal(lambda: read_csv(body))["#"]


def test_infinite_cells_are_pointed_at() -> None:
    """A number beyond a double is told by column and row."""
    assert list(refusal(lambda: read_csv(b"a,b\n1,2\n1e999,3\n"))) == ["#/columns/a/1"]
