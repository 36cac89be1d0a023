"""Stand-ins that complete, build and run layers on the meta device when the first tensors arrive.

A stand-in works in any container: whatever calls it, an `nn.Sequential` or a forward text, passes it tensors
with the shapes that the layer will receive. If a declared size does not fit, the stand-in records an error
and continues with the right size, so that the layers behind it are checked too.
"""

import copy
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.rnn import PackedSequence

from service.architectures.build import NodeLocation
from service.architectures.check.trace import Trace, shape_text
from service.architectures.layers import LAYERS, layer_count, undetected
from service.architectures.parameters import layer_init_errors
from service.architectures.shapes import (
    RankError,
    RequiredSize,
    lacks_sizes,
    required_sizes,
    set_size,
    sized_arguments,
)
from service.architectures.text.packed import pack_full, pad_full
from service.architectures.validation import first_line
from service.errors import FieldError, pointer_to
from service.specs.architecture import LayerSpec

INTEGER_LAYERS = frozenset({"Embedding", "EmbeddingBag"})
SAMPLE_ADVICE = "each sample must be a list of numbers, e.g. [[35.7], [55.9]]."
# Operations that take as long as a call of a layer. The first calls of layers are bounded by their number.
REPEATED_CALL = 4
RESHAPE_ADVICE = "a `Flatten` or an `Unflatten` before it changes the number of dimensions."


class TraceAborted(Exception):
    """An error, already recorded, after which the shapes of the following layers are unknown."""


