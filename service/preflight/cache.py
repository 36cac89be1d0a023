"""What a helper remembers of the requests it has checked: one like them is checked sooner."""

from collections.abc import Sequence

import orjson
from torch import Tensor

from service.architectures.check.check import Checked, check
from service.datasets.prepare.prepare import Prepared, Sources, prepare
from service.datasets.prepare.workspace import Nowhere
from service.runtime.lru import Recent
from service.settings import Settings
from service.specs.architecture import ArchitectureSpec
from service.specs.data import CONTENT, DataDeclaration
from service.training.engines.choice import EngineChooser
from service.training.losses import Targets

MOST_ARCHITECTURES = 64
# Data beyond this size are not remembered: each check would have to read all of them for their digest, and
# their targets are kept.
MOST_DATA, MOST_DATA_BYTES = 8, 2**20


class Known:
    """Remembers architectures that were found right for inputs of some shapes, the work of their steps, and
    small data that were found right.

    Attributes:
        engines: chooses jobs' engines.
    """

    def __init__(self, settings: Settings) -> None:
        self.engines = EngineChooser(settings.in_memory_bytes)
        self._max_parameters = settings.max_parameters
        self._architectures = Recent[bytes, Checked](MOST_ARCHITECTURES)
        self._data = Recent[bytes, tuple[Prepared, Nowhere]](MOST_DATA)

    def architecture(self, spec: ArchitectureSpec, inputs: Sequence[Tensor]) -> Checked:
        """The architecture completed, see `service.architectures.check.check.check`."""
        shapes = [[list(x.shape), str(x.dtype)] for x in inputs]
        try:
            key = orjson.dumps([spec.model_dump(mode="json"), shapes])
        except (ValueError, orjson.JSONEncodeError):  # nested deeper than pydantic or orjson can write
            return check(spec, inputs, self._max_parameters)
        return self._architectures.get(key, lambda: check(spec, inputs, self._max_parameters))

    def data(
        self, sources: Sources, declaration: DataDeclaration, targets: Targets, names: Sequence[str] | None
    ) -> tuple[Prepared, Nowhere]:
        """The prepared data, see `datasets.prepare.prepare`; inputs keep only shapes, types and extremes.

        Raises:
            InvalidRequest: with every mistake of the data section.
        """

        def make() -> tuple[Prepared, Nowhere]:
            workspace = Nowhere()
            return prepare(sources, declaration, targets, names, workspace), workspace

        contents = [sources.dataset, *sources.others.values()]
        if any(dataset.nbytes > MOST_DATA_BYTES for dataset in contents):
            return make()
        digests = [dataset.digest for dataset in contents]  # `declaration` has the sides of the others
        declared = declaration.model_dump(mode="json", exclude=set(CONTENT))
        try:
            key = orjson.dumps([digests, declared, targets, names])
        except orjson.JSONEncodeError:  # integers that orjson can't write
            return make()
        return self._data.get(key, make)
