"""Observation of forward texts on the meta device: limits, origins of tensors, and errors with pointers."""

from typing import Any

from torch import Tensor, nn

from service.architectures.build import NodeLocation
from service.architectures.check.stand_ins import LayerStandIn, TraceAborted
from service.architectures.check.trace import Trace
from service.architectures.text.errors import SourceLocation, forward_error, tensors_in
from service.errors import FieldError, pointer_to

MAX_ELEMENTS = 2**31  # of one tensor; 8 GB of float32
TENSORS_OF_OPERATION = 8  # `torch.stack` of so many tensors takes as long as an operation on one


class ForwardObserver:
    """Observes the forward text of one module.

    Args:
        trace: Receives errors and the origins of tensors.
        location: The module.
        field: The field of the module's spec that has the text.
    """

    def __init__(self, trace: Trace, location: NodeLocation, field: str = "forward") -> None:
        self._trace = trace
        self._pointer = pointer_to(location.pointer, field)

    def computed(self, location: SourceLocation, value: Any, operands: Any) -> None:
        """Record the origin of a value.

        Raises:
            TraceAborted: If a tensor is too large, or the forward pass has too many operations.
        """
        if problem := self._trace.count(1 + sum(1 for _ in tensors_in(operands)) // TENSORS_OF_OPERATION):
            raise self._abort(f"{location}: {problem}")
        if self._trace.found_input_write():  # the next epoch would train on other data
            self._add(
                f"{location}: This would overwrite the input data; change a copy, as `x.clone()` makes one."
            )
        for tensor in value if isinstance(value, tuple | list) else (value,):
            if isinstance(tensor, Tensor) and tensor.numel() > MAX_ELEMENTS:
                shape = self._trace.describe(tensor)
                raise self._abort(f"{location} makes {shape}; a tensor has at most 2**31 elements.")
        self._trace.record_origin(value, f"line {location.line}")

    def failed(self, location: SourceLocation, error: Exception, operands: Any) -> Exception:
        """Record an error of an operation, unless a layer or a nested module has recorded it."""
        if isinstance(error, TraceAborted):
            return error
        return self._abort(str(forward_error(location, error, operands, self._trace.describe)))

    def refused(self, message: str) -> Exception:
        """Record something that a text may not do."""
        return self._abort(message)

    def layer(self, module: nn.Module) -> nn.Module:
        """Return the layer behind a stand-in, which has the parameters; other modules as they are."""
        return module.complete_layer() if isinstance(module, LayerStandIn) else module

    def _abort(self, detail: str) -> TraceAborted:
        self._add(detail)
        return TraceAborted(detail)

    def _add(self, detail: str) -> None:
        self._trace.errors.append(FieldError(self._pointer, detail))
