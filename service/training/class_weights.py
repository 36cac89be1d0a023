"""Weights of classes: from what a client gives by label to the tensor that a loss of torch.nn takes."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from service.datasets.prepare.encoding import Encoding
from service.datasets.validation import ErrorCollector
from service.errors import pointer_to
from service.specs.base import did_you_mean
from service.specs.training import TrainingSpec
from service.training.labels import key_of, target_names
from service.training.losses import LOSSES

CLASS_WEIGHTS = "#/training/class_weights"
_MOST_NAMED = 10


def resolve_class_weights(spec: TrainingSpec, encoding: Encoding, targets: Tensor) -> TrainingSpec:
    """The section with a number for each label, in the labels' order; unchanged where none are asked for.

    `auto` is n / (k · n_c) for each class c of k, scikit-learn's `balanced`; for targets that are 0 or 1
    and have no class names it is negatives / positives, as PyTorch's documentation of `pos_weight` has it.

    Args:
        spec: its loss takes class weights.
        targets: those of all training rows, int64 [B] or float32 [B, k].

    Raises:
        InvalidRequest: a label is unknown or has no weight, or `auto` has nothing to count.
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
        errors.fail(
            CLASS_WEIGHTS, "As float32 some of these weights are 0 or infinite: bring them nearer to 1."
        )
    return resolved


def build_loss(spec: TrainingSpec, encoding: Encoding, outputs: int) -> nn.Module:
    """The loss with its class weights, on the CPU.

    Args:
        spec: with resolved class weights.
        outputs: size of the model's output in dimension 1.
    """
    loss = LOSSES[spec.loss.type]
    weights = {}
    if spec.class_weights is not None and loss.weight_argument is not None:
        weights[loss.weight_argument] = _weights(spec, encoding, outputs)
    built: nn.Module = loss.constructor(arguments=spec.loss.arguments(), **weights)
    return built


def _keys(encoding: Encoding) -> list[str]:
    """By what weights are given: the labels of the classes, else the targets' names."""
    return [*map(key_of, encoding.classes)] if encoding.classes is not None else [*target_names(encoding)]


def _weights(spec: TrainingSpec, encoding: Encoding, outputs: int) -> Tensor:
    """float32 [outputs] for `weight`; of one sample's targets' shape for `pos_weight`."""
    assert isinstance(spec.class_weights, dict)
    given = [spec.class_weights[key] for key in _keys(encoding)]
    if LOSSES[spec.loss.type].weight_argument == "weight":
        # A model may have more outputs than there are classes; no row is of theirs.
        return torch.tensor(given + [1.0] * (outputs - len(given)))
    if encoding.is_binary:
        negative, positive = given
        given = [positive / negative]
    return torch.tensor(given).reshape(encoding.target_shape)


def _check_labels(weights: Mapping[str, float], keys: Sequence[str], errors: ErrorCollector) -> None:
    for key in weights:
        if key not in keys:
            hint = did_you_mean(key, keys) or f": there are {_named(keys)}."
            errors.add(pointer_to(CLASS_WEIGHTS, key), f"No class or target is called `{key}`{hint}")
    if missing := [key for key in keys if key not in weights]:
        errors.add(CLASS_WEIGHTS, f"No weight is given for {_named(missing)}: each needs one.")


def _balanced(keys: Sequence[str], targets: Tensor, errors: ErrorCollector) -> dict[str, float]:
    counts = torch.bincount(targets.reshape(-1).long(), minlength=len(keys)).tolist()
    if absent := [key for key, count in zip(keys, counts, strict=True) if not count]:
        errors.fail(CLASS_WEIGHTS, f"No training row is of {_named(absent)}: {_REMEDY}")
    return {key: len(targets) / (len(keys) * count) for key, count in zip(keys, counts, strict=True)}


def _negatives_per_positive(keys: Sequence[str], targets: Tensor, errors: ErrorCollector) -> dict[str, float]:
    weights = {}
    for key, column in zip(keys, targets.reshape(len(targets), -1).unbind(dim=1), strict=True):
        positives, negatives = int((column == 1).sum()), int((column == 0).sum())
        if positives + negatives < len(column):
            errors.add(CLASS_WEIGHTS, f"`{key}` is not 0 or 1 in every training row: {_REMEDY}")
        elif not positives or not negatives:
            errors.add(CLASS_WEIGHTS, f"`{key}` is {int(bool(positives))} in every training row: {_REMEDY}")
        else:
            weights[key] = negatives / positives
    return weights


_REMEDY = "`auto` can't weigh that. Give the weights as numbers, or have other rows train (`data.split`)."


def _named(keys: Iterable[str]) -> str:
    """Up to ten keys as a message lists them."""
    shown = [f"`{key}`" for key in keys]
    more = f" and {len(shown) - _MOST_NAMED} more" if len(shown) > _MOST_NAMED else ""
    return ", ".join(shown[:_MOST_NAMED]) + more
