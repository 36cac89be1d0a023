"""What can be wrong with a training section, and the section with everything filled in.

The first part (`check_components`) needs the section alone; the second (`check_fit`) meets the model
and the data, on the meta device: nothing is allocated and nothing is trained.
"""

import secrets
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from service.errors import FieldError, pointer_to
from service.specs.arguments import Constructor
from service.specs.base import did_you_mean
from service.specs.component import ComponentSpec
from service.specs.training import TrainingSpec
from service.training.losses import LOSSES, REFUSED_LOSSES, Loss
from service.training.metrics import METRICS, build_metric, task_of
from service.training.optimizers import OPTIMIZERS, REFUSED_OPTIMIZERS
from service.training.schedulers import REFUSED_SCHEDULERS, SCHEDULERS, build_scheduler

SECTION = "#/training"
_LOSSES = {name: loss.constructor for name, loss in LOSSES.items()}
# 2**53 − 1: drawn seeds survive every JSON parser.
_DRAWN_SEED_BITS = 53


def check_components(spec: TrainingSpec) -> list[FieldError]:
    """Unknown names and wrong arguments of loss, optimizer, scheduler and metrics."""
    errors = [
        *_check(spec.loss, _LOSSES, REFUSED_LOSSES, f"{SECTION}/loss"),
        *_check(spec.optimizer, OPTIMIZERS, REFUSED_OPTIMIZERS, f"{SECTION}/optimizer"),
    ]
    if spec.scheduler:
        errors += _check(spec.scheduler, SCHEDULERS, REFUSED_SCHEDULERS, f"{SECTION}/scheduler")
    for index, metric in enumerate(spec.metrics):
        errors += _check_metric(metric, pointer_to(SECTION, "metrics", index))
    names = [metric.type for metric in spec.metrics]
    for index, name in enumerate(names):
        if name in names[:index]:
            errors.append(FieldError(pointer_to(SECTION, "metrics", index), f"`{name}` is there twice."))
    return errors + _check_monitor(spec, names)


def _check(
    component: ComponentSpec, offered: Mapping[str, Constructor], refused: Mapping[str, str], pointer: str
) -> list[FieldError]:
    if component.type in refused:
        return [FieldError(pointer, f"`{component.type}` is not offered: {refused[component.type]}.")]
    if component.type not in offered:
        return [_unknown(component.type, offered, pointer)]
    return offered[component.type].check(component.arguments(), pointer)


def _unknown(name: str, known: Mapping[str, Any], pointer: str) -> FieldError:
    hint = did_you_mean(name, known) or f" is not known. There are: {', '.join(known)}."
    return FieldError(pointer, f"`{name}`{hint}")


def _check_metric(metric: ComponentSpec, pointer: str) -> list[FieldError]:
    if metric.type not in METRICS:
        return [_unknown(metric.type, METRICS, pointer)]
    # The arguments differ a little from task to task; they are right when one task takes them.
    found = [c.check(metric.arguments(), pointer) for c in METRICS[metric.type].classes.values()]
    return min(found, key=len)


def _check_monitor(spec: TrainingSpec, metrics: list[str]) -> list[FieldError]:
    if spec.early_stopping is None:
        return []
    known = ["validation_loss", "train_loss"]
    known += [f"{side}_{name}" for name in metrics for side in ("validation", "train")]
    monitor = spec.early_stopping.monitor
    if monitor in known:
        return []
    hint = did_you_mean(monitor, known) or f" is not followed. There are: {', '.join(known)}."
    return [FieldError(f"{SECTION}/early_stopping", f"`{monitor}`{hint}")]


def resolve(spec: TrainingSpec) -> dict[str, Any]:
    """The section as JSON with every default filled in and a seed drawn when there was none."""

    def filled(component: ComponentSpec, constructor: Constructor) -> dict[str, Any]:
        return {"type": component.type, **constructor.resolve(component.arguments())}

    section = spec.model_dump(mode="json")
    section["loss"] = filled(spec.loss, _LOSSES[spec.loss.type])
    section["optimizer"] = filled(spec.optimizer, OPTIMIZERS[spec.optimizer.type])
    if spec.scheduler:
        section["scheduler"] = filled(spec.scheduler, SCHEDULERS[spec.scheduler.type])
    if spec.seed is None:
        section["seed"] = secrets.randbits(_DRAWN_SEED_BITS)
    return section


def check_fit(
    spec: TrainingSpec,
    model: nn.Module,
    outputs: Tensor,
    targets: Tensor,
    classes: int | None,
    steps: int,
    validates: bool,
) -> list[FieldError]:
    """Whether loss, metrics, optimizer and scheduler fit the model and the data.

    Args:
        model: on the meta device.
        outputs: what the model gives for a batch, on the meta device.
        targets: the batch's targets, on the meta device.
        classes: number of classes of a classification.
        steps: optimizer steps of the whole training.
        validates: whether there are validation rows.
    """
    loss = LOSSES[spec.loss.type]
    if loss.target_dtype is not None:
        targets = targets.to(loss.target_dtype)
    errors = _check_loss(spec.loss, loss, outputs, targets, classes)
    if not errors:
        errors += _check_metrics_fit(spec, loss, outputs)
    if spec.early_stopping and spec.early_stopping.monitor.startswith("validation_") and not validates:
        detail = (
            f"`{spec.early_stopping.monitor}` needs validation rows: set `data.split.validation`, "
            "or monitor `train_loss`."
        )
        errors.append(FieldError(f"{SECTION}/early_stopping", detail))
    return errors + _check_optimizer(spec, model, steps)


