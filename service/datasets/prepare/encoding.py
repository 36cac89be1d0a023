"""The encoding of a job's data as tensors, stored with the model so that predictions use the same one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Self

import torch

from service.datasets.prepare.input_ranges import InputRange, Limits, limits_of
from service.datasets.prepare.table_reading import TableReading
from service.datasets.prepare.windows import SeriesWindow
from service.datasets.sources.cell_texts import GAPS
from service.datasets.transforms import pipeline
from service.datasets.transforms.categories import FittedCategories
from service.datasets.transforms.fitted import FittedTransform, ValueRange
from service.datasets.transforms.hashing import FittedHash
from service.datasets.transforms.registry import from_document
from service.specs.reading import ColumnType
from service.specs.transforms import Label
from service.specs.upload import ReadOptions

TARGETS, WEIGHTS = "targets", "weights"
"""Names of the targets, also in transforms, and of the weights of tensor data."""
IGNORED = -100
"""Encoded target of rows whose label is no class: PyTorch's default `ignore_index`, and no index."""


@dataclass(frozen=True)
class Encoding:
    """The columns, fitted transforms and classes that map raw data to tensors, and outputs to target units.

    Attributes:
        input_names: Names of the model's inputs, in order; the single input of a table is `input`.
        sample_shapes: Shape of one sample of each input, without the batch dimension; of windows, of one row.
        target_shape: Shape of one sample of the targets; empty for class indices [B]; of windows, of one row.
        flat_targets: Whether the single target column, or the two labels in it, is [B] instead of [B, 1], for
            a model that returns [B].
        groups: Feature columns of each input by its name; empty for tensor data.
        targets: Target columns, in order; empty for tensor data.
        types: Type of each feature and target column of a table, of the columns of `window`, and of those of
            weights and ids.
        transforms: Fitted transforms of features and targets; those of one column are in order.
        classes: Labels of the classes in the order of their outputs; the two labels of a binary target; None
            for numeric targets.
        class_values: Values of the target by class where `classes` are names for them; None where the values
            are the labels.
        class_outputs: Output of each class, ascending; None where class i has output i. An output without a
            class is that of `ignored`.
        ignored: Value of the target that is no class, the `ignore_index` of the loss; it is encoded as
            `IGNORED`. None where the loss has none, or the target is text or boolean.
        column_classes: Labels that stand for 0 and 1, by column, of several binary targets; columns of
            numbers have none.
        dtypes: `float32` or `int64` for each input; if empty, all inputs are float32.
        reading: The options by which the training data were read, as far as they were set, without types.
        words: Words for a missing value that are texts in the data, by column.
        window: How rows are joined to windows; None if each row is a sample.
        weights: Column of the weights of rows in the loss, `weights` for tensors; None without weights.
        id: Columns that identify the rows, and are no features.
        masks_targets: Whether missing targets are encoded as NaN and left out of loss and metrics.
        dropping: Columns of `drop_rows`: training and evaluations leave out rows without a value in them.
        model_input: The model's name of a single input; None for several, which have the same names in both.
        input_ranges: Ranges of numeric inputs in the training rows, by input; see `far_inputs`.
    """

    input_names: tuple[str, ...]
    sample_shapes: tuple[tuple[int, ...], ...]
    target_shape: tuple[int, ...]
    flat_targets: bool = field(default=False, kw_only=True)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    transforms: tuple[FittedTransform, ...] = ()
    classes: tuple[Label, ...] | None = None
    class_values: tuple[Label, ...] | None = None
    class_outputs: tuple[int, ...] | None = None
    ignored: int | None = None
    column_classes: Mapping[str, tuple[Label, Label]] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ()
    reading: ReadOptions = field(default_factory=ReadOptions)
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    window: SeriesWindow | None = None
    weights: str | None = None
    id: tuple[str, ...] = ()
    masks_targets: bool = False
    dropping: tuple[str, ...] = ()
    model_input: str | None = None
    input_ranges: Mapping[str, tuple[InputRange, ...]] = field(default_factory=dict, compare=False)

    @property
    def is_binary(self) -> bool:
        """True if the two classes are encoded as 0 and 1, float32, instead of as indices."""
        return self.classes is not None and self.target_shape == (1,)

    @property
    def target_dtype(self) -> torch.dtype:
        """int64 for class indices, otherwise float32."""
        return torch.int64 if self.classes is not None and not self.is_binary else torch.float32

    @property
    def values_by_class(self) -> tuple[Label, ...]:
        """The value of the target for each class; empty for numeric targets."""
        return self.class_values or self.classes or ()

    @property
    def outputs_by_class(self) -> Sequence[int]:
        """The output of each class, ascending; the encoded target of its rows."""
        return self.class_outputs or range(len(self.classes or ()))

    @property
    def features(self) -> tuple[str, ...]:
        """The feature columns of all inputs, in order; empty for tensor data."""
        return tuple(column for columns in self.groups.values() for column in columns)

    @property
    def read_columns(self) -> tuple[str, ...]:
        """The columns that a prediction needs: features, and those of windows; empty for tensor data."""
        return tuple(dict.fromkeys((*self.features, *(self.window.columns if self.window else ()))))

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each input of the model by its name, without the batch dimension."""
        window = self.window
        shapes = dict(zip(self.input_names, self.sample_shapes, strict=True))
        return shapes if window is None else {name: window.input_shape(row) for name, row in shapes.items()}

    @property
    def batch_target_shape(self) -> tuple[int, ...]:
        """Shape of the targets of the model, without the batch dimension."""
        if self.flat_targets:
            return ()
        return self.target_shape if self.window is None else self.window.target_shape(self.target_shape)

    @property
    def labelled_columns(self) -> tuple[str, ...]:
        """The columns that an evaluation reads: those of a prediction, targets and weights."""
        weights = () if self.weights is None or not self.groups else (self.weights,)
        return tuple(dict.fromkeys((*self.read_columns, *self.targets, *weights)))

    @property
    def sample_bytes(self) -> int:
        """Size of one sample of all inputs, in bytes."""
        shapes = self.input_shapes.items()
        return sum(math.prod(shape) * self.dtype(name).itemsize for name, shape in shapes)

    def dtype(self, name: str) -> torch.dtype:
        """Return the dtype of an input, float32 or int64."""
        by_name = dict(zip(self.input_names, self.dtypes, strict=False))
        return torch.int64 if by_name.get(name) == "int64" else torch.float32

    def transforms_of(self, column: str) -> list[FittedTransform]:
        """Return the fitted transforms of a column or a tensor, in order."""
        return self._transforms_by_column.get(column, [])

    @cached_property
    def _transforms_by_column(self) -> dict[str, list[FittedTransform]]:
        return pipeline.by_column(self.transforms)

    def titles(self, name: str) -> list[str]:
        """Name the k columns of an input [B, k] of a table: `age`, `island=Biscoe`, `age_missing`."""
        columns = self.groups[name]
        return [title for column in columns for title in pipeline.titles(column, self.transforms_of(column))]

    def ranges(self, name: str) -> dict[int, tuple[str, ValueRange]]:
        """Find the columns of an input [B, k] whose values have a range that does not depend on the data.

        Returns:
            Feature column and range, by position in 0 to k − 1.
        """
        found, start = {}, 0
        for column in self.groups.get(name, ()):
            transforms = self.transforms_of(column)
            for offset, values in enumerate(pipeline.ranges(transforms)):
                if values is not None:
                    found[start + offset] = (column, values)
            start += len(pipeline.titles(column, transforms))
        return found

    def looks_up(self, column: str) -> bool:
        """Return whether a transform looks up the value of a column, or its bucket."""
        return any(isinstance(each, FittedCategories | FittedHash) for each in self.transforms_of(column))

    @cached_property
    def number_columns(self) -> tuple[str, ...]:
        """The features, if their cells that are numbers need no reading; otherwise none."""
        if self.window is not None or self.reading.missing:
            return ()
        if any(self.types[name] != "numeric" or self.looks_up(name) for name in self.features):
            return ()
        return tuple(dict.fromkeys(self.features))

    @cached_property
    def table_reading(self) -> TableReading:
        """Types and options by which a table that is sent to the model is read."""
        return TableReading(self.types, self.reading, {name: self._known_words(name) for name in self.types})

    @cached_property
    def input_limits(self) -> dict[str, Limits]:
        """The values of each input that are not far outside its ranges, by input; without ranges none."""
        widths = {
            name: shape[-1] if self.groups else 1
            for name, shape in zip(self.input_names, self.sample_shapes, strict=True)
        }
        return {name: limits_of(ranges, widths[name]) for name, ranges in self.input_ranges.items()}

    def _known_words(self, name: str) -> set[str]:
        """Return the words for a missing value that are values of a column, in the data or as categories."""
        fitted = [each for each in self.transforms_of(name) if isinstance(each, FittedCategories)]
        known = {label for each in fitted for label in each.categories if isinstance(label, str)}
        if name in self.targets:
            known |= {label for label in self.classes or () if isinstance(label, str)}
        return known & {*GAPS, *self.reading.missing} | {*self.words.get(name, ())}

    def inputs_document(self) -> list[dict[str, Any]]:
        """Describe the inputs in order, as JSON: name, shape, dtype and, for a table, titles of columns."""
        return [
            {
                "name": name,
                "shape": [None, *shape],
                "dtype": str(self.dtype(name)).removeprefix("torch."),
                "columns": self.titles(name) if self.groups else None,
            }
            for name, shape in self.input_shapes.items()
        ]

    def to_document(self) -> dict[str, Any]:
        """Convert to JSON."""
        return asdict(self) | {
            "transforms": [transform.to_document() for transform in self.transforms],
            "reading": self.reading.model_dump(exclude_unset=True),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Restore an encoding from `to_document`, also after serialization as JSON text."""
        return cls(
            input_names=tuple(document["input_names"]),
            sample_shapes=tuple(map(tuple, document["sample_shapes"])),
            target_shape=tuple(document["target_shape"]),
            flat_targets=document.get("flat_targets", False),  # not in documents of earlier versions
            groups={name: tuple(columns) for name, columns in document["groups"].items()},
            targets=tuple(document["targets"]),
            types=document["types"],
            transforms=tuple(map(from_document, document["transforms"])),
            classes=_optional_tuple(document["classes"]),
            # Documents of earlier versions lack the next four.
            class_values=_optional_tuple(document.get("class_values")),
            class_outputs=_optional_tuple(document.get("class_outputs")),
            ignored=document.get("ignored"),
            column_classes={
                name: (first, second) for name, (first, second) in document.get("column_classes", {}).items()
            },
            dtypes=tuple(document["dtypes"]),
            reading=ReadOptions.model_validate(document.get("reading", {})),
            words=document.get("words", {}),
            window=SeriesWindow.from_document(window) if (window := document.get("window")) else None,
            # Older documents lack these.
            weights=document.get("weights"),
            id=tuple(document.get("id", ())),
            masks_targets=document.get("masks_targets", False),
            dropping=tuple(document.get("dropping", ())),
            model_input=document.get("model_input"),
            input_ranges={
                name: tuple(InputRange(*each) for each in ranges)
                for name, ranges in document.get("input_ranges", {}).items()
            },
        )


