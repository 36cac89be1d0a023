"""Checks of the training section, and its completion with defaults.

`check_components` needs the section alone. `check_fit` also needs the model, on the meta device, and the
data: it computes loss and metrics of real targets with outputs of 0, and takes an optimizer step with a model
of one weight. The client's model is neither allocated nor trained.
"""

import json
import math
import secrets
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from service.datasets.prepare.encoding import Encoding
from service.datasets.sources.json_tensors import wrapping_remedy
from service.datasets.validation import count_of, quote_value
from service.errors import FieldError, FieldErrors, pointer_to
from service.specs.arguments import Constructor
from service.specs.base import did_you_mean
from service.specs.component import ComponentSpec, LossSpec, MetricSpec
from service.specs.habits import name_advice
from service.specs.training import TrainingSpec
from service.specs.transforms import Label
from service.training.class_weights import CLASS_WEIGHTS, build_loss, weight_argument
from service.training.expression_check import check_expression, text_errors
from service.training.expression_loss import EXPRESSION, ExpressionLoss, LossNames
from service.training.losses import LOSSES, REFUSED_LOSSES, Loss, loss_of
from service.training.metrics import METRICS, build_metric, tasks_of, update_metrics
from service.training.optimizers import OPTIMIZERS, REFUSED_OPTIMIZERS
from service.training.out_of_memory import is_out_of_memory
from service.training.output_roles import Measured, OutputRoles
from service.training.schedulers import REFUSED_SCHEDULERS, SCHEDULERS, build_scheduler
from service.training.weighted_loss import Predicted, WeightedLoss

SECTION = "#/training"
# Kinds of the catalog by field of the section.
_KINDS = {"loss": "losses", "optimizer": "optimizers", "scheduler": "schedulers", "metrics": "metrics"}
_LOSSES = {name: loss.constructor for name, loss in LOSSES.items()}
_RANDOM_SEED_BITS = 53  # every JSON parser reads integers below 2**53 exactly
_UNSQUEEZE = "as in `return output.unsqueeze(1)`"
_SCHEDULER_STEPS = 3  # enough to reveal a division by zero


def check_components(spec: TrainingSpec, readable: LossNames | None = None) -> FieldErrors:
    """Check the names and arguments of loss, optimizer, scheduler and metrics.

    Args:
        spec: The section.
        readable: The names that the text of a loss can read; None while they are unknown.
    """
    errors = FieldErrors()
    errors.extend(_check_loss_component(spec.loss))
    errors.extend(_check_further_outputs(spec.loss))
    if spec.loss.type == EXPRESSION:
        errors.extend(text_errors(spec.loss, readable))
    errors.extend(_check_class_weights(spec))
    errors.extend(_check(spec.optimizer, OPTIMIZERS, REFUSED_OPTIMIZERS, f"{SECTION}/optimizer"))
    if spec.scheduler:
        errors.extend(_check(spec.scheduler, SCHEDULERS, REFUSED_SCHEDULERS, f"{SECTION}/scheduler"))
    for index, metric in enumerate(spec.metrics):
        errors.extend(_check_metric(metric, spec.loss, pointer_to(SECTION, "metrics", index)))
    names = [metric.name for metric in spec.metrics]
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            errors.add(pointer_to(SECTION, "metrics", index), f"`{name}` appears twice; give it once.")
        seen.add(name)
    errors.extend(_check_monitor(spec, names))
    return errors


def _check_loss_component(spec: LossSpec) -> FieldErrors:
    """Check the name of a loss, and the types and values of its arguments."""
    pointer = f"{SECTION}/loss"
    errors = _check(spec, _LOSSES, REFUSED_LOSSES, pointer)
    if not errors:
        wrong = LOSSES[spec.type].argument_errors(spec.arguments())
        errors.extend(FieldError(f"{pointer}/{name}", detail) for name, detail in wrong.items())
    return errors


def _check(
    component: ComponentSpec, supported: Mapping[str, Constructor], refused: Mapping[str, str], pointer: str
) -> FieldErrors:
    if component.type in refused:
        detail = f"`{component.type}` is not supported: {refused[component.type]}."
        return FieldErrors([FieldError(pointer, detail)])
    if component.type not in supported:
        return _unknown(component.type, supported, pointer)
    return supported[component.type].check(component.arguments(), pointer)


