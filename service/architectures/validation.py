"""Validation of an architecture before shapes are known: names, types, arguments and forward texts."""

import keyword
import warnings
from collections.abc import Iterator

import torch
from torch import nn

from service.architectures.build import NodeLocation, children
from service.architectures.layers import LAYERS, NOT_OFFERED
from service.architectures.parameters import parameter_errors
from service.architectures.shapes import lacks_sizes
from service.architectures.text.grammar import read_forward
from service.architectures.text.scope import is_valid_name
from service.errors import FieldError, pointer_to
from service.specs.architecture import CONTAINERS, LayerSpec, ModuleSpec, Node
from service.specs.base import did_you_mean

# A child of this name would hide an attribute that PyTorch itself uses.
_SEQUENTIAL_ATTRIBUTES = frozenset(dir(nn.Sequential()))
# The last two are attributes of `ForwardModule`.
_MODULE_ATTRIBUTES = frozenset({*dir(nn.Module()), "graph", "class_name"})


def find_errors(spec: Node, location: NodeLocation) -> Iterator[FieldError]:
    """Find the errors in a node and its descendants, in the order of the request.

    Args:
        spec: The node.
        location: Its location.
    """
    if isinstance(spec, LayerSpec):
        yield from _layer_errors(spec, location)
        return
    if isinstance(spec, ModuleSpec):
        yield from _module_errors(spec, location)
        return
    names: set[str] = set()
    for name, node, child in children(spec, location):
        name_pointer = child.pointer if node.name is None else pointer_to(child.pointer, "name")
        if name in names:
            yield FieldError(name_pointer, f"Two layers are called `{name}`; rename one of them.")
        elif name in _SEQUENTIAL_ATTRIBUTES:
            yield FieldError(
                name_pointer, f"`{name}` is an attribute of nn.Sequential; choose another name for the layer."
            )
        names.add(name)
        yield from find_errors(node, child)


def _module_errors(spec: ModuleSpec, location: NodeLocation) -> Iterator[FieldError]:
    if keyword.iskeyword(spec.class_name):
        yield FieldError(pointer_to(location.pointer, "class_name"), _keyword_message(spec.class_name))
    inputs = spec.inputs or []
    for position, name in enumerate(inputs):
        pointer = pointer_to(location.pointer, "inputs", position)
        if not is_valid_name(name):
            yield FieldError(pointer, f"`{name}` is reserved; choose another name for the input.")
        elif name in inputs[:position]:
            yield FieldError(pointer, f"The input `{name}` appears twice; give it once.")
    for name, parameter in spec.parameters.items():
        pointer = pointer_to(location.pointer, "parameters", name)
        yield from _member_errors(name, pointer)
        yield from parameter_errors(parameter, pointer)
    for name, node, child in children(spec, location):
        yield from _member_errors(name, child.pointer)
        if name in spec.parameters:
            yield FieldError(child.pointer, f"A parameter is called `{name}` too; choose another name.")
        if node.name is not None:
            yield FieldError(
                pointer_to(child.pointer, "name"), f"The key `{name}` is the submodule's name; remove `name`."
            )
        yield from find_errors(node, child)
    _, errors = read_forward(spec)
    yield from (FieldError(pointer_to(location.pointer, "forward"), str(error)) for error in errors)


def _member_errors(name: str, pointer: str) -> Iterator[FieldError]:
    """Check the name of a submodule or a parameter."""
    if name in _MODULE_ATTRIBUTES:
        yield FieldError(pointer, f"`{name}` is an attribute of nn.Module; choose another name.")
    if keyword.iskeyword(name):
        yield FieldError(pointer, _keyword_message(name))


def _keyword_message(name: str) -> str:
    return f"`{name}` is a keyword of Python; choose another name."


def _layer_errors(spec: LayerSpec, location: NodeLocation) -> list[FieldError]:
    if spec.type not in LAYERS:
        return [FieldError(pointer_to(location.pointer, "type"), _unknown_layer_message(spec.type))]
    layer, arguments = LAYERS[spec.type], spec.arguments()
    errors = layer.check(arguments, location.pointer)
    if errors or lacks_sizes(spec.type, arguments):
        return errors
    try:
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):
            layer(arguments=arguments)
    except Exception as error:  # PyTorch raises exceptions of many types for invalid arguments
        return [FieldError(location.pointer, f"Layer `{location.path}` ({spec.type}): {first_line(error)}")]
    return []


def _unknown_layer_message(name: str) -> str:
    if name in NOT_OFFERED:
        return f"`{name}` is not offered: {NOT_OFFERED[name]}"
    hint = did_you_mean(name, [*LAYERS, *CONTAINERS])
    return f"`{name}`{hint or ' is not a layer. `GET /v1/catalog` lists them.'}"


def first_line(error: Exception) -> str:
    """Return the first line of a message of PyTorch as a sentence, without the C++ frames that may follow."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{lines[0].rstrip('.')}."
