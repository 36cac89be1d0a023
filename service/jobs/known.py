"""What a helper remembers of the requests it has checked: one like them is checked sooner."""

from collections.abc import Sequence

import orjson
from torch import Tensor

from service.architectures.preflight import Checked, check
from service.recent import Recent
from service.settings import Settings
from service.specs.architecture import ArchitectureSpec
from service.training.engines.choice import EngineChooser

MOST_ARCHITECTURES = 64


class Known:
    """Remembers architectures that were found right for inputs of some shapes, and the work of their steps.

    Attributes:
        engines: chooses jobs' engines.
    """

    def __init__(self, settings: Settings) -> None:
        self.engines = EngineChooser(settings.in_memory_bytes)
        self._max_parameters = settings.max_parameters
        self._architectures = Recent[bytes, Checked](MOST_ARCHITECTURES)

    def architecture(self, spec: ArchitectureSpec, inputs: Sequence[Tensor]) -> Checked:
        """The architecture completed, see `service.architectures.preflight.check`."""
        shapes = [[list(x.shape), str(x.dtype)] for x in inputs]
        try:
            key = orjson.dumps([spec.model_dump(mode="json"), shapes])
        except (ValueError, orjson.JSONEncodeError):  # nested deeper than pydantic or orjson can write
            return check(spec, inputs, self._max_parameters)
        return self._architectures.get(key, lambda: check(spec, inputs, self._max_parameters))
