from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.datasets.sources.columns import BOOLEAN, DATETIME, NUMBER, TEXT
from service.datasets.sources.csv_records import BLOCK_BYTES
from service.datasets.sources.text_encoding import ENCODINGS
from service.errors import InvalidRequest, UnsupportedMediaType
from tests.support.field_errors import refusal
from tests.support.files import read


def values(content: bytes, **options: Any) -> dict[str, list[Any]]:
    """The columns of a CSV."""
    columns: dict[str, list[Any]] = read(content, "csv", **options).to_pydict()
    return columns


def types(content: bytes, **options: Any) -> list[Any]:
    """The types of the columns of a CSV."""
    return list(read(content, "csv", **options).schema.types)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_usual_dialects_are_read(delimiter: str, end: str, mark: bytes) -> None:
    """Delimiters, line ends, a byte order mark and empty lines make no difference."""
    lines = ["", f"a{delimiter} b ", f"1{delimiter}x", "", f"2{delimiter}"]
    assert values(mark + end.join(lines).encode()) == {"a": [1.0, 2.0], "b": ["x", None]}


def test_line_ends_may_be_mixed() -> None:
    """A file that was put together from several systems is read."""
    assert values(b"a,b\r\n1,2\n3,4\r5,6") == {"a": [1.0, 3.0, 5.0], "b": [2.0, 4.0, 6.0]}


def test_a_delimiter_can_be_said() -> None:
    """The declared delimiter divides, also where another one would divide more."""
    assert values(b"a,b:c,d\n1,2:3,4\n", delimiter=":") == {"a,b": ["1,2"], "c,d": ["3,4"]}


def test_a_file_without_a_header_has_numbered_columns() -> None:
    """Without names the first line is a row."""
    assert values(b"1,x\n2,y\n", header=False) == {"column_1": [1.0, 2.0], "column_2": ["x", "y"]}


def test_quotes_hold_delimiters_line_ends_and_the_empty_text() -> None:
    """In a column of text a quoted empty cell is the empty text, and an empty cell is missing."""
    body = b'"a,1","b"\n1,"x, ""y""\nz"\n2,""\n3,\n'
    assert values(body) == {"a,1": [1.0, 2.0, 3.0], "b": ['x, "y"\nz', "", None]}


def test_a_quote_within_a_cell_is_text() -> None:
    """A quote that doesn't begin its cell opens nothing."""
    assert values(b'a,b\n1,5" disk\n2,6"\n') == {"a": [1.0, 2.0], "b": ['5" disk', '6"']}


@pytest.mark.parametrize("cell", ["", "NA", "na", "N/A", "NaN", "nan", "NULL", "null", " NA"])
def test_words_for_a_missing_value_are_missing_in_every_column(cell: str) -> None:
    """One rule for all columns: the usual words are missing values unless they are quoted."""
    body = f'n,b,t,d\n1,true,x,2020-01-01\n{cell},{cell},{cell},{cell}\n2,false,"NA",2020-01-02\n'.encode()
    columns = read(body)
    assert columns.schema.types == [NUMBER, BOOLEAN, TEXT, DATETIME]
    assert [column.null_count for column in columns.columns] == [1, 1, 1, 1]
    assert columns["t"].to_pylist() == ["x", None, "NA"]


def test_further_words_can_be_missing() -> None:
    """What the client calls missing is, in columns of any type."""
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
        (["12345678901234567890"], [12345678901234567890.0]),
    ],
)
def test_cells_tell_the_type_of_their_column(cells: list[str], expected: list[Any]) -> None:
    """Numbers, booleans and ISO 8601 times are found; anything else, and any mixture, is text."""
    assert values("\n".join(["a", *cells]).encode())["a"] == expected


LATE = (
    ("1", "x", TEXT),
    ("1", "2.5", NUMBER),
    ("", "x", TEXT),
    ("", "1", NUMBER),
    ("", "true", BOOLEAN),
    ("", "2020-01-01", DATETIME),
    ("true", "1", TEXT),
    ("2020-01-01", "2020-01-01T00:00:00Z", DATETIME),
    ("1", '""', NUMBER),
    ('""', "1", NUMBER),
    ('""', "x", TEXT),
    ("01", "2020-01-01", TEXT),
)


@pytest.mark.parametrize(("early", "late", "expected"), LATE)
def test_a_cell_far_below_still_tells_the_type(early: str, late: str, expected: Any) -> None:
    """Types are inferred over the whole file, and no text is lost when a late cell changes them."""
    filler = "x" * 1000
    rows = 2 * BLOCK_BYTES // len(filler)
    body = "\n".join(["a,b", *[f"{early},{filler}"] * rows, f"{late},{filler}"]).encode()
    column = read(body)["a"]
    assert column.type == expected
    assert len(column) == rows + 1
    if expected == TEXT:
        assert (column[0].as_py(), column[rows].as_py()) == (early.strip('"') if early else None, late)


