"""Windows of time series: which rows form a window, and windows as views of the rows' tensors.

    rows ─ sort_series ─▶ Series ─ first_positions ─▶ windows ─ by_split ─▶ windows of each split

A window is `lags` consecutive rows of one series, the inputs, followed by `horizon` rows, the targets. Rows
are encoded once, in the order of their series. A window is then a range of these rows, so that all windows
together are a view of the encoded tensor, not copies of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch

from service.datasets.prepare.split import SplitRows
from service.datasets.prepare.split_keys import codes, times
from service.datasets.rows import Rows, as_tensor, select_rows
from service.datasets.sources.columns import DATETIME
from service.datasets.timestamps import rfc3339
from service.datasets.validation import Cells, count_of, quote_value
from service.specs.reading import CellOptions
from service.specs.split import SPLIT_NAMES, SplitName

# A series is regular if at most this share of the steps between its rows is longer than 1.5 median steps.
MAX_GAP_SHARE = 0.15


@dataclass(frozen=True)
class SeriesWindow:
    """The shape of the windows, and the columns that order and divide the rows.

    Attributes:
        order: Column that orders the rows of a series.
        by: Columns whose values identify a series; empty if all rows are one series.
        lags: Number of rows of the inputs.
        horizon: Number of rows of the targets.
    """

    order: str
    by: tuple[str, ...]
    lags: int
    horizon: int

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that order and identify the series."""
        return (self.order, *self.by)

    @property
    def rows(self) -> int:
        """Number of rows of a window, inputs and targets."""
        return self.lags + self.horizon

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Restore from the fields as JSON."""
        return cls(**{**document, "by": tuple(document["by"])})

    def input_shape(self, row: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of an input of one window, from that of one row."""
        return (self.lags, *row)

    def target_shape(self, row: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the targets of one window, from that of one row: [m], or [] of classes."""
        if self.horizon == 1 and row in ((), (1,)):
            return row
        return (self.horizon, *row)

    def input_windows(self, rows: torch.Tensor) -> torch.Tensor:
        """View rows [n, k] as the inputs that begin at each of them, [n − lags + 1, lags, k]."""
        return rows.unfold(0, self.lags, 1).movedim(-1, 1)

    def target_windows(self, rows: torch.Tensor) -> torch.Tensor:
        """View rows [n, m] or [n] as the targets of the windows that begin at each of them.

        Returns:
            [n − lags − horizon + 1, …] with the shape of `target_shape`.
        """
        following = rows[self.lags :].unfold(0, self.horizon, 1).movedim(-1, 1)
        return following.reshape(len(following), *self.target_shape(tuple(rows.shape[1:])))

    def window_weights(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the weights of the windows that begin at each row, from those of rows [n].

        Returns:
            [n − lags − horizon + 1]: the mean weight of the rows of the targets.
        """
        return rows[self.lags :].unfold(0, self.horizon, 1).mean(dim=1)


@dataclass(frozen=True, eq=False)
class Series:
    """Rows in the order of their series: the rows of each series together, ascending by `order`.

    Attributes:
        rows: Row numbers of the table, int64 [n], or a range if the rows are in this order already.
        group: Number of the series of each, ascending, int64 [n].
        order: Value of the order column of each: microseconds since 1970 or a number, [n].
        names: Values of `by` of each series, by its number.
    """

    rows: Rows
    group: torch.Tensor
    order: torch.Tensor
    names: Sequence[tuple[object, ...]]

    def first_positions(self, length: int) -> torch.Tensor:
        """Return the positions at which `length` rows of one series begin, int64 [windows]."""
        if len(self.rows) < length:
            return torch.zeros(0, dtype=torch.int64)
        return (self.group[: len(self.group) - length + 1] == self.group[length - 1 :]).nonzero()[:, 0]

    def row_numbers(self, positions: torch.Tensor) -> torch.Tensor:
        """Return the row numbers at positions, int64."""
        return as_tensor(self.rows)[positions]

    def positions(self, rows: Rows) -> torch.Tensor:
        """Return the positions of row numbers, int64; all of them are rows of the series."""
        if isinstance(self.rows, range):
            return as_tensor(rows) - self.rows.start
        ascending, position = self._ascending
        return position[torch.searchsorted(ascending, as_tensor(rows))]

    @cached_property
    def _ascending(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The row numbers in ascending order, and the position of each, int64 [n]."""
        ascending, position = as_tensor(self.rows).sort()
        return ascending, position

    def short(self, length: int) -> list[tuple[str, int]]:
        """Return name and number of rows of each series that has fewer than `length` rows."""
        counts = torch.bincount(self.group, minlength=len(self.names)).tolist()
        return [
            (_series_name(name), count)
            for name, count in zip(self.names, counts, strict=True)
            if count < length
        ]

    def longest(self) -> int:
        """Return the number of rows of the longest series."""
        return int(torch.bincount(self.group).max()) if len(self.group) else 0


def _series_name(values: Sequence[object]) -> str:
    return ", ".join(map(quote_value, values))


def sort_series(
    window: SeriesWindow, table: pa.Table, rows: Rows, cells_of: Callable[[str], Cells]
) -> Series | None:
    """Sort rows by series and order.

    Args:
        window: The columns.
        table: The table.
        rows: Numbers of the n rows to sort.
        cells_of: Returns the cells of a column in these rows. They receive an error for each missing value,
            and for each row that has the same order as another one of its series.

    Returns:
        The sorted rows; None after an error.
    """
    columns = {name: select_rows(table[name], rows) for name in window.columns}
    missing = False
    for name, column in columns.items():
        is_null = torch.from_numpy(column.is_null().to_numpy().copy())  # bool [n]
        cells_of(name).add_errors(is_null, lambda _: "is missing, and `window` needs a value in every row")
        missing = missing or bool(is_null.any())
    if missing:
        return None
    group, names = _number_series([columns[name] for name in window.by], len(as_tensor(rows)))
    order = times(columns[window.order], CellOptions(), cells_of(window.order))
    sequence = torch.from_numpy(np.lexsort((order.numpy(), group.numpy())))  # int64 [n], positions in `rows`
    group, order = group[sequence], order[sequence]
    repeated = (group[1:] == group[:-1]) & (order[1:] == order[:-1])
    if repeated.any():
        _report_repeated(window, repeated, sequence, rows, cells_of(window.order))
        return None
    is_sorted = isinstance(rows, range) and torch.equal(sequence, torch.arange(len(sequence)))
    return Series(rows if is_sorted else as_tensor(rows)[sequence], group, order, names)


def _number_series(
    columns: Sequence[pa.ChunkedArray], rows: int
) -> tuple[torch.Tensor, list[tuple[object, ...]]]:
    """Number the distinct combinations of values, ascending.

    Returns:
        The number of each row, int64 [rows], and the values of each combination.
    """
    if not columns:
        return torch.zeros(rows, dtype=torch.int64), [()]
    numbers = np.stack(
        [codes(column, CellOptions()).numpy() for column in columns], axis=1
    )  # [rows, columns]
    _, first, inverse = np.unique(numbers, axis=0, return_index=True, return_inverse=True)
    names = list(zip(*(column.take(pa.array(first)).to_pylist() for column in columns), strict=True))
    return torch.from_numpy(inverse.reshape(-1).astype(np.int64)), names


def _report_repeated(
    window: SeriesWindow, repeated: torch.Tensor, sequence: torch.Tensor, rows: Rows, cells: Cells
) -> None:
    """Report each row that has the same order as the row before it.

    Args:
        window: The columns.
        repeated: Whether each row but the first equals the one before it, bool [n − 1], in the order of the
            series.
        sequence: Positions in `rows` in the order of the series, int64 [n].
        rows: Row numbers, [n].
        cells: The cells of the order column, in the order of `rows`.
    """
    before = {
        int(sequence[i + 1]): int(as_tensor(rows)[sequence[i]]) for i in repeated.nonzero()[:, 0].tolist()
    }
    mask = torch.zeros(len(sequence), dtype=torch.bool)
    mask[list(before)] = True
    same = f" and {' and '.join(f'`{name}`' for name in window.by)}" if window.by else ""
    remedy = "remove one of them, or name the columns that distinguish the series in `by` of `window`"
    cells.add_errors(mask, lambda position: f"has the same value{same} as row {before[position]}; {remedy}")


def windows_by_split(
    window: SeriesWindow, series: Series, splits: SplitRows, whole_targets: bool = True
) -> dict[SplitName, torch.Tensor]:
    """Assign windows to splits: a window belongs to the split that all rows of its targets are in.

    Its inputs may be rows of other splits. A window whose targets are in several splits belongs to none.

    Args:
        window: The shape of the windows.
        series: The rows.
        splits: Row numbers of each split.
        whole_targets: If false, only the first row of the targets counts, for rows that are drawn at random.

    Returns:
        The first position of each window, int64 [windows of the split], in the order of the series.
    """
    first = series.first_positions(window.rows)
    split_of = torch.full((len(series.rows),), -1)  # [n], index of the split of each row
    for index, name in enumerate(SPLIT_NAMES):
        split_of[series.positions(getattr(splits, name))] = index
    if not len(first):
        return dict.fromkeys(SPLIT_NAMES, first)
    targets = split_of[window.lags :].unfold(0, window.horizon, 1)[first]  # [windows, horizon]
    if not whole_targets:
        targets = targets[:, :1]
    low, high = targets.aminmax(dim=1)
    assigned = torch.where(low == high, low, -1)
    return {name: first[assigned == index] for index, name in enumerate(SPLIT_NAMES)}


def gap_warning(window: SeriesWindow, series: Series) -> str | None:
    """Warn of gaps in a series whose rows otherwise follow each other at regular steps; None without any."""
    steps = series.order.diff().double()[series.group.diff() == 0]
    if not len(steps):
        return None
    gaps = steps > 1.5 * steps.median()
    if not 0 < gaps.double().mean() <= MAX_GAP_SHARE:
        return None
    last = (series.group.diff() == 0).nonzero()[:, 0][gaps]  # positions of the rows before the gaps
    return (
        f"`{window.order}` has {count_of(len(last), 'gap')}, the first after row "
        f"{int(series.row_numbers(last[:1]))}. A window counts rows, not time: it spans a gap as if no time "
        "had passed. Add the missing rows if that matters."
    )


def leaks(window: SeriesWindow, series: Series, splits: Mapping[SplitName, torch.Tensor]) -> bool:
    """Return whether a training window comes after a validation or test window of the same series."""
    held_out = torch.cat([splits["validation"], splits["test"]])
    if not len(held_out) or not len(splits["train"]):
        return False
    latest = torch.full((len(series.names),), -1)  # position of the last training window of each series
    latest.scatter_reduce_(0, series.group[splits["train"]], splits["train"], "amax")
    return bool((held_out < latest[series.group[held_out]]).any())


def identify(window: SeriesWindow, table: pa.Table, rows: Rows) -> dict[str, list[Any]]:
    """Return the values of `order` and `by` in rows, as JSON."""
    return {name: _as_json(select_rows(table[name], rows)) for name in window.columns}


def _as_json(column: pa.ChunkedArray) -> list[Any]:
    values = column.to_pylist()
    if column.type == DATETIME:
        return [rfc3339(value) for value in values]
    return [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
