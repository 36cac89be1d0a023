"""JSON Lines that are read block by block, compared with the same rows as one list."""

import json
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.datasets.dataset import TabularDataset
from service.datasets.sources.json import read_json
from service.datasets.sources.json_lines import JsonLines
from service.datasets.sources.json_lines_table import JsonLinesTable
from service.errors import InvalidRequest, NotJson
from service.specs.upload import ReadOptions
from tests.support.field_errors import refusal
from tests.support.files import read_all, temporary_file

SMALL = 16  # bytes of a block: about one row


def read_with_warnings(
    content: bytes, block_bytes: int = SMALL, known: Mapping[str, list[str]] | None = None, **options: Any
) -> tuple[pa.Table, Sequence[str]]:
    with temporary_file(content) as path:
        table = JsonLinesTable(path, ReadOptions(**options), known=known, block_bytes=block_bytes)
        return read_all(table), table.warnings


def read(content: bytes, block_bytes: int = SMALL, **options: Any) -> pa.Table:
    return read_with_warnings(content, block_bytes, **options)[0]


def lines_of(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.mark.parametrize(
    ("values", "arrow_type", "expected"),
    [
        ([1, 2, 2.5], pa.float64(), [1.0, 2.0, 2.5]),
        ([None, 1], pa.int64(), [None, 1]),
        ([1, 2**63], pa.large_string(), ["1", "9223372036854775808"]),
        ([2**63, 0.5], pa.float64(), [2.0**63, 0.5]),
        (["2026-01-01", "late"], pa.large_string(), ["2026-01-01", "late"]),
        ([None, None], pa.float64(), [None, None]),
        ([True, None], pa.bool_(), [True, None]),
    ],
)
def test_types_are_those_of_the_whole_column(
    values: list[Any], arrow_type: pa.DataType, expected: list[Any]
) -> None:
    """A value of a late block changes the type of the whole column."""
    filler = [{"x": values[0], "pad": "-" * SMALL}] * 9
    table = read(lines_of(*filler, *({"x": value} for value in values)))
    assert table.column("x").type == arrow_type
    assert table.column("x").to_pylist()[-len(values) :] == expected


def test_errors_name_lines_of_late_blocks() -> None:
    """Cells of another type in several blocks are one error, which names the first line and the rows."""
    rows = [{"x": 1}] * 5 + [{"x": "a"}, 3] + [{"x": 1}, {"x": []}] * 2
    content = b"\n\n" + lines_of(*rows)
    found = refusal(lambda: read(content))
    assert set(found) == {"#/6", "#/5/x"}
    assert found["#/5/x"].startswith('Line 8: "a" is not allowed in a column of numbers.')
    assert found["#/5/x"].endswith("The same is wrong in 2 more rows: 8, 10.")
    assert found["#/6"].startswith("Line 9: A row must be an object")


def test_syntax_errors_and_repeated_names_of_late_blocks_name_the_line() -> None:
    """A line that is not JSON is named with its number, and so is a repeated name."""
    start = lines_of(*[{"x": 1}] * 50)
    with pytest.raises(NotJson, match="line 51, column "):
        read(start + b'{"x": 1')
    found = refusal(lambda: read(start + b'{"x": 1, "x": 2}\n{"x": 1, "x": 2}\n'))
    assert found["#/50/x"].startswith("Line 51: `x` appears more than once")
    assert found["#/51/x"].startswith("Line 52: `x` appears more than once")
    # Two broken lines must not make a whole one together.
    with pytest.raises(NotJson, match="line 1, column "):
        read(b'{"x": 1,\n"y": 2}\n', block_bytes=1000)


def test_keys_that_rows_lack_are_missing_values() -> None:
    """A key of a late block is a column, and the earlier rows lack it; a model needs each key in all rows."""
    content = b"\n" + lines_of(*[{"x": 1}] * 8, {"y": "a", "x": 2})
    table, warnings = read_with_warnings(content)
    assert table.column_names == ["x", "y"]
    assert table.column("y").to_pylist() == [None] * 8 + ["a"]
    assert warnings == [
        "The value of a key that a row lacks is missing: `y` in 8 of 9 rows, the first row 0."
    ]
    found = refusal(lambda: read(content, known={}))
    assert found["#/0"].startswith("Line 2: `y` is missing;")
    assert found["#/0"].endswith("The same is wrong in 7 more rows: 1, 2, 3, 4, 5, ….")


@pytest.mark.parametrize("content", [b"", b"\n \n", b"1\n[2]\n", b"{}\n{}\n"])
def test_lines_without_rows_are_refused(content: bytes) -> None:
    """There must be rows, which are objects with columns."""
    assert refusal(lambda: read(content))


def test_many_different_keys_are_refused() -> None:
    """Rows with more keys than a table can have columns are refused, as are those that lack most of them."""
    found = refusal(lambda: read(lines_of(*({f"k{n}": 1} for n in range(10_001))), 10_000))
    assert found["#"] == "There are more than 10000 columns, the maximum."
    found = refusal(lambda: read(lines_of(*({f"k{n}": 1} for n in range(2_000))), 10_000))
    assert "most rows lack most" in found["#"]


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**53 + 1, 2**63, -(2**63), 0.5, 1e300]),
    st.sampled_from(
        ["", "NA", "7", "007", "2,5", "-99", "2026-01-02", "2026-01-02T03:04:05.123456789Z", "b"]
    ),
    st.sampled_from([[], {"a": 1}]),
)
PLAIN = st.sampled_from([0, 1, 2, 3])


