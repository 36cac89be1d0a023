"""What PyTorch refuses of a job though all shapes fit: tried before the job is taken."""

from collections.abc import Sequence

import torch

from service.architectures.check.check import Checked
from service.architectures.check.value_probes import check_embeddings, may_leave_unit_interval
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.prepare import Prepared
from service.datasets.prepare.workspace import Nowhere
from service.errors import FieldError
from service.specs.training import TrainingSpec


def check_steps(module: torch.nn.Module, prepared: Prepared, batch_size: int) -> list[FieldError]:
    """What PyTorch refuses at a step though all shapes fit: a batch norm's single row, an overwritten tensor.

    The steps are tried on the meta device, and only where there is something to be found.
    """
    sizes = set()
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


def extremes_of(encoding: Encoding, workspace: Nowhere) -> list[torch.Tensor]:
    """Of each input the smallest and the largest value of each element, [2, …]: those of the data, and of
    ordinals those that predictions may have."""
    extremes = []
    for number, name in enumerate(encoding.input_names):
        low, high = workspace.extremes[number].unbind()
        for position, ordinal in encoding.ordinals(name).items():
            low[position] = 0
            high[position] = ordinal.count - 1
        extremes.append(torch.stack([low, high]))
    return extremes


def check_values(
    training: TrainingSpec, encoding: Encoding, checked: Checked, extremes: Sequence[torch.Tensor]
) -> list[FieldError]:
    """What PyTorch refuses of values though all shapes fit: an index without a row, no probability."""
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
            "`BCELoss` takes probabilities, and this model's outputs may leave 0 to 1: end it with a "
            "`Sigmoid`, or take `BCEWithLogitsLoss`."
        )
        errors.append(FieldError("#/training/loss", detail))
    return errors
