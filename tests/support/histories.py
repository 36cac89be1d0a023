"""Histories of jobs as arrays."""

from typing import Any

import numpy as np

from tests.support.server import Service


def losses(service: Service, job: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the training and validation losses of a job, [2, epochs]; NaN where a loss is missing."""
    history = service.history(job["id"])
    return np.array([history["train_loss"], history["validation_loss"]], dtype=float)
