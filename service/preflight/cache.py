"""Results of checks that a helper keeps for the next similar request."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson
from cachetools import LRUCache
from torch import Tensor

from service.architectures.check.check import CheckedArchitecture, check
from service.datasets.prepare.declaration import read_declaration
from service.datasets.prepare.feature_warnings import feature_warnings
from service.datasets.prepare.prepare import JobDatasets, Prepared, prepare
from service.datasets.prepare.target_rules import TargetRules
from service.datasets.prepare.workspace import MetaWorkspace
from service.datasets.validation import ErrorCollector
from service.errors import FieldError
from service.preflight.value_checks import extremes_of
from service.settings import Settings
from service.specs.architecture import ArchitectureSpec
from service.specs.data import CONTENT, DataDeclaration
from service.training.engines.choice import EngineChooser
from service.training.losses import Targets

MAX_ARCHITECTURES = 64
MAX_DATASETS = 8
# Larger data are not cached: the key is a digest of all data, and the entry holds all targets.
MAX_CACHED_BYTES = 2**20


class CheckedData(NamedTuple):
    """Data that fit their declaration.

    Attributes:
        prepared: The data as tensors; inputs are on the meta device, targets hold values.
        extremes: For each input the smallest and largest value that each of its elements can have, [2, …].
        warnings: Features and splits that are valid, but probably not intended.
    """

    prepared: Prepared
    extremes: Sequence[Tensor]
    warnings: Sequence[FieldError]


class PreflightCache:
    """Cache checked architectures by the shapes of their inputs, small checked data, and the work of steps.

    Attributes:
        engines: Chooses engines, and caches the work of training steps.
    """

    def __init__(self, settings: Settings) -> None:
        self.engines = EngineChooser(settings.in_memory_bytes)
        self._max_parameters = settings.max_parameters
        self._architectures = LRUCache[bytes, CheckedArchitecture](MAX_ARCHITECTURES)
        self._data = LRUCache[bytes, CheckedData](MAX_DATASETS)

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
        target_rules: TargetRules | None,
    ) -> CheckedData:
        """Prepare data on the meta device; see `service.datasets.prepare.prepare`.

        Raises:
            InvalidRequest: With every error of the data section.
        """
        contents = [datasets.dataset, *datasets.whole_splits.values()]
        if any(dataset.nbytes > MAX_CACHED_BYTES for dataset in contents):
            return _check(datasets, declaration, targets, input_names, ignored, target_rules)
        digests = [dataset.digest for dataset in contents]  # `declaration` names the splits of the others
        declared = declaration.model_dump(mode="json", exclude=set(CONTENT))
        try:
            rules = None if target_rules is None else target_rules.key()
            key = orjson.dumps([digests, declared, targets, input_names, ignored, rules])
        except orjson.JSONEncodeError:  # integers that orjson can't write
            return _check(datasets, declaration, targets, input_names, ignored, target_rules)
        if key not in self._data:
            self._data[key] = _check(datasets, declaration, targets, input_names, ignored, target_rules)
        return self._data[key]


def _check(
    datasets: JobDatasets,
    declaration: DataDeclaration,
    targets: Targets,
    input_names: Sequence[str] | None,
    ignored: int | None,
    target_rules: TargetRules | None,
) -> CheckedData:
    workspace = MetaWorkspace()
    prepared = prepare(datasets, declaration, targets, input_names, workspace, ignored, target_rules)
    extremes = extremes_of(prepared.encoding, workspace)
    declared = read_declaration(datasets.dataset, declaration, ErrorCollector(), input_names)
    warnings = feature_warnings(declared, prepared.encoding, prepared.rows["train"], extremes)
    return CheckedData(prepared, extremes, [*prepared.warnings, *warnings])
