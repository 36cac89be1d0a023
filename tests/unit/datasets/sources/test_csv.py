from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.datasets.sources.columns import BOOLEAN, DATETIME, INTEGER, NUMBER, TEXT
from service.datasets.sources.csv_records import BLOCK_BYTES
from service.errors import InvalidRequest, UnsupportedMediaType
from service.specs.text_encodings import ENCODINGS
from tests.support.field_errors import refusal
from tests.support.files import read
from tests.support.tables import read_table


def values(content: bytes, **options: Any) -> dict[str, list[Any]]:
    """Read a CSV and return its values by column."""
    columns: dict[str, list[Any]] = read(content, "csv", **options).to_pydict()
    return columns


def types(content: bytes, **options: Any) -> list[Any]:
    """Read a CSV and return the types of its columns."""
    return list(read(content, "csv", **options).schema.types)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_common_dialects_are_read(delimiter: str, end: str, mark: bytes) -> None:
    """Common delimiters, line ends, a byte order mark and empty lines are read."""
    lines = ["", f"a{delimiter} b ", f"1{delimiter}x", "", f"2{delimiter}"]
    assert values(mark + end.join(lines).encode()) == {"a": [1.0, 2.0], "b": ["x", None]}


def test_line_ends_may_be_mixed() -> None:
    """A file with several types of line end is read."""
    assert values(b"a,b\r\n1,2\n3,4\r5,6") == {"a": [1.0, 3.0, 5.0], "b": [2.0, 4.0, 6.0]}


def test_a_delimiter_can_be_declared() -> None:
    """The declared delimiter is used even if another one would split more cells."""
    assert values(b"a,b:c,d\n1,2:3,4\n", delimiter=":") == {"a,b": ["1,2"], "c,d": ["3,4"]}


def test_a_file_without_a_header_has_numbered_columns() -> None:
    """Without a header the first line is a row."""
    assert values(b"1,x\n2,y\n", header=False) == {"column_1": [1.0, 2.0], "column_2": ["x", "y"]}


def test_quoted_cells_contain_delimiters_line_ends_and_the_empty_text() -> None:
    """In a text column a quoted empty cell is the empty text, and an unquoted one is missing."""
    body = b'"a,1","b"\n1,"x, ""y""\nz"\n2,""\n3,\n'
    assert values(body) == {"a,1": [1.0, 2.0, 3.0], "b": ['x, "y"\nz', "", None]}


def test_a_quote_within_a_cell_is_text() -> None:
    """A quote that is not the first character of its cell is part of the text."""
    assert values(b'a,b\n1,5" disk\n2,6"\n') == {"a": [1.0, 2.0], "b": ['5" disk', '6"']}


@pytest.mark.parametrize("cell", ["", "NA", "na", "N/A", "NaN", "nan", "NULL", "null", " NA"])
def test_words_for_a_missing_value_are_missing_in_every_column(cell: str) -> None:
    """The words for a missing value are missing in columns of all types, unless they are quoted."""
    body = f'n,b,t,d\n1,true,x,2020-01-01\n{cell},{cell},{cell},{cell}\n2,false,"NA",2020-01-02\n'.encode()
    columns = read(body)
    assert columns.schema.types == [INTEGER, BOOLEAN, TEXT, DATETIME]
    assert [column.null_count for column in columns.columns] == [1, 1, 1, 1]
    assert columns["t"].to_pylist() == ["x", None, "NA"]


