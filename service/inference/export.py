"""The trained model as a file."""

from collections.abc import Callable, Mapping

import safetensors.torch

from service.inference.model import TrainedModel
from service.training.checkpoints import unshared


def to_safetensors(model: TrainedModel) -> bytes:
    """Parameters and buffers for `load_state_dict(strict=True)`; tied tensors are written out."""
    return safetensors.torch.save(unshared(model.module.state_dict()), {"format": "pt"})


EXPORTS: Mapping[str, Callable[[TrainedModel], bytes]] = {"safetensors": to_safetensors}
