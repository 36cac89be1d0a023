"""Construction of a `torch.nn.Module` from an architecture spec.

PyTorch's own classes are called in the declared order, so after `torch.manual_seed(s)` the initial values are
those of the hand-written script.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from service.architectures.buffers import make_buffer
from service.architectures.classes import class_inputs, construct
from service.architectures.layers import LAYERS
from service.architectures.parameters import initialize_layer, make_parameter
from service.architectures.text.evaluation import Observer
from service.architectures.text.forward import read_forward, read_inputs
from service.architectures.text.inputs import DEFAULT_INPUT
from service.architectures.text.module import Pass, make_module
from service.errors import pointer_to
from service.specs.architecture import (
    ArchitectureSpec,
    ClassSpec,
    LayerSpec,
    ModuleSpec,
    Node,
    SequentialSpec,
)

# Layers that return a tuple of outputs and states; the next layer of a sequential needs only the outputs.
TUPLE_LAYERS = frozenset({"RNN", "LSTM", "GRU", "LSTMCell"})


class Sequential(nn.Sequential):
    """`nn.Sequential` that passes on the first element of a tuple; it prints and saves like the original."""

    described_as = "sequential"  # read by `fitserve.describe`, which would trace `forward` otherwise

    def forward(self, input: Any) -> Any:
        """Run the layers one after another."""
        for module in self:
            output = module(input)
            input = output[0] if isinstance(output, tuple) else output
        return input


@dataclass(frozen=True)
class NodeLocation:
    """Location of a node in the architecture.

    Attributes:
        path: Path of its module, such as `1.0`; empty for the root.
        pointer: JSON pointer to the node in the request.
    """

    path: str
    pointer: str

    def child(self, name: str, *parts: str | int) -> "NodeLocation":
        """Return the location of a child.

        Args:
            name: Name of the child's module.
            parts: Steps from this node's pointer to the child's.
        """
        return NodeLocation(f"{self.path}.{name}".lstrip("."), pointer_to(self.pointer, *parts))


LayerFactory = Callable[[LayerSpec, NodeLocation], nn.Module]
ClassFactory = Callable[[ClassSpec, NodeLocation], nn.Module]
ObserverFactory = Callable[[NodeLocation], Observer | None]
ROOT = NodeLocation("", "#")


def _no_observer(location: NodeLocation) -> None:
    return None


def children(
    spec: SequentialSpec | ModuleSpec | ClassSpec, location: NodeLocation
) -> Iterator[tuple[str, Node, NodeLocation]]:
    """Iterate over the children of a container; those of a class are in its text.

    Yields:
        Name of the child, its spec and its location. The name of an unnamed layer is its position.
    """
    if isinstance(spec, ClassSpec):
        return
    if isinstance(spec, ModuleSpec):
        for name, node in spec.submodules.items():
            yield name, node, location.child(name, "submodules", name)
        return
    for position, node in enumerate(spec.layers):
        name = str(position) if node.name is None else node.name
        yield name, node, location.child(name, "layers", position)


def with_inputs(spec: ArchitectureSpec, available: Collection[str]) -> ArchitectureSpec:
    """Return an architecture whose inputs are settled: a class takes those of its inputs that the data has.

    Args:
        spec: The architecture.
        available: Names of the inputs that the data has.
    """
    if not isinstance(spec, ClassSpec) or spec.inputs is not None:
        return spec
    names = class_inputs(spec, available)
    return spec if names is None else spec.model_copy(update={"inputs": list(names)})


def build_to_load(spec: ArchitectureSpec) -> nn.Module:
    """Build the module of a checked spec for values that are loaded, as far as possible without its own.

    A class may compute tensors that are no part of its state, so that it is constructed with values.
    """
    if has_class(spec):
        return build(spec)
    with torch.device("meta"):
        return build(spec)


def has_class(spec: Node) -> bool:
    """Return whether a part of an architecture is the text of a class."""
    if isinstance(spec, ClassSpec):
        return True
    return not isinstance(spec, LayerSpec) and any(has_class(node) for _, node, _ in children(spec, ROOT))


def build(spec: ArchitectureSpec) -> nn.Module:
    """Build the module of a checked spec, with PyTorch's initial values from the global generator.

    Args:
        spec: A complete architecture with all sizes, such as the one that `check` returns.
    """
    return assemble(spec, lambda layer, _: _make_layer(layer))


def _make_layer(spec: LayerSpec) -> nn.Module:
    layer: nn.Module = LAYERS[spec.type](arguments=spec.arguments())
    initialize_layer(layer, spec.initial)
    return layer if spec.trainable else layer.requires_grad_(False)


def assemble(
    spec: Node,
    make_layer: LayerFactory,
    location: NodeLocation = ROOT,
    make_observer: ObserverFactory = _no_observer,
    make_class: ClassFactory = lambda spec, _: construct(spec),
    passes: list[Pass] | None = None,
) -> nn.Module:
    """Build the containers of a spec around layers from a factory.

    Args:
        spec: The spec.
        make_layer: Returns the module for a layer.
        location: Location of the spec.
        make_observer: Returns the observer of a forward text.
        make_class: Returns the module for the text of a class.
        passes: The forward passes that run now in the modules of the architecture; None for its root.

    Raises:
        ValueError: If a forward text has an error; `find_errors` reports it with its location.
    """
    if isinstance(spec, LayerSpec):
        return make_layer(spec, location)
    inherited = {} if spec.trainable else {"trainable": False}
    passes = [] if passes is None else passes
    if isinstance(spec, ClassSpec):
        module = make_class(spec, location)
        return module.requires_grad_(False) if inherited else module

    def assemble_child(node: Node, child: NodeLocation) -> nn.Module:
        copied = node.model_copy(update=inherited)
        return assemble(copied, make_layer, child, make_observer, make_class, passes)

    if isinstance(spec, SequentialSpec):
        modules = OrderedDict(
            (name, assemble_child(node, child)) for name, node, child in children(spec, location)
        )
        return (Sequential if any(map(may_return_tuple, spec.layers)) else nn.Sequential)(modules)
    # Each takes its initial values from the global generator, in the order of a hand-written `__init__`.
    parameters = {
        name: make_parameter(parameter.model_copy(update=inherited))
        for name, parameter in spec.parameters.items()
    }
    buffers = {name: partial(make_buffer, text, spec.constants) for name, text in spec.buffers.items()}
    submodules = {name: assemble_child(node, child) for name, node, child in children(spec, location)}
    text, _ = read_forward(spec)
    if text is None:
        raise ValueError("The forward text has errors; check the spec before building it.")
    is_check = torch.get_default_device().type == "meta"
    observer = make_observer(location)
    return make_module(
        spec.class_name, spec.constants, parameters, buffers, submodules, text, passes, is_check, observer
    )


def may_return_tuple(node: Node) -> bool:
    """Return whether a layer of a sequential may return a tuple."""
    if isinstance(node, LayerSpec):
        return node.type in TUPLE_LAYERS or bool(node.arguments().get("return_indices"))
    return isinstance(node, ModuleSpec | ClassSpec)


def input_names(spec: ArchitectureSpec, available: Collection[str] = ()) -> tuple[str, ...] | None:
    """Return the names of an architecture's inputs; None if its text has errors.

    Args:
        spec: The architecture.
        available: Names of the inputs that the data has: a class takes those of its optional ones.
    """
    if isinstance(spec, SequentialSpec):
        return (DEFAULT_INPUT,)
    if isinstance(spec, ClassSpec):
        return class_inputs(spec, available)
    return read_inputs(spec)
