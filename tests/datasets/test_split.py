from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from service.datasets.mistakes import Mistakes
from service.datasets.split import check_split, split_rows
from service.specs.data import Split
from tests.datasets.mistaken import noted


def mistakes_of(rows: int, **split: Any) -> dict[str, str]:
    mistakes = Mistakes()
    check_split(Split(**split), rows, mistakes)
    return noted(mistakes)


def test_the_default_rule_is_the_chapters() -> None:
    """The last int(0.2 · n) rows of a seeded permutation validate, the others train in its order."""
    shuffled = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    train, test, validation = split_rows(Split(validation=0.2), 11)
    assert torch.equal(train, shuffled[:-2])
    assert torch.equal(validation, shuffled[-2:])
    assert len(test) == 0


def test_the_global_generator_is_left_alone() -> None:
    """Splitting draws from its own generator, so the model's initial weights don't depend on it."""
    state = torch.get_rng_state()
    split_rows(Split(validation=0.2), 100)
    assert torch.equal(torch.get_rng_state(), state)


def test_without_shuffle_the_order_is_kept() -> None:
    """The last rows validate, those before them test."""
    train, test, validation = split_rows(Split(validation=2, test=0.3, shuffle=False), 10)
    assert (train.tolist(), test.tolist(), validation.tolist()) == ([0, 1, 2, 3, 4], [5, 6, 7], [8, 9])


def test_named_rows_leave_the_permutation() -> None:
    """Named rows validate in the order they are named; the others keep the permutation's order."""
    shuffled = torch.randperm(11, generator=torch.Generator().manual_seed(3)).tolist()
    rest = [row for row in shuffled if row not in (7, 2)]
    train, test, validation = split_rows(Split(validation_rows=[7, 2], test=2, seed=3), 11)
    assert (train.tolist(), test.tolist(), validation.tolist()) == (rest[:-2], rest[-2:], [7, 2])


AMOUNTS = st.none() | st.integers(0, 40) | st.floats(0.01, 0.99)
NAMED = st.none() | st.lists(st.integers(0, 50), max_size=5)


@given(rows=st.integers(1, 50), validation=AMOUNTS, test=AMOUNTS, named=NAMED, shuffle=st.booleans())
def test_a_split_without_mistakes_is_a_partition(
    rows: int, validation: float | None, test: float | None, named: list[int] | None, shuffle: bool
) -> None:
    """Each row is in exactly one part, and at least one trains."""
    split = Split(
        validation=validation if named is None else None,
        validation_rows=named,
        test=test,
        shuffle=shuffle,
        seed=1,
    )
    mistakes = Mistakes()
    check_split(split, rows, mistakes)
    if not mistakes.count:
        parts = split_rows(split, rows)
        assert sorted(torch.cat(parts).tolist()) == list(range(rows))
        assert len(parts.train) > 0
        assert all(part.dtype == torch.int64 for part in parts)


@given(st.floats(1e-4, 0.5))
def test_a_fraction_of_no_row_says_how_many_are_needed(fraction: float) -> None:
    """The number of rows in the message is the smallest that gives one row."""
    detail = mistakes_of(1, validation=fraction)["#/data/split/validation"]
    needed = int(detail.split("at least ")[1].split()[0])
    assert int(fraction * needed) == 1
    assert int(fraction * (needed - 1)) == 0


def test_impossible_rows_are_pointed_at() -> None:
    """Rows out of range, named twice or in both parts are told one by one."""
    found = mistakes_of(5, validation_rows=[1, 1, 9], test_rows=[1])
    assert "named already" in found["#/data/split/validation_rows/1"]
    assert "0 to 4" in found["#/data/split/validation_rows/2"]
    assert "#/data/split/validation_rows/0" in found["#/data/split/test_rows/0"]


def test_nothing_left_to_train_on_is_refused() -> None:
    """Validation and test together leave at least one row."""
    assert "none is left" in mistakes_of(5, validation=3, test=2)["#/data/split"]
