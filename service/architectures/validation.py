"""What is wrong with an architecture before any tensor flows: names, types, arguments; all of it at once."""

import keyword
import warnings
from collections.abc import Iterator

import torch
from torch import nn

from service.architectures.build import Place, children
from service.architectures.layers import LAYERS, NOT_OFFERED
from service.architectures.parameters import parameter_errors
from service.architectures.shapes import left_out
from service.architectures.text.grammar import read_forward
from service.architectures.text.scope import can_be_named
from service.errors import FieldError, pointer_to
from service.specs.architecture import CONTAINERS, LayerSpec, ModuleSpec, Node
from service.specs.base import did_you_mean

RESERVED = {
    name: f"A layer can't be called `{name}`: nn.Sequential has an attribute of this name."
    for name in dir(nn.Sequential())
}
# The last two are our own.
_MODULE_ATTRIBUTES = frozenset({*dir(nn.Module()), "graph", "class_name"})


def errors(spec: Node, place: Place) -> Iterator[FieldError]:
    """The errors in a node and all below it, in the order of the request."""
    if isinstance(spec, LayerSpec):
        yield from _layer_errors(spec, place)
        return
    if isinstance(spec, ModuleSpec):
        yield from _module_errors(spec, place)
        return
    taken: set[str] = set()
    for name, node, below in children(spec, place):
        refusal = f"Two layers are called `{name}`." if name in taken else RESERVED.get(name)
        if refusal:
            yield FieldError(
                below.pointer if node.name is None else pointer_to(below.pointer, "name"), refusal
            )
        taken.add(name)
        yield from errors(node, below)


def _module_errors(spec: ModuleSpec, place: Place) -> Iterator[FieldError]:
    if keyword.iskeyword(spec.class_name):
        yield FieldError(pointer_to(place.pointer, "class_name"), _reserved_word(spec.class_name))
    for position, name in enumerate(spec.inputs or ()):
        if not can_be_named(name) or name in (spec.inputs or ())[:position]:
            pointer = pointer_to(place.pointer, "inputs", position)
            yield FieldError(pointer, f"`{name}` can't be the name of an input, or is there twice.")
    for name, parameter in spec.parameters.items():
        pointer = pointer_to(place.pointer, "parameters", name)
        yield from _member_errors(name, pointer)
        yield from parameter_errors(parameter, pointer)
    for name, node, below in children(spec, place):
        yield from _member_errors(name, below.pointer)
        if name in spec.parameters:
            yield FieldError(below.pointer, f"`{name}` is a parameter already: choose another name.")
        if node.name is not None:
            yield FieldError(
                pointer_to(below.pointer, "name"), f"It is called `{name}` by its key: leave it out."
            )
        yield from errors(node, below)
    _, refused = read_forward(spec)
    yield from (FieldError(pointer_to(place.pointer, "forward"), str(error)) for error in refused)


def _member_errors(name: str, pointer: str) -> Iterator[FieldError]:
    if name in _MODULE_ATTRIBUTES:
        yield FieldError(pointer, f"It can't be called `{name}`: nn.Module has an attribute of this name.")
    if keyword.iskeyword(name):
        yield FieldError(pointer, _reserved_word(name))


def _reserved_word(name: str) -> str:
    return f"`{name}` is a word of Python's: choose another name."


def _layer_errors(spec: LayerSpec, place: Place) -> list[FieldError]:
    if spec.type not in LAYERS:
        return [FieldError(pointer_to(place.pointer, "type"), _unknown(spec.type))]
    layer, arguments = LAYERS[spec.type], spec.arguments()
    found = layer.check(arguments, place.pointer)
    if found or left_out(spec.type, arguments):
        return found
    try:
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):
            layer(arguments=arguments)
    except Exception as error:  # PyTorch refuses arguments by whatever exception comes up
        return [FieldError(place.pointer, f"Layer `{place.path}` ({spec.type}): {first_line(error)}")]
    return []


def _unknown(name: str) -> str:
    if name in NOT_OFFERED:
        return f"`{name}` is not offered: {NOT_OFFERED[name]}"
    hint = did_you_mean(name, [*LAYERS, *CONTAINERS])
    return f"`{name}`{hint or ' is not a layer. `GET /v1/catalog` lists them.'}"


def first_line(error: Exception) -> str:
    """What PyTorch says, without the C++ frames it may add below."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{lines[0].rstrip('.')}."
