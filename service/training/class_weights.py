"""Class weights: from weights by label to the tensor that a loss of `torch.nn` expects."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from service.datasets.prepare.encoding import Encoding
from service.datasets.validation import ErrorCollector
from service.errors import pointer_to
from service.specs.base import did_you_mean
from service.specs.training import TrainingSpec
from service.training.labels import label_key, target_names
from service.training.losses import LOSSES

CLASS_WEIGHTS = "#/training/class_weights"
_MAX_NAMED = 10  # in one message
_REMEDY = "give the weights as numbers instead of `auto`, or change the training rows with `data.split`."


def resolve_class_weights(spec: TrainingSpec, encoding: Encoding, targets: Tensor) -> TrainingSpec:
    """Replace `auto` by numbers and check the weights.

    `auto` is n / (k · n_c) for class c of k with n_c of n rows, as in scikit-learn's
    `compute_class_weight("balanced")`. For numeric targets of 0 and 1 it is negatives / positives, as in
    PyTorch's documentation of `BCEWithLogitsLoss(pos_weight=…)`.

    Args:
        spec: The section; its loss supports class weights.
        encoding: Encoding of the data, with the classes or the names of the targets.
        targets: Targets of all training rows, int64 [B] or float32 [B, k].

    Returns:
        The section with a weight for each label, in the order of the labels; unchanged without class weights.

    Raises:
        InvalidRequest: A label is unknown or has no weight, a weight is 0 or infinite as float32, or `auto`
            is undefined.
    """
    if spec.class_weights is None:
        return spec
    errors = ErrorCollector()
    keys = _keys(encoding)
    if isinstance(spec.class_weights, dict):
        _check_labels(spec.class_weights, keys, errors)
        weights = spec.class_weights
    elif encoding.classes is not None:
        weights = _balanced(keys, targets, errors)
    else:
        weights = _negatives_per_positive(keys, targets, errors)
    errors.raise_if_any()
    resolved = spec.model_copy(update={"class_weights": {key: weights[key] for key in keys}})
    tensor = _weights(resolved, encoding, len(keys))
    if not (tensor.isfinite() & (tensor > 0)).all():
        errors.fail(CLASS_WEIGHTS, "Some weights are 0 or infinite as float32; use weights nearer to 1.")
    return resolved


def build_loss(spec: TrainingSpec, encoding: Encoding, outputs: int) -> nn.Module:
    """Construct the loss with its class weights, on the CPU.

    Args:
        spec: The section, with resolved class weights.
        encoding: Encoding of the data, with the classes or the names of the targets.
        outputs: Size of the model's output in dimension 1.
    """
    loss = LOSSES[spec.loss.type]
    weights = {}
    if spec.class_weights is not None and loss.weight_argument is not None:
        weights[loss.weight_argument] = _weights(spec, encoding, outputs)
    built: nn.Module = loss.constructor(arguments=spec.loss.arguments(), **weights)
    return built


def _keys(encoding: Encoding) -> list[str]:
    """Return the keys of the weights: the labels of the classes, or the names of numeric targets."""
    return [*map(label_key, encoding.classes)] if encoding.classes is not None else [*target_names(encoding)]


def _weights(spec: TrainingSpec, encoding: Encoding, outputs: int) -> Tensor:
    """Return the weights: float32 [outputs] for `weight`, of one sample's target shape for `pos_weight`."""
    assert isinstance(spec.class_weights, dict)
    weights = [spec.class_weights[key] for key in _keys(encoding)]
    if LOSSES[spec.loss.type].weight_argument == "weight":
        # A model may have more outputs than classes; no row has the additional ones.
        return torch.tensor(weights + [1.0] * (outputs - len(weights)))
    if encoding.is_binary:
        # A positive row weighs `positive`, a negative one `negative`; `pos_weight` is relative to the latter.
        negative, positive = weights
        weights = [positive / negative]
    return torch.tensor(weights).reshape(encoding.target_shape)


def _check_labels(weights: Mapping[str, float], keys: Sequence[str], errors: ErrorCollector) -> None:
    for key in weights:
        if key not in keys:
            hint = did_you_mean(key, keys) or f"; use {_named(keys)}."
            errors.add(pointer_to(CLASS_WEIGHTS, key), f"No class or target is named `{key}`{hint}")
    if missing := [key for key in keys if key not in weights]:
        errors.add(
            CLASS_WEIGHTS, f"The weights of {_named(missing)} are missing; every class needs a weight."
        )


def _balanced(keys: Sequence[str], targets: Tensor, errors: ErrorCollector) -> dict[str, float]:
    counts = torch.bincount(targets.reshape(-1).long(), minlength=len(keys)).tolist()  # [B] -> [classes]
    if absent := [key for key, count in zip(keys, counts, strict=True) if not count]:
        errors.fail(CLASS_WEIGHTS, f"No training row has the class {_named(absent)}; {_REMEDY}")
    return {key: len(targets) / (len(keys) * count) for key, count in zip(keys, counts, strict=True)}


def _negatives_per_positive(keys: Sequence[str], targets: Tensor, errors: ErrorCollector) -> dict[str, float]:
    weights = {}
    for key, column in zip(keys, targets.reshape(len(targets), -1).unbind(dim=1), strict=True):
        positives, negatives = int((column == 1).sum()), int((column == 0).sum())
        if positives + negatives < len(column):
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
