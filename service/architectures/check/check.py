"""The check of an architecture against its inputs, on the meta device, which allocates no memory."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.build import NodeLocation, assemble, build, children, has_class, input_names
from service.architectures.check.class_layers import (
    construct_observed,
    evaluation_findings,
    single_sample_error,
    untrained_parameters,
)
from service.architectures.check.forward_observer import ForwardObserver
from service.architectures.check.stand_ins import TraceAborted, stand_in_type
from service.architectures.check.trace import LayerRow, Trace, shape_text
from service.architectures.classes import program_of
from service.architectures.layers import LAYERS
from service.architectures.outputs import UnnamedOutput, declared_names, named_outputs, unnamed_error
from service.architectures.parameters import complete_init, complete_parameter
from service.architectures.shapes import lacks_sizes
from service.architectures.validation import find_errors
from service.errors import FieldError, FieldErrors, InvalidRequest, pointer_to
from service.specs.architecture import (
    ArchitectureSpec,
    ClassSpec,
    ForwardSpec,
    LayerSpec,
    ModuleSpec,
    Node,
    read_architecture,
)
from service.specs.base import list_names

_TEXTS = {ClassSpec: "source", ModuleSpec: "forward"}  # the field with the text of an architecture


@dataclass(frozen=True)
class CheckedArchitecture:
    """An architecture that fits its inputs.

    Attributes:
        spec: The spec as JSON, with omitted sizes and PyTorch's defaults filled in.
        layers: Calls of layers, in the order of the forward pass.
        outputs: Outputs of the architecture with an entry for each sample, [B, …], by name, on the meta
            device.
        parameter_count: Number of parameters.
        parameter_bytes: Their size.
        activation_bytes: Size of the tensors that autograd saves for the backward pass of one batch.
        module: The module, built on the meta device.
        warnings: Declarations that are allowed, but probably not intended.
    """

    spec: dict[str, Any]
    layers: list[LayerRow]
    outputs: Mapping[str, Tensor]
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
    trace, stand_in_model, outputs = _run(spec, inputs, location)
    _raise_if_any(trace.errors)
    may_write = any(getattr(each, "inplace", False) for each in stand_in_model.modules())
    if len(outputs) > 1 or may_write:
        # A text may branch on the mode. In evaluation a Dropout returns its input itself; an in-place layer
        # behind it overwrites the data.
        eval_trace, _, in_evaluation = _run(spec, inputs, location, training=False)
        _raise_if_any(eval_trace.errors)
        _raise_if_any(_mode_errors(spec, outputs, in_evaluation, pointer))
        trace.arguments = eval_trace.arguments | trace.arguments
    per_sample = _per_sample(spec, inputs, location, trace, outputs)
    _raise_if_any(_uncalled_layers(spec, trace, location))
    if has_class(spec):
        trace.warnings.extend(untrained_parameters(stand_in_model, outputs, pointer))
    complete = _complete(spec, trace, location)
    # PyTorch's warnings are recorded already, by the stand-ins.
    with torch.device("meta"), warnings.catch_warnings(action="ignore"):
        module = build(read_architecture(complete))
    text_pointer = pointer_to(pointer, _TEXTS[type(spec)]) if type(spec) in _TEXTS else pointer
    if has_class(spec) or (
        _has_text(spec) and may_write
    ):  # which may read `self.training` and the size of the batch
        trace.warnings.extend(evaluation_findings(module, trace.inputs, text_pointer))
    if _has_text(spec) and (trace.batch_size or 0) > 1:
        reason = single_sample_error(module, trace.inputs, per_sample, declared_names(spec))
        _raise_if_any([FieldError(text_pointer, reason)] if reason else [])
    parameters = list(module.parameters())
    parameter_count = sum(parameter.numel() for parameter in parameters)
    _raise_if_any(_tensor_errors(module, max_parameters, pointer))
    _raise_if_any(_model_errors(outputs, per_sample, trace, parameter_count, max_parameters, pointer))
    trace.warnings.extend(_left_out(outputs, per_sample, trace, pointer))
    return CheckedArchitecture(
        spec=complete,
        layers=trace.rows,
        outputs=per_sample,
        parameter_count=parameter_count,
        parameter_bytes=sum(parameter.nbytes for parameter in parameters),
        activation_bytes=trace.saved_tensors.total_bytes(excluded=stand_in_model.parameters()),
        module=module,
        warnings=trace.warnings,
    )


def _has_text(spec: Node) -> bool:
    """Return whether a part has a `forward` text; layers alone keep the dimension of the batch."""
    if isinstance(spec, LayerSpec):
        return False
    return isinstance(spec, ForwardSpec) or any(
        _has_text(node) for _, node, _ in children(spec, NodeLocation("", ""))
    )


def _raise_if_any(errors: Iterable[FieldError]) -> None:
    FieldErrors(errors).raise_if_any()


def _run(
    spec: ArchitectureSpec, inputs: Sequence[Tensor], location: NodeLocation, training: bool = True
) -> tuple[Trace, nn.Module, dict[str, Tensor]]:
    """Run a forward pass with stand-ins on the meta device.

    Returns:
        The trace, the model of stand-ins and its outputs by name, none after an error.
    """
    trace = Trace([torch.empty_like(tensor, device="meta") for tensor in inputs])
    try:
        with torch.device("meta"):
            model = assemble(
                spec,
                lambda layer, at: stand_in_type(layer.type)(layer, at, trace),
                location,
                lambda at: ForwardObserver(trace, at),
                lambda each, at: construct_observed(each, at, trace),
            )
    except TraceAborted:
        return trace, nn.Module(), {}
    try:
        with trace.saved_tensors:
            result = model.train(training)(*trace.inputs)
        return trace, model, named_outputs(result, declared_names(spec))
    except TraceAborted:
        pass
    except UnnamedOutput as error:
        trace.errors.append(unnamed_error(error, spec, location.pointer))
    return trace, model, {}


def _mode_errors(
    spec: ArchitectureSpec, outputs: Mapping[str, Tensor], in_evaluation: Mapping[str, Tensor], pointer: str
) -> Iterator[FieldError]:
    """Check that a model has the same outputs in training and in evaluation."""
    if list(outputs) != list(in_evaluation):
        detail = (
            f"The architecture returns {list_names(outputs)} in training and {list_names(in_evaluation)} in "
            "evaluation; return the same outputs in both."
        )
        yield unnamed_error(UnnamedOutput("forward", detail), spec, pointer)


def _per_sample(
    spec: ArchitectureSpec,
    inputs: Sequence[Tensor],
    location: NodeLocation,
    trace: Trace,
    outputs: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Return the outputs whose first dimension is the batch.

    Of several, one may have the size of the batch by chance, as the layers of a hidden state [layers, B, …]
    have; a run with another size distinguishes them.
    """
    found = {name: each for name, each in outputs.items() if each.shape[:1] == (trace.batch_size,)}
    if len(outputs) == 1 or not found:
        return found
    other_trace, _, others = _run(spec, _one_more_sample(inputs), location)
    if other_trace.errors:  # it only takes batches of one size
        return found
    return {name: each for name, each in found.items() if len(others[name]) == other_trace.batch_size}


