"""Construction of a class for a check: its layers are observed like those of a spec."""

import copy
from typing import Any

from torch import nn

from service.architectures.build import NodeLocation
from service.architectures.check.forward_observer import ForwardObserver
from service.architectures.check.stand_ins import LayerStandIn, TraceAborted
from service.architectures.check.trace import Trace
from service.architectures.classes import construct
from service.architectures.layers import LAYERS
from service.architectures.text.constructors import declared_arguments
from service.architectures.text.errors import ForwardError
from service.errors import FieldError, pointer_to
from service.specs.architecture import ClassSpec, LayerSpec

SOURCE = "source"


def construct_observed(spec: ClassSpec, location: NodeLocation, trace: Trace) -> nn.Module:
    """Construct a class on the meta device whose layers and operations are observed.

    Args:
        spec: The class.
        location: Its location.
        trace: Receives calls, errors and warnings.

    Raises:
        TraceAborted: If the construction fails, with the error in the trace.
    """
    pointer = pointer_to(location.pointer, SOURCE)
    try:
        model = construct(spec, ForwardObserver(trace, location, SOURCE))
    except ForwardError as error:
        trace.errors.append(FieldError(pointer, str(error)))
        raise TraceAborted(str(error)) from None
    for path, layer in _layers(model):
        _observe(layer, NodeLocation(f"{location.path}.{path}".strip("."), pointer), trace)
    return model


def _layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the layers of torch.nn with their paths; layers inside of a layer are not listed."""
    found: list[tuple[str, nn.Module]] = []
    seen: set[int] = set()
    waiting = [("", model)]
    while waiting:
        path, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        constructor = LAYERS.get(type(module).__name__)
        if constructor is not None and constructor.target is type(module):
            found.append((path, module))
            continue
        children = [(f"{path}.{name}".strip("."), child) for name, child in module.named_children()]
        waiting += reversed(children)
    return found


def _observe(layer: nn.Module, location: NodeLocation, trace: Trace) -> None:
    """Replace the `forward` of a layer by one that records the call and explains wrong sizes."""
    arguments = declared_arguments(layer)
    if arguments is None:
        return
    # The twin shares the layer's parameters and keeps its `forward`.
    twin = copy.copy(layer)
    stand_in = LayerStandIn(LayerSpec(type=type(layer).__name__, **arguments), location, trace, twin)

    def forward(*inputs: Any, **named: Any) -> Any:
        twin.training = layer.training
        return stand_in(*inputs, **named)

    layer.forward = forward
