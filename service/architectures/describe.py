"""From a module to its spec, so that nobody who has a PyTorch class writes JSON by hand.

    from service.architectures.describe import describe
    spec = describe(model)

Nothing of the service needs to run. `forward` is traced with torch.fx: what a client wrote is theirs to
run, here in their own process.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import UninitializedParameter

from service.architectures.build import Sequential
from service.architectures.forward_writer import NotDescribable, forward_text
from service.architectures.layers import LAYERS
from service.architectures.text.grammar import read_forward
from service.architectures.text.module import ForwardModule
from service.specs.architecture import ModuleSpec, read_architecture

_TRANSFORMER_LAYER: Mapping[str, Any] = {
    "d_model": lambda module: module.self_attn.embed_dim,
    "nhead": lambda module: module.self_attn.num_heads,
    "dim_feedforward": lambda module: module.linear1.out_features,
    "dropout": lambda module: module.dropout.p,
    "activation": lambda module: module.activation.__name__,
    "layer_norm_eps": lambda module: module.norm1.eps,
    "batch_first": lambda module: module.self_attn.batch_first,
    "bias": lambda module: module.linear1.bias is not None,
}
# Arguments that are not attributes of the same name.
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
        "activation": lambda module: module.encoder.layers[0].activation.__name__,
        "layer_norm_eps": lambda module: module.encoder.norm.eps,
        "norm_first": lambda module: module.encoder.layers[0].norm_first,
        "bias": lambda module: module.encoder.norm.bias is not None,
    },
    "PairwiseDistance": {"p": lambda module: module.norm},
}


class _OneLevel(fx.Tracer):
    """Traces a module's own forward; its submodules are described by themselves."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def describe(module: nn.Module) -> dict[str, Any]:
    """The spec that builds a module like this one: structure and arguments, not the values.

    Args:
        module: any `nn.Module` of layers from the table whose `forward` doesn't depend on values.

    Raises:
        NotDescribable: with the layer or the line that the grammar can't say.
    """
    if lazy := [
        name for name, tensor in module.named_parameters() if isinstance(tensor, UninitializedParameter)
    ]:
        raise NotDescribable(
            f"`{lazy[0]}` has no size yet: run the module once, so that LazyLinear and its like have."
        )
    tied = len(list(module.named_parameters(remove_duplicate=False))) - len(list(module.parameters()))
    if tied:
        raise NotDescribable(
            f"{tied} parameters are shared by several layers: use `F.linear(x, self.emb.weight)` instead."
        )
    spec = _describe(module, type(module).__name__)
    if spec["type"] not in ("sequential", "module"):
        spec = {"type": "sequential", "layers": [spec]}
    read_architecture(spec)
    return spec


def _describe(module: nn.Module, path: str) -> dict[str, Any]:
    kind = type(module).__name__
    if kind in LAYERS and type(module) is getattr(nn, kind):
        return {"type": kind, **_arguments(module, kind, path)}
    if type(module) in (nn.Sequential, Sequential, nn.ModuleList, nn.ModuleDict):
        layers = [
            {**({} if name == str(position) else {"name": name}), **_describe(child, f"{path}.{name}")}
            for position, (name, child) in enumerate(module.named_children())
        ]
        return {"type": "sequential", "layers": layers}
    return _describe_class(module, path)


def _describe_class(module: nn.Module, path: str) -> dict[str, Any]:
    inputs, forward = _forward(module, path)
    spec: dict[str, Any] = {
        "type": "module",
        "class_name": module.class_name if isinstance(module, ForwardModule) else type(module).__name__,
        "submodules": {name: _describe(child, f"{path}.{name}") for name, child in module.named_children()},
        "inputs": inputs,
        "forward": forward,
    }
    if list(module.named_buffers(recurse=False)):
        raise NotDescribable(f"{path} has buffers of its own, which a spec can't declare.")
    parameters = module.named_parameters(recurse=False)
    if own := {name: _parameter(parameter) for name, parameter in parameters}:
        spec["parameters"] = own
    checked = read_architecture(spec)
    assert isinstance(checked, ModuleSpec)
    _, refused = read_forward(checked)
    if refused:
        raise NotDescribable(f"{path}: {refused[0]}")
    return spec


def _forward(module: nn.Module, path: str) -> tuple[list[str], str]:
    if isinstance(module, ForwardModule):
        return list(module.graph.inputs), str(module.graph)
    try:
        graph = _OneLevel().trace(module)
    except (fx.proxy.TraceError, TypeError) as error:
        raise NotDescribable(f"{path}: its forward depends on values: {error}") from None
    return forward_text(graph, module, path)


def _arguments(module: nn.Module, kind: str, path: str) -> dict[str, Any]:
    """The arguments that are not their defaults."""
    constructor = LAYERS[kind]
    found = {}
    for name, field in constructor.model.model_fields.items():
        reader = READERS.get(kind, {}).get(name)
        value = _json(reader(module) if reader else _attribute(module, name), f"{path}.{name}")
        if field.is_required() or name in constructor.inferred or value != _json(field.default, path):
            found[name] = value
    wrong = constructor.check(found, "#")
    if wrong:
        raise NotDescribable(f"{path}: {wrong[0].detail}")
    return found


def _attribute(module: nn.Module, name: str) -> Any:
    value = getattr(module, name, None)
    return value is not None if name == "bias" and not isinstance(value, bool) else value


def _json(value: Any, path: str) -> Any:
    if isinstance(value, nn.Module):
        return {"type": type(value).__name__, **_arguments(value, type(value).__name__, path)}
    if isinstance(value, tuple | list):
        return [_json(item, path) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise NotDescribable(f"{path} is {value}, which JSON can't say.")
    return value


def _parameter(parameter: Tensor) -> dict[str, Any]:
    """A free parameter; how it starts is told by its values: all alike, or random."""
    values = parameter.detach().flatten()
    init: Any = {"type": "normal_"}
    if values.numel() and bool(torch.all(values == values[0])):
        init = {0.0: "zeros_", 1.0: "ones_"}.get(
            values[0].item(), {"type": "constant_", "val": values[0].item()}
        )
    return {"shape": list(parameter.shape), "init": init}
