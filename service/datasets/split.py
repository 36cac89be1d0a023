"""Which rows train, validate and test."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from service.datasets.mistakes import Mistakes, counted
from service.errors import pointer_to
from service.specs.data import Split


class Parts(NamedTuple):
    """Row numbers of the three parts, int64 [rows of the part], each row in one part only."""

    train: torch.Tensor
    test: torch.Tensor
    validation: torch.Tensor


def split_rows(split: Split, rows: int) -> Parts:
    """Divide `rows` rows by a split that `check_split` found nothing against.

    The rule is the chapter's: of `torch.randperm(rows)` the last `int(fraction · rows)` validate, those
    before them test, the others train, in permuted order. Rows that are named leave the permutation first.
    """
    order = torch.arange(rows)
    if split.shuffle:
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(split.seed))
    named = [*(split.test_rows or ()), *(split.validation_rows or ())]
    if named:
        order = order[~torch.isin(order, torch.tensor(named))]
    order, validation = _take(order, split.validation_rows, _count(split.validation, rows))
    train, test = _take(order, split.test_rows, _count(split.test, rows))
    return Parts(train, test, validation)


def check_split(split: Split, rows: int, mistakes: Mistakes, pointer: str = "#/data/split") -> None:
    """Note what keeps `rows` rows from being split so: rows that aren't there, twice used, too few."""
    for side in ("validation", "test"):
        amount = getattr(split, side)
        if isinstance(amount, float) and _count(amount, rows) == 0:
            found = f"{amount:g} of {counted(rows, 'row')} is no row at all"
            mistakes.add(pointer_to(pointer, side), f"{found}: at least {_rows_needed(amount)} are needed.")
    seen: dict[int, str] = {}
    for side in ("validation_rows", "test_rows"):
        _check_named(getattr(split, side) or (), rows, pointer_to(pointer, side), seen, mistakes)
    taken = len(seen) + _count(split.validation, rows) + _count(split.test, rows)
    if taken >= rows:
        mistakes.add(
            pointer, f"Validation and test take {taken} of {counted(rows, 'row')}: none is left to train on."
        )


def _take(order: torch.Tensor, named: list[int] | None, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(what stays, what is taken): the named rows, which `order` no longer holds, or its last `count`."""
    if named is not None:
        return order, torch.tensor(named, dtype=torch.int64)
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
    named: Sequence[int], rows: int, pointer: str, seen: dict[int, str], mistakes: Mistakes
) -> None:
    for position, row in enumerate(named):
        place = pointer_to(pointer, position)
        if row >= rows:
            mistakes.add(place, f"There is no row {row}: the rows are 0 to {rows - 1}.")
        elif row in seen:
            mistakes.add(place, f"Row {row} is named already, at {seen[row]}.")
        else:
            seen[row] = place
