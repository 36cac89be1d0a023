"""The parameters and buffers of a model as JSON."""

from collections.abc import Collection
from typing import Any

from torch import Tensor

from service.errors import ParameterNotFound
from service.inference.model import TrainedModel
from service.specs.base import did_you_mean


def named_parameters(model: TrainedModel, include: Collection[str]) -> dict[str, Any]:
    """Describe all parameters, in the order of `Module.named_parameters`, and all buffers.

    Args:
        model: The model.
        include: Any of `values`, `gradients` and `statistics`.
    """
    parameters = dict(model.module.named_parameters())
    buffers = dict(model.module.named_buffers())
    return {
        "epoch": model.epoch,
        "module": repr(model.module),
        "total": sum(parameter.numel() for parameter in parameters.values()),
        "parameters": [_describe(model, name, parameter, include) for name, parameter in parameters.items()],
        "buffers": [_describe(model, name, buffer, include) for name, buffer in buffers.items()],
    }


def named_parameter(model: TrainedModel, name: str) -> dict[str, Any]:
    """Describe one parameter or buffer, with its values, gradient and statistics.

    Raises:
        ParameterNotFound: The model has no parameter or buffer of this name.
    """
    tensors = {**dict(model.module.named_parameters()), **dict(model.module.named_buffers())}
    if name not in tensors:
        hint = did_you_mean(name, tensors) or f"; the model has {', '.join(tensors)}."
        raise ParameterNotFound(f"The model has no parameter `{name}`{hint}")
    return _describe(model, name, tensors[name], ("values", "gradients", "statistics"))


def _describe(model: TrainedModel, name: str, tensor: Tensor, include: Collection[str]) -> dict[str, Any]:
    tensor = tensor.detach()
    gradient = model.gradients.get(name)
    described: dict[str, Any] = {
        "name": name,
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "size": tensor.numel(),
    }
    if "values" in include:
        described["values"] = tensor.tolist()
    if "gradients" in include:
        described["gradient"] = None if gradient is None else gradient.tolist()
    if "statistics" in include:
        values = tensor.double()
        described["norm"] = values.norm().item()
        described["mean"] = values.mean().item()
        described["std"] = values.std(correction=0).item()
        described["gradient_norm"] = None if gradient is None else gradient.double().norm().item()
    return described