def test_quoted_cells_may_lie_across_blocks() -> None:
    """Line ends in quotes are text wherever a block ends."""
    cell = 'first,\nsecond ""quoted"" line\n' * 40
    rows = 3 * BLOCK_BYTES // len(cell)
    column = read(b"n,text\n" + b"".join(f'{row},"{cell}"\n'.encode() for row in range(rows)))
    assert column["n"].to_pylist() == list(range(rows))
    assert column["text"].unique().to_pylist() == [cell.replace('""', '"')]


def test_declared_types_are_kept() -> None:
    """Declared columns are read from their text: a zip code keeps its zero, `yes` may be a boolean."""
    body = b"zip,when,flag,n\n01234,2020-01-01T10:00+02:00,yes,5\n00001,2020-01-02,no,NA\n"
    declared = {"zip": "categorical", "when": "datetime", "flag": "boolean", "n": "numeric"}
    assert values(body, types=declared) == {
        "zip": ["01234", "00001"],
        "when": [datetime(2020, 1, 1, 8), datetime(2020, 1, 2)],
        "flag": [True, False],
        "n": [5.0, None],
    }


def test_cells_that_are_not_of_the_declared_type_are_told_with_their_text() -> None:
    """Each bad cell is pointed at by column and row, those of all columns at once."""
    body = b"n,when\n1,2020-02-30\nx,soon\n3,2020-01-01\n"
    assert refusal(lambda: read(body, types={"n": "numeric", "when": "datetime"})) == {
        "#/columns/n/1": '"x" can\'t be read as a number.',
        "#/columns/when/0": '"2020-02-30" can\'t be read as a time: send 2026-11-23 or 2026-11-23T18:30:00Z.',
        "#/columns/when/1": '"soon" can\'t be read as a time: send 2026-11-23 or 2026-11-23T18:30:00Z.',
    }


def test_a_type_of_a_column_that_is_not_there_has_a_suggestion() -> None:
    """A misspelt column in `types` is not ignored."""
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
def test_encodings_are_told_by_a_mark_or_the_client(encoding: str, declared: str | None) -> None:
    """UTF-8 and UTF-16 are found by themselves, other encodings are said."""
    body = "größe;ort\r\n1;Köln\r\n".encode(encoding)
    assert values(body, encoding=declared) == {"größe": [1.0], "ort": ["Köln"]}


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16"])
def test_a_mark_and_a_declared_encoding_agree(mark: str) -> None:
    """A byte order mark of the declared encoding is no text; one of another encoding is told."""
    body = "größe\n1\n".encode(mark)
    for encoding in (mark, mark.removesuffix("-sig")):
        assert values(body, encoding=encoding) == {"größe": [1.0]}
    assert "leave the encoding out" in refusal(lambda: read(body, encoding="latin-1"))["?encoding"]


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_told_by_name(order: str) -> None:
    """Which of the two it is has to be said; where nothing is said, the bytes tell what to say."""
    body = "größe,ort\n1,Köln\n".encode(order)
    assert order in refusal(lambda: read(body, encoding="utf-16"))["?encoding"]
    assert order in refusal(lambda: read(body))["?encoding"]
    assert values(body, encoding=order) == {"größe": [1.0], "ort": ["Köln"]}


@settings(deadline=None)
@given(
    st.binary(max_size=40) | st.text('a1",;\n\réя漢', max_size=40).map(str.encode), st.sampled_from(ENCODINGS)
)
def test_any_bytes_are_read_in_any_encoding_or_refused(body: bytes, encoding: str) -> None:
    """Bytes that are not in the declared encoding are an invalid request, nothing else."""
    with suppress(InvalidRequest, UnsupportedMediaType):
        assert read(body, "csv", encoding=encoding).num_rows


@pytest.mark.parametrize("name", ["rot13", "base64", "idna", "utf-9", "", "\0", "unicode_escape"])
def test_what_is_no_encoding_is_refused(name: str) -> None:
    """Only encodings of text are taken, none of Python's other codecs."""
    assert list(refusal(lambda: read(b"a\n1\n", encoding=name))) == ["?encoding"]


def test_bytes_that_are_not_in_the_encoding_are_told_by_line() -> None:
    """A wrong byte is shown with its line and what to say, in a declared encoding too."""
    body = "a\n1\nä\n".encode("cp1252")
    assert refusal(lambda: read(body))["#"].startswith("Line 3 is not UTF-8 (found the byte 0xe4): name")
    assert refusal(lambda: read(body, encoding="shift_jis"))["#"].startswith("Line 3 is not shift_jis")


