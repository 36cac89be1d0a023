"""The check of an architecture against its inputs: on the meta device, so that nothing is allocated."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from service.architectures.build import Place, assemble, build, children
from service.architectures.mistakes import mistakes
from service.architectures.probe import Probe, Stop
from service.architectures.trace import BATCH, LayerRow, Trace, shape_text
from service.errors import FieldError, InvalidRequest
from service.specs.architecture import ArchitectureSpec, LayerSpec, Node


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
        InvalidRequest: with every mistake in names, types and arguments; or else with the wrong sizes
            up to the first layer that can't be run.
    """
    place = Place("", pointer)
    _refuse(mistakes(spec, place))
    trace = Trace([torch.empty_like(tensor, device="meta") for tensor in inputs])
    model = assemble(spec, lambda layer, at: Probe(layer, at, trace), place)
    output = _output(model, trace)
    _refuse(trace.mistakes)
    complete = _complete(spec, trace, place)
    with torch.device("meta"), warnings.catch_warnings(action="ignore"):  # the probes have kept the warnings
        module = build(ArchitectureSpec.model_validate(complete))
    parameters = list(module.parameters())
    parameter_count = sum(parameter.numel() for parameter in parameters)
    _refuse(_model_mistakes(output, trace, parameter_count, max_parameters, pointer))
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


def _output(model: nn.Module, trace: Trace) -> Tensor:
    """The forward pass; what stopped it is among the trace's mistakes."""
    try:
        with trace.kept:
            return cast(Tensor, model(*trace.inputs))
    except Stop:
        return torch.empty(0, device="meta")


def _complete(spec: Node, trace: Trace, place: Place) -> dict[str, Any]:
    """The node as JSON, with the arguments the probes have found."""
    named = {} if spec.name is None else {"name": spec.name}
    if isinstance(spec, LayerSpec):
        return {**named, "type": spec.type, **trace.arguments[place.path]}
    layers = [_complete(node, trace, below) for _, node, below in children(spec, place)]
    return {**named, "type": spec.type, "layers": layers}


def _model_mistakes(
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