def test_words_for_a_missing_value_can_be_added() -> None:
    """Cells that the client declares as missing are missing in columns of any type."""
    assert values(b"a,b\n-999,?\n1,x\n", missing=["-999", "?"]) == {"a": [None, 1.0], "b": [None, "x"]}


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", " 2.5 ", "-1E3", "+.5"], [1.0, 2.5, -1000.0, 0.5]),
        (["true", "False", "TRUE"], [True, False, True]),
        (["true", "1"], ["true", "1"]),
        (["1", "x"], ["1", "x"]),
        (["12:30", "12:31"], ["12:30", "12:31"]),
        (["2020-02-30", "2020-01-01"], ["2020-02-30", "2020-01-01"]),
        (["2020-01-01", "2020-01-02 10:30"], [datetime(2020, 1, 1), datetime(2020, 1, 2, 10, 30)]),
        (
            ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00+02:00"],
            [datetime(2020, 1, 1), datetime(2019, 12, 31, 22)],
        ),
        (
            ["2020-01-01T00:00:00.25", "2020-01-01"],
            [datetime(2020, 1, 1, 0, 0, 0, 250_000), datetime(2020, 1, 1)],
        ),
        (["2020-01-01", "2020-01-01T10:00:00Z"], [datetime(2020, 1, 1), datetime(2020, 1, 1, 10)]),
        (
            ["2020-01-01T10:00:00+02:00", "2020-01-01T10:00:00"],
            [datetime(2020, 1, 1, 8), datetime(2020, 1, 1, 10)],
        ),
        (["1", '""', '"NA"', "2"], [1.0, None, None, 2.0]),
        (['"true"', '""'], [True, None]),
        (["2020-01-01", '""'], [datetime(2020, 1, 1), None]),
        (['""', '""'], ["", ""]),
        (["x", '""', '"NA"', "1"], ["x", "", "NA", "1"]),
        (["9007199254740993", "-3"], [9007199254740993, -3]),
        (["12345678901234567890", "1"], ["12345678901234567890", "1"]),
        (["12345678901234567890", "1.5"], [12345678901234567890.0, 1.5]),
        (["00012", "450"], ["00012", "450"]),
        (["1", '"007"'], ["1", "007"]),
        (["0x1F", "2"], ["0x1F", "2"]),
        (["0.50", "00.5", "-0"], [0.5, 0.5, 0.0]),
    ],
)
def test_column_types_are_inferred_from_cells(cells: list[str], expected: list[Any]) -> None:
    """Numbers, booleans and ISO 8601 times are recognized; other cells, and any mixture, are text."""
    assert values("\n".join(["a", *cells]).encode())["a"] == expected


LATE = (
    ("1", "x", TEXT),
    ("1", "2.5", NUMBER),
    ("", "x", TEXT),
    ("", "1", INTEGER),
    ("", "true", BOOLEAN),
    ("", "2020-01-01", DATETIME),
    ("true", "1", TEXT),
    ("2020-01-01", "2020-01-01T00:00:00Z", DATETIME),
    ("1", '""', INTEGER),
    ('""', "1", INTEGER),
    ("1", "9223372036854775808", TEXT),
    ("1", "007", TEXT),
    ('""', "x", TEXT),
    ("01", "2020-01-01", TEXT),
)


@pytest.mark.parametrize(("early", "late", "expected"), LATE)
def test_late_cells_change_the_type_of_a_column(early: str, late: str, expected: Any) -> None:
    """Types are inferred from the whole file, and a late change preserves the text of earlier cells."""
    filler = "x" * 1000
    rows = 2 * BLOCK_BYTES // len(filler)
    body = "\n".join(["a,b", *[f"{early},{filler}"] * rows, f"{late},{filler}"]).encode()
    column = read(body)["a"]
    assert column.type == expected
    assert len(column) == rows + 1
    if expected == TEXT:
        assert (column[0].as_py(), column[rows].as_py()) == (early.strip('"') if early else None, late)


def test_quoted_cells_may_span_blocks() -> None:
    """Quoted line ends are text at the end of a block, too."""
    cell = 'first,\nsecond ""quoted"" line\n' * 40
    rows = 3 * BLOCK_BYTES // len(cell)
    column = read(b"n,text\n" + b"".join(f'{row},"{cell}"\n'.encode() for row in range(rows)))
    assert column["n"].to_pylist() == list(range(rows))
    assert column["text"].unique().to_pylist() == [cell.replace('""', '"')]


def test_declared_types_are_used() -> None:
    """Declared columns are parsed from their text: zip codes keep zeros, `yes` may be a boolean."""
    body = b"zip,when,flag,n\n01234,2020-01-01T10:00+02:00,yes,5\n00001,2020-01-02,no,NA\n"
    declared = {"zip": "categorical", "when": "datetime", "flag": "boolean", "n": "numeric"}
    assert values(body, types=declared) == {
        "zip": ["01234", "00001"],
        "when": [datetime(2020, 1, 1, 8), datetime(2020, 1, 2)],
        "flag": [True, False],
        "n": [5.0, None],
    }


def test_cells_that_are_not_of_the_declared_type_are_reported_with_their_text() -> None:
    """The first bad cell of every column has an error with its column, row and text, and names the others."""
    body = b"n,when\n1,2020-02-30\nx,soon\n3,2020-01-01\n"
    assert refusal(lambda: read(body, types={"n": "numeric", "when": "datetime"})) == {
        "#/columns/n/1": '"x" can\'t be read as a number.',
        "#/columns/when/0": '"2020-02-30" can\'t be read as a time; send 2026-11-23 or 2026-11-23T18:30:00Z. '
        "The same is wrong in row 1.",
    }


