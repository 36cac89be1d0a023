"""A row means the same to a model in every format, alone or with others."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.datasets.dataset import TabularDataset, TensorDataset
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.request_rows import Body
from service.datasets.prepare.table_reading import TableReading
from service.datasets.sources.columns import TEXT
from service.datasets.sources.formats import detect_format, open_file
from service.datasets.sources.json import read_json
from service.errors import InvalidRequest
from service.specs.upload import ReadOptions
from tests.support.encoded import encoded_inputs, encoding_of
from tests.support.field_errors import refusal
from tests.support.files import MAX_BYTES, as_arrow, as_parquet, read, read_all, temporary_file

Cells = Sequence[str | None]

TRICKY = (
    *("1", "1.0", "1.10", "1.1", "01", "012", "12", "-0", "+1", "1e3", "0x1F", "9007199254740993", "1e999"),
    *("", "NA", "na", "None", "<NA>", "nan", "NULL", "-", "none", "#N/A", "-999", "-999.0"),
    *("true", "TRUE", "yes", "0", "A", " A", "a,b", 'say "x"', "é"),
    *("2024-01-05", "2024-01-05T00:00:00Z", "2024-02-30", "05.01.2024", "1,5", "1.234,5", "3%"),
)
cells = st.none() | st.sampled_from(TRICKY) | st.text("01.,-+eE %NAtrueé\t", max_size=6)
readings = st.sampled_from(
    [
        {},
        {"missing": ["-999", "-"]},
        {"decimal": ",", "thousands": "."},
        {"percent": True},
        {"dates": ["%d.%m.%Y"]},
    ]
)
TRANSFORMS: Mapping[str, list[dict[str, Any]]] = {
    "numeric": [{"type": "impute", "columns": ["c"], "strategy": "constant", "value": 77}],
    "boolean": [{"type": "impute", "columns": ["c"], "strategy": "constant", "value": 77}],
    "categorical": [
        {"type": "impute", "columns": ["c"], "strategy": "constant", "value": "?"},
        {"type": "one_hot", "columns": ["c"], "unknown": "zeros"},
    ],
}
TRAINING = {
    "numeric": [1, 2.5, None],
    "boolean": [True, False, None],
    "categorical": ["1.1", "1.10", "12", "012", "NA", "A", "TRUE", "true", "2024-01-05", ""],
}


def as_csv(column: Cells) -> bytes:
    """Write texts in quotes, as spreadsheets do, and nothing for a missing value."""
    lines = ["" if cell is None else '"' + cell.replace('"', '""') + '"' for cell in column]
    return "\n".join(["c,other", *(f"{line},1" for line in lines)]).encode() + b"\n"


def as_bare_csv(column: Cells) -> bytes:
    """Write texts without quotes, unless they contain a character that needs them."""
    lines = []
    for cell in column:
        needs_quotes = cell == "" or any(each in (cell or "") for each in '",\n')
        lines.append("" if cell is None else '"' + cell.replace('"', '""') + '"' if needs_quotes else cell)
    return "\n".join(["c,other", *(f"{line},1" for line in lines)]).encode() + b"\n"


def table_of(column: Cells) -> pa.Table:
    return pa.table({"c": pa.array(column, pa.string()), "other": range(len(column))})


def upload(encoding: Encoding, content: bytes) -> Body:
    """Read a file that is sent to a model."""
    reading = encoding.table_reading._replace(types={"c": encoding.types["c"]})
    options = reading.for_request(ReadOptions())
    with temporary_file(content) as path:
        name = detect_format(path, None)
        source = open_file(path, name, options, MAX_BYTES, reading.types, reading.known)
        assert not isinstance(source, TensorDataset)
        return TabularDataset(read_all(source))


FORMATS: Mapping[str, Callable[[Encoding, Cells], Body]] = {
    "columns": lambda encoding, column: {"columns": {"c": list(column)}},
    "rows": lambda encoding, column: {"rows": [{"c": cell} for cell in column]},
    "csv": lambda encoding, column: upload(encoding, as_csv(column)),
    "bare csv": lambda encoding, column: upload(encoding, as_bare_csv(column)),
    "parquet": lambda encoding, column: upload(encoding, as_parquet(table_of(column))),
    "arrow": lambda encoding, column: upload(encoding, as_arrow(table_of(column), rows_at_once=1)),
    "stored text": lambda encoding, column: TabularDataset(pa.table({"c": pa.array(column, TEXT)})),
}


def answer(encoding: Encoding, body: Callable[[], Body]) -> list[list[float]] | str:
    """Return the encoded rows, or that the body is refused."""
    try:
        (inputs,) = encoded_inputs(encoding, body())
    except InvalidRequest:
        return "refused"
    rows: list[list[float]] = inputs.tolist()
    return rows


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([*TRANSFORMS]), readings, cells, st.lists(cells, max_size=3))
def test_a_row_has_the_same_answer_in_every_format(
    type_name: str, reading: dict[str, Any], cell: str | None, others: list[str | None]
) -> None:
    """For any cell, every format gives the same encoding or refuses it, whatever the other rows are."""
    encoding = encoding_of(
        {
            "columns": {"c": TRAINING[type_name], "y": list(range(len(TRAINING[type_name])))},
            "features": ["c"],
            "targets": ["y"],
            "types": {"c": type_name},
            "transforms": TRANSFORMS[type_name],
            "reading": reading,
        }
    )
    expected = answer(encoding, lambda: {"columns": {"c": [cell]}})
    accepted = [
        other
        for other in others
        if answer(encoding, lambda: {"columns": {"c": [other]}}) != "refused"  # noqa: B023
    ]
    for form, send in FORMATS.items():
        for column, position in (([cell], 0), ([cell, *accepted], 0), ([*accepted, cell], len(accepted))):
            found = answer(encoding, lambda: send(encoding, column))  # noqa: B023
            assert (found if found == "refused" else [found[position]]) == expected, (form, column)


def one_hot_of(values: list[Any], **section: Any) -> Encoding:
    transforms = [{"type": "one_hot", "columns": ["c"]}]
    columns = {"c": values, "y": list(range(len(values)))}
    return encoding_of(
        {"columns": columns, "features": ["c"], "targets": ["y"], "transforms": transforms} | section
    )


@pytest.mark.parametrize(
    ("categories", "file", "expected"),
    [
        (["1.1", "1.10", "A"], b"c\n1.10\n", [[0, 1, 0]]),
        (["12", "012", "A"], b"c\n012\n", [[1, 0, 0]]),
        (["2024-01-05", "holiday"], b"c\n2024-01-05\n", [[1, 0]]),
        (["true", "TRUE", "maybe"], b"c\nTRUE\n", [[1, 0, 0]]),
        (["NA", "DE"], b"c\nNA\n", [[0, 1]]),
        (["NA", "DE"], b"c\nNA\nDE\n", [[0, 1], [1, 0]]),
        (["00012", "00450"], b"c\n00450\n00012\n", [[0, 1], [1, 0]]),
    ],
)
def test_categories_are_recognized_in_a_csv(
    categories: list[str], file: bytes, expected: list[list[int]]
) -> None:
    """Cells of a category that look like numbers, dates, booleans or missing values stay text."""
    encoding = one_hot_of(categories)
    (inputs,) = encoded_inputs(encoding, upload(encoding, file))
    assert inputs.tolist() == expected


@pytest.mark.parametrize("file", [b"c\n1.10\n", b"c\n1.0\n", b"c\ntrue\n", b"c\n2024-01-05\n"])
def test_a_stored_column_that_lost_its_text_is_refused(file: bytes) -> None:
    """A dataset that was stored as numbers, booleans or times is no text for a model; the remedy is named."""
    encoding = one_hot_of(["1.1", "1.10", "1.0", "1", "true", "2024-01-05", "holiday"])
    details = refusal(lambda: encoded_inputs(encoding, TabularDataset(read(file))))
    assert "upload the data again with `types=c:categorical`" in details["#/columns/c"]
    stored = TabularDataset(read(file, types={"c": "categorical"}))
    assert encoded_inputs(encoding, stored)[0].sum() == 1


def test_stored_integers_are_text_for_a_model() -> None:
    """Integers without leading zeros keep their text."""
    encoding = one_hot_of(["12", "012", "A"])
    assert encoded_inputs(encoding, TabularDataset(read(b"c\n12\n")))[0].tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("cell", ["-999", "-999.0"])
def test_missing_values_of_the_training_data_are_missing_in_every_table(cell: str) -> None:
    """A further word for a missing value is part of the model; a number counts by its value."""
    section = {
        "columns": {"c": [1, -999, 3], "y": [1, 2, 3]},
        "features": ["c"],
        "targets": ["y"],
        "transforms": [{"type": "impute", "columns": ["c"], "strategy": "mean"}],
        "reading": {"missing": ["-999"]},
    }
    encoding = encoding_of(section)
    for body in (
        {"columns": {"c": [cell]}},
        {"columns": {"c": [float(cell)]}},
        upload(encoding, f"c\n{cell}\n".encode()),
    ):
        assert encoded_inputs(encoding, body)[0].tolist() == [[2.0]]


@pytest.mark.parametrize(
    ("type_name", "value", "expected"),
    [("numeric", -999.0, 2.0), ("boolean", 1.0, 1.0), ("boolean", 2.0, None), ("numeric", True, None)],
)
def test_raw_feature_rows_are_read_like_columns(type_name: str, value: Any, expected: float | None) -> None:
    """Rows of numbers without names have the missing values and the types of the columns."""
    values = [1, -999, 3] if type_name == "numeric" else [True, False, True]
    encoding = encoding_of(
        {
            "columns": {"c": values, "y": [1, 2, 3]},
            "features": ["c"],
            "targets": ["y"],
            "transforms": [{"type": "impute", "columns": ["c"], "strategy": "mean"}],
            "reading": {"missing": ["-999"]},
        }
    )
    bodies: list[Any] = [{"inputs": [[value]]}, {"columns": {"c": [value]}}]
    bodies.append(TensorDataset({"input": np.array([[value]])}))
    for body in bodies:
        found = answer(encoding, lambda: body)  # noqa: B023
        assert found == ("refused" if expected is None else [[expected]]), body


def test_another_option_for_cells_than_the_models_is_refused() -> None:
    """Options of the container may be sent with a table, options of cells are the model's."""
    reading = one_hot_of(["a", "b"], reading={"decimal": ","}).table_reading
    assert reading.for_request(ReadOptions(delimiter=";", decimal=",")).delimiter == ";"
    details = refusal(
        lambda: reading.for_request(ReadOptions(decimal=".", missing=["x"], types={"c": "numeric"}))
    )
    assert list(details) == ["?decimal", "?missing", "?types"]


