"""The inputs and outputs of a trained model as JSON, for running a downloaded model on raw data."""

from dataclasses import asdict
from typing import Any

from service.inference.model import TrainedModel


def encoding_document(model: TrainedModel) -> dict[str, Any]:
    """Describe the columns of each input, the fitted transforms, and the meaning of the outputs."""
    encoding = model.encoding
    return {
        "epoch": model.epoch,
        "inputs": encoding.inputs_document(),
        "targets": {
            "columns": list(encoding.targets),
            "shape": [None, *encoding.batch_target_shape],
            "classes": None if encoding.classes is None else list(encoding.classes),
            "values": None if encoding.class_values is None else list(encoding.class_values),
            "outputs": None
            if encoding.classes is None or encoding.is_binary
            else list(encoding.outputs_by_class),
            "ignored": encoding.ignored,
            "column_classes": {name: list(pair) for name, pair in encoding.column_classes.items()},
        },
        "types": encoding.types,
        "reading": encoding.reading.model_dump(exclude_unset=True),
        "window": None if encoding.window is None else asdict(encoding.window),
        "transforms": [transform.to_document() for transform in encoding.transforms],
    }