def _unknown(name: str, supported: Mapping[str, Any], pointer: str) -> FieldErrors:
    kind = _KINDS[pointer.split("/")[2]]
    if advice := name_advice(kind, name):
        return FieldErrors([FieldError(pointer, f"`{name}` is not a name of PyTorch; write {advice}.")])
    hint = did_you_mean(name, supported) or f" is not supported; use one of {', '.join(supported)}."
    return FieldErrors([FieldError(pointer, f"`{name}`{hint}")])


def _check_further_outputs(spec: LossSpec) -> list[FieldError]:
    """Check that the loss names the outputs that it takes beside the first one, and no others."""
    loss = LOSSES.get(spec.type)
    pointer = pointer_to(SECTION, "loss", "var")
    if loss is None or ("var" in loss.takes) == (spec.var is not None):
        same = spec.var is not None and spec.var == spec.output
        detail = "Mean and variance must be different outputs."
        return [FieldError(pointer, detail)] if same else []
    if spec.var is not None:
        return [FieldError(pointer, f"`{spec.type}` takes no output of variances; remove `var`.")]
    example = json.dumps({"type": spec.type, "output": "mean", "var": "var"})
    detail = f"`{spec.type}` also takes an output of variances; name it, as in {example}."
    return [FieldError(f"{SECTION}/loss", detail)]


def _check_class_weights(spec: TrainingSpec) -> list[FieldError]:
    loss = LOSSES.get(spec.loss.type)
    if spec.class_weights is not None and (argument := weight_argument(spec)):
        detail = f"Give the weights as `class_weights` or as `{argument}` of the loss, not both."
        return [FieldError(CLASS_WEIGHTS, detail)]
    if spec.class_weights is None or loss is None or loss.weight_argument is not None:
        return []
    supporting = ", ".join(name for name, other in LOSSES.items() if other.weight_argument is not None)
    detail = f"`{spec.loss.type}` does not support class weights; remove them, or use one of {supporting}."
    return [FieldError(CLASS_WEIGHTS, detail)]


def _check_metric(metric: ComponentSpec, loss: LossSpec, pointer: str) -> FieldErrors:
    if metric.type not in METRICS:
        return _unknown(metric.type, METRICS, pointer)
    # The arguments differ slightly between tasks, and the task is not known yet: they are valid if they are
    # valid for one task of the loss. Otherwise the task with the fewest errors is reported.
    classes = METRICS[metric.type].classes
    tasks = [
        task for task in tasks_of(loss_of(loss) if loss.type in LOSSES else None) if task in classes
    ] or list(classes)
    return min((classes[task].check(metric.arguments(), pointer) for task in tasks), key=len)


def _check_monitor(spec: TrainingSpec, metrics: list[str]) -> list[FieldError]:
    if spec.early_stopping is None:
        return []
    values = ["validation_loss", "train_loss"]
    values += [f"{split}_{name}" for name in metrics for split in ("validation", "train")]
    monitor = spec.early_stopping.monitor
    if monitor in values:
        return []
    if monitor in ("loss", *metrics):
        detail = (
            f"`{monitor}` has a value for each split; monitor `validation_{monitor}`, or `train_{monitor}` "
            "without validation rows."
        )
        return [FieldError(f"{SECTION}/early_stopping", detail)]
    hint = did_you_mean(monitor, values) or f" is not computed; monitor one of {', '.join(values)}."
    return [FieldError(f"{SECTION}/early_stopping", f"`{monitor}`{hint}")]


def resolve(spec: TrainingSpec, roles: OutputRoles) -> dict[str, Any]:
    """Fill in every default, and a random seed if the section has none.

    Args:
        spec: The section.
        roles: The outputs of the model that loss and metrics take.

    Returns:
        The section as JSON.
    """

    def filled(component: ComponentSpec, constructor: Constructor) -> dict[str, Any]:
        outputs = component.model_dump(include={"output", "var"}, exclude_none=True)
        return {"type": component.type, **outputs, **constructor.resolve(component.arguments())}

    section = spec.model_dump(mode="json")
    section["loss"] = filled(spec.loss, _LOSSES[spec.loss.type])
    section["optimizer"] = filled(spec.optimizer, OPTIMIZERS[spec.optimizer.type])
    if spec.scheduler:
        section["scheduler"] = filled(spec.scheduler, SCHEDULERS[spec.scheduler.type])
    section["metrics"] = [
        filled(metric, METRICS[metric.type].classes[roles.metrics[metric.name].task])
        for metric in spec.metrics
    ]
    if spec.seed is None:
        section["seed"] = secrets.randbits(_RANDOM_SEED_BITS)
    return section


