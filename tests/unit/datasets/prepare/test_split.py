from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.datasets.prepare.split import SplitRows, check_split, check_split_rows, split_rows
from service.datasets.validation import ErrorCollector
from service.specs.split import Split
from tests.support.field_errors import error_details


def errors_of(rows: int, **split: Any) -> dict[str, str]:
    errors = ErrorCollector()
    check_split(Split(**split), rows, rows, errors)
    return error_details(errors)


def divided(rows: int, key: list[int] | None = None, **split: Any) -> SplitRows:
    return split_rows(Split(**split), torch.arange(rows), None if key is None else torch.tensor(key))


def test_the_default_split_is_the_end_of_a_permutation() -> None:
    """The last int(0.2 · n) rows of a seeded permutation validate; the others train in its order."""
    shuffled = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    train, test, validation = divided(11, validation=0.2)
    assert torch.equal(train, shuffled[:-2])
    assert torch.equal(validation, shuffled[-2:])
    assert len(test) == 0


def test_the_global_generator_is_left_alone() -> None:
    """A split has its own generator, so the model's initial weights do not depend on it."""
    state = torch.get_rng_state()
    divided(100, validation=0.2)
    assert torch.equal(torch.get_rng_state(), state)


def test_without_shuffle_the_order_is_kept() -> None:
    """Without `shuffle`, the last rows validate, and those before them test."""
    train, test, validation = divided(10, validation=2, test=0.3, shuffle=False)
    assert (train.tolist(), test.tolist(), validation.tolist()) == ([0, 1, 2, 3, 4], [5, 6, 7], [8, 9])


def test_listed_rows_are_removed_from_the_permutation() -> None:
    """Listed rows validate in the listed order; the others keep the order of the permutation."""
    shuffled = torch.randperm(11, generator=torch.Generator().manual_seed(3)).tolist()
    rest = [row for row in shuffled if row not in (7, 2)]
    train, test, validation = divided(11, validation_rows=[7, 2], test=2, seed=3)
    assert (train.tolist(), test.tolist(), validation.tolist()) == (rest[:-2], rest[-2:], [7, 2])


AMOUNTS = st.none() | st.integers(0, 40) | st.floats(0.01, 0.99)
NAMED = st.none() | st.lists(st.integers(0, 50), max_size=5)


@given(rows=st.integers(1, 50), validation=AMOUNTS, test=AMOUNTS, named=NAMED, shuffle=st.booleans())
def test_a_split_without_errors_is_a_partition(
    rows: int, validation: float | None, test: float | None, named: list[int] | None, shuffle: bool
) -> None:
    """Each row is in exactly one split, and at least one row trains."""
    split = Split(
        validation=validation if named is None else None,
        validation_rows=named,
        test=test,
        shuffle=shuffle,
        seed=1,
    )
    errors = ErrorCollector()
    check_split(split, rows, rows, errors)
    if not errors.count:
        splits = split_rows(split, torch.arange(rows))
        assert sorted(torch.cat(splits).tolist()) == list(range(rows))
        assert len(splits.train) > 0
        assert all(numbers.dtype == torch.int64 for numbers in splits)


@given(st.floats(1e-4, 0.5))
def test_a_fraction_below_one_row_reports_the_number_of_rows_needed(fraction: float) -> None:
    """The reported number is the smallest number of rows of which the fraction is one row."""
    detail = errors_of(1, validation=fraction)["#/data/split/validation"]
    needed = int(detail.split("at least ")[1].split()[0])
    assert int(fraction * needed) == 1
    assert int(fraction * (needed - 1)) == 0


def test_invalid_listed_rows_are_reported() -> None:
    """A row out of range, listed twice or in both splits is reported at its own pointer."""
    found = errors_of(5, validation_rows=[1, 1, 9], test_rows=[1])
    assert "already listed" in found["#/data/split/validation_rows/1"]
    assert "0 to 4" in found["#/data/split/validation_rows/2"]
    assert "#/data/split/validation_rows/0" in found["#/data/split/test_rows/0"]


def test_nothing_left_to_train_on_is_refused() -> None:
    """Validation and test must leave at least one row to train on."""
    assert "no row is left to train on" in errors_of(5, validation=3, test=2)["#/data/split"]


SEEDED = torch.randperm(10, generator=torch.Generator().manual_seed(0)).tolist()


