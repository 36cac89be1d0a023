"""The parameter set that a training starts with: found, and compared with the model."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

import orjson
from torch import nn

from service.errors import FieldError, FieldErrors, InvalidRequest, ParameterSetNotFound
from service.specs.base import did_you_mean
from service.specs.training import TrainingSpec
from service.storage.storage import Storage
from service.training.parameter_files import StoredTensor

POINTER = "#/training/initial_parameters"
_MAX_WRAPPERS = 4  # around each other; names of a file may have hundreds of parts


def find_tensors(training: TrainingSpec, owner: str, storage: Storage) -> Sequence[StoredTensor] | None:
    """Find the tensors of the parameter set that a training names; None if it names none.

    Raises:
        InvalidRequest: There is no such parameter set, or the training starts from a job, too.
    """
    if training.initial_parameters is None:
        return None
    if training.from_job is not None:
        detail = "A job starts with `initial_parameters` or with those of `from_job`; remove one of them."
        raise InvalidRequest(errors=[FieldError(POINTER, detail)])
    try:
        tensors = storage.parameter_sets.tensors(owner, training.initial_parameters)
    except ParameterSetNotFound as error:
        raise InvalidRequest(errors=[FieldError(POINTER, error.detail)]) from None
    return [StoredTensor(**each) for each in orjson.loads(tensors)]


def check_tensors(model: nn.Module, tensors: Sequence[StoredTensor]) -> FieldErrors:
    """Compare the tensors of a parameter set with the `state_dict()` of a model, strictly.

    Args:
        model: The model, on the meta device.
        tensors: The tensors.
    """
    errors = FieldErrors()
    required = {name: _form(list(x.shape), str(x.dtype)) for name, x in model.state_dict().items()}
    if prefix := _wrapper_prefix([tensor.name for tensor in tensors], required):
        errors.add(
            POINTER,
            f"All names begin with `{prefix}`, which a wrapper such as `nn.DataParallel` adds; those of the "
            f"model do not. Remove it from the names, as by `name.removeprefix({json.dumps(prefix)})`.",
        )
        tensors = [replace(tensor, name=tensor.name.removeprefix(prefix)) for tensor in tensors]
    trained = dict(model.named_parameters(remove_duplicate=False))
    given = {tensor.name: tensor for tensor in tensors}
    sent = {id(trained[name]): name for name in given if name in trained}  # under any of their names
    for name, form in required.items():
        if name not in given:
            tied = sent.get(id(trained.get(name)))
            remedy = f" It is the same parameter as `{tied}`; send it under both names." if tied else ""
            errors.add(POINTER, f"`{name}` is missing; in the model it is {form}.{remedy}")
    for tensor in tensors:
        form = _form(tensor.shape, tensor.dtype)
        if tensor.name not in required:
            errors.add(POINTER, partial(_unexpected, tensor.name, form, required, given))
        elif form != required[tensor.name]:
            errors.add(POINTER, f"`{tensor.name}` is {form}; in the model it is {required[tensor.name]}.")
        elif tensor.name in trained and not tensor.finite:
            errors.add(POINTER, f"`{tensor.name}` has infinite values, with which no training can start.")
    return errors


def _wrapper_prefix(names: Sequence[str], required: Collection[str]) -> str:
    """Return what a wrapper of the model has put before all names, such as `module.`; "" if there is nothing.

    Args:
        names: Names of the tensors that are given.
        required: Names of the model.
    """
    if not names or any(name in required for name in names):
        return ""
    parts = names[0].split(".")[:-1][:_MAX_WRAPPERS]
    for count in range(len(parts), 0, -1):
        prefix = "".join(f"{part}." for part in parts[:count])
        is_common = all(name.startswith(prefix) for name in names)
        if is_common and any(name.removeprefix(prefix) in required for name in names):
            return prefix
    return ""


def _form(shape: Sequence[int], dtype: str) -> str:
    return f"{dtype.removeprefix('torch.')} {[*shape]}"


def _unexpected(name: str, form: str, required: Mapping[str, str], given: Mapping[str, StoredTensor]) -> str:
    similar = did_you_mean(name, [each for each in required if each not in given])
    return f"The model has no `{name}`, here {form}{similar or '.'}"
