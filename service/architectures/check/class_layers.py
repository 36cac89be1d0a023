"""Construction of a class for a check: its layers are observed like those of a spec."""

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.build import NodeLocation
from service.architectures.check.forward_observer import ForwardObserver
from service.architectures.check.stand_ins import LayerStandIn, TraceAborted
from service.architectures.check.trace import Trace
from service.architectures.classes import construct
from service.architectures.layers import LAYERS
from service.architectures.outputs import named_outputs
from service.architectures.text.constructors import declared_arguments
from service.architectures.text.errors import ForwardError
from service.architectures.validation import first_line
from service.errors import FieldError, InvalidRequest, pointer_to
from service.specs.architecture import ClassSpec, LayerSpec
from service.specs.base import list_names

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


def untrained_parameters(model: nn.Module, outputs: Mapping[str, Tensor], pointer: str) -> list[FieldError]:
    """Return a warning for the parameters that no output depends on, such as those of an uncalled layer.

    Args:
        model: The model of stand-ins, after a forward pass.
        outputs: Its outputs.
        pointer: JSON pointer to the architecture.
    """
    named = {name: each for name, each in model.named_parameters() if each.requires_grad}
    sums = [each.sum() for each in outputs.values() if each.requires_grad and each.is_floating_point()]
    if not named or not sums:
        return []
    # The rules for outputs read the graph afterwards.
    try:
        found = torch.autograd.grad(sums, list(named.values()), retain_graph=True, allow_unused=True)
    except RuntimeError as error:  # a tensor that the backward pass needs was changed in place
        detail = f"The backward pass fails: {first_line(error)}"
        raise InvalidRequest(errors=[FieldError(pointer, detail)]) from None
    unused = [name for name, gradient in zip(named, found, strict=True) if gradient is None]
    if not unused:
        return []
    verb = (
        "is a parameter that no output depends on, so it will"
        if len(unused) == 1
        else ("are parameters that no output depends on, so they will")
    )
    return [FieldError(pointer, f"{list_names([f'`{name}`' for name in unused])} {verb} not be trained.")]


def evaluation_findings(model: nn.Module, inputs: Sequence[Tensor], pointer: str) -> list[FieldError]:
    """Check a model with a class in evaluation mode, as predictions use it.

    Args:
        model: The model on the meta device.
        inputs: Its inputs on the meta device.
        pointer: JSON pointer to the architecture.

    Returns:
        A warning if it accepts only batches of one size.

    Raises:
        InvalidRequest: The forward pass fails in evaluation mode.
    """
    if detail := _failure(model, [torch.empty_like(each) for each in inputs]):
        raise InvalidRequest(errors=[FieldError(pointer, f"In evaluation mode: {detail}")])
    if detail := _failure(model, _one_more(inputs)):
        detail = (
            f"The forward pass needs batches of {len(inputs[0])} samples, and so do predictions; "
            f"with one more it fails: {detail}"
        )
        return [FieldError(pointer, detail)]
    return []


def single_sample_error(
    model: nn.Module, inputs: Sequence[Tensor], outputs: Mapping[str, Tensor], names: Sequence[str] | None
) -> str | None:
    """Return why a model can't predict for a single sample, in evaluation mode; None if it can.

    `squeeze()` removes every dimension of size 1, so that the batch is lost if it has one sample. A model
    that takes batches of one size only is allowed.

    Args:
        model: The model on the meta device.
        inputs: Its inputs on the meta device, [B, …] with at least two samples.
        outputs: Its outputs for them, [B, …], by name.
        names: Names that the spec gives to what the model returns.
    """
    reason = _single_sample_reason(model, inputs, outputs, names)
    return None if reason is None or _failure(model, _one_more(inputs)) else reason


def _single_sample_reason(
    model: nn.Module, inputs: Sequence[Tensor], outputs: Mapping[str, Tensor], names: Sequence[str] | None
) -> str | None:
    with torch.no_grad(), warnings.catch_warnings(action="ignore"), _single_steps(model):
        try:
            found = named_outputs(model.eval()(*(x.new_empty((1, *x.shape[1:])) for x in inputs)), names)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # PyTorch raises exceptions of many types for shapes that do not fit
            return f"The forward pass fails for a batch of one sample: {first_line(error)} {_SQUEEZE}"
        finally:
            model.train()
    for name, output in outputs.items():
        single = found.get(name)
        if single is None or single.dim() != output.dim() or len(single) != 1:
            got = "missing" if single is None else list(single.shape)
            dimensions = ", ".join(["1", *["…"] * (output.dim() > 1)])
            return (
                f"For a batch of one sample, output `{name}` is {got} instead of [{dimensions}]. {_SQUEEZE}"
            )
    return None


_SQUEEZE = (
    "The first dimension must remain the batch: `squeeze()` also removes it if there is one sample; name the "
    "dimension to remove, as in `squeeze(-1)`."
)


@contextmanager
def _single_steps(model: nn.Module) -> Iterator[None]:
    """Let recurrent layers run one step of a sequence: each takes milliseconds on the meta device."""
    layers = [each for each in model.modules() if type(each) in (nn.RNN, nn.LSTM, nn.GRU)]
    for layer in layers:
        layer.forward = partial(_run_single_step, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _run_single_step(layer: Any, sequence: Any, *states: Any, **named: Any) -> Any:
    forward = type(layer).forward
    if not isinstance(sequence, Tensor):  # a packed sequence
        return forward(layer, sequence, *states, **named)
    time = 1 if sequence.dim() == 3 and layer.batch_first else 0  # the dimension of T
    output, last = forward(layer, sequence.narrow(time, 0, 1), *states, **named)
    return output.expand(*output.shape[:time], sequence.shape[time], *output.shape[time + 1 :]), last


def _one_more(inputs: Sequence[Tensor]) -> list[Tensor]:
    return [each.new_empty((len(each) + 1, *each.shape[1:])) for each in inputs]


def _failure(model: nn.Module, inputs: Sequence[Tensor]) -> str | None:
    """Return why a forward pass in evaluation mode fails; None if it does not."""
    versions = [each._version for each in inputs]
    try:
        with torch.no_grad(), warnings.catch_warnings(action="ignore"), _single_steps(model):
            model.eval()(*inputs)
    except ForwardError as error:
        return str(error)
    except (MemoryError, torch.OutOfMemoryError):
        raise  # not an error of the request: the caller names the memory limit
    except Exception as error:  # PyTorch raises exceptions of many types for shapes that do not fit
        return first_line(error)
    finally:
        model.train()
    overwritten = versions != [each._version for each in inputs]
    return "the model overwrites its input; change a copy, as `x.clone()` makes one." if overwritten else None