def test_missing_values_of_a_stored_dataset_are_no_words_that_the_model_knows() -> None:
    """A dataset of a CSV does not tell an empty cell from `NA`: it is refused where `NA` is a category."""
    impute = {"type": "impute", "columns": ["c"], "strategy": "mode"}
    one_hot = {"type": "one_hot", "columns": ["c"]}
    encoding = one_hot_of(["NA", "DE", "DE"], transforms=[impute, one_hot])
    stored = TabularDataset(read(b"c\nNA\nDE\n"))
    details = refusal(lambda: encoded_inputs(encoding, stored))
    assert 'does not tell whether it was "NA"' in details["#/columns/c/0"]
    sent = TabularDataset(read_json({"columns": {"c": [None, "NA"]}}).table)  # type: ignore[union-attr]
    assert encoded_inputs(encoding, sent)[0].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("cell", [2**53 + 1, -(2**53)])
def test_large_integers_are_not_looked_up_as_their_neighbours(cell: int) -> None:
    """Integers that float64 rounds are refused where their bucket or category is looked up."""
    encoding = one_hot_of([1, 2, 3], transforms=[{"type": "hash", "columns": ["c"], "buckets": 8}])
    details = refusal(lambda: encoded_inputs(encoding, {"columns": {"c": [cell]}}))
    assert "is beyond 2**53" in details["#/columns/c/0"]


