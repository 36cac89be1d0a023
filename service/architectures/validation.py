"""Validation of an architecture before shapes are known: names, types, arguments and forward texts."""

import keyword
import warnings
from collections.abc import Mapping
from itertools import takewhile

import torch
from torch import nn

from service.architectures.buffers import buffer_errors
from service.architectures.build import ROOT, NodeLocation, children
from service.architectures.classes import class_errors
from service.architectures.layers import LAYERS, LAYERS_OF_TRANSFORMER, NOT_OFFERED, layer_count
from service.architectures.parameters import init_errors, layer_init_errors, parameter_errors
from service.architectures.shapes import lacks_sizes
from service.architectures.text.forward import read_forward
from service.architectures.text.inputs import is_valid_name
from service.architectures.text.module import ForwardModule
from service.architectures.text.operators import OutOfBounds, bounded
from service.errors import FieldErrors, pointer_to
from service.specs.architecture import (
    CONTAINERS,
    MAX_LAYERS,
    ClassSpec,
    ForwardSpec,
    LayerSpec,
    ModuleSpec,
    Node,
    SequentialSpec,
)
from service.specs.base import did_you_mean
from service.specs.habits import name_advice

MAX_ALL_BUFFERS = 1_000  # of an architecture: computing one takes about a millisecond
# A child of this name would hide an attribute that PyTorch itself uses.
_SEQUENTIAL_ATTRIBUTES = frozenset(dir(nn.Sequential()))
_MODULE_ATTRIBUTES = frozenset({*dir(nn.Module()), *dir(ForwardModule)})


# A key of this name would hide an attribute of a dict of submodules or parameters.
_DICT_ATTRIBUTES = frozenset({*dir(nn.ModuleDict()), *dir(nn.ParameterDict())})


def find_errors(spec: Node, location: NodeLocation) -> FieldErrors:
    """Find the errors in a node and its descendants, in the order of the request.

    Args:
        spec: The node.
        location: Its location.
    """
    errors = FieldErrors()
    count = _count_layers(spec)
    if count > MAX_LAYERS:
        errors.add(
            location.pointer,
            f"The architecture has {count:,} layers and containers; at most {MAX_LAYERS:,} are allowed. Each "
            f"copy in a stack counts, as {LAYERS_OF_TRANSFORMER} in a stack of Transformer layers.",
        )
    elif (buffers := _count_buffers(spec)) > MAX_ALL_BUFFERS:
        detail = f"The architecture has {buffers:,} buffers; at most {MAX_ALL_BUFFERS:,} are allowed."
        errors.add(location.pointer, detail)
    else:
        _find_errors(spec, location, errors)
    return errors


def _count_layers(spec: Node) -> int:
    if isinstance(spec, LayerSpec):
        return layer_count(spec)
    if isinstance(spec, ClassSpec):
        return 1  # the evaluation counts its modules
    nodes = spec.submodules.values() if isinstance(spec, ModuleSpec) else spec.layers
    return 1 + sum(map(_count_layers, nodes))


def _count_buffers(spec: Node) -> int:
    own = len(spec.buffers) if isinstance(spec, ModuleSpec) else 0
    nodes = () if isinstance(spec, LayerSpec) else (node for _, node, _ in children(spec, ROOT))
    return own + sum(map(_count_buffers, nodes))


def _find_errors(spec: Node, location: NodeLocation, errors: FieldErrors) -> None:
    if isinstance(spec, ForwardSpec) and spec.outputs is not None and location.path:
        detail = "Only the outputs of the whole model have names; remove `outputs` from this submodule."
        errors.add(pointer_to(location.pointer, "outputs"), detail)
    if isinstance(spec, LayerSpec):
        _find_layer_errors(spec, location, errors)
    elif isinstance(spec, ClassSpec):
        errors.extend(class_errors(spec, location.pointer))
    elif isinstance(spec, ModuleSpec):
        _find_module_errors(spec, location, errors)
    else:
        _find_sequential_errors(spec, location, errors)


def _find_sequential_errors(spec: SequentialSpec, location: NodeLocation, errors: FieldErrors) -> None:
    names: set[str] = set()
    for name, node, child in children(spec, location):
        name_pointer = child.pointer if node.name is None else pointer_to(child.pointer, "name")
        if name in names:
            errors.add(name_pointer, f"Two layers are called `{name}`; rename one of them.")
        elif name in _SEQUENTIAL_ATTRIBUTES:
            errors.add(
                name_pointer, f"`{name}` is an attribute of nn.Sequential; choose another name for the layer."
            )
        names.add(name)
        _find_errors(node, child, errors)


def _find_module_errors(spec: ModuleSpec, location: NodeLocation, errors: FieldErrors) -> None:
    if keyword.iskeyword(spec.class_name):
        errors.add(pointer_to(location.pointer, "class_name"), _keyword_message(spec.class_name))
    inputs = spec.inputs or []
    for position, name in enumerate(inputs):
        pointer = pointer_to(location.pointer, "inputs", position)
        if not is_valid_name(name):
            errors.add(pointer, f"`{name}` is reserved; choose another name for the input.")
        elif name in inputs[:position]:
            errors.add(pointer, f"The input `{name}` appears twice; give it once.")
    _find_value_errors(spec, location, errors)
    for name, node, child in children(spec, location):
        if node.name is not None:
            errors.add(
                pointer_to(child.pointer, "name"), f"The key `{name}` is the submodule's name; remove `name`."
            )
        _find_errors(node, child, errors)
    _, forward_errors = read_forward(spec)
    for error in forward_errors:
        errors.add(pointer_to(location.pointer, "forward"), error.__str__)


