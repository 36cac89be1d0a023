"""What a model's outputs are called: the labels of its classes, or the names of its targets."""

import json
import math

from service.datasets.prepare.encoding import Encoding
from service.specs.transforms import Label


def key_of(label: Label) -> str:
    """A label as a key of a JSON object: text as it is, anything else as JSON writes it (`0`, `true`)."""
    return label if isinstance(label, str) else json.dumps(label)


def target_names(encoding: Encoding) -> tuple[str, ...]:
    """The target columns' names; tensors have none: theirs are `output_0`, `output_1`, …"""
    return encoding.targets or tuple(f"output_{n}" for n in range(math.prod(encoding.target_shape)))