@pytest.mark.parametrize("form", [as_parquet, as_arrow])
@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([Decimal("1.10"), Decimal("1.10")]), [[0, 1, 0], [0, 1, 0]]),
        (pa.array([1.1, 5.0], pa.float32()), [[1, 0, 0], [0, 0, 1]]),
        (pa.array([1.1, 5.0], pa.float64()), [[1, 0, 0], [0, 0, 1]]),
    ],
)
def test_numbers_of_arrow_are_categories_by_their_own_digits(
    form: Callable[[pa.Table], bytes], column: pa.Array, expected: list[list[int]]
) -> None:
    """A decimal keeps its zeros, and a short float is not written with the digits of a float64."""
    encoding = one_hot_of(["1.1", "1.10", "5"])
    (inputs,) = encoded_inputs(encoding, upload(encoding, form(pa.table({"c": column}))))
    assert inputs.tolist() == expected


def sent_to(options: ReadOptions, types: Mapping[str, str], content: bytes, **sent: Any) -> dict[str, Any]:
    """Read a CSV file that is sent to a model with these options and types."""
    reading = TableReading(types, options, {})
    with temporary_file(content) as path:
        options = reading.for_request(ReadOptions(**sent))
        source = open_file(path, "csv", options, MAX_BYTES, types, {})
        assert not isinstance(source, TensorDataset)
        return read_all(source).to_pydict()


