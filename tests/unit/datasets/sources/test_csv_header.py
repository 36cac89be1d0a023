"""Headers of CSV files: titles, missing and numeric names, and runs of spaces."""

import csv
import io
from importlib import resources

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.datasets.sources.csv_sample import records
from tests.support.field_errors import refusal
from tests.support.files import read
from tests.support.tables import read_table

SKLEARN = resources.files("sklearn.datasets.data")


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        ("Report of May\na,b\n1,2\n3,4\n", "`?skip_lines=1`"),
        ("Report of May\na;b\n1;2\n3;4\n", "`?skip_lines=1`"),
        ("Report of May\na b\n1 2\n3 4\n", "`?skip_lines=1`"),
        ("Report of May,,\na,b,c\n1,2,3\n4,5,6\n", "`?skip_lines=1`"),
        ("Sales\n\nof May, 2024\n\na,b,c\n1,2,3\n4,5,6\n7,8,9\n", "`?skip_lines=4`"),
        ("# made by a logger\na,b\n1,2\n3,4\n", "a comment: skip it with `?skip_lines=1`"),
        ("3,2,x,y\n1,2,0\n3,4,1\n5,6,1\n", "a line of counts: skip it with `?skip_lines=1&header=false`"),
        ("a,b\n1,2,3\n4,5,6\n", "give each of the 3 columns a name"),
    ],
)
def test_lines_before_the_table_are_one_error_with_the_number_of_lines_to_skip(
    content: str, remedy: str
) -> None:
    """A title, a comment or a line of counts is one error, whose remedy skips it."""
    found = refusal(lambda: read_table(content))
    assert list(found) == ["#"]
    assert remedy in found["#"]


@pytest.mark.parametrize(("skipped", "content"), [(1, "x, y\na,b\n1,2\n"), (2, "x\r\n\r\na,b\r\n1,2\r\n")])
def test_lines_can_be_skipped(skipped: int, content: str) -> None:
    """Lines before the table are skipped by number, empty ones included."""
    assert read_table(content, skip_lines=skipped).columns == {"a": [1.0], "b": [2.0]}
    assert "only 3 lines" in refusal(lambda: read_table("a\n1\n2\n", skip_lines=4))["?skip_lines"]


def test_lines_are_counted_from_the_start_of_the_file() -> None:
    """Errors name the lines of the file, also below skipped ones."""
    assert "line 4 has 1" in refusal(lambda: read_table("title\na,b\n1,2\n3\n", skip_lines=1))["#"]


def test_a_comment_of_the_width_of_the_table_is_warned_of() -> None:
    """A first line that begins with `#` may be a comment or the names; the warning says how to skip it."""
    (warning,) = read_table("# x, y\n1,2\n").warnings
    assert "`?skip_lines=1` skips it" in warning


@pytest.mark.parametrize("content", ["0,0,5\n1,3,4\n", "1,,3,3\n2,3,4,4\n"])
def test_equal_numbers_as_names_are_one_error(content: str) -> None:
    """A row in place of the header is one error with the remedy, which leads to a table."""
    found = refusal(lambda: read_table(content))
    assert list(found) == ["#"]
    assert "`?header=false`" in found["#"]
    assert len(read_table(content, header=False).columns["column_1"]) == 2


def test_the_data_files_of_scikit_learn_are_read_by_following_the_remedies() -> None:
    """Files with counts, with spaces and without a header are read, if need be as their error advises."""
    wine = SKLEARN.joinpath("wine_data.csv").read_bytes()
    assert "`?skip_lines=1&header=false`" in refusal(lambda: read_table(wine))["#"]
    assert len(read_table(wine, skip_lines=1, header=False).columns) == 14
    iris = read_table(SKLEARN.joinpath("iris.csv").read_bytes(), skip_lines=1, header=False)
    assert len(iris.columns["column_5"]) == 150
    for name, columns in (
        ("linnerud_exercise.csv", ["Chins", "Situps", "Jumps"]),
        ("linnerud_physiological.csv", ["Weight", "Waist", "Pulse"]),
    ):
        table = read_table(SKLEARN.joinpath(name).read_bytes())
        assert list(table.columns) == columns
        assert {len(values) for values in table.columns.values()} == {20}