def test_strata_have_the_same_share_in_all_splits() -> None:
    """The last rows of each stratum in the permutation validate, in proportion to its size."""
    key = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    train, test, validation = divided(10, key, validation=0.5, stratify="y")
    assert len(test) == 0
    assert sorted(key[row] for row in validation.tolist()) == [0, 0, 0, 1, 1]
    zeros = [row for row in SEEDED if key[row] == 0]
    assert [row for row in validation.tolist() if key[row] == 0] == zeros[3:]
    assert train.tolist() == [row for row in SEEDED if row not in validation.tolist()]


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.floats(0.1, 0.4), st.floats(0.1, 0.4))
def test_every_stratum_is_divided_in_proportion(key: list[int], validation: float, test: float) -> None:
    """Each share is less than one row from proportional, and split sizes are as without strata."""
    rows = len(key)
    splits = divided(rows, key, validation=validation, test=test, stratify="y")
    assert len(splits.validation) == int(validation * rows)
    assert len(splits.test) == int(test * rows)
    assert sorted(torch.cat(splits).tolist()) == list(range(rows))
    for value in set(key):
        taken = sum(key[row] == value for row in splits.validation.tolist())
        assert abs(taken - len(splits.validation) * key.count(value) / rows) < 1


@given(st.lists(st.integers(0, 8), min_size=1, max_size=60), st.integers(0, 20), st.integers(0, 20))
def test_a_group_is_in_one_split(key: list[int], validation: int, test: int) -> None:
    """No group is divided, and no split is larger than requested."""
    splits = divided(len(key), key, validation=validation, test=test, group="g")
    groups = [{key[row] for row in rows.tolist()} for rows in splits]
    assert sum(map(len, groups)) == len(set(key))
    assert len(splits.validation) <= validation
    assert len(splits.test) <= test
    assert sorted(torch.cat(splits).tolist()) == list(range(len(key)))


def test_a_split_that_no_group_fits_into_is_reported() -> None:
    """A split is reported as empty if each group is larger than its requested size."""
    split = Split(validation=2, group="g")
    errors = ErrorCollector()
    check_split_rows(split, split_rows(split, torch.arange(6), torch.tensor([0, 0, 0, 1, 1, 1])), errors)
    assert "No row is left for `validation`: each group is larger" in error_details(errors)["#/data/split"]


def test_the_latest_rows_test_and_those_before_them_validate() -> None:
    """All splits are sorted by time; rows of equal time keep their order."""
    key = [5, 1, 4, 1, 3]
    train, test, validation = divided(5, key, validation=1, test=0.2, time="when")
    assert (train.tolist(), validation.tolist(), test.tolist()) == ([1, 3, 4], [2], [0])


def test_a_column_assigns_rows_to_splits() -> None:
    """Rows are in the split that the column names, in the order of the dataset."""
    train, test, validation = divided(5, [0, 1, 2, 0, 1], column="set")
    assert (train.tolist(), validation.tolist(), test.tolist()) == ([0, 3], [1, 4], [2])


def test_dropped_rows_are_in_no_split() -> None:
    """Splits have the row numbers of the dataset, without dropped rows."""
    splits = split_rows(Split(validation=1, shuffle=False), torch.tensor([1, 4, 9]))
    assert (splits.train.tolist(), splits.validation.tolist()) == ([1, 4], [9])


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"validation": 1, "validation_rows": [1]}, "`validation` or `validation_rows`"),
        ({"test_rows": [1], "test_dataset_id": "ds_1"}, "`test_rows` or `test_dataset_id`"),
        ({"validation": 1, "stratify": "a", "group": "b"}, "`stratify` or `group`"),
        ({"validation_rows": [1], "group": "b"}, "`group` or `validation_rows`"),
        ({"column": "set", "test": 0.2}, "remove `test`"),
        ({"time": "when"}, "give `validation`, `test` or both"),
    ],
)
def test_two_rules_at_once_are_refused(split: dict[str, Any], words: str) -> None:
    """A split can be declared in one way only, and one rule applies to all splits."""
    with pytest.raises(ValueError, match=words):
        Split(**split)


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (1.5, "less than 1"),
        (-0.5, "greater than 0"),
        (-1, "greater than or equal to 0"),
        ("half", "valid integer"),
    ],
)
def test_an_invalid_amount_has_one_error(amount: Any, words: str) -> None:
    """A float is checked as a fraction and an integer as a count, never as both."""
    with pytest.raises(ValidationError) as raised:
        Split(validation=amount)
    (error,) = raised.value.errors()
    assert words in error["msg"]


def test_rows_out_of_range_are_reported_together() -> None:
    """Each row number that is negative or too large is reported at its pointer."""
    assert errors_of(3, validation_rows=[40, -1], test_rows=[0]) == {
        "#/data/split/validation_rows/0": "Row 40 does not exist; the rows are 0 to 2.",
        "#/data/split/validation_rows/1": "Row -1 does not exist; the rows are 0 to 2.",
    }


@pytest.mark.parametrize("fraction", [1e-300, 5e-324, 1e-12])
def test_a_fraction_of_nothing_has_a_short_error(fraction: float) -> None:
    """No number of rows is advised that no dataset has."""
    (detail,) = errors_of(10, validation=fraction).values()
    assert detail.endswith("is less than one row; give a larger fraction, or a number of rows.")