def check_fit(
    spec: TrainingSpec,
    model: nn.Module,
    outputs: Mapping[str, Tensor],
    roles: OutputRoles,
    targets: Tensor,
    encoding: Encoding,
    steps: int,
    validates: bool,
    class_errors: Sequence[FieldError] = (),
    inputs: Sequence[Tensor] = (),
) -> list[FieldError]:
    """Check that loss, metrics, optimizer and scheduler fit the model and the data.

    Args:
        spec: The section, with resolved class weights.
        model: The model, on the meta device.
        outputs: Outputs of the model for a batch, [B, …] on the meta device, by name.
        roles: The outputs that loss and metrics take.
        targets: Targets to compute loss and metrics with, [n, …]. They must be real: some losses and metrics
            accept only a range of values.
        encoding: Encoding of the data, with the classes of a classification.
        steps: Number of optimizer steps of the whole training.
        validates: Whether there are validation rows.
        class_errors: Why the classes don't fit the outputs; loss and metrics are not computed then.
        inputs: Inputs of the model, of any number of rows, which the text of a loss can read.
    """
    loss = loss_of(spec.loss)
    if loss.target_dtype is not None:
        targets = targets.to(loss.target_dtype)
    loss_fn = build_loss(spec, encoding, roles.main.width)
    # A model of frozen parameters can be made, to look at; `_check_optimizer` refuses to train it.
    trained = [parameter.requires_grad for parameter in model.parameters()]
    trains = any(trained) or not trained
    if class_errors:
        errors = list(class_errors)
    elif isinstance(text := _unwrapped(loss_fn), ExpressionLoss):
        errors = check_expression(text, model, roles, outputs, inputs, targets, encoding, trains)
    else:
        errors = _check_loss(spec, loss, loss_fn, outputs, roles, targets, encoding, trains)
    if not errors:
        errors += _check_metrics_fit(spec, loss, outputs, roles, targets, encoding)
    if spec.early_stopping and spec.early_stopping.monitor.startswith("validation_") and not validates:
        detail = (
            f"`{spec.early_stopping.monitor}` needs validation rows: set `data.split.validation`, "
            "or monitor `train_loss`."
        )
        errors.append(FieldError(f"{SECTION}/early_stopping", detail))
    return errors + _check_optimizer(spec, model, steps)


def quantity_warnings(classes: Sequence[Label]) -> list[FieldError]:
    """Warn of classes that are probably values of a quantity.

    Args:
        classes: Labels of a classification; otherwise empty.
    """
    detail = quantity_warning(classes)
    return [FieldError(f"{SECTION}/loss", f"{detail}.")] if detail else []


def _unwrapped(loss_fn: nn.Module) -> nn.Module:
    return loss_fn.loss_fn if isinstance(loss_fn, WeightedLoss) else loss_fn


def _check_loss(
    spec: TrainingSpec,
    loss: Loss,
    loss_fn: nn.Module,
    outputs: Mapping[str, Tensor],
    roles: OutputRoles,
    targets: Tensor,
    encoding: Encoding,
    trains: bool,
) -> list[FieldError]:
    pointer, name, main = f"{SECTION}/loss", spec.loss.type, outputs[roles.main.output]
    if detail := _shape_error(spec.loss, main, targets, encoding):
        detail = _other_output(spec.loss, outputs, roles, targets, encoding) or detail
        return [FieldError(pointer, detail)]
    if errors := [*_misfits(name, loss, outputs, roles, encoding)]:
        return errors
    zeros = roles.predicted({name: _zeros(output, targets) for name, output in outputs.items()})
    if isinstance(loss_fn, WeightedLoss) and not _is_elementwise(loss, loss_fn, zeros, targets):
        detail = (
            f"`{name}` has one value for all targets of a row, so that it cannot leave out single ones; drop "
            "rows with missing targets by `drop_rows`, or use a loss with a value for each target, such as "
            "`MSELoss` or `BCEWithLogitsLoss`."
        )
        return [FieldError("#/data/missing_targets", detail)]
    try:
        value = loss_fn(zeros, targets)
    except (RuntimeError, ValueError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0].rstrip(".")
        detail = f"`{name}` fails for outputs {_shape(main)} with targets {_shape(targets)}: {reason}."
        return [FieldError(pointer, detail)]
    has_gradient = any(outputs[name].requires_grad for name in roles.loss)
    if value.dim() != 0 or (trains and not has_gradient):
        detail = "The loss has no gradient: it depends on no parameter of the model."
        return [FieldError(pointer, detail)]
    return []


