"""Metrics of a regression of whose targets some are missing."""

from collections.abc import Mapping

from torch import Tensor
from torchmetrics import Metric

from service.training.r2_metrics import ExplainedVariance, MaskedExplainedVariance, MaskedR2Score, R2Score

MASKED: Mapping[type[Metric], type[Metric]] = {
    R2Score: MaskedR2Score,
    ExplainedVariance: MaskedExplainedVariance,
}
"""Metrics of each output, which count its present targets, by the metric without missing targets."""


def present_values(metric: Metric, predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the arguments of a metric's `update` without missing targets.

    Args:
        metric: The metric.
        predictions: [B, …].
        targets: [B, …]; NaN is a missing target.

    Returns:
        Predictions and targets, [present] each; for metrics that leave out NaN by themselves as they are.
    """
    if leaves_out_missing(metric):
        return predictions, targets
    present = ~targets.isnan()
    return predictions[present], targets[present]


def leaves_out_missing(metric: Metric) -> bool:
    """Return whether `update` of a metric leaves out targets that are NaN by itself."""
    return isinstance(metric, tuple(MASKED.values())) or getattr(metric, "masks_targets", False)