# By loss and the last operation of the model, as autograd names it.
_DOUBLED: Mapping[tuple[str, str], str] = {
    ("CrossEntropyLoss", "SoftmaxBackward0"): (
        "`CrossEntropyLoss` applies log-softmax itself and the model ends with a softmax: leave that out. "
        "Predictions come with probabilities all the same."
    ),
    ("BCEWithLogitsLoss", "SigmoidBackward0"): (
        "`BCEWithLogitsLoss` applies the sigmoid itself and the model ends with one: leave that out. "
        "Predictions come with probabilities all the same."
    ),
    ("NLLLoss", "SoftmaxBackward0"): (
        "`NLLLoss` takes logarithms of probabilities and the model ends with a softmax: take `LogSoftmax`."
    ),
}


def warn_of_fit(spec: TrainingSpec, outputs: Tensor) -> list[FieldError]:
    """What is allowed of a loss and a model together, and likely not meant.

    Args:
        outputs: what the model gives for a batch, on the meta device.
    """
    last = outputs.grad_fn.name() if outputs.grad_fn is not None else ""
    detail = _DOUBLED.get((spec.loss.type, last))
    return [FieldError(f"{SECTION}/loss", detail)] if detail else []


def _check_loss(
    component: ComponentSpec, loss: Loss, outputs: Tensor, targets: Tensor, classes: int | None
) -> list[FieldError]:
    pointer = f"{SECTION}/loss"
    got, wanted = _shape(outputs), _shape(targets)
    if loss.targets == "classes":
        if outputs.dim() != 2:
            detail = f"`{component.type}` takes outputs [B, classes]; the model gives {got}."
            return [FieldError(pointer, detail)]
        if classes is not None and outputs.shape[1] < classes:
            return [
                FieldError(
                    pointer,
                    f"The targets have {classes} classes and the model gives {got}: "
                    f"let its last layer have {classes} outputs.",
                )
            ]
    elif outputs.shape != targets.shape:
        # PyTorch would broadcast [B] against [B, 1] to [B, B], silently: never meant.
        return [FieldError(pointer, f"The model gives {got} and the targets are {wanted}: they must be alike.")]
    try:
        value = loss.constructor(arguments=component.arguments())(outputs, targets)
    except (RuntimeError, ValueError, IndexError) as error:
        return [FieldError(pointer, f"`{component.type}` takes no outputs {got} with targets {wanted}: {error}")]
    if value.dim() != 0 or not value.requires_grad:
        return [FieldError(pointer, "The loss has no gradient: the model has no parameter that it depends on.")]
    return []


def _check_metrics_fit(spec: TrainingSpec, loss: Loss, outputs: Tensor) -> list[FieldError]:
    width = output_width(outputs)
    task = task_of(loss, width)
    errors = []
    for index, metric in enumerate(spec.metrics):
        pointer = pointer_to(SECTION, "metrics", index)
        if task not in METRICS[metric.type].classes:
            fitting = [name for name, family in METRICS.items() if task in family.classes]
            detail = f"`{metric.type}` doesn't fit a {task} task ({spec.loss.type}): take {', '.join(fitting)}."
            errors.append(FieldError(pointer, detail))
            continue
        found = METRICS[metric.type].classes[task].check(metric.arguments(), pointer)
        errors += found
        if not found:
            errors += _constructs(pointer, lambda m=metric: build_metric(m.type, m.arguments(), task, width))
    return errors


def _check_optimizer(spec: TrainingSpec, model: nn.Module, steps: int) -> list[FieldError]:
    parameters = list(model.parameters())
    if not parameters:
        return [FieldError("#/architecture", "The model has no parameters: there is nothing to train.")]
    built: list[torch.optim.Optimizer] = []
    errors = _constructs(
        f"{SECTION}/optimizer",
        lambda: built.append(OPTIMIZERS[spec.optimizer.type](parameters, arguments=spec.optimizer.arguments())),
    )
    if built and spec.scheduler:
        component = spec.scheduler
        errors += _constructs(
            f"{SECTION}/scheduler",
            lambda: build_scheduler(component.type, component.arguments(), built[0], steps),
        )
    return errors


def _constructs(pointer: str, construct: Any) -> list[FieldError]:
    """PyTorch's own complaint about an argument's range, as a field error."""
    try:
        construct()
    except (ValueError, TypeError, RuntimeError, OverflowError, ZeroDivisionError) as error:
        return [FieldError(pointer, f"{error}".rstrip(".") + ".")]
    return []


def output_width(outputs: Tensor) -> int:
    """Size of the output's dimension 1; 1 for outputs [B]."""
    return int(outputs.shape[1]) if outputs.dim() > 1 else 1


def _shape(tensor: Tensor) -> str:
    return f"[{', '.join(['B', *(str(size) for size in tensor.shape[1:])])}]"