def test_ragged_lines_are_told_by_number() -> None:
    """Each line with too many or too few values is named, lines within quotes counted."""
    with pytest.raises(InvalidRequest) as raised:
        read(b'a,b\n1,"x\ny"\n1,2,3\n4\n')
    assert [error.detail for error in raised.value.errors] == [
        "Line 4: 3 values where there are 2 columns.",
        "Line 5: 1 value where there are 2 columns.",
    ]


def test_ragged_lines_are_all_counted() -> None:
    """The first 100 lines are listed, and how many there are in all."""
    for ragged in (500, 5000):
        with pytest.raises(InvalidRequest) as raised:
            read(b"a,b\n" + b"1,2\n1\n" * ragged)
        assert len(raised.value.errors) == 100
        assert f"{ragged} errors" in raised.value.detail


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"a,b\n", "no rows"),
        (b"a,b1,23,2", "`--data-binary`"),
        (b",a\n0,1\n", "`index=False`"),
        (b"a,b\n\n\r\n\n", "no rows"),
        (b"a,,b\n1,2,3\n", "Line 1: column 2 has no name"),
        (b"\na,b,a\n1,2,3\n", "Line 2: columns 1 and 3 are both called `a`."),
        (b"a,b\n1,\xff\n", "Line 2 is not UTF-8 (found the byte 0xff)"),
        (b'a,b\n1,2\n3,"4\n5,6\n', "from line 3 on has no end"),
        (b'"' + b"a" * 200_000 + b"\n1\n", "first line can't be read"),
        (b"a,b\n1," + b"a" * 200_000 + b",2\n", "3 values where there are 2"),
        (b"c" + b",c" * 1_000_000 + b"\n1\n", "1000001 columns; at most 10000 are taken"),
        (b"column name" + b",column name" * 1_000_000, "longer than 4 MiB"),
        (b"a\n" + b"x" * 65 * 2**20, "more than 64 MiB begins here"),
    ],
    ids=lambda value: str(value[:24]),
)
def test_bodies_that_are_no_table_are_refused(body: bytes, words: str) -> None:
    """What can't be a table says why and in which line."""
    assert words in refusal(lambda: read(body, "csv"))["#"]


@pytest.mark.parametrize("text", ["inf", "-Infinity", "1e999"])
def test_infinite_cells_are_pointed_at(text: str) -> None:
    """A number beyond a double is told by column and row, with its text."""
    found = refusal(lambda: read(f"a,b\n1,2\n{text},3\n".encode()))
    assert list(found) == ["#/columns/a/1"]
    assert found["#/columns/a/1"].startswith(f'"{text}" is beyond a double\'s range, ±1.8e308')
    assert values(f"a,b\n1,2\n{text},3\n".encode(), missing=[text]) == {"a": [1.0, None], "b": [2.0, 3.0]}


def test_a_line_of_excel_says_the_delimiter() -> None:
    """`sep=;`, which Excel writes for itself, is no row."""
    assert values(b"sep=:\r\na:b,c\r\n1:2\r\n") == {"a": [1.0], "b,c": [2.0]}


def test_all_that_is_wrong_is_told_at_once() -> None:
    """Names, cells and ragged lines are told together."""
    with pytest.raises(InvalidRequest) as raised:
        read(b"a,,a,b\n1,2,3,inf\n1,2\n")
    assert [error.detail.split(" (")[0][:34] for error in raised.value.errors] == [
        "Line 1: column 2 has no name: name",
        "Line 1: columns 1 and 3 are both c",
        "Line 3: 2 values where there are 4",
        '"inf" is beyond a double\'s range, ',
    ]


def test_only_columns_that_are_taken_matter() -> None:
    """Others are there without values, whatever their names and cells; without a name they are left out."""
    body = b"age,x,,y,y,n\n1,inf,a,b,c,d\n2,3,,,,\n"
    columns = read(body, "csv", taken=["age", "other"]).to_pydict()
    assert columns == {"age": [1.0, 2.0], "x": [None] * 2, "y": [None] * 2, "n": [None] * 2}
    assert "both called `y`" in refusal(lambda: read(body, "csv", taken=["y"]))["#"]
    assert read(body, "csv", taken=[]).num_rows == 2


def test_one_row_is_a_table() -> None:
    """A table may have a single row, also without a line end."""
    assert values(b"a,b\n1,x") == {"a": [1.0], "b": ["x"]}


@given(st.text('a1",;\n\r\t |é', max_size=40), st.sampled_from([None, ",", ";"]))
def test_any_text_is_read_or_refused(text: str, delimiter: str | None) -> None:
    """Odd text is a table or an invalid request, nothing else."""
    try:
        table = read(text.encode(), "csv", **({"delimiter": delimiter} if delimiter else {}))
    except InvalidRequest as error:
        found = len(error.errors)
    else:
        found = table.num_rows
    assert found > 0