def _other_output(
    spec: LossSpec,
    outputs: Mapping[str, Tensor],
    roles: OutputRoles,
    targets: Tensor,
    encoding: Encoding,
) -> str | None:
    """Return the error of a loss whose output does not fit the targets, if another output does."""
    is_column = bool(encoding.targets) and targets.shape[1:] == (1,)  # which is [B] for an output [B]
    for name, output in outputs.items():
        compared = targets.flatten() if is_column and output.dim() == 1 else targets
        if not _shape_error(spec, output, compared, encoding):
            shapes = f"{_shape(outputs[roles.main.output])} and the targets are {_shape(compared)}"
            named = json.dumps({"type": spec.type, "output": name})
            return f"Output `{roles.main.output}` is {shapes}. Output `{name}` fits: name it, as in {named}."
    return None


def _misfits(
    name: str, loss: Loss, outputs: Mapping[str, Tensor], roles: OutputRoles, encoding: Encoding
) -> Iterator[FieldError]:
    """Check the further outputs that a loss takes, and whether it can weight rows."""
    main = outputs[roles.main.output]
    for field, other in zip(loss.takes[1:], roles.loss[1:], strict=True):
        if outputs[other].shape != main.shape:
            shapes = f"Output `{other}` is {_shape(outputs[other])} and `{roles.main.output}` {_shape(main)}"
            yield FieldError(f"{SECTION}/loss/{field}", f"{shapes}; their shapes must be equal.")
    if encoding.weights is not None and not loss.by_row:
        detail = f"`{name}` compares the rows with each other and has no value for each; remove `weights`."
        yield FieldError("#/data/weights", detail)


def _is_elementwise(loss: Loss, loss_fn: WeightedLoss, predicted: Predicted, targets: Tensor) -> bool:
    """Return whether a loss has a value for each target [B, …]."""
    if loss.target_dtype is not None:  # class numbers, of which there is no missing one
        return False
    return loss_fn.losses(predicted, targets).shape == targets.shape


def _shape_error(spec: LossSpec, outputs: Tensor, targets: Tensor, encoding: Encoding) -> str | None:
    """Return why a loss does not accept outputs and targets of these shapes; None if it does."""
    name, loss, got = spec.type, loss_of(spec), _shape(outputs)
    if loss.output_shapes is not None:
        accepted = loss.output_shapes(targets.shape[1:], spec.arguments())
        return _listed_shape_error(name, accepted, outputs, targets, encoding)
    if loss.targets != "classes" or (loss.takes_soft_labels and encoding.classes is None):
        # PyTorch would silently broadcast [B] against [B, 1] to [B, B], which is never intended.
        if outputs.shape[1:] == targets.shape[1:]:
            if loss.needs_columns and outputs.dim() == 1:
                end = "."
                if not encoding.targets:
                    end = f", and send the targets as [B, 1]: {wrapping_remedy(targets[:3].numpy())}"
                return (
                    f"`{name}` compares the values of a row with each other; outputs [B] have one only. Let "
                    f"the model return [B, 1], {_UNSQUEEZE}{end}"
                )
            return None
        remedy = _remedy(outputs, targets, encoding)
        detail = f"The model outputs {got} and the targets are {_shape(targets)}; the shapes must be equal."
        return f"{detail}{remedy}"
    return _class_shape_error(name, loss, outputs, targets, encoding)


def _listed_shape_error(
    name: str, accepted: Sequence[tuple[int, ...]], outputs: Tensor, targets: Tensor, encoding: Encoding
) -> str | None:
    """Return why outputs have none of the shapes that a loss accepts, given without B; None if they have."""
    if not accepted:
        return f"`{name}` needs targets [B, 2], a time and an event; they are {_shape(targets)}."
    if tuple(outputs.shape[1:]) in accepted:
        return None
    needs = f"`{name}` needs outputs {_sizes(accepted[0])} for targets {_shape(targets)}"
    remedy = _layers_for(outputs, accepted[0], encoding)
    return f"{needs}; the model outputs {_shape(outputs)}.{remedy}"


