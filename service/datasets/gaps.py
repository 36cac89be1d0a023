"""Missing values: which rows are left out for them, and which columns may not have any."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from service.datasets.columns import TEXT
from service.datasets.dataset import TabularDataset
from service.datasets.declaration import Declared
from service.datasets.mistakes import Mistakes, counted
from service.datasets.rows import Rows, as_tensor
from service.datasets.transforms.resolve import Step
from service.specs.transforms import DropRows, Impute


def complete_rows(declared: Declared, steps: list[Step]) -> Rows:
    """The rows that no `drop_rows` leaves out."""
    columns = [step.column for step in steps if isinstance(step.transform, DropRows)]
    if not any(_column(declared, name).null_count for name in columns):
        return range(declared.dataset.rows)
    keep = np.logical_and.reduce([_present(declared, name) for name in columns])
    return torch.from_numpy(np.flatnonzero(keep))


def check_complete(declared: Declared, steps: list[Step], kept: Rows, mistakes: Mistakes) -> None:
    """Note each column that lacks values in rows that are kept, and says nothing of what to do with them."""
    filled = {step.column for step in steps if isinstance(step.transform, Impute)}
    for name in [*declared.features, *declared.targets]:
        if name in filled or not _column(declared, name).null_count:
            continue
        numbers = as_tensor(kept).numpy()
        missing = numbers[~_present(declared, name)[numbers]]
        if len(missing):
            remedy = _remedy(name, declared)
            found = f"{counted(len(missing), 'missing value')}, the first in row {missing[0]}"
            mistakes.add(declared.places[name], f"`{name}` has {found}: {remedy}")


def _column(declared: Declared, name: str) -> pa.ChunkedArray:
    assert isinstance(declared.dataset, TabularDataset)  # tensors have no gaps
    return declared.dataset.table[name]


def _present(declared: Declared, name: str) -> NDArray[np.bool_]:
    return np.asarray(pc.is_valid(_column(declared, name)).to_numpy())


def _remedy(name: str, declared: Declared) -> str:
    drop = f'add {{"type": "drop_rows", "columns": ["{name}"]}} to `data.transforms` to leave these rows out'
    if name in declared.targets:
        return f"{drop}."
    strategy = "mode" if _column(declared, name).type == TEXT else "mean"
    fill = f'{{"type": "impute", "columns": ["{name}"], "strategy": "{strategy}"}}'
    return f"{drop}, or {fill} to fill them."