def _one_more_sample(inputs: Sequence[Tensor]) -> list[Tensor]:
    return [x.new_empty((len(x) + 1, *x.shape[1:]), device="meta") for x in inputs]


def _left_out(
    outputs: Mapping[str, Tensor], per_sample: Mapping[str, Tensor], trace: Trace, pointer: str
) -> Iterator[FieldError]:
    """Warn of outputs without an entry for each sample."""
    for name, tensor in outputs.items():
        if name not in per_sample:
            shape = shape_text(list(tensor.shape))
            detail = (
                f"Output `{name}` is {shape}, whose first dimension is not the batch: it is left out of "
                "loss, metrics and predictions."
            )
            yield FieldError(pointer, detail)


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
        elif _has_parameters(spec):
            trace.warnings.append(FieldError(location.pointer, f"{detail}, so it will not be trained."))
        trace.arguments[location.path] = LAYERS[spec.type].resolve(spec.arguments())


def _has_parameters(spec: LayerSpec) -> bool:
    with torch.device("meta"):
        layer: nn.Module = LAYERS[spec.type](arguments=spec.arguments())
    return next(layer.parameters(), None) is not None


def _complete(spec: Node, trace: Trace, location: NodeLocation) -> dict[str, Any]:
    """Return the node as JSON, with the complete arguments of its layers."""
    named: dict[str, Any] = {} if spec.name is None else {"name": spec.name}
    # Absent fields stay absent, so that architectures of earlier versions stay equal to themselves.
    frozen = {} if spec.trainable else {"trainable": False}
    if isinstance(spec, LayerSpec):
        initial = {name: complete_init(init) for name, init in spec.initial.items()}
        more = {**({"initial": initial} if initial else {}), **frozen}
        return {**named, "type": spec.type, **trace.arguments[location.path], **more}
    if isinstance(spec, ClassSpec):
        return {
            **named,
            "type": spec.type,
            "source": spec.source,
            "class_name": program_of(spec).class_name,
            "arguments": spec.arguments,
            "inputs": list(input_names(spec) or ()),
            **({} if spec.outputs is None else {"outputs": spec.outputs}),
            **frozen,
        }
    nodes = {name: _complete(node, trace, child) for name, node, child in children(spec, location)}
    if not isinstance(spec, ModuleSpec):
        return {**named, "type": spec.type, "layers": list(nodes.values()), **frozen}
    parameters = {name: complete_parameter(parameter) for name, parameter in spec.parameters.items()}
    return {
        **named,
        "type": spec.type,
        "class_name": spec.class_name,
        "submodules": nodes,
        "parameters": parameters,
        **({"buffers": spec.buffers} if spec.buffers else {}),
        **({"constants": spec.constants} if spec.constants else {}),
        **frozen,
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
    outputs: Mapping[str, Tensor],
    per_sample: Mapping[str, Tensor],
    trace: Trace,
    parameter_count: int,
    max_parameters: int,
    pointer: str,
) -> Iterator[FieldError]:
    """Check the outputs and the size of the whole model."""
    if not per_sample:
        shapes = list_names([shape_text(trace.display_shape(each.shape)) for each in outputs.values()])
        yield FieldError(
            pointer, f"The architecture returns {shapes}; the first dimension must be the batch: [B, …]."
        )
    for name, tensor in outputs.items():
        if tensor.is_complex():
            detail = f"Output `{name}` has complex numbers; return its `.real`, `.imag` or `.abs()`."
            yield FieldError(pointer, detail)
    if parameter_count == 0:
        yield FieldError(pointer, "The architecture has no parameters to train; add a layer with weights.")
    if parameter_count > max_parameters:
        yield FieldError(
            pointer, f"The model has {parameter_count:,} parameters; at most {max_parameters:,} are allowed."
        )
