"""Checks that shapes cannot answer (index ranges, one-row batches), run before a job is accepted."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count

import torch
from torch import Tensor, nn

from service.architectures.check.check import CheckedArchitecture
from service.architectures.check.value_probes import check_embeddings, probe_outputs
from service.architectures.outputs import named_outputs
from service.architectures.text.values import text_class
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.prepare import Prepared
from service.datasets.prepare.workspace import MetaWorkspace
from service.datasets.validation import count_of
from service.errors import FieldError
from service.specs.training import TrainingSpec
from service.training.batches import Batches
from service.training.findings import Findings
from service.training.losses import LOSSES
from service.training.out_of_memory import is_out_of_memory
from service.training.output_roles import OutputRoles
from service.training.output_rules import check_outputs


def check_batches(batches: Batches) -> list[FieldError]:
    """Check that an epoch has a batch."""
    if batches.steps_per_epoch:
        return []
    detail = (
        f"It drops the only batch of an epoch: {count_of(batches.rows, 'training row')} are fewer than "
        "`batch_size`. Use a smaller `batch_size`, or remove `drop_last`."
    )
    return [FieldError("#/training/drop_last", detail)]


def check_comparisons(training: TrainingSpec, batches: Batches, targets: Tensor) -> list[FieldError]:
    """Check that a loss of survival has rows to compare: it is 0 for a single row, and without an event.

    Args:
        training: The training section.
        batches: The division of the training rows into batches.
        targets: Targets of the training rows, [n, 2]: time and event.
    """
    name = training.loss.type
    if LOSSES[name].task != "survival":
        return []
    if batches.size == 1:
        remedy = "more training rows" if batches.rows == 1 else "a larger `batch_size`"
        detail = f"`{name}` compares the rows of a batch, and is 0 for a single one. Use {remedy}."
        return [FieldError("#/training/batch_size", detail)]
    if not targets[:, 1].any():
        detail = (
            f"No training row has an event, so that `{name}` is 0 and nothing is trained. Add rows whose "
            "second target is 1."
        )
        return [FieldError("#/data", detail)]
    return []


_OVERWRITTEN = (
    "a tensor that the backward pass needs is changed in place after it was used. Use a copy, as `.clone()` "
    "makes one, or do not change it in place"
)


def check_steps(module: nn.Module, prepared: Prepared, batches: Batches) -> list[FieldError]:
    """Run training steps on the meta device, and report the error that PyTorch raises.

    The shape trace misses two errors: a batch norm that gets a single row, and a layer or text that
    overwrites a tensor of the backward pass. Models without either risk are not run.

    Args:
        module: The model, on the meta device.
        prepared: The data, on the meta device.
        batches: The division of the training rows into batches.
    """
    if 1 in (batches.size, batches.remainder) and (reason := step_error(module, prepared, 1)):
        return [_single_row_error(batches, reason)]
    if any(getattr(layer, "inplace", False) or text_class(type(layer)) for layer in module.modules()):
        size = batches.size
        if reason := step_error(module, prepared, size):
            detail = f"The model can't be trained on a batch of {size}: {reason}."
            return [FieldError("#/training", detail)]
    return []


def step_error(module: nn.Module, prepared: Prepared, size: int) -> str | None:
    """Return why a step on a batch of `size` rows fails; None if it doesn't."""
    try:
        outputs = named_outputs(module.train()(*(x[:size] for x in prepared.train.inputs)))
        torch.autograd.backward([each.sum() for each in outputs.values() if each.requires_grad])
    except (RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0].rstrip(".")
        return _OVERWRITTEN if "modified by an inplace operation" in reason else reason
    return None


def _single_row_error(batches: Batches, reason: str) -> FieldError:
    rows = batches.rows
    if batches.is_full_batch or rows == 1:
        detail = f"The model can't be trained on a single row: {reason}. Use more training rows."
        return FieldError("#/training", detail)
    if batches.size == 1:
        detail = f"The model can't be trained on batches of 1 row: {reason}. Use a larger `batch_size`."
        return FieldError("#/training/batch_size", detail)
    sizes = (batches.size + step for distance in count(1) for step in (distance, -distance))
    fitting = next(size for size in sizes if 1 < size <= rows and rows % size != 1)  # at the latest, `rows`
    detail = (
        f"The last batch of an epoch has 1 row, since {rows} training rows are divided into batches of "
        f"{batches.size}, and the model can't be trained on it: {reason}. Use another `batch_size`, such as "
        f"{fitting}, or leave the last batch out with `drop_last`."
    )
    return FieldError("#/training/batch_size", detail)


def extremes_of(encoding: Encoding, workspace: MetaWorkspace) -> list[Tensor]:
    """Find the smallest and largest values that each element of an input can have.

    They are the extremes of the data; for categories, hash buckets and parts of dates, those of all possible
    values, since a prediction may get any of them.

    Returns:
        A tensor [2, …] for each input.
    """
    extremes = []
    for number, name in enumerate(encoding.input_names):
        low, high = (each.expand(encoding.input_shapes[name]).clone() for each in workspace.extremes[number])
        for position, (_, values) in encoding.ranges(name).items():
            low[..., position], high[..., position] = values.low, values.high
        extremes.append(torch.stack([low, high]))
    return extremes


def check_values(
    encoding: Encoding, checked: CheckedArchitecture, extremes: Sequence[Tensor]
) -> list[FieldError]:
    """Check that embeddings have a row for every index that they can receive.

    Args:
        encoding: The fitted encoding.
        checked: The completed architecture.
        extremes: For each input its smallest and largest values, [2, …].
    """
    ranges = [each for name in encoding.input_names for each in encoding.ranges(name).values()]

    def reason(needed: int) -> str:
        found = (f", since `{name}` {values.reason}" for name, values in ranges if values.high + 1 == needed)
        return next(found, "")

    return check_embeddings(checked.spec, checked.module, extremes, reason)


def check_output_values(
    training: TrainingSpec,
    checked: CheckedArchitecture,
    roles: OutputRoles,
    extremes: Sequence[Tensor],
    found: Findings,
) -> None:
    """Check that the outputs that the loss takes are what it expects, as far as that can be known.

    Args:
        training: The training section.
        checked: The completed architecture.
        roles: The outputs of the model that the loss takes.
        extremes: For each input its smallest and largest values, [2, …].
        found: Receives the findings.
    """
    loss = LOSSES[training.loss.type]
    rules = (loss.conventions_for(training.loss.arguments()).outputs, *loss.further)

    def samples(name: str) -> Iterator[Tensor]:
        results = probe_outputs(checked.module, extremes)
        return (roles.layout.named(result)[name] for result in results)

    for name, rule in zip(roles.loss, rules, strict=True):
        check_outputs(training.loss.type, rule, checked.outputs[name], partial(samples, name), found)
