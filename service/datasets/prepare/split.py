"""Which rows train, validate and test."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from service.datasets.rows import Rows, as_tensor
from service.datasets.validation import ErrorCollector, counted
from service.errors import pointer_to
from service.specs.split import SIDES, Split


class Parts(NamedTuple):
    """Row numbers of the three parts, int64 [rows of the part], each row in one part only."""

    train: torch.Tensor
    test: torch.Tensor
    validation: torch.Tensor


_TRAIN, _VALIDATION, _TEST = range(len(SIDES))


class _Sizes(NamedTuple):
    test: int
    validation: int


def split_rows(split: Split, kept: Rows, key: torch.Tensor | None = None) -> Parts:
    """Divide rows by a split that `check_split` found nothing against.

    The rule is the chapter's: of `torch.randperm(n)` the last `int(fraction · n)` rows validate, those
    before them test, the others train, in permuted order. Rows that are named leave the permutation first.

    Args:
        split: as declared.
        kept: the n rows to divide.
        key: [n], with a rule: what it divides by. Of `stratify` and `group` equal numbers for equal
            values, of `time` numbers to sort by, of `column` the index of the side in `SIDES`.
    """
    rows = as_tensor(kept)
    order = torch.arange(len(rows))
    if split.shuffle:
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(split.seed))
    named = [*(split.test_rows or ()), *(split.validation_rows or ())]
    if named:
        order = order[~torch.isin(rows[order], torch.tensor(named))]
    sizes = _Sizes(_count(split.test, len(rows)), _count(split.validation, len(rows)))
    rule = split.rule()
    if rule is None or key is None:
        train, test, validation = _last(order, sizes)
    else:
        train, test, validation = _RULES[rule[0]](order, key, sizes)

    def numbers(positions: torch.Tensor, by_name: list[int] | None) -> torch.Tensor:
        if by_name is None:
            return rows[positions]
        chosen = torch.tensor(by_name, dtype=torch.int64)
        return chosen[torch.isin(chosen, rows)]

    return Parts(rows[train], numbers(test, split.test_rows), numbers(validation, split.validation_rows))


def _last(order: torch.Tensor, sizes: _Sizes) -> Parts:
    """The last rows validate, those before them test."""
    rest, validation = _cut(order, sizes.validation)
    train, test = _cut(rest, sizes.test)
    return Parts(train, test, validation)


def _by_time(order: torch.Tensor, key: torch.Tensor, sizes: _Sizes) -> Parts:
    """The latest rows test, those before them validate; rows of one time keep their order."""
    rest, test = _cut(torch.argsort(key, stable=True), sizes.test)
    train, validation = _cut(rest, sizes.validation)
    return Parts(train, test, validation)


def _by_stratum(order: torch.Tensor, key: torch.Tensor, sizes: _Sizes) -> Parts:
    """Each value's last rows, as many as its share of the side."""
    side = torch.zeros(len(key), dtype=torch.int64)
    _, counts = torch.unique(key, return_counts=True)
    strata = list(torch.split(order[torch.argsort(key[order], stable=True)], counts.tolist()))
    for number, size in ((_VALIDATION, sizes.validation), (_TEST, sizes.test)):
        for index, share in enumerate(_shares(size, list(map(len, strata)))):
            strata[index], taken = _cut(strata[index], share)
            side[taken] = number
    return _by_side(order, side)


def _shares(size: int, counts: Sequence[int]) -> list[int]:
    """`size` divided in proportion to `counts`: rounded down, and one more for the largest remainders."""
    total = sum(counts)
    exact = [size * count / total for count in counts]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(counts)), key=lambda index: shares[index] - exact[index])
    for index in by_remainder[: size - sum(shares)]:
        shares[index] += 1
    return shares