@pytest.mark.parametrize("stored", ["latin-1", "cp1252", "utf-16", "shift_jis", None])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "stored"])
def test_a_file_in_unicode_may_be_sent_to_a_model_of_another_encoding(
    stored: str | None, encoding: str
) -> None:
    """A byte order mark, and text that is valid UTF-8, win over the encoding of the training data."""
    text, column = ("größe", "größe") if stored != "shift_jis" else ("東京", "東京")
    content = f"{column},n\n{text},1\n".encode(encoding if encoding != "stored" else stored or "utf-8")
    types = {column: "categorical", "n": "numeric"}
    assert sent_to(ReadOptions(encoding=stored), types, content) == {column: [text], "n": [1]}
    if encoding == "utf-8-sig" and stored == "latin-1":
        sent = {"encoding": "latin-1"}
        assert "?encoding" in refusal(lambda: sent_to(ReadOptions(), types, content, **sent))


@pytest.mark.parametrize(
    ("options", "content"),
    [
        ({"skip_lines": 2}, "Report of x\n\nx,y\n1,2\n3,4\n"),
        ({"skip_lines": 2}, "x,y\n1,2\n3,4\n"),
        ({"skip_lines": 1}, "a report of x\n x  y\n 1  2\n 3  4\n"),
        ({"skip_lines": 1}, " x  y\n 1  2\n 3  4\n"),
        ({"skip_lines": 1, "header": False}, "2,2,a,b\n1,2\n3,4\n"),
        ({"skip_lines": 1, "header": False}, "1,2\n3,4\n"),
    ],
)
def test_a_model_skips_the_lines_that_its_training_data_had(options: dict[str, Any], content: str) -> None:
    """The same kind of file is read without an option, with these lines or without them."""
    names = ["x", "y"] if options.get("header", True) else ["column_1", "column_2"]
    found = sent_to(ReadOptions(**options), dict.fromkeys(names, "numeric"), content.encode())
    assert found == {names[0]: [1, 3], names[1]: [2, 4]}
    if content.startswith("x,y"):  # an option of the request is followed
        explicit = sent_to(ReadOptions(**options), {"x": "numeric"}, b"x\nx\n1\n", skip_lines=1)
        assert explicit == {"x": [1]}


@pytest.mark.parametrize("text", ["1.0", "1", "1.", "true", "YES"])
def test_booleans_of_floats_are_booleans(text: str) -> None:
    """A column of 1 and 0 that a program has written as floats is boolean, as a column of numbers is."""
    found = sent_to(ReadOptions(), {"b": "boolean"}, f'b\n{text}\n0.0\n""\n'.encode())
    assert found == {"b": [True, False, None]}