@st.composite
def tables(draw: st.DrawFn) -> list[Any]:
    """Draw rows, of which most columns have few types, so that many tables are valid."""
    columns = {
        name: draw(st.lists(CELLS, min_size=1, max_size=3))
        for name in draw(st.sets(st.sampled_from("xyz"), min_size=1))
    }
    row = st.fixed_dictionaries(
        {}, optional={name: st.sampled_from(cells) for name, cells in columns.items()}
    )
    return draw(st.lists(st.one_of(row, row, row, row, PLAIN if draw(st.booleans()) else row), max_size=12))


OPTIONS: list[dict[str, Any]] = [
    {},
    {"missing": ["-99", "1", "b"]},
    {"decimal": ","},
    {"types": {"x": "numeric", "y": "categorical"}},
    {"types": {"x": "boolean", "y": "datetime"}},
]


def outcome(act: Callable[[], tuple[pa.Table, Sequence[str]]]) -> tuple[Any, set[tuple[str, str]]]:
    """Return the table and the warnings of a reading, and its errors without the further rows."""
    try:
        table, warnings = act()
    except InvalidRequest as error:
        return None, {(each.pointer, each.detail.split(" The same is")[0]) for each in error.errors}
    return (table.schema, table.to_pydict(), sorted(warnings)), set()


@given(rows=tables(), options=st.sampled_from(OPTIONS), block_bytes=st.sampled_from([1, 30, 1000]))
def test_blocks_are_read_as_the_whole(rows: list[Any], options: dict[str, Any], block_bytes: int) -> None:
    """Tables, types, warnings and errors are those of the rows in one piece, wherever blocks end."""
    # The same error of numbers and of texts of a column is one error here.
    sent = {
        **options,
        "types": {
            name: kind
            for name, kind in options.get("types", {}).items()
            if any(isinstance(row, dict) and name in row for row in rows)
        },
    }
    if not sent["types"]:
        del sent["types"]

    def whole() -> tuple[pa.Table, Any]:
        dataset = read_json(JsonLines(dict(enumerate(rows, 1))), options=ReadOptions(**sent))
        assert isinstance(dataset, TabularDataset)
        return dataset.table, dataset.warnings

    def in_blocks() -> tuple[pa.Table, Any]:
        return read_with_warnings(lines_of(*rows), block_bytes, **sent)

    if any(isinstance(row, dict) and row for row in rows):
        (found, errors), (expected, all_errors) = outcome(in_blocks), outcome(whole)
        assert found == expected
        assert errors <= all_errors


def test_keys_that_appear_late_take_linear_time() -> None:
    """Rows may bring a new key each: the time to find them grows with the text, not with rows times keys."""

    def seconds(keys: int) -> float:
        rows = b"".join(b'{"a": 1}\n' * 20 + b'{"a": 1, "k%d": 1}\n' % key for key in range(keys))
        start = process_time()
        refusal(lambda: read(rows, 2**22))
        return process_time() - start

    seconds(1000)  # load what later calls use
    assert seconds(8000) < 4 * 8 * max(seconds(1000), 0.05)


def peak_bytes(path: Path, rows: int) -> int:
    """Return the peak of the memory in which a file of some rows is read."""
    path.write_bytes(lines_of({"number": 1.5, "text": "abc", "list": 7}) * rows)
    tracemalloc.start()
    try:
        table = JsonLinesTable(path, ReadOptions(), block_bytes=2**14)
        table.read(lambda batches: sum(batch.num_rows for batch in batches))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """A file of eight times the rows is read in the same memory."""
    small, large = (peak_bytes(tmp_path / "rows", rows) for rows in (4_000, 32_000))
    assert large < 1.2 * small
