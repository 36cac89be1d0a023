"""The check of an architecture against its inputs: on the meta device, so that nothing is allocated."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.build import Place, assemble, build, children, input_names
from service.architectures.check.forward_watcher import Watcher
from service.architectures.check.stand_ins import Probe, Stop
from service.architectures.check.trace import BATCH, LayerRow, Trace, shape_text
from service.architectures.layers import LAYERS
from service.architectures.parameters import complete_parameter
from service.architectures.shapes import left_out
from service.architectures.validation import errors
from service.errors import FieldError, InvalidRequest, pointer_to
from service.specs.architecture import ArchitectureSpec, LayerSpec, ModuleSpec, Node, read_architecture


@dataclass(frozen=True)
class Checked:
    """An architecture that fits its inputs."""

    spec: dict[str, Any]
    """The spec as JSON, with the sizes that were left out and PyTorch's defaults filled in."""
    layers: list[LayerRow]
    """The calls of layers, in the order of the forward pass."""
    output: Tensor
    """What the architecture returns, on the meta device."""
    parameter_count: int
    parameter_bytes: int
    activation_bytes: int
    """What autograd keeps of one batch for the backward pass."""
    module: nn.Module
    """The module, built on the meta device."""
    warnings: list[FieldError]
    """What is allowed, and likely not meant."""


def check(
    spec: ArchitectureSpec,
    inputs: Sequence[Tensor],
    max_parameters: int,
    pointer: str = "#/architecture",
) -> Checked:
    """Complete a spec, or tell all that is wrong with it.

    Args:
        spec: what the client declared.
        inputs: one training batch of each input, [B, …]; only shapes and dtypes matter.
        max_parameters: the largest model allowed.
        pointer: where the spec stands in the request.

    Raises:
        InvalidRequest: with every error in names, types and arguments; or else with the wrong sizes
            up to the first layer that can't be run.
    """
    place = Place("", pointer)
    _refuse(errors(spec, place))
    names = input_names(spec) or ()
    if len(names) != len(inputs):
        told = f"The architecture takes {', '.join(names)}, and the data has {len(inputs)} inputs."
        raise InvalidRequest(errors=[FieldError(pointer, told)])
    trace, model, output = _traced(spec, inputs, place)
    _refuse(trace.errors)
    if any(arguments.get("inplace") for arguments in trace.arguments.values()):
        # What overwrites a Dropout's output overwrites its input where the model is evaluated.
        _refuse(_traced(spec, inputs, place, training=False)[0].errors)
    _refuse(_uncalled(spec, trace, place))
    complete = _complete(spec, trace, place)
    with torch.device("meta"), warnings.catch_warnings(action="ignore"):  # the probes have kept the warnings
        module = build(read_architecture(complete))
    parameters = list(module.parameters())
    parameter_count = sum(parameter.numel() for parameter in parameters)
    _refuse(_model_errors(output, trace, parameter_count, max_parameters, pointer))
    return Checked(
        spec=complete,
        layers=trace.rows,
        output=output,
        parameter_count=parameter_count,
        parameter_bytes=sum(parameter.nbytes for parameter in parameters),
        activation_bytes=trace.kept.total_bytes(apart_from=model.parameters()),
        module=module,
        warnings=trace.warnings,
    )


def _refuse(errors: Iterable[FieldError]) -> None:
    if found := list(errors):
        raise InvalidRequest(errors=found)


def _traced(
    spec: ArchitectureSpec, inputs: Sequence[Tensor], place: Place, training: bool = True
) -> tuple[Trace, nn.Module, Tensor]:
    """What a forward pass in one mode shows, through which stand-ins, and what it returns."""
    trace = Trace([torch.empty_like(tensor, device="meta") for tensor in inputs])
    with torch.device("meta"):
        model = assemble(
            spec, lambda layer, at: Probe(layer, at, trace), place, lambda at: Watcher(trace, at)
        )
    pointer = pointer_to(place.pointer, "forward") if isinstance(spec, ModuleSpec) else place.pointer
    return trace, model, _output(model.train(training), trace, pointer)


def _output(model: nn.Module, trace: Trace, pointer: str) -> Tensor:
    """The forward pass; what stopped it is among the trace's errors."""
    try:
        with trace.kept:
            output = model(*trace.inputs)
    except Stop:
        return torch.empty(0, device="meta")
    if isinstance(output, Tensor):
        return output
    told = f"The architecture returns a {type(output).__name__}, and must return one tensor."
    trace.errors.append(FieldError(pointer, told))
    return torch.empty(0, device="meta")


def _uncalled(spec: Node, trace: Trace, place: Place) -> Iterator[FieldError]:
    """Layers that no forward text calls: allowed, as in PyTorch, where their sizes are given."""
    if not isinstance(spec, LayerSpec):
        for _, node, below in children(spec, place):
            yield from _uncalled(node, trace, below)
    elif place.path not in trace.arguments:
        detail = f"Layer `{place.path}` ({spec.type}) is never called"
        if left_out(spec.type, spec.arguments()):
            yield FieldError(place.pointer, f"{detail}: its sizes can't be told. Call it, or leave it out.")
        trace.warnings.append(FieldError(place.pointer, f"{detail}: it won't train."))
        trace.arguments[place.path] = LAYERS[spec.type].resolve(spec.arguments())


def _complete(spec: Node, trace: Trace, place: Place) -> dict[str, Any]:
    """The node as JSON, with the arguments the probes have found."""
    named = {} if spec.name is None else {"name": spec.name}
    if isinstance(spec, LayerSpec):
        return {**named, "type": spec.type, **trace.arguments[place.path]}
    nodes = {name: _complete(node, trace, below) for name, node, below in children(spec, place)}
    if not isinstance(spec, ModuleSpec):
        return {**named, "type": spec.type, "layers": list(nodes.values())}
    parameters = {name: complete_parameter(parameter) for name, parameter in spec.parameters.items()}
    return {
        **named,
        "type": spec.type,
        "class_name": spec.class_name,
        "submodules": nodes,
        "parameters": parameters,
        "inputs": list(input_names(spec) or ()),
        "forward": spec.forward,
    }


def _model_errors(
    output: Tensor, trace: Trace, parameter_count: int, max_parameters: int, pointer: str
) -> Iterator[FieldError]:
    shape = trace.shown(output.shape)
    if shape[:1] != [BATCH]:
        yield FieldError(
            pointer, f"The architecture returns {shape_text(shape)}, and must keep the batch first: [B, …]."
        )
    if parameter_count == 0:
        yield FieldError(pointer, "The architecture has no parameters: there is nothing to train.")
    if parameter_count > max_parameters:
        yield FieldError(
            pointer, f"The model has {parameter_count:,} parameters; at most {max_parameters:,} are allowed."
        )
