"""From an architecture spec to a torch module: PyTorch's own classes, called in declared order.

So, after `torch.manual_seed(s)`, the initial values are those of the script one would write by hand.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from service.architectures.layers import LAYERS
from service.architectures.parameters import make_parameter
from service.architectures.text.grammar import DEFAULT_INPUT, read_forward
from service.architectures.text.module import ForwardModule
from service.architectures.text.nodes import Observer
from service.errors import pointer_to
from service.specs.architecture import ArchitectureSpec, LayerSpec, ModuleSpec, Node, SequentialSpec

# What these return is a tuple: the outputs, and states that the next layer has no use for.
TUPLE_LAYERS = frozenset({"RNN", "LSTM", "GRU", "LSTMCell"})


class Sequential(nn.Sequential):
    """`nn.Sequential` that passes on the first element of a tuple; printed and saved like the original."""

    described_as = "sequential"  # read by `fitserve.describe`, which would trace `forward` otherwise

    def forward(self, input: Any) -> Any:
        """Run the layers one after another."""
        for module in self:
            output = module(input)
            input = output[0] if isinstance(output, tuple) else output
        return input


@dataclass(frozen=True)
class Place:
    """Where a node stands: its path in the module (`1.0`) and its pointer in the request."""

    path: str
    pointer: str

    def below(self, name: str, *parts: str | int) -> "Place":
        """The place of a child called `name`, `parts` further down in the request."""
        return Place(f"{self.path}.{name}".lstrip("."), pointer_to(self.pointer, *parts))


Maker = Callable[[LayerSpec, Place], nn.Module]
Watch = Callable[[Place], Observer | None]


def children(spec: SequentialSpec | ModuleSpec, place: Place) -> Iterator[tuple[str, Node, Place]]:
    """The nodes of a container, each with its name and its place; an unnamed layer's is its position."""
    if isinstance(spec, ModuleSpec):
        for name, node in spec.submodules.items():
            yield name, node, place.below(name, "submodules", name)
        return
    for position, node in enumerate(spec.layers):
        name = str(position) if node.name is None else node.name
        yield name, node, place.below(name, "layers", position)


def build(spec: ArchitectureSpec) -> nn.Module:
    """The module of a checked spec, with PyTorch's initial values from the global generator.

    Args:
        spec: an architecture whose sizes are all given, e.g. the one that `check` returns.
    """
    return assemble(spec, lambda layer, _: LAYERS[layer.type](arguments=layer.arguments()))


def assemble(
    spec: Node, make: Maker, place: Place = Place("", "#"), watch: Watch = lambda place: None
) -> nn.Module:
    """The containers of a spec, around what `make` puts in the place of each layer.

    Args:
        watch: gives what looks on while the forward text at a place runs.
    """
    if isinstance(spec, LayerSpec):
        return make(spec, place)
    if isinstance(spec, SequentialSpec):
        modules = OrderedDict(
            (name, assemble(node, make, below, watch)) for name, node, below in children(spec, place)
        )
        return (Sequential if any(map(may_return_tuple, spec.layers)) else nn.Sequential)(modules)
    # As `__init__` would: each takes its initial values from the generator in this order.
    parameters = {name: make_parameter(parameter) for name, parameter in spec.parameters.items()}
    submodules = {name: assemble(node, make, below, watch) for name, node, below in children(spec, place)}
    graph, _ = read_forward(spec)
    if graph is None:
        raise ValueError("The forward text was not checked.")
    return ForwardModule(spec.class_name, parameters, submodules, graph, watch(place))


def may_return_tuple(node: Node) -> bool:
    """Whether a layer of a sequential may return more than the next one takes."""
    if isinstance(node, LayerSpec):
        return node.type in TUPLE_LAYERS or bool(node.arguments().get("return_indices"))
    return isinstance(node, ModuleSpec)


def input_names(spec: ArchitectureSpec) -> tuple[str, ...] | None:
    """What an architecture calls its inputs; None when its forward text can't be read."""
    if isinstance(spec, SequentialSpec):
        return (DEFAULT_INPUT,)
    graph, _ = read_forward(spec)
    return None if graph is None else graph.inputs
