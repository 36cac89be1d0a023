"""How a job's data became tensors: stored with the model, so that predictions go the same way."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch

from service.datasets.transforms import FittedTransform, from_document, invert

Label = bool | int | float | str


@dataclass(frozen=True)
class Encoding:
    """What turns raw data into the model's inputs, and its outputs back.

    Attributes:
        input_names: the model's inputs, in order; the single one of a table is `input`.
        sample_shapes: shape of one sample of each input, without the batch dimension.
        target_shape: shape of one sample's targets; empty for classes [B].
        features: feature columns in order; empty for tensor data.
        targets: target columns in order; empty for tensor data.
        transforms: fitted, in order, of features and targets alike.
        dtypes: `float32` or `int64` of each input; empty: all are float32.
        classes: labels by class index, ascending; None where targets are values.
    """

    input_names: tuple[str, ...]
    sample_shapes: tuple[tuple[int, ...], ...]
    target_shape: tuple[int, ...]
    features: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    transforms: tuple[FittedTransform, ...] = ()
    classes: tuple[Label, ...] | None = None
    dtypes: tuple[str, ...] = ()

    @property
    def is_binary(self) -> bool:
        """Whether the two classes are targets 0 and 1, float32 [B, 1], instead of indices [B]."""
        return self.classes is not None and self.target_shape == (1,)

    def groups(self) -> dict[str, tuple[str, ...]]:
        """The feature columns of each input by its name, for a table."""
        found, start = {}, 0
        for name, (width, *_) in zip(self.input_names, self.sample_shapes, strict=True):
            found[name] = self.features[start : start + width]
            start += width
        return found

    def dtype(self, name: str) -> torch.dtype:
        """What an input holds."""
        by_name = dict(zip(self.input_names, self.dtypes, strict=False))
        return torch.int64 if by_name.get(name) == "int64" else torch.float32

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
            features=tuple(document["features"]),
            targets=tuple(document["targets"]),
            transforms=tuple(map(from_document, document["transforms"])),
            classes=None if document["classes"] is None else tuple(document["classes"]),
            dtypes=tuple(document.get("dtypes", ())),  # not in the first checkpoints
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
    if any(transform.column in encoding.targets for transform in encoding.transforms):
        columns = [
            invert(encoding.transforms, name, outputs[:, i]) for i, name in enumerate(encoding.targets)
        ]
        outputs = torch.stack(columns, dim=1)
    return list(outputs.tolist())