def _by_group(order: torch.Tensor, key: torch.Tensor, sizes: _Sizes) -> Parts:
    """Whole groups, from the last that the permutation meets to the first: each that still fits."""
    _, group_of, counts = torch.unique(key, return_inverse=True, return_counts=True)
    rows_of, groups = counts.tolist(), list(dict.fromkeys(group_of[order].tolist()))
    side = torch.zeros(len(counts), dtype=torch.int64)
    for number, size in ((_VALIDATION, sizes.validation), (_TEST, sizes.test)):
        left = size
        for group in reversed(groups):
            if side[group] == _TRAIN and rows_of[group] <= left:
                side[group] = number
                left -= rows_of[group]
    return _by_side(order, side[group_of])


def _by_column(order: torch.Tensor, key: torch.Tensor, sizes: _Sizes) -> Parts:
    """What the column says; the rows of a side keep their order."""
    return _by_side(torch.arange(len(key)), key)


def _by_side(order: torch.Tensor, side: torch.Tensor) -> Parts:
    """The rows of each side, told by its index in `SIDES`, in the order given."""
    train, validation, test = (order[side[order] == number] for number in (_TRAIN, _VALIDATION, _TEST))
    return Parts(train, test, validation)


_RULES: Mapping[str, Callable[[torch.Tensor, torch.Tensor, _Sizes], Parts]] = {
    "time": _by_time,
    "stratify": _by_stratum,
    "group": _by_group,
    "column": _by_column,
}


def check_split(
    split: Split, rows: int, kept: int, errors: ErrorCollector, pointer: str = "#/data/split"
) -> None:
    """Note what keeps rows from being split so: rows that aren't there, twice used, too few.

    Args:
        split: as declared.
        rows: how many the dataset has.
        kept: how many of them are left after rows with missing values were.
        errors: where it is noted.
        pointer: the place of `split` in the request.
    """
    if not kept:
        return  # told where they are left out
    left = counted(kept, "row") + (f" (`drop_rows` leaves no more of {rows})" if kept < rows else "")
    for side in ("validation", "test"):
        amount = getattr(split, side)
        if isinstance(amount, float) and _count(amount, kept) == 0:
            detail = f"{amount:g} of {left} is no row at all: at least {_rows_needed(amount)} are needed."
            errors.add(pointer_to(pointer, side), detail)
    seen: dict[int, str] = {}
    for side in ("validation_rows", "test_rows"):
        _check_named(getattr(split, side) or (), rows, pointer_to(pointer, side), seen, errors)
    taken = len(seen) + _count(split.validation, kept) + _count(split.test, kept)
    if taken >= kept:
        errors.add(pointer, f"Validation and test take {taken} of {left}: none is left to train on.")


def check_parts(split: Split, parts: Parts, errors: ErrorCollector, pointer: str = "#/data/split") -> None:
    """Note each side that was asked for and has no row, as may happen to a rule that takes whole groups."""
    asked = {"train": True, "validation": split.validation, "test": split.test}
    for side, wanted in asked.items():
        if wanted and not len(getattr(parts, side)):
            why = ": each group is larger than that" if split.group is not None and side != "train" else ""
            errors.add(pointer, f"No row is left for `{side}`{why}.")


def _cut(order: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(what stays, the last `count`)."""
    boundary = len(order) - count
    return order[:boundary], order[boundary:]


def _count(amount: float | None, rows: int) -> int:
    """How many of `rows` rows a fraction (float) or a count (int) asks for."""
    if amount is None:
        return 0
    return int(amount * rows) if isinstance(amount, float) else amount


def _rows_needed(fraction: float) -> int:
    """The fewest rows of which `fraction` is one row."""
    rows = math.ceil(1 / fraction)
    return rows if _count(fraction, rows) else rows + 1


def _check_named(
    named: Sequence[int], rows: int, pointer: str, seen: dict[int, str], errors: ErrorCollector
) -> None:
    for position, row in enumerate(named):
        place = pointer_to(pointer, position)
        if not 0 <= row < rows:
            errors.add(place, f"There is no row {row}: the rows are 0 to {rows - 1}.")
        elif row in seen:
            errors.add(place, f"Row {row} is named already, at {seen[row]}.")
        else:
            seen[row] = place
