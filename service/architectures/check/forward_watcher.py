"""What looks on while a forward text runs on the meta device: bounds, sources, and errors with pointers."""

from typing import Any

from torch import Tensor, nn

from service.architectures.build import Place
from service.architectures.check.stand_ins import Probe, Stop
from service.architectures.check.trace import Trace
from service.architectures.text.errors import Spot, failure
from service.errors import FieldError, pointer_to

MOST_OPERATIONS = 20_000  # modules that call modules that call modules may run for ever
LARGEST_TENSOR = 2**31  # elements: 8 GB of float32


class Watcher:
    """Watches one forward text."""

    def __init__(self, trace: Trace, place: Place) -> None:
        self._trace = trace
        self._place = place

    def seen(self, spot: Spot, value: Any) -> None:
        """Note where a tensor came from.

        Raises:
            Stop: when it is too large, or too much was computed already.
        """
        self._trace.operations += 1
        if self._trace.operations > MOST_OPERATIONS:
            raise self._stop(f"{spot}: the forward pass takes more than {MOST_OPERATIONS:,} operations.")
        for tensor in value if isinstance(value, tuple | list) else (value,):
            if isinstance(tensor, Tensor) and tensor.numel() > LARGEST_TENSOR:
                shape = self._trace.arrived(tensor)
                raise self._stop(f"{spot} makes {shape}: a tensor has at most 2**31 elements.")
        self._trace.note_source(value, f"line {spot.line}")

    def failed(self, spot: Spot, error: Exception, arguments: Any) -> Exception:
        """Note an error, unless a layer inside has done so."""
        if isinstance(error, Stop):
            return error
        return self._stop(str(failure(spot, error, arguments, self._trace.arrived)))

    def layer(self, module: nn.Module) -> nn.Module:
        """What has the parameters of a submodule: not the stand-in, but the layer."""
        return module.ready() if isinstance(module, Probe) else module

    def _stop(self, detail: str) -> Stop:
        self._trace.errors.append(FieldError(pointer_to(self._place.pointer, "forward"), detail))
        return Stop(detail)
