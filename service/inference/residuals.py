"""Residuals of a regression, target − output, in the units of the targets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.datasets.prepare.encoding import Encoding, in_target_units

# The residuals of all rows are kept until they are summarized: float64 [n, targets].
MAX_TARGETS = 100
HISTOGRAM_BINS = 20


class Residuals:
    """Collects residuals over slices of rows.

    Args:
        encoding: Inverts the transforms of the targets.
        names: Names of the targets, at most `MAX_TARGETS`.
    """

    def __init__(self, encoding: Encoding, names: Sequence[str]) -> None:
        self._encoding = encoding
        self._names = names
        self._residuals: list[Tensor] = []  # each float64 [B, k]

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add the next rows: the model's outputs [B, …] and the targets before their transforms [B, …]."""
        predicted = in_target_units(self._encoding, outputs)
        self._residuals.append((targets - predicted.reshape(targets.shape)).reshape(len(targets), -1))

    def document(self) -> list[dict[str, Any]]:
        """Summarize the residuals of each target."""
        columns = torch.cat(self._residuals).numpy().T
        return [
            {"target": name, **_summary(values)} for name, values in zip(self._names, columns, strict=True)
        ]


def _summary(values: NDArray[np.float64]) -> dict[str, Any]:
    """Summarize the finite values; every figure is NaN without any."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        finite = np.array([np.nan])
    low, lower, median, upper, high = np.quantile(finite, [0, 0.25, 0.5, 0.75, 1]).tolist()
    with np.errstate(over="ignore", invalid="ignore"):  # of values near the largest double
        mean, std, spread = float(finite.mean()), float(finite.std()), high - low
    histogram = None
    if np.isfinite(spread):
        counts, edges = np.histogram(finite, HISTOGRAM_BINS)
        histogram = {"edges": edges.tolist(), "counts": counts.tolist()}
    return {
        "mean": mean,
        "std": std,
        "min": low,
        "q25": lower,
        "median": median,
        "q75": upper,
        "max": high,
        "histogram": histogram,
    }
