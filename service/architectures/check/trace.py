"""What one forward pass of an architecture has shown: its layers' shapes, errors and warnings."""

from collections.abc import Sequence
from typing import Any, TypedDict

from torch import Tensor, nn

from service.architectures.check.activation_memory import Kept
from service.errors import FieldError

BATCH = "B"  # how the batch's size is shown


class LayerRow(TypedDict):
    """One call of a layer; the batch's dimension is shown as `B`."""

    path: str
    type: str
    input_shape: list[int | str]
    output_shape: list[int | str]
    parameters: int


class Trace:
    """What the probes of one architecture have seen.

    Args:
        inputs: the meta tensors that the architecture is given, the batch first.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self.inputs = inputs
        self.batch = inputs[0].shape[0] if inputs[0].dim() else None
        self.rows: list[LayerRow] = []
        self.errors: list[FieldError] = []
        self.warnings: list[FieldError] = []
        self.arguments: dict[str, dict[str, Any]] = {}  # of each layer by its path, complete
        self.kept = Kept()
        # By id; the tensors are held so that no id comes twice.
        self._sources = {id(tensor): (tensor, "the input") for tensor in inputs}
        self.operations = 0  # of forward texts and layers

    @property
    def writes_on_inputs(self) -> int:
        """How often an input was written to so far, through a view of it, too."""
        return sum(tensor._version for tensor in self.inputs)

    def shown(self, shape: Sequence[int]) -> list[int | str]:
        """A shape with the batch's dimension as `B`."""
        return [BATCH if dim == 0 and size == self.batch else size for dim, size in enumerate(shape)]

    def arrived(self, tensor: Tensor) -> str:
        """A tensor's shape, and where it came from if that is known."""
        source = self._sources.get(id(tensor))
        return f"{shape_text(self.shown(tensor.shape))}{f' from {source[1]}' if source else ''}"

    def note_source(self, value: Any, source: str) -> None:
        """Remember where a tensor came from, if that is not known."""
        if isinstance(value, Tensor):
            self._sources.setdefault(id(value), (value, source))
        elif isinstance(value, tuple | list):
            for each in value:
                self.note_source(each, source)

    def passed(self, path: str, layer: nn.Module, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Note a call of a layer."""
        for tensor in outputs:
            self.note_source(tensor, f"layer `{path}`")
        self.rows.append(
            LayerRow(
                path=path,
                type=type(layer).__name__,
                input_shape=self.shown(inputs[0].shape),
                output_shape=self.shown(outputs[0].shape),
                parameters=sum(parameter.numel() for parameter in layer.parameters()),
            )
        )


def shape_text(shape: Sequence[int | str]) -> str:
    """A shape as it is written in messages: `[B, 13]`."""
    return f"[{', '.join(map(str, shape))}]"
