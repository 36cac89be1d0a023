"""Trained models as files."""

from collections.abc import Callable, Mapping

import safetensors.torch

from service.architectures.export.python_source import to_source
from service.inference.model import TrainedModel
from service.training.checkpoints import without_shared_memory


def to_safetensors(model: TrainedModel) -> bytes:
    """Write parameters and buffers for `load_state_dict(strict=True)`; tied tensors are written twice."""
    return safetensors.torch.save(without_shared_memory(model.module.state_dict()), {"format": "pt"})


def to_python(model: TrainedModel) -> bytes:
    """Write the source of a module into which `load_state_dict(strict=True)` loads the safetensors file."""
    return to_source(model.architecture, model.construction_seed).encode()


EXPORTS: Mapping[str, Callable[[TrainedModel], bytes]] = {"safetensors": to_safetensors, "python": to_python}