@pytest.mark.parametrize(
    "content",
    [
        "a b c\n1 2 x\n40 50 y\n",
        "  a   b  c\n  1   2  x  \n 40  50  y",
        "a b c\r\n1\t 2  x\r\n\r\n40 50\ty\r\n",
        'a b "c"\n1 2 "x"\n40 50 "y"\n',
    ],
)
def test_a_table_separated_by_spaces_is_recognized(content: str) -> None:
    """Any number of spaces separates cells, those at the ends of a line do not, and a warning says so."""
    table = read_table(content)
    assert table.columns == {"a": [1.0, 40.0], "b": [2.0, 50.0], "c": ["x", "y"]}
    assert "separated by spaces" in table.warnings[0]
    assert read_table(content, delimiter="spaces").columns == table.columns


def test_quoted_spaces_are_text() -> None:
    """Spaces and line ends within quotes stay as they are."""
    content = 'n text\n1 "x  y"\n2 "  z\n  ""q"" "\n3 5\'11"\n'
    assert read_table(content).columns == {"n": [1, 2, 3], "text": ["x  y", '  z\n  "q" ', "5'11\""]}


@pytest.mark.parametrize(
    "content",
    [
        "full name\nJohn Smith\nJane Doe\n",
        "when exactly\n2024-01-05 10:30\n2024-01-06 11:00\n",
        "a b\nx\ny z\n",
    ],
)
def test_texts_with_spaces_are_one_column(content: str) -> None:
    """Lines without a column of numbers are texts, not a table separated by spaces."""
    assert len(read_table(content).columns) == 1


def test_a_column_of_the_model_may_have_spaces_in_its_name() -> None:
    """A header that is the name of a column to read is not split."""
    content = "unit price\n3 5\n"
    assert list(read_table(content).columns) == ["unit", "price"]
    assert list(read_table(content, selected=["unit price"]).columns) == ["unit price"]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ('"x" "y"\n"1" 5 "a b"\n"2" 6 c\n', ["x", "y"]),
        ('"x" "y"\n"Mazda RX4" 5 "a b"\n"Datsun" 6 "c"\n', ["index", "x", "y"]),
        ("x y\nAlabama 5 6\nAlaska 7 8\n", ["index", "x", "y"]),
        ('"x"\t"y"\n"r1"\t5\ta\n"r2"\t6\tb\n', ["index", "x", "y"]),
    ],
)
def test_row_names_of_r_are_the_index(content: str, names: list[str]) -> None:
    """R's `write.table` writes a name less than columns: the first column is an index without a name."""
    table = read_table(content)
    assert list(table.columns) == names
    assert table.columns["x"] in ([5.0, 6.0], [5.0, 7.0])


def test_quoted_numbers_are_text_where_other_values_are_not_quoted() -> None:
    """Programs that quote text only write codes in quotes: they are text, and a warning says so."""
    table = read_table('"zip","n"\n"02134",1\n"00450",2\n')
    assert table.columns == {"zip": ["02134", "00450"], "n": [1.0, 2.0]}
    assert "`?types=zip:numeric`" in table.warnings[0]
    assert read_table('"zip","n"\n"2134","1"\n').columns == {"zip": [2134.0], "n": [1.0]}
    assert read_table('n,m\n"1,5",1\n"2,5",2\n').columns["n"] == ["1,5", "2,5"]
    declared = read_table('"zip","n"\n"02134",1\n', types={"zip": "numeric"})
    assert declared.columns["zip"] == [2134.0]


@pytest.mark.parametrize("content", ['a,b\n"x \\"q\\" y",1\nz,2\n', 'a,b\n1,"say \\"hi\\""\n'])
def test_quotes_after_a_backslash_are_warned_of(content: str) -> None:
    """A quote that a backslash is meant to escape is text, with a warning; a closing quote is not meant."""
    (warning,) = read_table(content).warnings
    assert "Line 2 has a backslash before a quote" in warning
    assert not read_table('a,b\n"C:\\dir\\",1\n"D:\\",2\n').warnings
    assert "a backslash does not" in refusal(lambda: read_table('a,b\n"x \\"q, r\\" y",1\n2,3\n2,3\n'))["#"]


