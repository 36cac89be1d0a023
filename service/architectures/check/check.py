"""The check of an architecture against its inputs, on the meta device, which allocates no memory."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.build import NodeLocation, assemble, build, children, input_names
from service.architectures.check.class_layers import construct_observed
from service.architectures.check.forward_observer import ForwardObserver
from service.architectures.check.stand_ins import LayerStandIn, TraceAborted
from service.architectures.check.trace import BATCH, LayerRow, Trace, shape_text
from service.architectures.classes import program_of
from service.architectures.layers import LAYERS
from service.architectures.parameters import complete_parameter
from service.architectures.shapes import lacks_sizes
from service.architectures.validation import find_errors
from service.errors import FieldError, FieldErrors, InvalidRequest, pointer_to
from service.specs.architecture import (
    ArchitectureSpec,
    ClassSpec,
    LayerSpec,
    ModuleSpec,
    Node,
    read_architecture,
)


@dataclass(frozen=True)
class CheckedArchitecture:
    """An architecture that fits its inputs.

    Attributes:
        spec: The spec as JSON, with omitted sizes and PyTorch's defaults filled in.
        layers: Calls of layers, in the order of the forward pass.
        output: Output of the architecture, [B, …], on the meta device.
        parameter_count: Number of parameters.
        parameter_bytes: Their size.
        activation_bytes: Size of the tensors that autograd saves for the backward pass of one batch.
        module: The module, built on the meta device.
        warnings: Declarations that are allowed, but probably not intended.
    """

    spec: dict[str, Any]
    layers: list[LayerRow]
    output: Tensor
    parameter_count: int
    parameter_bytes: int
    activation_bytes: int
    module: nn.Module
    warnings: list[FieldError]


def check(
    spec: ArchitectureSpec,
    inputs: Sequence[Tensor],
    max_parameters: int,
    pointer: str = "#/architecture",
) -> CheckedArchitecture:
    """Check and complete a spec.

    Args:
        spec: The spec as the client declared it.
        inputs: One training batch of each input, [B, …]; only shapes and dtypes are used.
        max_parameters: Maximum number of parameters.
        pointer: JSON pointer to the spec in the request.

    Raises:
        InvalidRequest: With all errors in names, types and arguments; if there are none, with all wrong
            sizes up to the first layer that cannot run.
    """
    location = NodeLocation("", pointer)
    _raise_if_any(find_errors(spec, location))
    names = input_names(spec) or ()
    if len(names) != len(inputs):
        detail = (
            f"The architecture has {len(names)} inputs ({', '.join(names)}), and the data has {len(inputs)}."
        )
        raise InvalidRequest(errors=[FieldError(pointer, detail)])
    trace, stand_in_model, output = _run(spec, inputs, location)
    _raise_if_any(trace.errors)
    if any(getattr(each, "inplace", False) for each in stand_in_model.modules()):
        # In evaluation a Dropout returns its input itself; an in-place layer behind it overwrites the data.
        eval_trace, _, _ = _run(spec, inputs, location, training=False)
        _raise_if_any(eval_trace.errors)
    _raise_if_any(_uncalled_layers(spec, trace, location))
    complete = _complete(spec, trace, location)
    # PyTorch's warnings are recorded already, by the stand-ins.
    with torch.device("meta"), warnings.catch_warnings(action="ignore"):
        module = build(read_architecture(complete))
    parameters = list(module.parameters())
    parameter_count = sum(parameter.numel() for parameter in parameters)
    _raise_if_any(_tensor_errors(module, max_parameters, pointer))
    _raise_if_any(_model_errors(output, trace, parameter_count, max_parameters, pointer))
    return CheckedArchitecture(
        spec=complete,
        layers=trace.rows,
        output=output,
        parameter_count=parameter_count,
        parameter_bytes=sum(parameter.nbytes for parameter in parameters),
        activation_bytes=trace.saved_tensors.total_bytes(excluded=stand_in_model.parameters()),
        module=module,
        warnings=trace.warnings,
    )


def _raise_if_any(errors: Iterable[FieldError]) -> None:
    FieldErrors(errors).raise_if_any()


def _run(
    spec: ArchitectureSpec, inputs: Sequence[Tensor], location: NodeLocation, training: bool = True
) -> tuple[Trace, nn.Module, Tensor]:
    """Run a forward pass with stand-ins on the meta device.

    Returns:
        The trace, the model of stand-ins and its output. After an error the output is an empty tensor.
    """
    trace = Trace([torch.empty_like(tensor, device="meta") for tensor in inputs])
    failed = torch.empty(0, device="meta")
    try:
        with torch.device("meta"):
            model = assemble(
                spec,
                lambda layer, at: LayerStandIn(layer, at, trace),
                location,
                lambda at: ForwardObserver(trace, at),
                lambda each, at: construct_observed(each, at, trace),
            )
    except TraceAborted:
        return trace, nn.Module(), failed
    try:
        with trace.saved_tensors:
            output = model.train(training)(*trace.inputs)
    except TraceAborted:
        return trace, model, failed
    if not isinstance(output, Tensor):
        pointer = (
            pointer_to(location.pointer, "forward") if isinstance(spec, ModuleSpec) else location.pointer
        )
        detail = f"The architecture returns a {type(output).__name__}; it must return one tensor."
        trace.errors.append(FieldError(pointer, detail))
        output = failed
    return trace, model, output


def _uncalled_layers(spec: Node, trace: Trace, location: NodeLocation) -> Iterator[FieldError]:
    """Complete the layers that no forward text calls, with a warning as PyTorch allows them.

    Yields:
        An error for each such layer whose sizes are omitted.
    """
    if isinstance(spec, ClassSpec):
        return
    if not isinstance(spec, LayerSpec):
        for _, node, child in children(spec, location):
            yield from _uncalled_layers(node, trace, child)
    elif location.path not in trace.arguments:
        detail = f"Layer `{location.path}` ({spec.type}) is never called"
        if lacks_sizes(spec.type, spec.arguments()):
            yield FieldError(
                location.pointer, f"{detail}, so its sizes cannot be inferred; call it, or remove it."
            )
        trace.warnings.append(FieldError(location.pointer, f"{detail}, so it will not be trained."))
        trace.arguments[location.path] = LAYERS[spec.type].resolve(spec.arguments())


def _complete(spec: Node, trace: Trace, location: NodeLocation) -> dict[str, Any]:
    """Return the node as JSON, with the complete arguments of its layers."""
    named = {} if spec.name is None else {"name": spec.name}
    if isinstance(spec, LayerSpec):
        return {**named, "type": spec.type, **trace.arguments[location.path]}
    if isinstance(spec, ClassSpec):
        return {
            **named,
            "type": spec.type,
            "source": spec.source,
            "class_name": program_of(spec).class_name,
            "arguments": spec.arguments,
            "inputs": list(input_names(spec) or ()),
            **({} if spec.outputs is None else {"outputs": spec.outputs}),
        }
    nodes = {name: _complete(node, trace, child) for name, node, child in children(spec, location)}
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
        **({} if spec.outputs is None else {"outputs": spec.outputs}),
        "forward": spec.forward,
    }


def _tensor_errors(module: nn.Module, max_parameters: int, pointer: str) -> Iterator[FieldError]:
    """Check the size of the tensors that are no parameters: buffers, and attributes that a class sets."""
    tensors = {id(buffer): buffer for buffer in module.buffers()}
    for each in module.modules():
        tensors |= {id(value): value for value in vars(each).values() if isinstance(value, Tensor)}
    count = sum(tensor.numel() for tensor in tensors.values())
    if count > max_parameters:
        yield FieldError(
            pointer,
            f"The model has {count:,} values in tensors that are no parameters; at most {max_parameters:,} "
            "are allowed.",
        )


def _model_errors(
    output: Tensor, trace: Trace, parameter_count: int, max_parameters: int, pointer: str
) -> Iterator[FieldError]:
    """Check the output and the size of the whole model."""
    shape = trace.display_shape(output.shape)
    if shape[:1] != [BATCH]:
        yield FieldError(
            pointer,
            f"The architecture returns {shape_text(shape)}; the first dimension must be the batch: [B, …].",
        )
    if parameter_count == 0:
        yield FieldError(pointer, "The architecture has no parameters to train; add a layer with weights.")
    if parameter_count > max_parameters:
        yield FieldError(
            pointer, f"The model has {parameter_count:,} parameters; at most {max_parameters:,} are allowed."
        )
