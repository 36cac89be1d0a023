"""Check of a declaration against a dataset of tensors."""

from collections.abc import Mapping, Sequence

import numpy as np

from service.datasets.dataset import Tensor, TensorDataset
from service.datasets.prepare.declared_data import DATA, WEIGHTS_POINTER, DeclaredData
from service.datasets.prepare.declared_names import input_dtypes, match_inputs
from service.datasets.prepare.encoding import TARGETS, WEIGHTS
from service.datasets.validation import ErrorCollector
from service.errors import pointer_to
from service.specs.data import DataDeclaration, DatasetReference, InlineTensors


def read_tensors(
    dataset: TensorDataset, data: DataDeclaration, errors: ErrorCollector, input_names: Sequence[str] | None
) -> DeclaredData:
    """Check the declaration of tensors; see `declaration.read_declaration`."""
    for name in ("features", "feature_groups", "targets", "id"):
        if isinstance(data, DatasetReference) and getattr(data, name):
            errors.add(pointer_to(DATA, name), f"Tensor data has no columns; omit `{name}`.")
    if found := data.window():
        detail = "Tensor data has no columns that order its rows; send windows as tensors, and omit `window`."
        errors.add(pointer_to(DATA, "transforms", found[1]), detail)
    if isinstance(data, DatasetReference) and data.weights is not None:
        if dataset.weights is None:
            detail = (
                f"The dataset has no array `{WEIGHTS}`; upload the weights under this name beside `inputs`."
            )
            errors.add(WEIGHTS_POINTER, detail)
        elif data.weights != WEIGHTS:
            errors.add(
                WEIGHTS_POINTER,
                f"The weights of tensors are their array `{WEIGHTS}`; give this name or none.",
            )
    for name in data.column_types():
        detail = "Tensor data has no columns; omit `types`, or declare the dtype of an input in `dtypes`."
        errors.add(pointer_to(DATA, "types", name), detail)
    if dataset.targets is None:
        errors.fail(DATA, "The dataset has inputs but no targets to train on; use one with `targets`.")
    container = pointer_to(DATA, "inputs") if isinstance(data, InlineTensors) else DATA
    order = match_inputs(dataset.inputs, input_names, container, errors)
    dtypes = input_dtypes(data, order, input_names, errors)
    return DeclaredData(
        dataset,
        dict.fromkeys(order, ()),
        (),
        dtypes,
        _tensor_pointers(dataset, data),
        classes=data.classes,
        weights=None if dataset.weights is None else WEIGHTS,
        masks_targets=data.missing_targets == "mask",
    )


def _tensor_pointers(dataset: TensorDataset, data: DataDeclaration) -> Mapping[str, str]:
    """Return the pointers of all tensors; for an uploaded dataset, that of the section."""
    others = (TARGETS,) if dataset.weights is None else (TARGETS, WEIGHTS)
    if not isinstance(data, InlineTensors):
        return dict.fromkeys([*dataset.inputs, *others], DATA)
    inputs = pointer_to(DATA, "inputs")
    named = isinstance(data.inputs, dict)
    pointers = {name: pointer_to(inputs, name) if named else inputs for name in dataset.inputs}
    return pointers | {name: pointer_to(DATA, name) for name in others}


def check_class_tensor(targets: Tensor, pointer: str, errors: ErrorCollector) -> None:
    """Check that tensor targets can be classes: whole numbers, and not [B, 1].

    Missing ones, which make integers floating point, are reported elsewhere.
    """
    if targets.dtype.kind == "f" and np.isnan(targets).any():
        return
    if targets.dtype.kind == "f" and (targets != np.floor(targets)).any():
        errors.add(pointer, "Classes must be whole numbers, such as 0, 1 and 2; found fractions.")
    elif targets.shape[1:] == (1,):
        detail = f"Classes must have shape [B], not {list(targets.shape)}; remove the inner brackets."
        errors.add(pointer, detail)
