"""Results of checks that a helper keeps for the next similar request."""

from collections.abc import Sequence

import orjson
from cachetools import LRUCache
from torch import Tensor

from service.architectures.check.check import CheckedArchitecture, check
from service.datasets.prepare.prepare import JobDatasets, Prepared, prepare
from service.datasets.prepare.workspace import MetaWorkspace
from service.settings import Settings
from service.specs.architecture import ArchitectureSpec
from service.specs.data import CONTENT, DataDeclaration
from service.training.engines.choice import EngineChooser
from service.training.losses import Targets

MAX_ARCHITECTURES = 64
MAX_DATASETS = 8
# Larger data are not cached: the key is a digest of all data, and the entry holds all targets.
MAX_CACHED_BYTES = 2**20


class PreflightCache:
    """Cache checked architectures by the shapes of their inputs, small checked data, and the work of steps.

    Attributes:
        engines: Chooses engines, and caches the work of training steps.
    """

    def __init__(self, settings: Settings) -> None:
        self.engines = EngineChooser(settings.in_memory_bytes)
        self._max_parameters = settings.max_parameters
        self._architectures = LRUCache[bytes, CheckedArchitecture](MAX_ARCHITECTURES)
        self._data = LRUCache[bytes, tuple[Prepared, MetaWorkspace]](MAX_DATASETS)

    def architecture(self, spec: ArchitectureSpec, inputs: Sequence[Tensor]) -> CheckedArchitecture:
        """Complete an architecture; see `service.architectures.check.check.check`."""
        shapes = [[list(x.shape), str(x.dtype)] for x in inputs]
        try:
            key = orjson.dumps([spec.model_dump(mode="json"), shapes])
        except (ValueError, orjson.JSONEncodeError):  # nested deeper than pydantic or orjson can write
            return check(spec, inputs, self._max_parameters)
        if key not in self._architectures:
            self._architectures[key] = check(spec, inputs, self._max_parameters)
        return self._architectures[key]

    def data(
        self,
        datasets: JobDatasets,
        declaration: DataDeclaration,
        targets: Targets,
        input_names: Sequence[str] | None,
        ignored: int | None,
    ) -> tuple[Prepared, MetaWorkspace]:
        """Prepare data on the meta device; see `service.datasets.prepare.prepare`.

        Returns:
            The data, of whose inputs only shapes and dtypes are kept, and the workspace that holds the
            smallest and largest values of the inputs.

        Raises:
            InvalidRequest: With every error of the data section.
        """
        contents = [datasets.dataset, *datasets.whole_splits.values()]
        if any(dataset.nbytes > MAX_CACHED_BYTES for dataset in contents):
            return _prepare(datasets, declaration, targets, input_names, ignored)
        digests = [dataset.digest for dataset in contents]  # `declaration` names the splits of the others
        declared = declaration.model_dump(mode="json", exclude=set(CONTENT))
        try:
            key = orjson.dumps([digests, declared, targets, input_names, ignored])
        except orjson.JSONEncodeError:  # integers that orjson can't write
            return _prepare(datasets, declaration, targets, input_names, ignored)
        if key not in self._data:
            self._data[key] = _prepare(datasets, declaration, targets, input_names, ignored)
        return self._data[key]


def _prepare(
    datasets: JobDatasets,
    declaration: DataDeclaration,
    targets: Targets,
    input_names: Sequence[str] | None,
    ignored: int | None,
) -> tuple[Prepared, MetaWorkspace]:
    workspace = MetaWorkspace()
    return prepare(datasets, declaration, targets, input_names, workspace, ignored), workspace
