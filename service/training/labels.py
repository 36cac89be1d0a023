"""Names of a model's outputs: labels of classes, or names of targets."""

import json
import math

from service.datasets.prepare.encoding import Encoding
from service.specs.transforms import Label


def label_key(label: Label) -> str:
    """Return a label as a key of a JSON object: a string as it is, others as JSON (`0`, `true`)."""
    return label if isinstance(label, str) else json.dumps(label)


def soft_classes(encoding: Encoding, outputs: int) -> tuple[str, ...]:
    """Return the classes of soft labels: the names of their columns; `output_0`, … for tensors."""
    return encoding.targets or tuple(f"output_{n}" for n in range(outputs))


def target_names(encoding: Encoding) -> tuple[str, ...]:
    """Return the names of the target columns; `output_0`, `output_1`, … for tensors, which have no names."""
    return encoding.targets or tuple(f"output_{n}" for n in range(math.prod(encoding.target_shape)))


def output_names(encoding: Encoding) -> tuple[str, ...]:
    """Return the names of the values of one prediction; those of several rows are numbered from 1."""
    names, window = target_names(encoding), encoding.window
    if window is None or window.horizon == 1:
        return names
    return tuple(f"{name}_{step}" for step in range(1, window.horizon + 1) for name in names)
