"""Specs of layers of torch.nn, read from their attributes and verified by a layer that is made anew."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from fitserve.describe.comparison import Difference, differences, generators_kept, starts_alike
from fitserve.describe.errors import NotDescribable
from fitserve.describe.initial_values import constant_init
from fitserve.describe.layers import CHOICES, LAYER_NAMES, SIZES_WITH_DEFAULT, STACKS, layer_arguments


def _function_name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


_TRANSFORMER_LAYER: Mapping[str, Any] = {
    "d_model": lambda module: module.self_attn.embed_dim,
    "nhead": lambda module: module.self_attn.num_heads,
    "dim_feedforward": lambda module: module.linear1.out_features,
    "dropout": lambda module: module.dropout.p,
    "activation": lambda module: _function_name(module.activation),
    "layer_norm_eps": lambda module: module.norm1.eps,
    "batch_first": lambda module: module.self_attn.batch_first,
    "bias": lambda module: module.linear1.bias is not None,
}
# Readers of arguments that are not attributes of the same name.
READERS: Mapping[str, Mapping[str, Any]] = {
    "MultiheadAttention": {
        "bias": lambda module: module.in_proj_bias is not None,
        "add_bias_kv": lambda module: module.bias_k is not None,
    },
    "TransformerEncoderLayer": _TRANSFORMER_LAYER,
    "TransformerDecoderLayer": _TRANSFORMER_LAYER,
    "TransformerEncoder": {"encoder_layer": lambda module: module.layers[0]},
    "TransformerDecoder": {"decoder_layer": lambda module: module.layers[0]},
    "Transformer": {
        "num_encoder_layers": lambda module: module.encoder.num_layers,
        "num_decoder_layers": lambda module: module.decoder.num_layers,
        "dim_feedforward": lambda module: module.encoder.layers[0].linear1.out_features,
        "dropout": lambda module: module.encoder.layers[0].dropout.p,
        "activation": lambda module: _function_name(module.encoder.layers[0].activation),
        "layer_norm_eps": lambda module: module.encoder.norm.eps,
        "norm_first": lambda module: module.encoder.layers[0].norm_first,
        "bias": lambda module: module.encoder.norm.bias is not None,
    },
    "PairwiseDistance": {"p": lambda module: module.norm},
}


def is_torch_layer(module: nn.Module) -> bool:
    """Return whether a module is a layer of torch.nn that a spec can name, and not of a derived class."""
    name = type(module).__name__
    return name in LAYER_NAMES and type(module) is getattr(nn, name)


def describe_layer(module: nn.Module, path: str) -> tuple[dict[str, Any], list[str]]:
    """Describe a layer of torch.nn.

    Args:
        module: The layer.
        path: Its location, for messages.

    Returns:
        The spec, and the names of parameters whose values do not come from the initialization of the spec.

    Raises:
        NotDescribable: If a layer that is made from the arguments differs from this one.
    """
    spec = {"type": type(module).__name__, **_arguments(module, path)}
    with generators_kept():
        fresh = _remake(module)
    found = list(differences(module, fresh))
    if is_frozen(module, found):
        spec["trainable"] = False
        found = []
    for difference in found:
        raise NotDescribable(f"{path} {difference}; a spec cannot express this.")
    expected = dict(fresh.named_parameters())
    other = []
    initial = {}
    for name, parameter in module.named_parameters():
        init = constant_init(parameter)
        if init is not None and constant_init(expected[name]) != init and parameter.numel() > 1:
            initial[name] = init
        elif init is None and not (parameter.requires_grad and starts_alike(parameter, expected[name])):
            other.append(name)  # a frozen parameter keeps its values, so that any others are wrong
    return spec | ({"initial": initial} if initial else {}), other


def is_frozen(module: nn.Module, found: Sequence[Difference]) -> bool:
    """Return whether a module differs from a new one in that none of its parameters is trained."""
    return (
        bool(found)
        and all(difference.is_frozen_parameter for difference in found)
        and not any(parameter.requires_grad for parameter in module.parameters())
    )


def _remake(layer: nn.Module) -> nn.Module:
    """Make a layer anew, from the arguments of this one."""
    arguments = {
        name: _remake(value) if isinstance(value, nn.Module) else value
        for name, value in _values(layer).items()
    }
    new: nn.Module = type(layer)(**arguments)
    return new


def _values(layer: nn.Module) -> dict[str, Any]:
    """Return the arguments of a layer."""
    readers = READERS.get(type(layer).__name__, {})
    return {
        name: readers[name](layer) if name in readers else _attribute(layer, name)
        for name in layer_arguments(type(layer).__name__)
    }


def _arguments(module: nn.Module, path: str) -> dict[str, Any]:
    """Return the arguments of a torch.nn layer that differ from their defaults, as JSON."""
    layer = type(module).__name__
    values = _values(module)
    arguments = {}
    for name, default in layer_arguments(layer).items():
        location = f"{path}.{name}"
        value = _json(values[name], location)
        if name in CHOICES and value not in CHOICES[name]:
            raise NotDescribable(
                f"{location} is `{value}`; a spec accepts {' or '.join(map(repr, CHOICES[name]))}."
            )
        required = default is inspect.Parameter.empty or (layer, name) in SIZES_WITH_DEFAULT
        if required or value != _json(default, location):
            arguments[name] = value
    return arguments


def _attribute(module: nn.Module, name: str) -> Any:
    value = getattr(module, name, None)
    return value is not None if name == "bias" and not isinstance(value, bool) else value


def _json(value: Any, location: str) -> Any:
    if isinstance(value, nn.Module):
        inner = {layer for _, layer in STACKS.values()} | {"LayerNorm"}
        if not is_torch_layer(value) or type(value).__name__ not in inner:
            raise NotDescribable(f"{location} is a {type(value).__name__}, which a spec cannot express.")
        return {"type": type(value).__name__, **_arguments(value, location)}
    if isinstance(value, tuple | list):
        return [_json(item, location) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise NotDescribable(f"{location} is {value}, which JSON cannot express.")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise NotDescribable(f"{location} is a {type(value).__name__}, which JSON cannot express.")
