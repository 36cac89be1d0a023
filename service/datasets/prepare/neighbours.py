"""Detection of rows in the order of time, whose neighbours a random split would mix."""

import pyarrow as pa
import pyarrow.compute as pc

from service.datasets.dataset import Dataset, TabularDataset
from service.datasets.prepare.declared_data import DATA
from service.datasets.sources.columns import DATETIME, INTEGER, NUMBER
from service.errors import FieldError, pointer_to
from service.specs.data import DataDeclaration

# Rows are in the order of time if at least this share of them is not earlier than the row before.
MIN_ORDERED_SHARE = 0.9
MIN_ROWS = 8  # fewer may be in order by chance
MAX_ROWS = 100_000  # rows that are looked at
# Names of numeric columns that hold times: a year with a fraction, seconds since 1970.
_TIME_NAMES = ("time", "timestamp", "date", "datetime", "year")


def neighbour_warning(data: DataDeclaration, dataset: Dataset) -> FieldError | None:
    """Warn of a random split of rows that are in the order of time; None without one.

    Neighbours of such a series are alike. If they are divided at random, the validation rows lie between
    training rows, and the validation loss does not say how well the model predicts later rows.

    Args:
        data: The data section.
        dataset: The dataset to divide.
    """
    if not data.split.is_random() or not isinstance(dataset, TabularDataset) or dataset.rows < MIN_ROWS:
        return None
    name = next((name for name in dataset.table.column_names if _is_ordered(name, dataset.table[name])), None)
    if name is None:
        return None
    return FieldError(
        pointer_to(DATA, "split"),
        f"The rows are in the order of `{name}`, and the split is random: validation rows lie between "
        "training rows that are much like them, and their loss may look better than that of later rows. To "
        f'validate on the latest rows, set `"time": "{name}"` in `split`.',
    )


def _is_ordered(name: str, column: pa.ChunkedArray) -> bool:
    """Return whether a column holds times, and nearly all rows ascend by it, or nearly all descend."""
    column = column.slice(0, MAX_ROWS).drop_null()
    is_number = column.type in (NUMBER, INTEGER)
    is_time = column.type == DATETIME or (is_number and name.lower() in _TIME_NAMES)
    if not is_time or len(column) < MIN_ROWS:
        return False
    earlier, later = column.slice(0, len(column) - 1), column.slice(1)
    ascending, descending = (
        pc.sum(compare(later, earlier)).as_py() for compare in (pc.greater_equal, pc.less_equal)
    )
    is_constant = ascending == descending == len(later)
    return not is_constant and max(ascending, descending) >= MIN_ORDERED_SHARE * len(later)
