"""Fits of several seconds, which tests interrupt, and fits with long steps."""

from typing import Any

from tests.support.fits import LONG, tensors, thermometer
from tests.support.server import Service, until

CANCEL_SECONDS = 2.0
# Enough to save a checkpoint in, and to be interrupted after it, on a fast machine.
EPOCHS = 3000
INPUTS, TARGETS = [[i / 40] for i in range(40)], [[(i % 7) / 7] for i in range(40)]
LAYERS = [
    {"type": "Linear", "out_features": 16},
    {"type": "Tanh"},
    {"type": "Dropout", "p": 0.1},
    {"type": "Linear", "out_features": 1},
]


def interruptible(**training: Any) -> dict[str, Any]:
    """Return a request for a mini-batch fit that takes seconds."""
    return tensors(INPUTS, TARGETS, LAYERS, **{"epochs": EPOCHS, "batch_size": 16, **training})


def squaring(width: int, times: int, **training: Any) -> dict[str, Any]:
    """Return a request for a fit whose steps repeatedly square a matrix.

    Args:
        width: Number of rows and of columns of the matrix; determines the memory of a step.
        times: Number of squarings; determines the duration of a step.
        training: Changes of the training section.
    """
    forward = ["h = self.up(input)", "m = h.T @ h", *["m = torch.tanh(m @ m)"] * times]  # m [width, width]
    return {
        **thermometer(**{"epochs": LONG, **training}),
        "architecture": {
            "type": "module",
            "submodules": {
                "up": {"type": "Linear", "in_features": 1, "out_features": width},
                "down": {"type": "Linear", "in_features": width, "out_features": 1},
            },
            "forward": "\n".join([*forward, "return self.down(h @ m)"]),
        },
    }


def start_long_step(service: Service, **training: Any) -> str:
    """Submit a job whose step takes a minute, wait until it runs, and return its id."""
    job_id = service.queued(squaring(3000, 40, **training))
    until(lambda: service.job(job_id)["status"] == "running")
    return job_id
