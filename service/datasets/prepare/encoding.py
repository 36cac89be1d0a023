"""How a job's data became tensors: stored with the model, so that predictions go the same way."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import torch

from service.datasets.transforms import pipeline
from service.datasets.transforms.categories import FittedOrdinal
from service.datasets.transforms.fitted import FittedTransform
from service.datasets.transforms.kinds import from_document
from service.specs.data import ColumnType
from service.specs.transforms import Label

TARGETS = "targets"
"""What tensor targets are called, by transforms too."""


@dataclass(frozen=True)
class Encoding:
    """What turns raw data into the model's inputs, and its outputs back.

    Attributes:
        input_names: the model's inputs, in order; the single one of a table is `input`.
        sample_shapes: shape of one sample of each input, without the batch dimension.
        target_shape: shape of one sample's targets; empty for classes [B].
        groups: the feature columns of each input by its name; empty for tensor data.
        targets: target columns in order; empty for tensor data.
        types: of each feature and target column of a table.
        transforms: fitted, of features and targets alike; those of a column in their order.
        classes: labels by class index, ascending, or the two of a binary target; None where targets are
            values.
        dtypes: `float32` or `int64` of each input; empty: all are float32.
    """

    input_names: tuple[str, ...]
    sample_shapes: tuple[tuple[int, ...], ...]
    target_shape: tuple[int, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    transforms: tuple[FittedTransform, ...] = ()
    classes: tuple[Label, ...] | None = None
    dtypes: tuple[str, ...] = ()

    @property
    def is_binary(self) -> bool:
        """Whether the two classes are targets 0 and 1, float32 [B, 1], instead of indices [B]."""
        return self.classes is not None and self.target_shape == (1,)

    @property
    def features(self) -> tuple[str, ...]:
        """The feature columns of all inputs, in order; empty for tensor data."""
        return tuple(column for columns in self.groups.values() for column in columns)

    @property
    def sample_bytes(self) -> int:
        """The size of one sample of all inputs."""
        shapes = zip(self.input_names, self.sample_shapes, strict=True)
        return sum(math.prod(shape) * self.dtype(name).itemsize for name, shape in shapes)

    def dtype(self, name: str) -> torch.dtype:
        """What an input holds."""
        by_name = dict(zip(self.input_names, self.dtypes, strict=False))
        return torch.int64 if by_name.get(name) == "int64" else torch.float32

    def transforms_of(self, column: str) -> list[FittedTransform]:
        """The fitted transforms of a column or a tensor, in order."""
        return [transform for transform in self.transforms if transform.column == column]

    def titles(self, name: str) -> list[str]:
        """What stands in each column of an input [B, k] of a table: `age`, `island=Biscoe`, `age_missing`."""
        columns = self.groups[name]
        return [title for column in columns for title in pipeline.titles(column, self.transforms_of(column))]

    def ordinals(self, name: str) -> dict[int, FittedOrdinal]:
        """The columns of an input [B, k] that are indices of categories, by their position."""
        found, position = {}, 0
        for column in self.groups.get(name, ()):
            transforms = self.transforms_of(column)
            if transforms and isinstance(transforms[-1], FittedOrdinal):
                found[position] = transforms[-1]
            position += len(pipeline.titles(column, transforms))
        return found

    def inputs_document(self) -> list[dict[str, Any]]:
        """The model's inputs in order, as JSON: name, shape, type and, for a table, what its columns are."""
        return [
            {
                "name": name,
                "shape": [None, *shape],
                "dtype": str(self.dtype(name)).removeprefix("torch."),
                "columns": self.titles(name) if self.groups else None,
            }
            for name, shape in zip(self.input_names, self.sample_shapes, strict=True)
        ]

    def to_document(self) -> dict[str, Any]:
        """The encoding as JSON."""
        return asdict(self) | {"transforms": [transform.to_document() for transform in self.transforms]}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_document`, also after a trip through JSON."""
        return cls(
            input_names=tuple(document["input_names"]),
            sample_shapes=tuple(map(tuple, document["sample_shapes"])),
            target_shape=tuple(document["target_shape"]),
            groups={name: tuple(columns) for name, columns in document["groups"].items()},
            targets=tuple(document["targets"]),
            types=document["types"],
            transforms=tuple(map(from_document, document["transforms"])),
            classes=None if document["classes"] is None else tuple(document["classes"]),
            dtypes=tuple(document["dtypes"]),
        )


def decode_outputs(encoding: Encoding, outputs: torch.Tensor) -> list[Any]:
    """A model's outputs in the targets' units.

    Args:
        encoding: of the job that trained the model.
        outputs: [B, k] for targets with transforms, whose columns are those of the targets; else [B, …].

    Returns:
        Nested lists of the outputs' shape; a NaN or an infinity stays one.
    """
    outputs = outputs.detach().float().cpu()
    if encoding.transforms_of(TARGETS) and not encoding.targets:
        outputs = pipeline.invert(encoding.transforms_of(TARGETS), outputs)
    elif any(encoding.transforms_of(name) for name in encoding.targets):
        columns = [
            pipeline.invert(encoding.transforms_of(name), outputs[:, i])
            for i, name in enumerate(encoding.targets)
        ]
        outputs = torch.stack(columns, dim=1)
    return list(outputs.tolist())