def _optional_tuple(values: Sequence[Any] | None) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


def class_positions(encoding: Encoding, numbers: torch.Tensor) -> torch.Tensor:
    """Return the positions in `classes` of encoded labels [B, …] that are not `IGNORED`, int64 [B, …]."""
    return torch.searchsorted(torch.tensor(encoding.outputs_by_class), numbers.long())


def has_target_transforms(encoding: Encoding) -> bool:
    """Return whether the model's outputs have other units than the targets."""
    return any(encoding.transforms_of(name) for name in encoding.targets or (TARGETS,))


def lossy_target_transforms(encoding: Encoding) -> list[FittedTransform]:
    """Return the transforms of targets after which outputs can't be compared with the original values."""
    transforms = [each for name in encoding.targets or (TARGETS,) for each in encoding.transforms_of(name)]
    return [each for each in transforms if each.lossy()]


def in_target_units(encoding: Encoding, outputs: torch.Tensor) -> torch.Tensor:
    """Convert outputs or encoded targets to the units of the targets, by inverting the target transforms.

    Args:
        encoding: Encoding of the job that trained the model.
        outputs: [B, k], or [B, horizon, k] of windows, one column for each target, if several target columns
            have transforms; otherwise of any shape. Windows may be flat, [B, horizon · k].

    Returns:
        float64 of the shape of `outputs`, on their device.
    """
    if not has_target_transforms(encoding):
        return outputs.double()
    names = encoding.targets or (TARGETS,)
    if len(names) == 1:
        return pipeline.invert(encoding.transforms_of(names[0]), outputs)
    by_target = outputs.reshape(-1, len(names)).unbind(dim=1)  # k of [B] or [B · horizon]
    columns = [
        pipeline.invert(encoding.transforms_of(name), values)
        for name, values in zip(names, by_target, strict=True)
    ]
    return torch.stack(columns, dim=1).reshape(outputs.shape)
