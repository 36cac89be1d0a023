"""A dataset and what is declared about it, as the tensors that a trainer takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from service.datasets.dataset import Dataset
from service.datasets.encode import inputs_of, targets_of
from service.datasets.encoding import Encoding
from service.datasets.fitting import TargetKind, fit_encoding
from service.datasets.mistakes import Mistakes
from service.datasets.split import check_split, split_rows
from service.specs.data import DataDeclaration


@dataclass(frozen=True, eq=False)
class Part:
    """The rows of one side of the split.

    Attributes:
        inputs: float32 or int64 [B, …], one for each input of the model.
        targets: int64 [B] class indices (or [B, …] of tensor data), else float32 [B, k].
    """

    inputs: tuple[torch.Tensor, ...]
    targets: torch.Tensor

    @property
    def rows(self) -> int:
        """The number of samples, B."""
        return len(self.targets)


@dataclass(frozen=True, eq=False)
class Prepared:
    """Training data, in the order of the split; validation and test are None where no row is theirs."""

    train: Part
    validation: Part | None
    test: Part | None
    encoding: Encoding


def prepare(
    dataset: Dataset, data: DataDeclaration, target_kind: TargetKind, input_names: Sequence[str] | None = None
) -> Prepared:
    """Split, fit the transforms on the training rows, and encode.

    Args:
        dataset: the content that `data` declares or refers to.
        data: the data section of a job.
        target_kind: `classes` for losses that take class indices, else `values`.
        input_names: what the model calls its inputs; where it has several, the data's have the same names.

    Raises:
        InvalidRequest: with every mistake of the data section, pointers below `#/data`.
    """
    mistakes = Mistakes()
    check_split(data.split, dataset.rows, mistakes)
    encoding, place = fit_encoding(dataset, data, target_kind, mistakes, input_names)
    inputs = inputs_of(encoding, dataset, place, mistakes)
    targets = targets_of(encoding, dataset, place, mistakes)
    mistakes.check()

    def part(rows: torch.Tensor) -> Part:
        return Part(tuple(tensor[rows] for tensor in inputs), targets[rows])

    train, test, validation = split_rows(data.split, dataset.rows)
    return Prepared(
        train=part(train),
        validation=part(validation) if len(validation) else None,
        test=part(test) if len(test) else None,
        encoding=encoding,
    )