def test_columns_can_be_left_out() -> None:
    """`ignore` leaves columns out by name, unnamed ones by number; an unknown name is an error."""
    content = "a,,b,a,\n1,2,3,4,5\n"
    assert read_table(content, ignore=["column_2", "a", "column_5"]).columns == {"b": [3.0]}
    assert "columns 2, 5 have no name" in refusal(lambda: read_table(content, ignore=["a"]))["#"]
    found = refusal(lambda: read_table("apple,b\n1,2\n", ignore=["aple"]))
    assert found == {"?ignore": "There is no column `aple`: did you mean `apple`?"}
    assert "no column is left" in refusal(lambda: read_table("a\n1\n", ignore=["a"]))["#"]


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1,x,\n2,,\n3,y,\n",
        "a,b,\n1,x,\n2,,\n3,y,\n",
        "a,b,\n1,x\n2,\n3,y\n",
        "a,b, , \n1,x,,\n2,,,\n3,y,,\n",
        "a;b\n1;x;\n2;;\n3;y;\n",
        "a\tb\n1\tx\t\n2\t\t\n3\ty\t\n",
        ",a,b\n,1,x\n,2,\n,3,y\n",
        "a,,b\n1,,x\n2,,\n3,,y\n",
    ],
)
@pytest.mark.parametrize("selected", [None, ["a", "b"]], ids=["data", "for a model"])
def test_columns_without_name_and_values_are_left_out(content: str, selected: list[str] | None) -> None:
    """A delimiter at the end of every line, or an empty column anywhere, is no column; the report says so."""
    table = read_table(content, selected)
    assert table.columns == {"a": [1, 2, 3], "b": ["x", None, "y"]}
    is_in_rows = not content.startswith("a,b,\n1,x\n")
    assert [each for each in table.warnings if "no value" in each] == table.warnings
    assert len(table.warnings) == is_in_rows


def test_quotes_are_a_value_at_the_end_of_a_line() -> None:
    """An empty text in quotes, as R writes it after the names of rows, is no trailing delimiter."""
    table = read_table('"a"\t"b"\n"r1"\t5\t""\n"r2"\t6\t""\n')
    assert table.columns == {"index": ["r1", "r2"], "a": [5, 6], "b": ["", ""]}


def test_a_late_value_in_a_column_without_name_is_an_error() -> None:
    """A column that is empty in the first rows only is not lost silently."""
    content = "a,b\n" + "1,x,\n" * 2000 + "2,y,z\n"
    (detail,) = refusal(lambda: read_table(content)).values()
    assert detail == (
        'Column 3 has no name, but a value in row 2000, "z"; name it, or leave it out with '
        "`?ignore=column_3`."
    )
    assert read_table(content, ignore=["column_3"]).columns["a"][-1] == 2
    assert read_table(content.replace("z", "")).columns["a"][-1] == 2


def test_spaces_separate_numbers_with_a_decimal_comma() -> None:
    """A decimal comma is no delimiter where spaces separate the header, declared or not."""
    content = "  a    b\n 1,5  2,25\n10,5 -3,0\n"
    assert read_table(content, decimal=",").columns == {"a": [1.5, 10.5], "b": [2.25, -3.0]}
    assert read_table(content).columns == {"a": ["1,5", "10,5"], "b": ["2,25", "-3,0"]}


@given(st.lists(st.lists(st.text('ab",; \n\r', max_size=6), min_size=2, max_size=3), min_size=1, max_size=4))
def test_records_are_those_of_pythons_reader(rows: list[list[str]]) -> None:
    """What Python's csv module writes is split into the same cells."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    assert [record.cells for record in records(text.getvalue(), ",")] == rows


@pytest.mark.parametrize(
    ("written", "name"),
    [("a", "a"), (" a", "a"), ('" a"', " a"), ('"a "', "a"), ("'=a", "=a"), ("'=a", "'=a"), ("=a", "=a")],
)
def test_a_model_finds_its_columns_however_the_names_are_written(written: str, name: str) -> None:
    """Spaces in quotes and escaped formulas are accepted with and without them, if the model has the name."""
    table = read(f"{written},b\n1,2\n".encode(), selected=[name])
    assert isinstance(table, pa.Table)
    assert table[name].to_pylist() == [1]
