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
    """Return the blocks of a text."""
    return [text[start:end] for start, end in Records(text, 0, ",").blocks(ErrorCollector(), size)]


def records_of(*texts: bytes) -> list[list[str]]:
    """Read the records of texts with Python's csv module, without empty lines."""
    lines = (io.StringIO(text.decode(), newline="") for text in texts)
    return [row for each in lines for row in csv.reader(each) if row]


CELLS = st.text('ab1 ,\n\r"', max_size=6)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=3), min_size=1, max_size=8), st.integers(1, 20))
def test_blocks_hold_whole_records(rows: list[list[str]], size: int) -> None:
    """Blocks of any size end where records end, for any quoting."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    content = text.getvalue().encode()
    found = blocks(content, size)
    assert b"".join(found) == content
    assert records_of(*found) == rows


@given(st.text('a,\n"', max_size=30), st.integers(1, 8))
def test_quotes_within_cells_are_text(text: str, size: int) -> None:
    """Blocks end where Python's csv module ends records, even if quotes are misplaced."""
    content = f"{text}\n".encode()
    try:
        found = blocks(content, size)
    except InvalidRequest as error:
        found = [content]
        assume("quote that is not closed" not in error.errors[0].detail)
    assert records_of(*found) == records_of(content)


def test_a_quote_that_is_not_closed_is_reported_by_the_line_of_its_record() -> None:
    """The error has the line in which the record starts, not that of the block."""
    found = refusal(lambda: blocks(b'1,2\n3,"4\n"\n5,"6\n7,8\n', 5))
    assert found["#"].startswith("The record that starts in line 4 has an opening quote that is not closed")


def test_lines_with_any_line_end_are_counted() -> None:
    """A line feed, a carriage return, or both together end a line."""
    text = b"1\n2\r\n3\r4\n\n6"
    assert [Records(text, 0, ",").line(text.index(digit)) for digit in (b"1", b"2", b"3", b"4", b"6")] == [
        1,
        2,
        3,
        4,
        6,
    ]


def test_a_line_end_split_between_two_reads_is_counted_once() -> None:
    """A carriage return and its line feed are one line end even if they are read separately."""
    text = b"x" * (records.BLOCK_BYTES - 1) + b"\r\ny"
    assert Records(text, 0, ",").line(len(text) - 1) == 2
