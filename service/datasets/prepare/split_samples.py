"""Checks of the samples of each split: weights that are all 0, and targets that are all missing."""

from collections.abc import Mapping

import torch

from service.datasets.prepare.declared_data import DATA, MISSING_TARGETS, DeclaredData
from service.datasets.prepare.encoding import TARGETS
from service.datasets.samples import Samples
from service.datasets.validation import ErrorCollector, count_of
from service.errors import FieldError
from service.specs.split import SplitName


def check_split_samples(
    declared: DeclaredData, splits: Mapping[SplitName, Samples | None], errors: ErrorCollector
) -> list[FieldError]:
    """Check that each split has a weight above 0 and a present target.

    Args:
        declared: The dataset and its declaration.
        splits: The samples of each split, by its name; None for an empty one.
        errors: Receives an error for each split without, and for each target that no training row has.

    Returns:
        A warning for each split with rows that have no target.
    """
    warnings = []
    for split, samples in splits.items():
        if samples is None:
            continue
        name = "training" if split == "train" else split
        if samples.weights is not None:
            _check_weights(declared, name, _own_rows(samples, samples.weights), errors)
        if declared.masks_targets:
            present = ~_own_rows(samples, samples.targets).isnan()
            if declared.window is not None:  # [B, horizon, k], or flat -> [B, k]
                present = present.reshape(len(present), -1, len(declared.targets)).any(dim=1)
            warnings += _check_targets(declared, name, present.reshape(len(present), -1), errors)
    return warnings


def _own_rows(samples: Samples, tensor: torch.Tensor) -> torch.Tensor:
    """Return the rows [B, …] of a tensor that belong to the samples."""
    return tensor if samples.order is None else tensor[samples.order]


def _check_weights(declared: DeclaredData, split: str, weights: torch.Tensor, errors: ErrorCollector) -> None:
    """Check that the sum of the weights float32 [B] of a split is a positive number."""
    assert declared.weights is not None
    total, range_ = weights.sum(), torch.finfo(weights.dtype)
    if total == 0:
        found = f"are 0, or less than {range_.smallest_normal:.2g}, the least weight in float32"
    elif total < range_.smallest_normal:
        found = f"have a sum of {total:.2g}, less than {range_.smallest_normal:.2g}, the least in float32"
    elif total == torch.inf:
        found = "are too large: their sum exceeds the range of float32 (3.4e38)"
    else:
        return
    remedy = "only their ratios count, so multiply all by the same number" if total else "give some a weight"
    detail = f"All weights of the {split} rows {found}; {remedy}, or the loss has no value."
    errors.add(declared.pointers[declared.weights], detail)


def _check_targets(
    declared: DeclaredData, split: str, present: torch.Tensor, errors: ErrorCollector
) -> list[FieldError]:
    """Check which targets of a split are present, bool [B, k]."""
    if not present.any():
        errors.add(MISSING_TARGETS, f"All targets of the {split} rows are missing; the loss has no value.")
        return []
    if split == "training":
        names = declared.targets or [f"{TARGETS}[{n}]" for n in range(present.shape[1])]
        for name, found in zip(names, present.any(dim=0).tolist(), strict=True):
            if not found:
                detail = (
                    f"`{name}` is missing in every training row, so that nothing can be learned about it."
                )
                errors.add(declared.pointers.get(name, DATA), detail)
    empty = int((~present.any(dim=1)).sum())
    if not empty:
        return []
    has = "has" if empty == 1 else "have"
    detail = f"{count_of(empty, f'{split} row')} {has} no target at all, and {has} no part in the loss."
    return [FieldError(MISSING_TARGETS, detail)]
