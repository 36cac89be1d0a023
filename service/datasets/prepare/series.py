"""Windows of a job's data: found and checked by split, and gathered as samples."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from service.datasets.dataset import TabularDataset
from service.datasets.prepare.declared_data import DATA, DeclaredData
from service.datasets.prepare.encode import Encoded
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.raw_rows import RawRows
from service.datasets.prepare.split import SplitRows
from service.datasets.prepare.windows import (
    Series,
    SeriesWindow,
    gap_warning,
    leaks,
    sort_series,
    windows_by_split,
)
from service.datasets.prepare.workspace import Workspace
from service.datasets.rows import Rows
from service.datasets.samples import Samples
from service.datasets.validation import Cells, ErrorCollector, count_of
from service.errors import FieldError, pointer_to
from service.specs.data import DataDeclaration
from service.specs.split import SplitName


@dataclass(frozen=True, eq=False)
class SplitWindows:
    """The windows of the dataset that is divided.

    Attributes:
        window: The shape of the windows.
        series: The kept rows, in the order of their series.
        first: Position in `series` of the first row of each window, int64 [n], by split.
    """

    window: SeriesWindow
    series: Series
    first: Mapping[SplitName, torch.Tensor]

    def last_rows(self) -> dict[SplitName, torch.Tensor]:
        """Return the row number of the last row of the inputs of each window, int64 [n], by split."""
        last = self.window.lags - 1
        return {name: self.series.row_numbers(first + last) for name, first in self.first.items()}


def sort_declared(declared: DeclaredData, kept: Rows, errors: ErrorCollector) -> Series | None:
    """Sort the kept rows by series and order; None without windows or after an error."""
    if declared.window is None or not isinstance(declared.dataset, TabularDataset):
        return None

    def cells_of(name: str) -> Cells:
        return Cells(name, declared.window_pointers[name], errors, kept)

    return sort_series(declared.window, declared.dataset.table, kept, cells_of)


def find_windows(
    declared: DeclaredData, data: DataDeclaration, series: Series, splits: SplitRows, errors: ErrorCollector
) -> SplitWindows:
    """Find the windows of each split; report splits without one."""
    window = declared.window
    assert window is not None
    first = windows_by_split(window, series, splits, whole_targets=not data.split.is_random())
    if not len(series.first_positions(window.rows)):
        detail = (
            f"A window needs {window.lags} + {window.horizon} consecutive rows of a series, and the longest "
            f"series has {series.longest()}; send more rows, or reduce `lags` or `horizon`."
        )
        errors.add(_window_pointer(data), detail)
        return SplitWindows(window, series, first)
    for name, positions in first.items():
        rows: torch.Tensor = getattr(splits, name)
        if len(rows) and not len(positions):
            needed = (
                f"{window.horizon} consecutive rows of the targets, after {window.lags} rows of the inputs"
            )
            remedy = "" if data.split.time else f'; to split by time, set `"time": "{window.order}"`'
            detail = f"`{name}` has {count_of(len(rows), 'row')} and no window, which needs {needed}{remedy}."
            errors.add(pointer_to(DATA, "split"), detail)
    return SplitWindows(window, series, first)


def window_warnings(declared: DeclaredData, data: DataDeclaration, windows: SplitWindows) -> list[FieldError]:
    """Warn of splits that mix the past and the future, and of series with gaps or too few rows."""
    window, found = windows.window, []
    if leaks(window, windows.series, windows.first):
        detail = (
            "Windows that are trained on come after windows of validation or test, so that their loss does "
            f'not say how well the model predicts the future; set `"time": "{window.order}"` in `split`.'
        )
        found.append(FieldError(pointer_to(DATA, "split"), detail))
    if gaps := gap_warning(window, windows.series):
        found.append(FieldError(declared.window_pointers[window.order], gaps))
    if short := windows.series.short(window.rows):
        name, rows = short[0]
        detail = (
            f"{len(short)} of {len(windows.series.names)} series have fewer rows than a window "
            f"({window.rows}) and are not used; the first is {name}, with {count_of(rows, 'row')}."
        )
        found.append(FieldError(_window_pointer(data), detail))
    return found


def _window_pointer(data: DataDeclaration) -> str:
    found = data.window()
    assert found is not None
    return pointer_to(DATA, "transforms", found[1])


def read_windows(window: SeriesWindow, raw: RawRows, pointer: str) -> RawRows | None:
    """Find all windows of a dataset that is a whole split; None after an error."""
    assert isinstance(raw.dataset, TabularDataset)
    series = sort_series(window, raw.dataset.table, raw.rows, raw.cells)
    if series is None:
        return None
    first = series.first_positions(window.rows)
    if not len(first):
        detail = (
            f"A window needs {window.lags} + {window.horizon} consecutive rows of a series, and the longest "
        )
        raw.errors.add(pointer, f"{detail}series of the dataset has {series.longest()}.")
    return raw._replace(rows=series.row_numbers(first + window.lags - 1), series=series)


def window_samples(
    encoding: Encoding, encoded: Encoded, first: torch.Tensor, workspace: Workspace
) -> Samples | None:
    """Gather windows, or view them if they are too large to be kept in memory.

    Args:
        encoding: The encoding of the rows.
        encoded: The rows, in the order of their series.
        first: Position of the first row of each window, int64 [n].
        workspace: Decides what is kept in memory.
    """
    window = encoding.window
    if not len(first) or window is None or encoded.targets is None:
        return None
    targets = window.target_windows(encoded.targets)
    inputs = tuple(window.input_windows(x)[: len(targets)] for x in encoded.inputs)
    weights = None if encoded.weights is None else window.window_weights(encoded.weights)
    views = Samples(inputs, targets, first, weights)
    return views.take(slice(None)) if workspace.holds(len(first) * encoding.sample_bytes) else views
