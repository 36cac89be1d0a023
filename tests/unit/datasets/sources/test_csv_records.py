import csv
import io

from hypothesis import assume, given
from hypothesis import strategies as st

from service.datasets.sources import csv_records as records
from service.datasets.sources.csv_records import Records
from service.datasets.validation import ErrorCollector
from service.errors import InvalidRequest
from tests.support.field_errors import refusal


def blocks(text: bytes, size: int) -> list[bytes]:
    """The blocks of a text."""
    return [text[start:end] for start, end in Records(text, 0, ",").blocks(ErrorCollector(), size)]


def rows_of(*texts: bytes) -> list[list[str]]:
    """The records of texts as Python reads them, without empty lines."""
    lines = (io.StringIO(text.decode(), newline="") for text in texts)
    return [row for each in lines for row in csv.reader(each) if row]


CELLS = st.text('ab1 ,\n\r"', max_size=6)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=3), min_size=1, max_size=8), st.integers(1, 20))
def test_blocks_hold_whole_records(rows: list[list[str]], size: int) -> None:
    """Whatever the size of a block and whatever is quoted, blocks end where records end."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    content = text.getvalue().encode()
    found = blocks(content, size)
    assert b"".join(found) == content
    assert rows_of(*found) == rows


@given(st.text('a,\n"', max_size=30), st.integers(1, 8))
def test_quotes_within_cells_are_text(text: str, size: int) -> None:
    """Blocks end where Python's own reader sees records end, also where quotes are not as they should be."""
    content = f"{text}\n".encode()
    try:
        found = blocks(content, size)
    except InvalidRequest as error:
        found = [content]
        assume("quote is left open" not in error.errors[0].detail)
    assert rows_of(*found) == rows_of(content)


def test_a_quote_that_is_left_open_is_told_by_the_line_of_its_record() -> None:
    """The record that has no end is named, not the block it was found in."""
    found = refusal(lambda: blocks(b'1,2\n3,"4\n"\n5,"6\n7,8\n', 5))
    assert found["#"].startswith("The record from line 4 on has no end")


def test_lines_are_counted_whatever_ends_them() -> None:
    """Line feeds, carriage returns and both together end a line."""
    text = b"1\n2\r\n3\r4\n\n6"
    assert [Records(text, 0, ",").line(text.index(digit)) for digit in (b"1", b"2", b"3", b"4", b"6")] == [
        1,
        2,
        3,
        4,
        6,
    ]


def test_a_line_end_between_two_reads_is_counted_once() -> None:
    """A carriage return and its line feed are one line end, also when they are read apart."""
    text = b"x" * (records.BLOCK_BYTES - 1) + b"\r\ny"
    assert Records(text, 0, ",").line(len(text) - 1) == 2