def _class_shape_error(
    name: str, loss: Loss, outputs: Tensor, targets: Tensor, encoding: Encoding
) -> str | None:
    """Return why a loss of classes does not accept outputs and targets of these shapes; None if it does."""
    got = _shape(outputs)
    if targets.dim() > 1 and not loss.takes_positions:
        detail = f"`{name}` compares a row with one class, targets [B]; they are {_shape(targets)}."
        return f"{detail} Set `horizon` of `window` to 1." if encoding.window else detail
    if outputs.dim() > 1 and outputs.shape[2:] == targets.shape[1:]:
        return None
    classes = len(encoding.classes or ())
    if targets.dim() == 1:
        remedy = _layers_for(outputs, (classes,), encoding)
        return f"`{name}` expects outputs [B, classes]; the model outputs {got}.{remedy}"
    expected = ", ".join(["B", "classes", *map(str, targets.shape[1:])])
    remedy = f" Let the model return a score of each of the {classes} classes for each position."
    if outputs.shape[1:-1] == targets.shape[1:]:
        remedy = " Move its last dimension to 1, as in `return output.movedim(-1, 1)`."
        if outputs.shape[-1] < classes:
            remedy = (
                f" Set `out_features` of its last layer to {classes}, the number of classes, and move the "
                "last dimension to 1, as in `return output.movedim(-1, 1)`."
            )
    return (
        f"`{name}` compares targets {_shape(targets)} with outputs [{expected}]; the model outputs {got}."
        f"{remedy}"
    )


def _remedy(outputs: Tensor, targets: Tensor, encoding: Encoding) -> str:
    """Return what makes outputs and targets of different shapes equal; see `_layers_for`."""
    if targets.dim() == 1:
        wider = "" if outputs.shape[1:] == (1,) else _layers_for(outputs, (1,), encoding)
        return f" Send the targets as [B, 1]: {wrapping_remedy(targets[:3].numpy())}{wider}"
    if outputs.dim() > 1:
        return _layers_for(outputs, tuple(targets.shape[1:]), encoding)
    remedy = f"return {_shape(targets)}, for instance without `squeeze`"
    if not encoding.targets and targets.shape[1:] == (1,):
        remedy += ", or send the targets as a list of numbers, [B]"
    return f" Let the model {remedy}."


def _layers_for(outputs: Tensor, needed: tuple[int, ...], encoding: Encoding) -> str:
    """Return what to put at the end of a model with outputs [B, …], for others of a needed shape [B, …].

    Returns:
        A sentence after a space; empty if no outputs are needed.
    """
    width = math.prod(needed)
    if not width:
        return ""
    if outputs.dim() < 2 and needed == (1,):
        return f" Let the model return [B, 1], {_UNSQUEEZE}."
    unflatten = json.dumps({"type": "Unflatten", "dim": 1, "unflattened_size": list(needed)})
    if outputs.dim() > 2:
        linear = f'{{"type": "Flatten"}}, {{"type": "Linear", "out_features": {width}}}'
        steps = [f"end it with {linear}" + (f", {unflatten}" if len(needed) > 1 else "")]
    else:
        steps = [f"set `out_features` of its last layer to {width}"] if outputs.shape[1:] != (width,) else []
        steps += ["return its result without `squeeze`"] if outputs.dim() < 2 else []
        steps += [f"add {unflatten} at the end"] if len(needed) > 1 else []
    reason = ""
    if encoding.window is not None and len(needed) > 1:
        reason = f" for {count_of(needed[0], 'row')} (`horizon`) of {count_of(needed[1], 'target')} each"
    return f" The model needs {count_of(width, 'output')}{reason}: {' and '.join(steps)}."


def quantity_warning(classes: Sequence[Label]) -> str | None:
    """Warn of classes that are not all integers, and so are probably values of a quantity."""
    if all(not isinstance(label, float) or label.is_integer() for label in classes):
        return None
    examples = ", ".join(map(quote_value, classes[:3]))
    return (
        f"The targets are {len(classes)} distinct numbers ({examples}, …), each of them a class; "
        "for a quantity, use a regression loss such as `MSELoss`"
    )


def _check_metrics_fit(
    spec: TrainingSpec,
    loss: Loss,
    outputs: Mapping[str, Tensor],
    roles: OutputRoles,
    targets: Tensor,
    encoding: Encoding,
) -> list[FieldError]:
    errors = []
    for index, metric in enumerate(spec.metrics):
        pointer, measured = pointer_to(SECTION, "metrics", index), roles.metrics[metric.name]
        output, task = outputs[measured.output], measured.task
        is_checked = measured.output == roles.main.output and not roles.takes_all  # by the loss
        if task not in METRICS[metric.type].classes:
            fitting = [name for name, family in METRICS.items() if task in family.classes]
            remedy = f"use one of {', '.join(fitting)}" if fitting else "remove it"
            detail = f"`{metric.type}` is not defined for a {task} task (`{spec.loss.type}`); {remedy}."
            errors.append(FieldError(pointer, detail))
            continue
        if not is_checked and (reason := _shape_error(spec.loss, output, targets, encoding)):
            errors.append(FieldError(pointer, reason))
            continue
        found = METRICS[metric.type].classes[task].check(metric.arguments(), pointer)
        errors += found or _catch(
            pointer, partial(_try_metric, metric, loss, measured, output, targets, encoding)
        )
    return errors


