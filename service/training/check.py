"""What can be wrong with a training section, and the section with everything filled in.

The first part (`check_components`) needs the section alone; the second (`check_fit`) meets the model, on
the meta device, and the data: loss and metrics are tried on real targets with outputs of 0, the optimizer
on a model of one weight. The client's model is neither allocated nor trained.
"""

import secrets
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from service.datasets.prepare.encoding import Encoding
from service.datasets.validation import quote_value
from service.errors import FieldError, pointer_to
from service.specs.arguments import Constructor
from service.specs.base import did_you_mean
from service.specs.component import ComponentSpec
from service.specs.training import TrainingSpec
from service.specs.transforms import Label
from service.training.class_weights import CLASS_WEIGHTS, build_loss
from service.training.losses import LOSSES, REFUSED_LOSSES, Loss
from service.training.metrics import METRICS, Task, build_metric, metric_inputs, task_of, tasks_of
from service.training.optimizers import OPTIMIZERS, REFUSED_OPTIMIZERS
from service.training.schedulers import REFUSED_SCHEDULERS, SCHEDULERS, build_scheduler

SECTION = "#/training"
_LOSSES = {name: loss.constructor for name, loss in LOSSES.items()}
# 2**53 − 1: drawn seeds survive every JSON parser.
_DRAWN_SEED_BITS = 53
# Of a trial: what divides by zero does so in its first steps.
_SCHEDULER_STEPS = 3


def check_components(spec: TrainingSpec) -> list[FieldError]:
    """Unknown names and wrong arguments of loss, optimizer, scheduler and metrics."""
    errors = [
        *_check(spec.loss, _LOSSES, REFUSED_LOSSES, f"{SECTION}/loss"),
        *_check_takes_weights(spec),
        *_check(spec.optimizer, OPTIMIZERS, REFUSED_OPTIMIZERS, f"{SECTION}/optimizer"),
    ]
    if spec.scheduler:
        errors += _check(spec.scheduler, SCHEDULERS, REFUSED_SCHEDULERS, f"{SECTION}/scheduler")
    for index, metric in enumerate(spec.metrics):
        errors += _check_metric(metric, spec.loss.type, pointer_to(SECTION, "metrics", index))
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


def _check_takes_weights(spec: TrainingSpec) -> list[FieldError]:
    loss = LOSSES.get(spec.loss.type)
    if spec.class_weights is None or loss is None or loss.weight_argument is not None:
        return []
    takers = ", ".join(name for name, other in LOSSES.items() if other.weight_argument is not None)
    detail = f"`{spec.loss.type}` of torch.nn has no weights of classes: leave them out, or take {takers}."
    return [FieldError(CLASS_WEIGHTS, detail)]


def _check_metric(metric: ComponentSpec, loss: str, pointer: str) -> list[FieldError]:
    if metric.type not in METRICS:
        return [_unknown(metric.type, METRICS, pointer)]
    # The arguments differ a little from task to task: they are right when one of the loss's tasks takes them.
    classes = METRICS[metric.type].classes
    tasks = [task for task in tasks_of(LOSSES.get(loss)) if task in classes] or list(classes)
    return min((classes[task].check(metric.arguments(), pointer) for task in tasks), key=len)


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


def resolve(spec: TrainingSpec, outputs: int) -> dict[str, Any]:
    """The section as JSON with every default filled in and a seed drawn when there was none.

    Args:
        outputs: size of the model's output in dimension 1: it tells a binary task from a multi-label one.
    """
    task = task_of(LOSSES[spec.loss.type], outputs)

    def filled(component: ComponentSpec, constructor: Constructor) -> dict[str, Any]:
        return {"type": component.type, **constructor.resolve(component.arguments())}

    section = spec.model_dump(mode="json")
    section["loss"] = filled(spec.loss, _LOSSES[spec.loss.type])
    section["optimizer"] = filled(spec.optimizer, OPTIMIZERS[spec.optimizer.type])
    if spec.scheduler:
        section["scheduler"] = filled(spec.scheduler, SCHEDULERS[spec.scheduler.type])
    section["metrics"] = [filled(metric, METRICS[metric.type].classes[task]) for metric in spec.metrics]
    if spec.seed is None:
        section["seed"] = secrets.randbits(_DRAWN_SEED_BITS)
    return section