def test_a_type_for_an_unknown_column_is_refused() -> None:
    """A misspelt column in `types` is an error with a suggestion."""
    assert "did you mean `when`?" in refusal(lambda: read(b"when\n1\n", types={"wen": "numeric"}))["?types"]


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8-sig", None),
        ("utf-16", None),
        ("latin-1", "latin-1"),
        ("cp1252", "Windows-1252"),
        ("utf-16-le", "utf-16-le"),
    ],
)
def test_encodings_are_detected_or_declared(encoding: str, declared: str | None) -> None:
    """UTF-8, and UTF-16 with a byte order mark, are detected; other encodings are declared."""
    body = "größe;ort\r\n1;Köln\r\n".encode(encoding)
    assert values(body, encoding=declared) == {"größe": [1.0], "ort": ["Köln"]}


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_and_a_declared_encoding_must_agree(mark: str) -> None:
    """A byte order mark of the declared encoding is skipped; one of another encoding is refused."""
    body = "größe\n1\n".encode(mark)
    for encoding in (mark, mark.removesuffix("-sig")):
        assert values(body, encoding=encoding) == {"größe": [1.0]}
    assert "omit the encoding" in refusal(lambda: read(body, encoding="latin-1"))["?encoding"]


def test_utf_8_under_another_encoding_is_warned_of() -> None:
    """A file that is valid UTF-8 is hardly text in another encoding; the warning shows a text."""
    body = "ort,n\nKöln,1\n"
    table = read_table(body.encode(), encoding="latin-1")
    assert table.columns["ort"] == ["KÃ¶ln"]
    (warning,) = table.warnings
    assert '"Köln"' in warning
    assert "latin-1" in warning
    for content in (body.encode("latin-1"), b"ort,n\nBonn,1\n"):
        assert not read_table(content, encoding="latin-1").warnings


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_byte_order_mark_must_be_declared(order: str) -> None:
    """UTF-16 without a byte order mark is refused, and the error names the encoding to declare."""
    body = "größe,ort\n1,Köln\n".encode(order)
    assert order in refusal(lambda: read(body, encoding="utf-16"))["?encoding"]
    assert order in refusal(lambda: read(body))["?encoding"]
    assert values(body, encoding=order) == {"größe": [1.0], "ort": ["Köln"]}


@settings(deadline=None)
@given(
    st.binary(max_size=40) | st.text('a1",;\n\réя漢', max_size=40).map(str.encode), st.sampled_from(ENCODINGS)
)
def test_any_bytes_are_read_in_any_encoding_or_refused(body: bytes, encoding: str) -> None:
    """Any bytes in any declared encoding are read or refused with a documented error."""
    with suppress(InvalidRequest, UnsupportedMediaType):
        assert read(body, "csv", encoding=encoding).num_rows


@pytest.mark.parametrize("name", ["rot13", "base64", "idna", "utf-9", "", "\0", "unicode_escape"])
def test_unsupported_encodings_are_refused(name: str) -> None:
    """Only encodings of text are supported, not Python's other codecs."""
    assert list(refusal(lambda: read(b"a\n1\n", encoding=name))) == ["?encoding"]


def test_bytes_that_are_not_in_the_encoding_are_reported_by_line() -> None:
    """An invalid byte is reported with its line and a remedy, in a declared encoding, too."""
    body = "a\n1\nä\n".encode("cp1252")
    assert refusal(lambda: read(body))["#"].startswith("Line 3 is not UTF-8 (found the byte 0xe4); set")
    assert refusal(lambda: read(body, encoding="shift_jis"))["#"].startswith("Line 3 is not shift_jis")


def test_ragged_lines_are_reported_by_number() -> None:
    """One error names the lines with too many or too few values; quoted line ends count as lines."""
    with pytest.raises(InvalidRequest) as raised:
        read(b'a,b\n1,"x\ny"\n1,2,3\n4\n')
    assert [error.detail for error in raised.value.errors] == [
        "The table has 2 columns, and 2 rows have another number of values: line 4 has 3, line 5 has 1."
    ]