def _find_value_errors(spec: ModuleSpec, location: NodeLocation, errors: FieldErrors) -> None:
    """Check the names of all that a module declares, and its constants, parameters and buffers."""
    for kind in _MEMBERS:
        for name in getattr(spec, kind):
            _find_member_errors(name, kind, spec, pointer_to(location.pointer, kind, name), errors)
    _find_entry_errors(spec, location, errors)
    for name, constant in spec.constants.items():
        try:
            bounded(constant)
        except OutOfBounds as error:
            errors.add(pointer_to(location.pointer, "constants", name), str(error))
    for name, parameter in spec.parameters.items():
        errors.extend(parameter_errors(parameter, pointer_to(location.pointer, "parameters", name)))
    for name, text in spec.buffers.items():
        errors.extend(buffer_errors(text, spec.constants, pointer_to(location.pointer, "buffers", name)))


# The fields of a module whose keys are attribute names; the first field that has a name keeps it.
_MEMBERS: Mapping[str, str] = {
    "constants": "constant",
    "parameters": "parameter",
    "buffers": "buffer",
    "submodules": "submodule",
}


def _find_member_errors(name: str, kind: str, spec: ModuleSpec, pointer: str, errors: FieldErrors) -> None:
    """Check the name of a submodule, a parameter, a buffer or a constant."""
    for other in takewhile(lambda other: other != kind, _MEMBERS):
        if name in getattr(spec, other):
            errors.add(pointer, f"A {_MEMBERS[other]} is called `{name}` too; choose another name.")
    owner, _, key = name.partition(".")
    if owner in _MODULE_ATTRIBUTES:
        errors.add(pointer, f"`{owner}` is an attribute of nn.Module; choose another name.")
    if key in _DICT_ATTRIBUTES:
        errors.add(pointer, f"`{key}` is an attribute of dicts of PyTorch; choose another key.")
    for part in (owner, key):
        if keyword.iskeyword(part):
            errors.add(pointer, _keyword_message(part))


def _find_entry_errors(spec: ModuleSpec, location: NodeLocation, errors: FieldErrors) -> None:
    """Check the entries of lists and dicts, which are declared as `blocks.0` or `heads.price`."""
    plain = {name for kind in _MEMBERS for name in getattr(spec, kind) if "." not in name}
    keys: dict[str, list[str]] = {}  # of each list or dict, in the order of declaration
    kinds: dict[str, str] = {}
    for kind in ("parameters", "submodules"):
        for name in getattr(spec, kind):
            owner, dot, key = name.partition(".")
            if not dot:
                continue
            pointer = pointer_to(location.pointer, kind, name)
            others = keys.setdefault(owner, [])
            if owner in plain or kinds.setdefault(owner, kind) != kind:
                errors.add(pointer, f"`{owner}` is also the name of another member; choose another name.")
            elif key.isdigit() and key != str(len(others)):
                detail = f"The next entry of the list is `{owner}.{len(others)}`; positions have no gaps."
                errors.add(pointer, detail)
            elif others and key.isdigit() != others[0].isdigit():
                errors.add(pointer, f"`{owner}` has positions and keys; use either.")
            others.append(key)


def _keyword_message(name: str) -> str:
    return f"`{name}` is a keyword of Python; choose another name."


def _find_layer_errors(spec: LayerSpec, location: NodeLocation, errors: FieldErrors) -> None:
    if spec.type not in LAYERS:
        errors.add(pointer_to(location.pointer, "type"), lambda: _unknown_layer_message(spec.type))
        return
    layer, arguments = LAYERS[spec.type], spec.arguments()
    found = layer.check(arguments, location.pointer)
    pointer = pointer_to(location.pointer, "initial")
    for name, init in spec.initial.items():
        found.extend(init_errors(init, pointer_to(pointer, name)))
    errors.extend(found)
    if found or lacks_sizes(spec.type, arguments):
        return
    try:
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):
            errors.extend(layer_init_errors(layer(arguments=arguments), spec.initial, pointer))
    except (MemoryError, torch.OutOfMemoryError):
        raise  # not an error of the request: the caller names the memory limit
    except Exception as error:  # PyTorch raises exceptions of many types for invalid arguments
        errors.add(location.pointer, f"Layer `{location.path}` ({spec.type}): {first_line(error)}")


def _unknown_layer_message(name: str) -> str:
    if name in NOT_OFFERED:
        return f"`{name}` is not offered: {NOT_OFFERED[name]}"
    if advice := name_advice("layers", name):
        return f"`{name}` is not a layer of PyTorch; write {advice}."
    hint = did_you_mean(name, [*LAYERS, *CONTAINERS])
    return f"`{name}`{hint or ' is not a layer. `GET /v1/catalog/layers` lists them.'}"


def first_line(error: Exception) -> str:
    """Return the first line of a message of PyTorch as a sentence, without the C++ frames that may follow."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{lines[0].rstrip('.')}."