def check_fit(
    spec: TrainingSpec,
    model: nn.Module,
    outputs: Tensor,
    targets: Tensor,
    encoding: Encoding,
    steps: int,
    validates: bool,
) -> list[FieldError]:
    """Whether loss, metrics, optimizer and scheduler fit the model and the data.

    Args:
        spec: with resolved class weights.
        model: on the meta device.
        outputs: what the model gives for a batch, on the meta device.
        targets: of rows to try the loss and the metrics on: not every number is a target to each.
        encoding: of the data, with the classes of a classification.
        steps: optimizer steps of the whole training.
        validates: whether there are validation rows.
    """
    loss = LOSSES[spec.loss.type]
    if loss.target_dtype is not None:
        targets = targets.to(loss.target_dtype)
    errors = _check_loss(spec, loss, outputs, targets, encoding)
    if not errors:
        errors += _check_metrics_fit(spec, loss, outputs, targets)
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


def warn_of_fit(spec: TrainingSpec, outputs: Tensor, classes: Sequence[Label]) -> list[FieldError]:
    """What is allowed of a loss with a model and targets, and likely not meant.

    Args:
        outputs: what the model gives for a batch, on the meta device.
        classes: of a classification.
    """
    last = outputs.grad_fn.name() if outputs.grad_fn is not None else ""
    found = [_DOUBLED.get((spec.loss.type, last)), _fractions(classes)]
    return [FieldError(f"{SECTION}/loss", f"{detail.rstrip('.')}.") for detail in found if detail]


