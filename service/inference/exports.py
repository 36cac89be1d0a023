"""The trained model as a file."""

from collections.abc import Callable, Mapping

import safetensors.torch

from service.architectures.export.python_source import to_source
from service.inference.model import TrainedModel
from service.training.checkpoints import unshared


def to_safetensors(model: TrainedModel) -> bytes:
    """Parameters and buffers for `load_state_dict(strict=True)`; tied tensors are written out."""
    return safetensors.torch.save(unshared(model.module.state_dict()), {"format": "pt"})


def to_python(model: TrainedModel) -> bytes:
    """The source of a module that loads the safetensors with `load_state_dict(strict=True)`."""
    return to_source(model.architecture).encode()


EXPORTS: Mapping[str, Callable[[TrainedModel], bytes]] = {"safetensors": to_safetensors, "python": to_python}