class LayerStandIn(nn.Module):
    """Takes the place of a layer in the check.

    Args:
        spec: The layer.
        location: Its location.
        trace: Receives its arguments, calls, errors and warnings.
        layer: The layer, if the text of a class has made it; the location is that of the text then.
    """

    def __init__(
        self, spec: LayerSpec, location: NodeLocation, trace: Trace, layer: nn.Module | None = None
    ) -> None:
        super().__init__()
        self._spec = spec
        self._location = location
        self._trace = trace
        self._title = f"Layer `{location.path}` ({spec.type})"
        self._constructor = LAYERS[spec.type]
        # Arguments as JSON: those that the client gave, then also the sizes that the inputs determine.
        self._arguments = self._constructor.model.model_validate(spec.arguments()).model_dump(
            mode="json", exclude_unset=True
        )
        self._layer: nn.Module | None = layer
        self._is_in_text = layer is not None

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Build the layer if necessary, and run it.

        Raises:
            TraceAborted: If the layer does not accept the inputs, or the forward pass calls too many layers.
        """
        if inputs and isinstance(inputs[0], PackedSequence) and self._arguments.get("hidden_size"):
            return self._run_packed(*inputs, **named)
        weight = REPEATED_CALL if self._location.path in self._trace.arguments else 1
        if problem := self._trace.count(weight * layer_count(self._spec)):
            raise self._abort(f"{self._title}: {problem}")
        bound = self._bind(inputs, named)
        inputs, named = (
            bound.args,
            {**bound.kwargs, **undetected(getattr(nn, self._spec.type), bound.arguments)},
        )
        tensors = list(takewhile(lambda value: isinstance(value, Tensor), inputs))
        self._check_dtype(tensors[0])
        self._check_sizes(tensors)
        self._check_dim(tensors[0])
        with self._record_failure(tensors), self._record_warnings(), self._forbid_input_writes():
            layer = self._build()
            result = self._run(layer, inputs, named)
        outputs = result if isinstance(result, tuple) else (result,)
        self._trace.record_call(self._location.path, layer, inputs, outputs)
        self._warn_of_mixed_samples(tensors[0])
        return result

    def _run_packed(self, sequence: PackedSequence, *states: Any, **named: Any) -> Any:
        """Run a recurrent layer on sequences of which the check has packed the full length."""
        batch_first = bool(self._arguments.get("batch_first"))
        padded, _ = pad_full(sequence, batch_first)
        output, state = self.forward(padded, *states, **named)
        return pack_full(output, batch_first), state

    def complete_layer(self) -> nn.Module:
        """Return the layer on the meta device, for access to its parameters.

        Raises:
            TraceAborted: If its sizes are not known yet.
        """
        if self._layer is None and lacks_sizes(self._spec.type, self._arguments):
            raise self._abort(
                f"{self._title} has no sizes before its first call; declare them, or call the layer earlier."
            )
        return self._build()

    def _build(self) -> nn.Module:
        if self._layer is None:
            with torch.device("meta"):
                self._layer = self._constructor(arguments=self._arguments).train(self.training)
            if not self._spec.trainable:
                self._layer.requires_grad_(False)
            pointer = pointer_to(self._location.pointer, "initial")
            self._trace.errors += layer_init_errors(self._layer, self._spec.initial, pointer)
        self._trace.arguments[self._location.path] = self._constructor.resolve(self._arguments)
        return self._layer

    def _run(self, layer: nn.Module, inputs: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """Call the layer.

        A recurrent layer runs a single step, since each step takes milliseconds on the meta device. Its
        output is expanded to the length T of the sequence.
        """
        if isinstance(layer, _BatchNorm) and layer.momentum is None:
            # PyTorch reads the number of batches, which has no value here; the shapes are the same.
            with_momentum = copy.copy(layer)
            with_momentum.momentum = 0.1
            return with_momentum(*inputs, **named)
        if not isinstance(layer, nn.RNNBase):
            return layer(*inputs, **named)
        sequence, *state = inputs  # [B, T, in] or [T, B, in]; [T, in] without a batch
        time = 1 if sequence.dim() == 3 and layer.batch_first else 0  # the dimension of T
        steps = sequence.shape[time]
        with self._trace.saved_tensors.repeated(steps):
            # A clone owns its memory, which the meter counts once for each step; a view of the whole sequence
            # would count as the whole sequence.
            output, last = layer(sequence.narrow(time, 0, 1).clone(), *state, **named)  # T = 1
        shape = (*output.shape[:time], steps, *output.shape[time + 1 :])
        return output.expand(shape).clone(), last

    def _bind(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> inspect.BoundArguments:
        """Bind the inputs to the parameters of the layer's `forward`.

        Raises:
            TraceAborted: If they do not match, or the first one is not a tensor.
        """
        signature = _call_signature(self._spec.type)
        parameters = signature.parameters.values()
        try:
            bound = signature.bind(*inputs, **named)
        except TypeError as error:
            needed = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
            count = len(inputs) + len(named)
            if count < len(needed):
                inputs_word = "input" if count == 1 else "inputs"
                raise self._abort(
                    f"{self._title} expects {' and '.join(needed)}, and got {count} {inputs_word}."
                ) from None
            accepted = ", ".join(parameter.name for parameter in parameters)
            raise self._abort(f"{self._title} expects {accepted}: {error}.") from None
        first = next(iter(bound.arguments.values()), None)
        if not isinstance(first, Tensor):
            advice = "; use one of its elements" if isinstance(first, tuple) else ""
            raise self._abort(f"{self._title} expects a tensor and got a {type(first).__name__}{advice}.")
        return bound

    def _check_dtype(self, tensor: Tensor) -> None:
        expects_integers = self._spec.type in INTEGER_LAYERS
        # Layers with weights need floating-point inputs; others, such as Flatten, accept any dtype.
        expects_floats = not expects_integers and bool(sized_arguments(self._spec.type))
        if (expects_integers and tensor.is_floating_point()) or (
            expects_floats and not tensor.is_floating_point()
        ):
            expected = "integers" if expects_integers else "floating-point numbers"
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise self._abort(
                f"{self._title} expects {expected} and got {dtype} {self._trace.describe(tensor)}: "
                "set the dtype of the input in `data.dtypes`."
            )

    def _check_sizes(self, inputs: Sequence[Tensor]) -> None:
        """Set the arguments that are sizes of the inputs, and record an error for each wrong one.

        Raises:
            TraceAborted: If an input has a wrong number of dimensions.
        """
        try:
            required = required_sizes(self._spec.type, [tensor.shape for tensor in inputs])
        except RankError as error:
            tensor = inputs[error.input_index]
            if self._is_in_text and all(tensor is not each for each in self._trace.inputs):
                return  # not the data's: PyTorch takes one sample, too, or says what it expects
            advice = SAMPLE_ADVICE if tensor.dim() < 2 else RESHAPE_ADVICE
            raise self._abort(
                f"{self._title} expects {error.expected} and got {self._trace.describe(tensor)}: {advice}"
            ) from None
        for size in required:
            declared = set_size(self._arguments, size)
            if declared is not None:
                self._layer = None  # was built with the wrong size
                self._record_wrong_size(size, declared, inputs[size.input_index])

    def _record_wrong_size(self, size: RequiredSize, declared: int, tensor: Tensor) -> None:
        expected = self._trace.display_shape(tensor.shape)
        expected[size.dim] = declared
        got = self._trace.describe(tensor)
        path = size.argument.split(".")
        if not _has_path(self._spec.arguments(), path):
            # The client omitted the size, and an earlier call of the layer has determined it.
            detail = f"{self._title} received {shape_text(expected)} in an earlier call, and now got {got}."
            self._trace.errors.append(FieldError(self._location.pointer, detail))
            return
        remedy = f"set {size.argument} to {size.value}."
        detail = f"{self._title} expects {shape_text(expected)} and got {got}: {remedy}"
        self._trace.errors.append(FieldError(self._pointer_to(*path), detail))

    def _check_dim(self, tensor: Tensor) -> None:
        """Check the argument `dim`: the meta device accepts any, but `Softmax(dim=5)` fails in training."""
        dim, rank = self._arguments.get("dim"), tensor.dim()
        if dim is not None and not -rank <= dim < rank:
            got = self._trace.describe(tensor)
            raise self._abort(f"{self._title} got {got}: set dim between {-rank} and {rank - 1}.", "dim")

    def _warn_of_mixed_samples(self, tensor: Tensor) -> None:
        """Warn if a sequence layer reads the batch dimension as time."""
        arguments = self._trace.arguments[self._location.path]
        owners = [arguments, *(value for value in arguments.values() if isinstance(value, dict))]
        batch_first = next((owner["batch_first"] for owner in owners if "batch_first" in owner), None)
        if batch_first is None or tensor.shape[0] != self._trace.batch_size:
            return
        if batch_first and tensor.dim() == 3:
            return
        advice = "set batch_first to true" if tensor.dim() == 3 else "give it sequences, [B, T, size]"
        self._warn(f"{self._title} reads the samples of a batch as the steps of one sequence: {advice}.")

    @contextmanager
    def _record_failure(self, inputs: Sequence[Tensor]) -> Iterator[None]:
        try:
            yield
        except (MemoryError, torch.OutOfMemoryError):
            raise  # not an error of the request: the caller names the memory limit
        except Exception as error:  # PyTorch raises exceptions of many types for shapes that do not fit
            got = " and ".join(map(self._trace.describe, inputs))
            raise self._abort(f"{self._title} got {got}: {first_line(error)}") from None

    @contextmanager
    def _forbid_input_writes(self) -> Iterator[None]:
        """Record an error if the layer overwrites an input: the next epoch would train on other data."""
        yield
        if self._trace.found_input_write():
            detail = f"{self._title} would overwrite the input data: set inplace to false."
            self._trace.errors.append(FieldError(self._pointer_to("inplace"), detail))

    @contextmanager
    def _record_warnings(self) -> Iterator[None]:
        with warnings.catch_warnings(record=True, action="always") as caught:
            yield
        for warning in caught:
            self._warn(f"{self._title}: {warning.message}")

    def _warn(self, detail: str) -> None:
        self._trace.warnings.append(FieldError(self._location.pointer, detail))

    def _pointer_to(self, *path: str) -> str:
        """Return the pointer to an argument of the layer; the layers of a class share that of its text."""
        return self._location.pointer if self._is_in_text else pointer_to(self._location.pointer, *path)

    def _abort(self, detail: str, *argument: str) -> TraceAborted:
        self._trace.errors.append(FieldError(self._pointer_to(*argument), detail))
        return TraceAborted(detail)


@cache
def stand_in_type(name: str) -> type[LayerStandIn]:
    """Return the type of the stand-ins for a class of layers, whose name errors of a text show."""
    return type(name, (LayerStandIn,), {})


@cache
def _call_signature(name: str) -> inspect.Signature:
    """Return the signature of the `forward` of a class of layers, without `self`."""
    signature = inspect.signature(getattr(nn, name).forward)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _has_path(arguments: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(arguments, Mapping) or name not in arguments:
            return False
        arguments = arguments[name]
    return True
