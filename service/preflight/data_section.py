"""The data that a job request names or contains: reading and checking them."""

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from service.datasets.dataset import Dataset, TabularDataset, load_dataset
from service.datasets.prepare.declared_names import check_names
from service.datasets.prepare.prepare import JobDatasets
from service.datasets.sources.json import read_json
from service.datasets.sources.json_layout import column_names
from service.datasets.sources.json_tensors import wrapping_remedy
from service.datasets.validation import ErrorCollector
from service.errors import FieldError, FieldErrors, InvalidRequest, NotFound, pointer_to
from service.preflight.cache import CheckedData, PreflightCache
from service.preflight.sections import collecting, sent_loss
from service.specs.data import CONTENT, DataDeclaration, DatasetReference
from service.storage.storage import Storage
from service.training.losses import LOSSES, Targets


class DataSection:
    """The data section of one request.

    Args:
        document: The parsed request.
        owner: The client, whose datasets the request may name.
        storage: Where datasets are stored.
        cache: Results of earlier checks.
        errors: Receives what is wrong with the data.
    """

    def __init__(
        self, document: Any, owner: str, storage: Storage, cache: PreflightCache, errors: FieldErrors
    ) -> None:
        self._document = document
        self._owner = owner
        self._storage = storage
        self._cache = cache
        self._errors = errors

    def load_datasets(self, data: DataDeclaration | None) -> JobDatasets | None:
        """Load the datasets that the section names or contains.

        Args:
            data: The section; None where it is invalid, although its content may be readable.

        Returns:
            The datasets; None where one of them can't be read.
        """
        if isinstance(data, DatasetReference):
            dataset = self._load(data.dataset_id, "#/data/dataset_id")
        else:
            dataset = self._read_inline(data)
        others = {
            side: self._load(dataset_id, f"#/data/split/{side}_dataset_id")
            for side, dataset_id in (data.split.dataset_ids() if data else {}).items()
        }
        loaded = {side: other for side, other in others.items() if other is not None}
        return None if dataset is None or len(loaded) < len(others) else JobDatasets(dataset, loaded)

    def _load(self, dataset_id: str, pointer: str) -> Dataset | None:
        try:
            artifact = self._storage.datasets.get(self._owner, dataset_id).artifact
            return self._storage.artifacts.load(artifact, load_dataset)
        except NotFound as error:
            self._errors.add(pointer, error.detail)
            return None

    def _read_inline(self, data: DataDeclaration | None) -> Dataset | None:
        if content := self._inline_content():
            options = None if data is None else data.read_options()
            with collecting(self._errors):
                return read_json(content, "#/data", options=options)
        return None

    def _inline_content(self) -> dict[str, Any]:
        """The section, if it contains data in exactly one recognizable form; otherwise empty."""
        section = self._document.get("data") if isinstance(self._document, dict) else None
        if not isinstance(section, dict):
            return {}
        forms = [form for form in (*CONTENT, "dataset_id") if form in section]
        return section if len(forms) == 1 and forms != ["dataset_id"] else {}

    def prepare(
        self,
        datasets: JobDatasets,
        data: DataDeclaration,
        input_names: Sequence[str] | None,
        ignores_labels: bool,
    ) -> CheckedData | None:
        """Check and encode the data; only shapes, dtypes and extreme values of the inputs are kept.

        The loss determines what the targets have to be. While it is unknown, every possibility is tried, and
        the one with the fewest errors is taken.

        Args:
            datasets: The datasets.
            data: The section.
            input_names: The names of the model's inputs, where they are known.
            ignores_labels: Whether `ignore_index` of the loss is a label of the targets.
        """
        name, arguments = sent_loss(self._document)
        found = LOSSES.get(name or "")
        loss = None if found is None else found.for_arguments(arguments)
        ignored = loss.ignored(arguments) if loss and ignores_labels else None
        rules = None if loss is None else loss.target_rules(arguments)
        attempts: list[FieldErrors] = []
        types = (loss.target_type(datasets.dataset, data),) if loss else get_args(Targets)
        for targets in types:
            try:
                checked = self._cache.data(datasets, data, targets, input_names, ignored, rules)
                return checked._replace(warnings=[*_reading_warnings(datasets), *checked.warnings])
            except InvalidRequest as error:
                attempts.append(error.errors)
        self._errors.extend(min(attempts, key=lambda errors: errors.count))
        return None

    def wrapping_errors(self, names: Sequence[str]) -> list[FieldError]:
        """Return an error for each of some inputs [B], which the model takes as [B, 1] only."""
        inputs = self._inline_content().get("inputs")
        errors = []
        for name in names:
            named = isinstance(inputs, dict)
            pointer = pointer_to("#/data/inputs", name) if named else "#/data/inputs"
            values = inputs[name] if isinstance(inputs, dict) else inputs
            if values is None:  # of a stored dataset
                detail = f"`{name}` is [B], and the model takes [B, 1]; upload it in this shape."
                errors.append(FieldError("#/data", detail))
            else:
                remedy = wrapping_remedy(np.asarray(values[:3]))
                errors.append(FieldError(pointer, f"Samples must be [B, k] for this model; {remedy}"))
        return errors

    def name_errors(self, data: DataDeclaration | None, datasets: JobDatasets | None) -> FieldErrors:
        """Check the column names of a section that is invalid, or whose datasets can't be read."""
        found, columns = ErrorCollector(), self._column_names(datasets)
        if data is not None and columns:
            check_names(data, columns, found, self._declares_window())
        return found

    def _declares_window(self) -> bool:
        """Return whether the section has a `window`, valid or not."""
        section = self._document.get("data") if isinstance(self._document, dict) else None
        transforms = section.get("transforms") if isinstance(section, dict) else None
        declared = transforms if isinstance(transforms, list) else []
        return any(isinstance(each, dict) and each.get("type") == "window" for each in declared)

    def _column_names(self, datasets: JobDatasets | None) -> list[str]:
        """The columns of the table; empty where they are unknown."""
        if datasets is not None:
            dataset = datasets.dataset
            return list(dataset.table.column_names) if isinstance(dataset, TabularDataset) else []
        return column_names(self._inline_content())


def _reading_warnings(datasets: JobDatasets) -> list[FieldError]:
    """Return what the client should know about the reading of data in the request."""
    found = datasets.dataset.warnings if isinstance(datasets.dataset, TabularDataset) else ()
    return [FieldError("#/data", warning) for warning in found]
