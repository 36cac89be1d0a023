"""What is wrong with an architecture before any tensor flows: names, types, arguments; all of it at once."""

import warnings
from collections.abc import Iterator

import torch
from torch import nn

from service.architectures.build import Place, children
from service.architectures.layers import LAYERS, NOT_OFFERED
from service.architectures.shapes import left_out
from service.errors import FieldError, pointer_to
from service.specs.architecture import CONTAINERS, LayerSpec, Node
from service.specs.base import did_you_mean

RESERVED = {
    name: f"A layer can't be called `{name}`: nn.Sequential has an attribute of this name."
    for name in dir(nn.Sequential())
}


def mistakes(spec: Node, place: Place) -> Iterator[FieldError]:
    """The mistakes in a node and all below it, in the order of the request."""
    if isinstance(spec, LayerSpec):
        yield from _layer_mistakes(spec, place)
        return
    taken: set[str] = set()
    for name, node, below in children(spec, place):
        refusal = f"Two layers are called `{name}`." if name in taken else RESERVED.get(name)
        if refusal:
            yield FieldError(
                below.pointer if node.name is None else pointer_to(below.pointer, "name"), refusal
            )
        taken.add(name)
        yield from mistakes(node, below)


def _layer_mistakes(spec: LayerSpec, place: Place) -> list[FieldError]:
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
