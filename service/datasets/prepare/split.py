"""Division of rows into the splits train, validation and test."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from service.datasets.rows import Rows, as_tensor
from service.datasets.validation import ErrorCollector, count_of
from service.errors import pointer_to
from service.specs.split import SPLIT_NAMES, Split


class SplitRows(NamedTuple):
    """Row numbers of the three splits, int64 [rows of the split]; each row is in one split only."""

    train: torch.Tensor
    test: torch.Tensor
    validation: torch.Tensor


_LEAST_FRACTION = 1e-9  # no dataset has enough rows for a smaller one
_TRAIN, _VALIDATION, _TEST = range(len(SPLIT_NAMES))


class _Sizes(NamedTuple):
    """Numbers of rows to hold out."""

    test: int
    validation: int


def split_rows(
    split: Split, kept: Rows, key: torch.Tensor | None = None, whole_times: bool = False
) -> SplitRows:
    """Divide rows into train, validation and test.

    Without a rule, of `torch.randperm(n)` the last `int(fraction · n)` rows are the validation split, those
    before them the test split, and the others the training split, in permuted order. Rows that are listed by
    number (`validation_rows`, `test_rows`) are removed from the permutation first.

    Args:
        split: The declared split, without errors of `check_split`.
        kept: Numbers of the n rows to divide.
        key: With a rule, the values to divide by, [n]. For `stratify` and `group`, equal numbers for equal
            values; for `time`, numbers to sort by; for `column`, the index of the split in `SPLIT_NAMES`.
        whole_times: Whether `time` keeps rows of equal times together, in the later split, so that all rows
            of a split are later than those of the splits before it.
    """
    rows = as_tensor(kept)  # [n]
    order = torch.arange(len(rows))  # [n], positions in `rows`
    if split.shuffle:
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(split.seed))
    listed = [*(split.test_rows or ()), *(split.validation_rows or ())]
    if listed:
        order = order[~torch.isin(rows[order], torch.tensor(listed))]  # [n − listed]
    sizes = _Sizes(_row_count(split.test, len(rows)), _row_count(split.validation, len(rows)))
    rule = split.rule()
    if rule is None or key is None:
        train, test, validation = _split_in_order(order, sizes)
    else:
        divide = _split_by_whole_times if whole_times and split.time is not None else _RULES[rule[0]]
        train, test, validation = divide(order, key, sizes)

    def row_numbers(positions: torch.Tensor, listed: list[int] | None) -> torch.Tensor:
        if listed is None:
            return rows[positions]
        chosen = torch.tensor(listed, dtype=torch.int64)
        return chosen[torch.isin(chosen, rows)]  # without rows that were dropped for missing values

    return SplitRows(
        rows[train], row_numbers(test, split.test_rows), row_numbers(validation, split.validation_rows)
    )


# The functions below return positions in `rows` (and in `key`), not row numbers. `order` is [m], `key` [n];
# m < n only if rows are listed by number, which excludes a rule.


def _split_in_order(order: torch.Tensor, sizes: _Sizes) -> SplitRows:
    """Take the last rows for validation, and those before them for test."""
    rest, validation = _cut_tail(order, sizes.validation)
    train, test = _cut_tail(rest, sizes.test)
    return SplitRows(train, test, validation)


def _split_by_time(order: torch.Tensor, key: torch.Tensor, sizes: _Sizes) -> SplitRows:
    """Take the latest rows for test, and those before them for validation; equal times keep their order."""
    rest, test = _cut_tail(torch.argsort(key, stable=True), sizes.test)
    train, validation = _cut_tail(rest, sizes.validation)
    return SplitRows(train, test, validation)


def _split_by_whole_times(order: torch.Tensor, key: torch.Tensor, sizes: _Sizes) -> SplitRows:
    """Do the same, but move each boundary back to the first row of equal time."""
    ascending = torch.argsort(key, stable=True)
    times, start = key[ascending], len(key)  # [n], position of the first row of the later split
    starts = []
    for size in (sizes.test, sizes.validation):
        if size:
            start = int(torch.searchsorted(times, times[max(start - size, 0)]))
        starts.append(start)
    first_test, first_validation = starts
    return SplitRows(
        ascending[:first_validation], ascending[first_test:], ascending[first_validation:first_test]
    )


def _split_by_stratum(order: torch.Tensor, key: torch.Tensor, sizes: _Sizes) -> SplitRows:
    """Take the last rows of each stratum, in proportion to its size."""
    assigned = torch.zeros(len(key), dtype=torch.int64)  # [n], index of the split of each row
    _, counts = torch.unique(key, return_counts=True)  # ascending keys, as the stable sort below
    strata = list(torch.split(order[torch.argsort(key[order], stable=True)], counts.tolist()))
    for index, size in ((_VALIDATION, sizes.validation), (_TEST, sizes.test)):
        # Each stratum shrinks by the rows held out for validation before its share of test is computed.
        for stratum, share in enumerate(_apportion(size, list(map(len, strata)))):
            strata[stratum], held_out = _cut_tail(strata[stratum], share)
            assigned[held_out] = index
    return _collect(order, assigned)


def _apportion(size: int, counts: Sequence[int]) -> list[int]:
    """Divide `size` in proportion to `counts`, by the largest remainder method."""
    total = sum(counts)
    exact = [size * count / total for count in counts]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(counts)), key=lambda index: shares[index] - exact[index])
    for index in by_remainder[: size - sum(shares)]:
        shares[index] += 1
    return shares


def _split_by_group(order: torch.Tensor, key: torch.Tensor, sizes: _Sizes) -> SplitRows:
    """Take whole groups while they fit, from the last group in the permutation to the first.

    Groups are ordered by their first row in `order`. A group larger than the remaining size is skipped, so a
    split may be smaller than requested.
    """
    _, group_of, counts = torch.unique(key, return_inverse=True, return_counts=True)  # group_of: [n]
    group_sizes, groups = counts.tolist(), list(dict.fromkeys(group_of[order].tolist()))
    assigned = torch.zeros(len(counts), dtype=torch.int64)  # [groups], index of the split of each group
    for index, size in ((_VALIDATION, sizes.validation), (_TEST, sizes.test)):
        remaining = size
        for group in reversed(groups):
            if assigned[group] == _TRAIN and group_sizes[group] <= remaining:
                assigned[group] = index
                remaining -= group_sizes[group]
    return _collect(order, assigned[group_of])


def _split_by_column(order: torch.Tensor, key: torch.Tensor, sizes: _Sizes) -> SplitRows:
    """Assign each row as its key says, in the order of the dataset."""
    return _collect(torch.arange(len(key)), key)


def _collect(order: torch.Tensor, assigned: torch.Tensor) -> SplitRows:
    """Collect the rows of each split in the given order.

    Args:
        order: Positions of the rows, [m].
        assigned: Index in `SPLIT_NAMES` of the split of each row, by its position, [n].
    """
    train, validation, test = (order[assigned[order] == index] for index in (_TRAIN, _VALIDATION, _TEST))
    return SplitRows(train, test, validation)


_RULES: Mapping[str, Callable[[torch.Tensor, torch.Tensor, _Sizes], SplitRows]] = {
    "time": _split_by_time,
    "stratify": _split_by_stratum,
    "group": _split_by_group,
    "column": _split_by_column,
}


def check_split(
    split: Split, rows: int, kept: int, errors: ErrorCollector, pointer: str = "#/data/split"
) -> None:
    """Check that rows can be divided: listed rows exist and appear once, and there are enough rows.

    Args:
        split: The declared split.
        rows: Number of rows of the dataset.
        kept: Number of rows left after `drop_rows`.
        errors: Receives the errors.
        pointer: Location of `split` in the request.
    """
    if not kept:
        return  # `check_rows_left` reports it
    available = count_of(kept, "row") + (f" ({rows} before `drop_rows`)" if kept < rows else "")
    for name in ("validation", "test"):
        amount = getattr(split, name)
        if isinstance(amount, float) and _row_count(amount, kept) == 0:
            if amount < _LEAST_FRACTION:
                remedy = "give a larger fraction, or a number of rows."
            else:
                remedy = f"at least {_min_rows(amount)} rows are needed."
            detail = f"{amount:g} of {available} is less than one row; {remedy}"
            errors.add(pointer_to(pointer, name), detail)
    seen: dict[int, str] = {}  # pointer of each listed row
    for name in ("validation_rows", "test_rows"):
        _check_listed(getattr(split, name) or (), rows, pointer_to(pointer, name), seen, errors)
    held_out = len(seen) + _row_count(split.validation, kept) + _row_count(split.test, kept)
    if held_out >= kept:
        errors.add(
            pointer, f"Validation and test take {held_out} of {available}; no row is left to train on."
        )


def check_split_rows(
    split: Split, splits: SplitRows, errors: ErrorCollector, pointer: str = "#/data/split"
) -> None:
    """Check that each requested split has a row; a rule may leave one empty."""
    requested = {"train": True, "validation": split.validation, "test": split.test}
    for name, wanted in requested.items():
        if wanted and not len(getattr(splits, name)):
            is_group = split.group is not None and name != "train"
            reason = ": each group is larger than the requested size" if is_group else ""
            errors.add(pointer, f"No row is left for `{name}`{reason}.")


def _cut_tail(order: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Divide into (the rest, the last `count`)."""
    boundary = len(order) - count
    return order[:boundary], order[boundary:]


def _row_count(amount: float | None, rows: int) -> int:
    """Convert a fraction (float) or a count (int) of `rows` rows to a number of rows."""
    if amount is None:
        return 0
    return int(amount * rows) if isinstance(amount, float) else amount


def _min_rows(fraction: float) -> int:
    """Return the smallest number of rows of which `fraction` is at least one row."""
    rows = math.ceil(1 / fraction)
    return rows if _row_count(fraction, rows) else rows + 1  # `fraction · rows` may round to less than 1


def _check_listed(
    listed: Sequence[int], rows: int, pointer: str, seen: dict[int, str], errors: ErrorCollector
) -> None:
    """Check rows that are listed by number, and add them to `seen`."""
    for position, row in enumerate(listed):
        row_pointer = pointer_to(pointer, position)
        if not 0 <= row < rows:
            errors.add(row_pointer, f"Row {row} does not exist; the rows are 0 to {rows - 1}.")
        elif row in seen:
            errors.add(row_pointer, f"Row {row} is already listed at {seen[row]}; list it once.")
        else:
            seen[row] = row_pointer