def _try_metric(
    spec: MetricSpec,
    loss: Loss,
    measured: Measured,
    outputs: Tensor,
    targets: Tensor,
    encoding: Encoding,
) -> None:
    """Compute the metric of the real targets, which raises errors that its constructor does not."""
    metric = build_metric(spec, measured.task, measured.width, encoding)
    # Without missing targets: the first rows, which are tried, may have too few for a value.
    zeros, known = _zeros(outputs, targets), targets.nan_to_num()
    update_metrics([metric], loss, measured.task, zeros, known, encoding.masks_targets)
    if metric.update_called and metric.compute().numel() != 1:
        raise ValueError(
            "The metric has a value for each output, but the history has one; average over outputs"
        )


def _check_optimizer(spec: TrainingSpec, model: nn.Module, steps: int) -> list[FieldError]:
    parameters = list(model.parameters())
    if not parameters:
        return [FieldError("#/architecture", "The model has no parameters to train.")]
    if spec.epochs and not any(parameter.requires_grad for parameter in parameters):
        detail = 'No parameter is trained: remove `"trainable": false` of a layer with weights.'
        return [FieldError("#/architecture", detail)]
    errors = _catch(f"{SECTION}/optimizer", lambda: _try_optimizer(spec.optimizer, parameters))
    if spec.scheduler and not errors:
        errors = _catch(f"{SECTION}/scheduler", lambda: _try_scheduler(spec, parameters, steps))
    return errors


def _try_optimizer(component: ComponentSpec, parameters: list[nn.Parameter]) -> None:
    """Construct the optimizer for the model, then take a step with a model of one weight."""
    OPTIMIZERS[component.type](parameters, arguments=component.arguments())
    weight = nn.Parameter(torch.zeros(1, 1))
    weight.grad = torch.ones(1, 1)
    OPTIMIZERS[component.type]([weight], arguments=component.arguments()).step()


def _try_scheduler(spec: TrainingSpec, parameters: list[nn.Parameter], steps: int) -> None:
    """Construct the scheduler for the whole training, then take its first steps."""
    assert spec.scheduler is not None
    optimizer = OPTIMIZERS[spec.optimizer.type](parameters, arguments=spec.optimizer.arguments())
    scheduler = build_scheduler(spec.scheduler, optimizer, steps)
    if isinstance(scheduler, OneCycleLR) and scheduler.total_steps < steps:
        raise ValueError(
            f"The cycle has {scheduler.total_steps} steps and the training {steps}; "
            "without a length, the cycle has that of the training"
        )
    for _ in range(_SCHEDULER_STEPS):
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(0.0)
        elif scheduler.last_epoch < steps:
            scheduler.step()


def _catch(pointer: str, attempt: Callable[[], object]) -> list[FieldError]:
    """Return the error that PyTorch raises for arguments, as a field error."""
    try:
        with warnings.catch_warnings(action="ignore"):
            attempt()
    except ZeroDivisionError:
        return [FieldError(pointer, "An argument leads to a division by zero; lengths are at least 1.")]
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        if is_out_of_memory(error):
            raise
        return [FieldError(pointer, f"{error}".rstrip(".") + ".")]
    return []


def output_width(outputs: Tensor) -> int:
    """Return the size of the outputs [B, k, …] in dimension 1; 1 for outputs [B]."""
    return int(outputs.shape[1]) if outputs.dim() > 1 else 1


def _zeros(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return outputs of 0 for each target: [n, …] with the sizes of `outputs` [B, …] after dimension 0."""
    return torch.zeros(len(targets), *outputs.shape[1:], dtype=outputs.dtype)


def _shape(tensor: Tensor) -> str:
    return _sizes(tensor.shape[1:])


def _sizes(shape: Sequence[int]) -> str:
    """Return the shape of a batch, given that of a sample: `[B, 3]`."""
    return f"[{', '.join(['B', *map(str, shape)])}]"
