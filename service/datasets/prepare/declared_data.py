"""A dataset with its declaration: which columns are features, targets, weights and ids."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from service.datasets.dataset import Dataset, TensorDataset
from service.datasets.prepare.encoding import TARGETS
from service.datasets.prepare.windows import SeriesWindow
from service.datasets.sources.columns import COLUMN_TYPES
from service.datasets.transforms.resolve import Columns
from service.specs.transforms import Label
from service.specs.upload import ReadOptions

TargetType = Literal["classes", "values", "binary"]
"""Targets that a loss needs: class indices; numbers; or numbers from 0 to 1, which may encode two classes."""

DATA = "#/data"
MISSING_TARGETS = "#/data/missing_targets"
WEIGHTS_POINTER = "#/data/weights"


@dataclass(frozen=True, eq=False)
class DeclaredData:
    """A dataset with the valid part of its declaration.

    Attributes:
        dataset: The dataset; its columns have the declared types.
        groups: Feature columns of each input of a table; an empty tuple for each input of tensor data.
        targets: Target columns; empty for tensor data.
        dtypes: `float32` or `int64` for each input, in the order of `groups`.
        pointers: Pointers of columns, or of tensor inputs, `targets` and `weights`.
        options: The options by which a table was read.
        classes: The declared classes; None to find them in the data.
        window: The windows of a time series; None without them.
        window_pointers: Pointers of the columns of `window`.
        weights: Column of weights, `weights` for tensors; None without weights.
        id: Columns that identify the rows.
        masks_targets: Whether missing targets are left out of loss and metrics.
        ambiguous: Columns that are declared as feature and as target, which is an error. They count as
            features, but their content is not checked.
    """

    dataset: Dataset
    groups: Mapping[str, tuple[str, ...]]
    targets: tuple[str, ...]
    dtypes: tuple[str, ...]
    pointers: Mapping[str, str]
    options: ReadOptions = field(default_factory=ReadOptions)
    classes: Sequence[Label] | None = None
    window: SeriesWindow | None = None
    window_pointers: Mapping[str, str] = field(default_factory=dict)
    weights: str | None = None
    id: tuple[str, ...] = ()
    masks_targets: bool = False
    ambiguous: Collection[str] = ()

    @property
    def features(self) -> list[str]:
        """All feature columns, in order."""
        return [column for columns in self.groups.values() for column in columns]

    @property
    def target_pointer(self) -> str:
        """Pointer of the first target."""
        return self.pointers[self.targets[0] if self.targets else TARGETS]

    @property
    def names(self) -> list[str]:
        """The columns that are encoded, in order: features, targets and weights."""
        weights = [self.weights] if self.weights is not None else []
        return list(dict.fromkeys([*self.features, *self.targets, *weights]))  # of series, some are both

    @property
    def complete_columns(self) -> list[str]:
        """The features and targets that must have no missing values."""
        return [*self.features, *self.complete_targets]

    @property
    def complete_targets(self) -> tuple[str, ...]:
        """The targets that must have no missing values."""
        return () if self.masks_targets else self.targets

    def types(self) -> dict[str, str]:
        """Return the type of each of the columns `names`; empty for tensor data."""
        if isinstance(self.dataset, TensorDataset):
            return {}
        table = self.dataset.table
        return {name: COLUMN_TYPES[table[name].type] for name in self.names}

    def id_types(self) -> dict[str, str]:
        """Return the type of each column that identifies the rows."""
        if isinstance(self.dataset, TensorDataset):
            return {}
        return {name: COLUMN_TYPES[self.dataset.table[name].type] for name in self.id}

    def read_types(self) -> dict[str, str]:
        """Return the type of each column that is read: features, targets, and the columns of windows."""
        if isinstance(self.dataset, TensorDataset) or self.window is None:
            return self.types()
        table = self.dataset.table
        return self.types() | {name: COLUMN_TYPES[table[name].type] for name in self.window.columns}

    def columns(self) -> Columns:
        """Return the columns or tensors that transforms may name."""
        if isinstance(self.dataset, TensorDataset):
            names = list(self.groups)
            return Columns(dict.fromkeys([*names, TARGETS], "tensor"), names, [TARGETS])
        types = self.types()
        if self.weights is not None:
            del types[self.weights]
        ordered = {
            name: categories
            for name, categories in self.dataset.categories.items()
            if types.get(name) == "categorical"
        }
        return Columns(types, self.features, self.targets, ordered)