def _check_loss(
    spec: TrainingSpec, loss: Loss, outputs: Tensor, targets: Tensor, encoding: Encoding
) -> list[FieldError]:
    pointer, name = f"{SECTION}/loss", spec.loss.type
    if misfit := _misfit(name, loss, outputs, targets, encoding.classes or ()):
        return [FieldError(pointer, misfit)]
    try:
        value = build_loss(spec, encoding, output_width(outputs))(_zeros(outputs, targets), targets)
    except (RuntimeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        got, wanted = _shape(outputs), _shape(targets)
        detail = f"`{name}` refuses outputs {got} with these targets {wanted}: {reason}."
        return [FieldError(pointer, detail)]
    if value.dim() != 0 or not outputs.requires_grad:
        detail = "The loss has no gradient: the model has no parameter that it depends on."
        return [FieldError(pointer, detail)]
    return []


def _misfit(name: str, loss: Loss, outputs: Tensor, targets: Tensor, classes: Sequence[Label]) -> str | None:
    """Why the loss can't be that of outputs and targets of these shapes."""
    got = _shape(outputs)
    if loss.targets != "classes":
        # PyTorch would broadcast [B] against [B, 1] to [B, B], silently: never meant.
        alike = outputs.shape[1:] == targets.shape[1:]
        wanted = _shape(targets)
        return None if alike else f"The model gives {got} and the targets are {wanted}: they must be alike."
    if outputs.dim() != 2:
        return f"`{name}` takes outputs [B, classes]; the model gives {got}."
    if len(classes) == 1:
        return f"All targets are of one class, {quote_value(classes[0])}: there is nothing to tell apart."
    if outputs.shape[1] < len(classes):
        count = len(classes)
        if fractions := _fractions(classes):
            return f"{fractions}; as classes they take a last layer of {count} outputs, not {got}."
        return (
            f"The targets have {count} classes and the model gives {got}: "
            f"let its last layer have {count} outputs."
        )
    return None


def _fractions(classes: Sequence[Label]) -> str | None:
    """What is said of classes that look like measurements: numbers that are not all whole."""
    if all(not isinstance(label, float) or label.is_integer() for label in classes):
        return None
    examples = ", ".join(map(quote_value, classes[:3]))
    return (
        f"The targets are {len(classes)} different numbers ({examples}, …), each a class of its own here: "
        "for a quantity take a regression loss, as `MSELoss`"
    )


def _check_metrics_fit(spec: TrainingSpec, loss: Loss, outputs: Tensor, targets: Tensor) -> list[FieldError]:
    width = output_width(outputs)
    task = task_of(loss, width)
    errors = []
    shares = task in ("binary", "multilabel") and not ((targets == 0) | (targets == 1)).all()
    for index, metric in enumerate(spec.metrics):
        pointer = pointer_to(SECTION, "metrics", index)
        if task not in METRICS[metric.type].classes:
            fitting = [name for name, family in METRICS.items() if task in family.classes]
            detail = (
                f"`{metric.type}` doesn't fit a {task} task ({spec.loss.type}): take {', '.join(fitting)}."
            )
            errors.append(FieldError(pointer, detail))
            continue
        found = METRICS[metric.type].classes[task].check(metric.arguments(), pointer)
        if shares:
            detail = f"`{metric.type}` counts targets of 0 and 1, and there are others: leave it out."
            found = [FieldError(pointer, detail)]
        errors += found
        if not found:
            attempt = partial(_try_metric, metric, loss, task, outputs, targets)
            errors += _complaint(pointer, attempt)
    return errors


def _try_metric(component: ComponentSpec, loss: Loss, task: Task, outputs: Tensor, targets: Tensor) -> None:
    """Compute the metric once, of the real targets: some errors show only then."""
    metric = build_metric(component.type, component.arguments(), task, output_width(outputs))
    metric.update(*metric_inputs(loss, task, _zeros(outputs, targets), targets))
    if metric.compute().numel() != 1:
        raise ValueError("The metric gives a value for each output, and the history takes one")


def _check_optimizer(spec: TrainingSpec, model: nn.Module, steps: int) -> list[FieldError]:
    parameters = list(model.parameters())
    if not parameters:
        return [FieldError("#/architecture", "The model has no parameters: there is nothing to train.")]
    errors = _complaint(f"{SECTION}/optimizer", lambda: _try_optimizer(spec.optimizer, parameters))
    if spec.scheduler and not errors:
        errors = _complaint(f"{SECTION}/scheduler", lambda: _try_scheduler(spec, parameters, steps))
    return errors


def _try_optimizer(component: ComponentSpec, parameters: list[nn.Parameter]) -> None:
    """Construct it for the model, then take one step of a model of one weight."""
    OPTIMIZERS[component.type](parameters, arguments=component.arguments())
    weight = nn.Parameter(torch.zeros(1, 1))
    weight.grad = torch.ones(1, 1)
    OPTIMIZERS[component.type]([weight], arguments=component.arguments()).step()


def _try_scheduler(spec: TrainingSpec, parameters: list[nn.Parameter], steps: int) -> None:
    """Construct it for the whole training, then take its first steps."""
    assert spec.scheduler is not None
    optimizer = OPTIMIZERS[spec.optimizer.type](parameters, arguments=spec.optimizer.arguments())
    scheduler = build_scheduler(spec.scheduler, optimizer, steps)
    if isinstance(scheduler, OneCycleLR) and scheduler.total_steps < steps:
        raise ValueError(
            f"The cycle is {scheduler.total_steps} steps long and the training {steps}: "
            "leave the length out, and it is the training's"
        )
    for _ in range(_SCHEDULER_STEPS):
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(0.0)
        elif scheduler.last_epoch < steps:
            scheduler.step()


def _complaint(pointer: str, attempt: Callable[[], object]) -> list[FieldError]:
    """PyTorch's own complaint about arguments, as a field error."""
    try:
        with warnings.catch_warnings(action="ignore"):
            attempt()
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        return [FieldError(pointer, f"{error}".rstrip(".") + ".")]
    return []


def output_width(outputs: Tensor) -> int:
    """Size of the output's dimension 1; 1 for outputs [B]."""
    return int(outputs.shape[1]) if outputs.dim() > 1 else 1


def _zeros(outputs: Tensor, targets: Tensor) -> Tensor:
    """Outputs of a model that says 0 for each of the targets: what a loss or a metric can be tried on."""
    return torch.zeros(len(targets), *outputs.shape[1:], dtype=outputs.dtype)


def _shape(tensor: Tensor) -> str:
    return f"[{', '.join(['B', *(str(size) for size in tensor.shape[1:])])}]"
