"""Record of one forward pass on the meta device: shapes of layers, errors and warnings."""

from collections.abc import Sequence
from typing import Any, TypedDict

from torch import Tensor, nn

from service.architectures.check.activation_memory import SavedTensorMeter
from service.errors import FieldError

BATCH = "B"  # shown instead of the batch size
# Nested modules can call each other exponentially often.
MAX_OPERATIONS = 10_000


class LayerRow(TypedDict):
    """One call of a layer; the size of the batch dimension is shown as `B`."""

    path: str
    type: str
    input_shape: list[int | str]
    output_shape: list[int | str]
    parameters: int


class Trace:
    """Record of one forward pass of an architecture.

    Args:
        inputs: Inputs of the architecture on the meta device, each [B, …].

    Attributes:
        batch_size: Size of the first dimension of the first input; None for a scalar.
        rows: Calls of layers, in order.
        errors: Errors found.
        warnings: Declarations that are allowed, but probably not intended.
        arguments: Complete arguments of each layer, by its path.
        saved_tensors: Measures the tensors saved for the backward pass.
        operations: Number of operations of forward texts, and of calls of layers, so far; one that takes
            longer counts as several.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self.inputs = inputs
        self.batch_size = inputs[0].shape[0] if inputs[0].dim() else None
        self.rows: list[LayerRow] = []
        self.errors: list[FieldError] = []
        self.warnings: list[FieldError] = []
        self.arguments: dict[str, dict[str, Any]] = {}
        self.saved_tensors = SavedTensorMeter()
        self.operations = 0
        self._input_writes = 0
        # Tensor and origin by `id`. The reference keeps the tensor alive, so no id is reused.
        self._origins = {id(tensor): (tensor, "the input") for tensor in inputs}

    def found_input_write(self) -> bool:
        """Return whether an input was written to, also through a view, since the last call of this method."""
        before, self._input_writes = self._input_writes, sum(tensor._version for tensor in self.inputs)
        return self._input_writes > before

    def count(self, operations: int) -> str | None:
        """Count operations.

        Returns:
            What is wrong if there are too many; None otherwise.
        """
        self.operations += operations
        if self.operations <= MAX_OPERATIONS:
            return None
        return (
            f"the forward pass has more than {MAX_OPERATIONS:,} operations and calls of layers; a repeated "
            "call of a layer counts as four, and an operation on many tensors once more for every eight."
        )

    def display_shape(self, shape: Sequence[int]) -> list[int | str]:
        """Return a shape with the size of the batch dimension replaced by `B`."""
        return [BATCH if dim == 0 and size == self.batch_size else size for dim, size in enumerate(shape)]

    def describe(self, tensor: Tensor) -> str:
        """Return the shape of a tensor with its origin, if known: `[B, 13] from layer `1``."""
        origin = self._origins.get(id(tensor))
        return f"{shape_text(self.display_shape(tensor.shape))}{f' from {origin[1]}' if origin else ''}"

    def record_origin(self, value: Any, origin: str) -> None:
        """Record where a tensor, or each tensor of a tuple or list, was made; the first origin is kept."""
        if isinstance(value, Tensor):
            self._origins.setdefault(id(value), (value, origin))
        elif isinstance(value, tuple | list):
            for each in value:
                self.record_origin(each, origin)

    def record_call(self, path: str, layer: nn.Module, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Record a call of a layer.

        Args:
            path: Path of the layer.
            layer: The layer on the meta device.
            inputs: Positional arguments of the call; the first is a tensor.
            outputs: Its outputs; the first is a tensor.
        """
        for tensor in outputs:
            self.record_origin(tensor, f"layer `{path}`")
        self.rows.append(
            LayerRow(
                path=path,
                type=type(layer).__name__,
                input_shape=self.display_shape(inputs[0].shape),
                output_shape=self.display_shape(outputs[0].shape),
                parameters=sum(parameter.numel() for parameter in layer.parameters()),
            )
        )


def shape_text(shape: Sequence[int | str]) -> str:
    """Return a shape as messages show it: `[B, 13]`."""
    return f"[{', '.join(map(str, shape))}]"
