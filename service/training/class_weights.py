"""Class weights: from weights by label to the tensor that a loss of `torch.nn` expects.

A client gives them as `class_weights`, or as the argument `weight` or `pos_weight` of the loss.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from service.datasets.prepare.encoding import IGNORED, Encoding
from service.datasets.validation import ErrorCollector
from service.errors import pointer_to
from service.specs.base import did_you_mean
from service.specs.training import TrainingSpec
from service.training.expression_loss import ExpressionLoss
from service.training.labels import label_key, target_names
from service.training.losses import LOSSES
from service.training.weighted_loss import WeightedLoss

CLASS_WEIGHTS = "#/training/class_weights"
LOSS = "#/training/loss"
_MAX_NAMED = 10  # in one message
_REMEDY = "give the weights as numbers instead of `auto`, or change the training rows with `data.split`."


def resolve_class_weights(
    spec: TrainingSpec, encoding: Encoding, targets: Tensor, absent: Collection[int] = ()
) -> TrainingSpec:
    """Write the weights as numbers by label and check them.

    `auto` is n / (k · n_c) for class c of k with n_c of n rows, as in scikit-learn's
    `compute_class_weight("balanced")`. For numeric targets of 0 and 1 it is negatives / positives, as in
    PyTorch's documentation of `BCEWithLogitsLoss(pos_weight=…)`.

    Args:
        spec: The section; its loss supports class weights.
        encoding: Encoding of the data, with the classes or the names of the targets.
        targets: Targets of all training rows, int64 [B] or float32 [B, k].
        absent: Outputs of classes that no row of any split has; `auto` gives them the weight 1.

    Returns:
        The section with a weight for each label in `class_weights`, in the order of the labels; unchanged
        without weights.

    Raises:
        InvalidRequest: A label is unknown or has no weight, a weight is 0 or infinite as float32, or `auto`
            is undefined.
    """
    errors = ErrorCollector()
    keys, argument = _keys(encoding), weight_argument(spec)
    if argument is not None:
        pointer = pointer_to(LOSS, argument)
        weights = _of_argument(spec.loss.arguments()[argument], keys, encoding, pointer, errors)
        spec = spec.model_copy(update={"loss": spec.loss.without(argument)})
    elif spec.class_weights is None:
        return spec
    else:
        pointer = CLASS_WEIGHTS
        if isinstance(spec.class_weights, dict):
            weights = spec.class_weights
            _check_labels(weights, keys, pointer, errors)
        elif encoding.classes is not None:
            weights = _balanced(keys, targets, encoding, absent, errors)
        elif LOSSES[spec.loss.type].weight_argument == "weight":
            errors.fail(pointer, "`auto` counts rows by class, and soft labels have none; give numbers.")
        else:
            weights = _negatives_per_positive(keys, targets, errors)
    errors.raise_if_any()
    resolved = spec.model_copy(update={"class_weights": {key: weights[key] for key in keys}})
    tensor = _weights(resolved, encoding, max(encoding.outputs_by_class, default=0) + 1)
    if not (tensor.isfinite() & (tensor > 0)).all():
        errors.fail(pointer, "Some weights are 0 or infinite as float32; use weights nearer to 1.")
    return resolved


def weight_argument(spec: TrainingSpec) -> str | None:
    """Return the name of the loss's argument that has weights; None if none is given."""
    loss = LOSSES.get(spec.loss.type)
    name = None if loss is None else loss.weight_argument
    return None if name is None or spec.loss.arguments().get(name) is None else name


def _of_argument(
    given: Any, keys: Sequence[str], encoding: Encoding, pointer: str, errors: ErrorCollector
) -> dict[str, float]:
    """Return weights by key from a list, or an object, as the argument of a loss.

    The `pos_weight` of a target with two labels is one number, that of the second label.
    """
    needed = keys[1:] if encoding.is_binary else keys
    weights: dict[str, float] = given
    if isinstance(given, list):
        if len(given) != len(needed):
            errors.fail(pointer, f"This needs a weight for each of {_named(needed)}; it has {len(given)}.")
        weights = dict(zip(needed, given, strict=True))
    _check_labels(weights, needed, pointer, errors)
    return dict.fromkeys(keys, 1.0) | {key: float(weight) for key, weight in weights.items()}


