"""Stand-ins for layers, which complete, build and run them on the meta device when the first tensors arrive.

A probe needs no container of its own: whatever calls it, an `nn.Sequential` or a forward text, shows it
the shapes. Where a size doesn't fit, the error is noted and the layer goes on as if the advice had been
followed, so that the sizes behind it are checked too.
"""

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.build import Place
from service.architectures.check.trace import Trace, shape_text
from service.architectures.layers import LAYERS
from service.architectures.shapes import Misfit, Size, fill, left_out, sized_arguments, sizes
from service.architectures.validation import first_line
from service.errors import FieldError, pointer_to
from service.specs.architecture import LayerSpec

INTEGER_LAYERS = frozenset({"Embedding", "EmbeddingBag"})
SAMPLE_ADVICE = "each sample must be a list of numbers, e.g. [[35.7], [55.9]]."
RESHAPE_ADVICE = "a `Flatten` or an `Unflatten` before it changes the number of dimensions."


class Stop(Exception):
    """A error behind which nothing can be said about the shapes."""


class Probe(nn.Module):
    """Stands where a layer will be."""

    def __init__(self, spec: LayerSpec, place: Place, trace: Trace) -> None:
        super().__init__()
        self._spec = spec
        self._place = place
        self._trace = trace
        self._called = f"Layer `{place.path}` ({spec.type})"
        self._constructor = LAYERS[spec.type]
        self._given = self._constructor.model.model_validate(spec.arguments()).model_dump(
            mode="json", exclude_unset=True
        )
        self._layer: nn.Module | None = None

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Complete and build the layer if it is not, and run it.

        Raises:
            Stop: when the layer takes something else altogether.
        """
        bound = self._bind(inputs, named)
        inputs, named = bound.args, bound.kwargs
        tensors = list(takewhile(lambda value: isinstance(value, Tensor), inputs))
        self._check_dtype(tensors[0])
        self._check_sizes(tensors)
        self._check_dim(tensors[0])
        with self._refusal_as_error(tensors), self._warnings_kept(), self._data_kept():
            layer = self._built()
            result = self._run(layer, inputs, named)
        outputs = result if isinstance(result, tuple) else (result,)
        self._trace.passed(self._place.path, layer, inputs, outputs)
        self._warn_of_mixed_samples(tensors[0])
        return result

    def ready(self) -> nn.Module:
        """The layer itself, whose parameters are asked for.

        Raises:
            Stop: when its sizes are not known yet.
        """
        if self._layer is None and left_out(self._spec.type, self._given):
            raise self._stop(
                f"{self._called} has no sizes before it is called: give them, or call it before."
            )
        return self._built()

    def _built(self) -> nn.Module:
        if self._layer is None:
            with torch.device("meta"):
                self._layer = self._constructor(arguments=self._given).train(self.training)
        self._trace.arguments[self._place.path] = self._constructor.resolve(self._given)
        return self._layer

    def _run(self, layer: nn.Module, inputs: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """Call a layer; of a recurrent one a single step, because on meta each step costs milliseconds."""
        if not isinstance(layer, nn.RNNBase):
            return layer(*inputs, **named)
        sequence, *state = inputs
        time = 1 if sequence.dim() == 3 and layer.batch_first else 0
        with self._trace.kept.repeated(sequence.shape[time]):
            # The clones own their memory, so that it is counted once for each step.
            output, last = layer(sequence.narrow(time, 0, 1).clone(), *state, **named)
        shape = (*output.shape[:time], sequence.shape[time], *output.shape[time + 1 :])
        return output.expand(shape).clone(), last

    def _bind(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> inspect.BoundArguments:
        """The inputs by the names of the layer's `forward`."""
        signature = inspect.signature(getattr(nn, self._spec.type).forward)
        parameters = list(signature.parameters.values())[1:]
        signature = signature.replace(parameters=parameters)
        try:
            bound = signature.bind(*inputs, **named)
        except TypeError as error:
            needed = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
            got = len(inputs) + len(named)
            if got < len(needed):
                inputs_word = "input" if got == 1 else "inputs"
                raise self._stop(
                    f"{self._called} takes {' and '.join(needed)}, and got {got} {inputs_word}."
                ) from None
            takes = ", ".join(parameter.name for parameter in parameters)
            raise self._stop(f"{self._called} takes {takes}: {error}.") from None
        first = next(iter(bound.arguments.values()), None)
        if not isinstance(first, Tensor):
            advice = ": take one of its elements" if isinstance(first, tuple) else ""
            raise self._stop(f"{self._called} takes a tensor and got a {type(first).__name__}{advice}.")
        return bound

    def _check_dtype(self, tensor: Tensor) -> None:
        integers = self._spec.type in INTEGER_LAYERS
        if integers == tensor.is_floating_point() and (integers or sized_arguments(self._spec.type)):
            takes, dtype = "integers" if integers else "floating-point numbers", str(tensor.dtype)
            raise self._stop(
                f"{self._called} takes {takes} and got {dtype.removeprefix('torch.')} "
                f"{self._trace.arrived(tensor)}: `data.dtypes` says what an input holds."
            )

    def _check_sizes(self, inputs: Sequence[Tensor]) -> None:
        try:
            needed = sizes(self._spec.type, [tensor.shape for tensor in inputs])
        except Misfit as misfit:
            got = self._trace.arrived(inputs[misfit.source])
            advice = SAMPLE_ADVICE if inputs[misfit.source].dim() < 2 else RESHAPE_ADVICE
            raise self._stop(f"{self._called} takes {misfit.takes} and got {got}: {advice}") from None
        for size in needed:
            declared = fill(self._given, size)
            if declared is not None:
                self._layer = None
                self._note_wrong_size(size, declared, inputs[size.source])

    def _note_wrong_size(self, size: Size, declared: int, tensor: Tensor) -> None:
        takes = self._trace.shown(tensor.shape)
        takes[size.dim] = declared
        if not _has(self._spec.arguments(), size.argument.split(".")):
            got = self._trace.arrived(tensor)
            detail = f"{self._called} took {shape_text(takes)} when it was called before, and now got {got}."
            self._trace.errors.append(FieldError(self._place.pointer, detail))
            return
        self._trace.errors.append(
            FieldError(
                pointer_to(self._place.pointer, *size.argument.split(".")),
                f"{self._called} takes {shape_text(takes)} and got {self._trace.arrived(tensor)}: "
                f"set {size.argument} to {size.value}.",
            )
        )

    def _check_dim(self, tensor: Tensor) -> None:
        """The meta device lets any dimension pass: `Softmax(dim=5)` of [B, 3] would fail in training."""
        dim, rank = self._given.get("dim"), tensor.dim()
        if dim is not None and not -rank <= dim < rank:
            got = self._trace.arrived(tensor)
            raise self._stop(f"{self._called} got {got}: set dim between {-rank} and {rank - 1}.", "dim")

    def _warn_of_mixed_samples(self, tensor: Tensor) -> None:
        arguments = self._trace.arguments[self._place.path]
        parts = [arguments, *(part for part in arguments.values() if isinstance(part, dict))]
        first = next((part["batch_first"] for part in parts if "batch_first" in part), None)
        if first is None or tensor.shape[0] != self._trace.batch or (first and tensor.dim() == 3):
            return
        advice = "set batch_first to true" if tensor.dim() == 3 else "give it sequences, [B, T, size]"
        self._warn(f"{self._called} reads the samples of a batch as the steps of one sequence: {advice}.")

    @contextmanager
    def _refusal_as_error(self, inputs: Sequence[Tensor]) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # PyTorch refuses shapes by whatever exception comes up
            got = " and ".join(map(self._trace.arrived, inputs))
            raise self._stop(f"{self._called} got {got}: {first_line(error)}") from None

    @contextmanager
    def _data_kept(self) -> Iterator[None]:
        """Note it where a layer writes on an input: the next epoch would be trained on something else."""
        before = self._trace.writes_on_inputs
        yield
        if self._trace.writes_on_inputs > before:
            detail = f"{self._called} would overwrite the data that it is given: set inplace to false."
            self._trace.errors.append(FieldError(pointer_to(self._place.pointer, "inplace"), detail))

    @contextmanager
    def _warnings_kept(self) -> Iterator[None]:
        with warnings.catch_warnings(record=True, action="always") as caught:
            yield
        for warning in caught:
            self._warn(f"{self._called}: {warning.message}")

    def _warn(self, detail: str) -> None:
        self._trace.warnings.append(FieldError(self._place.pointer, detail))

    def _stop(self, detail: str, *argument: str) -> Stop:
        self._trace.errors.append(FieldError(pointer_to(self._place.pointer, *argument), detail))
        return Stop(detail)


def _has(arguments: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(arguments, Mapping) or name not in arguments:
            return False
        arguments = arguments[name]
    return True
