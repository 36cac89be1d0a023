"""Specs of PyTorch modules: their structure and arguments, without the values of parameters."""

import inspect
import math
import re
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import UninitializedParameter

from fitserve.describe.forward_writer import NotDescribable, forward_text, is_described_as_sequential
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
# Names that a spec accepts for inputs, parameters and submodules of a class.
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")


@runtime_checkable
class HasForwardText(Protocol):
    """A module that knows the text of its `forward`, such as those that the service builds.

    Attributes:
        class_name: Name of the class.
        forward_inputs: Names of the inputs of `forward`.
        forward_text: Body of `forward`.
    """

    class_name: str

    @property
    def forward_inputs(self) -> tuple[str, ...]: ...

    @property
    def forward_text(self) -> str: ...


class _OneLevelTracer(fx.Tracer):
    """Traces the module's own `forward`; submodules stay calls and are described separately."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def describe(module: nn.Module) -> dict[str, Any]:
    """Describe a module as a spec: its structure and arguments, not the values of its parameters.

    The service builds an equal module from the spec. `forward` is traced with `torch.fx`.

    The service limits the size of a spec, such as the number of layers and the length of `forward`. These
    limits are not checked here: the service reports, with a pointer, what exceeds them.

    Args:
        module: Module made of layers of `torch.nn`, whose `forward` does not depend on values.

    Returns:
        The spec as JSON values, accepted as `architecture` of a job.

    Raises:
        NotDescribable: If the module has a layer, an argument or an operation that a spec cannot express.
    """
    for name, tensor in module.named_parameters():
        if isinstance(tensor, UninitializedParameter):
            raise NotDescribable(
                f"`{name}` has no shape yet: run the module once, which gives lazy layers such as LazyLinear"
                " their sizes."
            )
    tied = len(list(module.named_parameters(remove_duplicate=False))) - len(list(module.parameters()))
    if tied:
        raise NotDescribable(
            f"{tied} parameters are shared by several layers: use `F.linear(x, self.emb.weight)` instead."
        )
    spec = _describe(module, type(module).__name__)
    if spec["type"] not in ("sequential", "module"):
        spec = {"type": "sequential", "layers": [spec]}
    return spec


def _describe(module: nn.Module, path: str) -> dict[str, Any]:
    name = type(module).__name__
    if _is_torch_layer(module):
        return {"type": name, **_arguments(module, path)}
    if is_described_as_sequential(module):
        layers = [
            {**({} if name == str(position) else {"name": name}), **_describe(child, f"{path}.{name}")}
            for position, (name, child) in enumerate(module.named_children())
        ]
        if not layers:
            raise NotDescribable(f"{path} has no layers.")
        return {"type": "sequential", "layers": layers}
    return _describe_class(module, path)


def _is_torch_layer(module: nn.Module) -> bool:
    name = type(module).__name__
    return name in LAYER_NAMES and type(module) is getattr(nn, name)


def _describe_class(module: nn.Module, path: str) -> dict[str, Any]:
    if list(module.named_buffers(recurse=False)):
        raise NotDescribable(f"{path} has buffers of its own, which a spec cannot declare.")
    if isinstance(module, HasForwardText):
        class_name, inputs, forward = module.class_name, list(module.forward_inputs), module.forward_text
    else:
        class_name = type(module).__name__
        inputs, forward = _trace(module, path)
    parameters = dict(module.named_parameters(recurse=False))
    for name in [class_name.removeprefix("_"), *inputs, *dict(module.named_children()), *parameters]:
        if not _IDENTIFIER.fullmatch(name):
            raise NotDescribable(
                f"{path}: a spec cannot have the name `{name}`; a name is at most 128 ASCII letters, digits"
                " and underscores, and starts with a letter."
            )
    spec: dict[str, Any] = {
        "type": "module",
        "class_name": class_name,
        "submodules": {name: _describe(child, f"{path}.{name}") for name, child in module.named_children()},
        "inputs": inputs,
        "forward": forward,
    }
    if parameters:
        spec["parameters"] = {name: _parameter(parameter) for name, parameter in parameters.items()}
    return spec


def _trace(module: nn.Module, path: str) -> tuple[list[str], str]:
    try:
        graph = _OneLevelTracer().trace(module)
    except (fx.proxy.TraceError, TypeError) as error:
        raise NotDescribable(f"{path}: its forward depends on values: {error}") from None
    except NotImplementedError:
        raise NotDescribable(f"{path} is a {type(module).__name__}, which has no forward.") from None
    return forward_text(graph, module, path)


def _arguments(module: nn.Module, path: str) -> dict[str, Any]:
    """Return the arguments of a torch.nn layer that differ from their defaults."""
    layer = type(module).__name__
    arguments = {}
    for name, default in layer_arguments(layer).items():
        location = f"{path}.{name}"
        reader = READERS.get(layer, {}).get(name)
        value = _json(reader(module) if reader else _attribute(module, name), location)
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
        if not _is_torch_layer(value) or type(value).__name__ not in inner:
            raise NotDescribable(f"{location} is a {type(value).__name__}, which a spec cannot express.")
        return {"type": type(value).__name__, **_arguments(value, location)}
    if isinstance(value, tuple | list):
        return [_json(item, location) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise NotDescribable(f"{location} is {value}, which JSON cannot express.")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise NotDescribable(f"{location} is a {type(value).__name__}, which JSON cannot express.")


def _parameter(parameter: Tensor) -> dict[str, Any]:
    """Declare a free parameter: equal values become a constant, others a normal distribution."""
    values = parameter.detach().flatten()
    init: Any = {"type": "normal_"}
    if values.numel() and bool(torch.all(values == values[0])):
        init = {0.0: "zeros_", 1.0: "ones_"}.get(
            values[0].item(), {"type": "constant_", "val": values[0].item()}
        )
    return {"shape": list(parameter.shape), "init": init}