def build_loss(spec: TrainingSpec, encoding: Encoding, outputs: int, weighted: bool = False) -> nn.Module:
    """Construct the loss with its class weights, on the CPU.

    Args:
        spec: The section, with resolved class weights.
        encoding: Encoding of the data, with the classes or the names of the targets.
        outputs: Size of the model's output in dimension 1.
        weighted: Whether its third argument is the weights of samples.

    Returns:
        A module that takes the outputs and `Samples.loss_arguments`.
    """
    loss = LOSSES[spec.loss.type]
    own: dict[str, Any] = {}  # arguments that are not the client's as they are
    if loss.weight_argument is not None:
        own[loss.weight_argument] = None if spec.class_weights is None else _weights(spec, encoding, outputs)
    if loss.is_expression:
        own |= {
            "input_names": encoding.input_names,
            "target_names": encoding.targets,
            "model_input": encoding.model_input,
        }
    if encoding.ignored is not None:
        own["ignore_index"] = IGNORED  # the client's is a label
    arguments = {name: value for name, value in spec.loss.arguments().items() if name not in own}
    built: nn.Module = loss.constructor(arguments=arguments, **own)
    if isinstance(built, ExpressionLoss) and built.reads_weight:
        return built
    return WeightedLoss(built, encoding.masks_targets) if weighted or encoding.masks_targets else built


def _keys(encoding: Encoding) -> list[str]:
    """Return the keys of the weights: the labels of the classes, or the names of numeric targets."""
    return [*map(label_key, encoding.classes)] if encoding.classes is not None else [*target_names(encoding)]


def _weights(spec: TrainingSpec, encoding: Encoding, outputs: int) -> Tensor:
    """Return the weights: float32 [outputs] for `weight`, of one sample's target shape for `pos_weight`."""
    assert isinstance(spec.class_weights, dict)
    weights = [spec.class_weights[key] for key in _keys(encoding)]
    if LOSSES[spec.loss.type].weight_argument == "weight" and encoding.classes is not None:
        by_output = torch.ones(outputs)  # no row has an output without a class
        by_output[list(encoding.outputs_by_class)] = torch.tensor(weights)
        return by_output
    if encoding.is_binary:
        # A positive row weighs `positive`, a negative one `negative`; `pos_weight` is relative to the latter.
        negative, positive = weights
        weights = [positive / negative]
    return torch.tensor(weights).reshape(encoding.target_shape)


def _check_labels(
    weights: Mapping[str, float], keys: Sequence[str], pointer: str, errors: ErrorCollector
) -> None:
    known = set(keys)
    for key in weights:
        if key not in known:
            errors.add(pointer_to(pointer, key), partial(_unknown_label, key, keys))
    if missing := [key for key in keys if key not in weights]:
        errors.add(pointer, f"The weights of {_named(missing)} are missing; every class needs a weight.")


def _unknown_label(key: str, keys: Sequence[str]) -> str:
    return f"No class or target is named `{key}`{did_you_mean(key, keys) or f'; use {_named(keys)}.'}"


def _balanced(
    keys: Sequence[str], targets: Tensor, encoding: Encoding, absent: Collection[int], errors: ErrorCollector
) -> dict[str, float]:
    outputs = encoding.outputs_by_class
    counted = targets[(targets != IGNORED) & ~targets.isnan()].long()  # [n] of B rows
    by_output = torch.bincount(counted, minlength=max(outputs) + 1).tolist()
    counts = {
        key: by_output[output] for key, output in zip(keys, outputs, strict=True) if output not in absent
    }
    if missing := [key for key, count in counts.items() if not count]:
        errors.fail(CLASS_WEIGHTS, f"No training row has the class {_named(missing)}; {_REMEDY}")
    present = {key: len(counted) / (len(counts) * count) for key, count in counts.items()}
    return dict.fromkeys(keys, 1.0) | present


def _negatives_per_positive(keys: Sequence[str], targets: Tensor, errors: ErrorCollector) -> dict[str, float]:
    weights = {}
    for key, column in zip(keys, targets.reshape(-1, len(keys)).unbind(dim=1), strict=True):
        positives, negatives = int((column == 1).sum()), int((column == 0).sum())
        if positives + negatives + int(column.isnan().sum()) < len(column):
            errors.add(CLASS_WEIGHTS, f"`{key}` is not 0 or 1 in every training row; {_REMEDY}")
        elif not positives or not negatives:
            errors.add(CLASS_WEIGHTS, f"`{key}` is {int(bool(positives))} in every training row; {_REMEDY}")
        else:
            weights[key] = negatives / positives
    return weights


def _named(keys: Iterable[str]) -> str:
    """Join keys for a message; the first ten are named, the others counted."""
    names = [f"`{key}`" for key in keys]
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more