def test_all_ragged_lines_are_counted() -> None:
    """The first five ragged lines are named, and all are counted."""
    for ragged in (500, 5000):
        with pytest.raises(InvalidRequest) as raised:
            read(b"a,b\n" + b"1,2\n1\n" * ragged)
        (error,) = raised.value.errors
        assert f"{ragged} rows have" in error.detail
        assert error.detail.endswith(
            "line 3 has 1, line 5 has 1, line 7 has 1, line 9 has 1, line 11 has 1, …."
        )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"a,b\n", "no rows"),
        (b"a,b1,23,2", "`--data-binary`"),
        (b"a,b\n\n\r\n\n", "no rows"),
        (b"a,,b\n1,2,3\n", "Line 1: column 2 has no name"),
        (b"\na,b,a\n1,2,3\n", "Line 2: columns 1 and 3 are both called `a`."),
        (b"a,b\n1,\xff\n", "Line 2 is not UTF-8 (found the byte 0xff)"),
        (b'a,b\n1,2\n3,"4\n5,6\n', "starts in line 3 has an opening quote that is not closed"),
        (b'"' + b"a" * 200_000 + b"\n1\n", "Line 1 has an opening quote that is not closed"),
        (b"a,b\n1," + b"a" * 200_000 + b",2\n", "2 columns, and 1 row has another number of values"),
        (b"c" + b",c" * 1_000_000 + b"\n1\n", "1000001 columns; at most 10000 are supported"),
        (b"column name" + b",column name" * 1_000_000, "longer than 4 MiB"),
        (b"a\n" + b"x" * 65 * 2**20, "starts in line 2 is longer than 64 MiB"),
    ],
    ids=lambda value: str(value[:24]),
)
def test_bodies_that_are_not_a_table_are_refused(body: bytes, words: str) -> None:
    """A body that is not a table is refused with the reason and the line."""
    assert words in refusal(lambda: read(body, "csv"))["#"]


@pytest.mark.parametrize("text", ["inf", "-Infinity", "1e999"])
def test_infinite_cells_are_refused(text: str) -> None:
    """A number outside the range of a double has an error with its column, row and text."""
    found = refusal(lambda: read(f"a,b\n1,2\n{text},3\n".encode()))
    assert list(found) == ["#/columns/a/1"]
    assert found["#/columns/a/1"].startswith(f'"{text}" is outside the range of a double (±1.8e308)')
    assert values(f"a,b\n1,2\n{text},3\n".encode(), missing=[text]) == {"a": [1.0, None], "b": [2.0, 3.0]}


def test_a_line_of_excel_declares_the_delimiter() -> None:
    """A first line like `sep=;`, as Excel writes it, sets the delimiter and is not a row."""
    assert values(b"sep=:\r\na:b,c\r\n1:2\r\n") == {"a": [1.0], "b,c": [2.0]}


def test_all_errors_are_reported_together() -> None:
    """Errors in names, cells and ragged lines are reported in one response."""
    with pytest.raises(InvalidRequest) as raised:
        read(b"a,,a,b\n1,2,3,inf\n1,2\n")
    assert [error.detail[:36] for error in raised.value.errors] == [
        "Line 1: columns 1 and 3 are both cal",
        "Line 1: column 2 has no name; name i",
        '"inf" is outside the range of a doub',
        "The table has 4 columns, and 1 row h",
    ]


def test_only_selected_columns_are_read() -> None:
    """Other columns are null and not checked; those with an empty or repeated name are dropped."""
    body = b"age,x,,y,y,n\n1,inf,a,b,c,d\n2,3,,,,\n"
    columns = read(body, "csv", selected=["age", "other"]).to_pydict()
    assert columns == {"age": [1.0, 2.0], "x": [None] * 2, "y": [None] * 2, "n": [None] * 2}
    assert "both called `y`" in refusal(lambda: read(body, "csv", selected=["y"]))["#"]
    assert read(body, "csv", selected=[]).num_rows == 2


def test_one_row_is_a_table() -> None:
    """A table may have a single row, even without a line end."""
    assert values(b"a,b\n1,x") == {"a": [1.0], "b": ["x"]}


@example('"" ', None)
@given(st.text('a1",;\n\r\t |é', max_size=40), st.sampled_from([None, ",", ";"]))
def test_any_text_is_read_or_refused(text: str, delimiter: str | None) -> None:
    """Any text is read as a table or refused as an invalid request."""
    try:
        table = read(text.encode(), "csv", **({"delimiter": delimiter} if delimiter else {}))
    except InvalidRequest as error:
        found = len(error.errors)
    else:
        found = table.num_rows
    assert found > 0
