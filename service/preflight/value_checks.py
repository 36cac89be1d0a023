"""Checks that shapes cannot answer (index ranges, one-row batches), run before a job is accepted."""

from collections.abc import Sequence

import torch

from service.architectures.check.check import CheckedArchitecture
from service.architectures.check.value_probes import check_embeddings, may_leave_unit_interval
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.prepare import Prepared
from service.datasets.prepare.workspace import MetaWorkspace
from service.errors import FieldError
from service.specs.training import TrainingSpec


def check_steps(module: torch.nn.Module, prepared: Prepared, batch_size: int) -> list[FieldError]:
    """Run training steps on the meta device, and report the error that PyTorch raises.

    The shape trace misses two errors: a batch norm that gets a single row, and an in-place layer that
    overwrites a tensor of the backward pass. Models without either risk are not run.

    Args:
        module: The model, on the meta device.
        prepared: The data, on the meta device.
        batch_size: Rows of a full batch.
    """
    sizes = set()  # of batches to run
    if any(getattr(layer, "inplace", False) for layer in module.modules()):
        sizes.add(batch_size)
    if prepared.train.rows % batch_size == 1 or batch_size == 1:
        sizes.add(1)
    for size in sizes:
        try:
            module.train()(*(x[:size] for x in prepared.train.inputs)).sum().backward()
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            return [FieldError("#/training", f"The model can't be trained on a batch of {size}: {reason}.")]
    return []


def extremes_of(encoding: Encoding, workspace: MetaWorkspace) -> list[torch.Tensor]:
    """Find the smallest and largest values that each element of an input can have.

    They are the extremes of the data; for ordinal columns, those of all categories, since a prediction may
    get any of them.

    Returns:
        A tensor [2, …] for each input.
    """
    extremes = []
    for number, name in enumerate(encoding.input_names):
        low, high = workspace.extremes[number].unbind()
        for position, ordinal in encoding.ordinals(name).items():
            low[position] = 0
            high[position] = ordinal.count - 1
        extremes.append(torch.stack([low, high]))
    return extremes


def check_values(
    training: TrainingSpec, encoding: Encoding, checked: CheckedArchitecture, extremes: Sequence[torch.Tensor]
) -> list[FieldError]:
    """Check that values fit the model: indices into embeddings, and probabilities for `BCELoss`."""
    ordinals = [each for name in encoding.input_names for each in encoding.ordinals(name).values()]

    def reason(needed: int) -> str:
        ordinal = next((each for each in ordinals if each.count == needed), None)
        if ordinal is None:
            return ""
        extra = " and one index for unknown ones" if ordinal.unknown == "extra" else ""
        return f", since `{ordinal.column}` has {len(ordinal.categories)} categories{extra}"

    errors = check_embeddings(checked.spec, checked.module, extremes, reason)
    if training.loss.type == "BCELoss" and may_leave_unit_interval(checked.module, extremes):
        detail = (
            "`BCELoss` needs probabilities, and the outputs of this model may be outside 0 to 1; end it with "
            "a `Sigmoid`, or use `BCEWithLogitsLoss`."
        )
        errors.append(FieldError("#/training/loss", detail))
    return errors
