"""Check of a loss that is a text: it runs on the meta device with the outputs of the model."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.text.errors import ForwardError, SourceLocation, forward_error
from service.datasets.prepare.encoding import Encoding
from service.errors import FieldError, pointer_to
from service.specs.component import LossSpec
from service.training.expression_loss import ExpressionLoss, ForwardPass, LossNames, read_loss, with_gradients
from service.training.out_of_memory import is_out_of_memory
from service.training.output_roles import OutputRoles

LOSS = "#/training/loss"
TEXT = pointer_to(LOSS, "text")


def text_errors(spec: LossSpec, names: LossNames | None = None) -> list[FieldError]:
    """Find the errors of a text that can be found without running it.

    Args:
        spec: The loss, whose arguments may be invalid.
        names: The names that the text can read; None while they are unknown.
    """
    text = spec.arguments().get("text")
    if not isinstance(text, str):
        return []  # reported as an argument
    return [FieldError(TEXT, error) for error in read_loss(text, names)[1]]


def check_expression(
    loss_fn: ExpressionLoss,
    model: nn.Module,
    roles: OutputRoles,
    outputs: Mapping[str, Tensor],
    inputs: Sequence[Tensor],
    targets: Tensor,
    encoding: Encoding,
) -> list[FieldError]:
    """Check that a text without errors is a loss of the model.

    Args:
        loss_fn: The loss.
        model: The model, on the meta device.
        roles: The outputs of the model.
        outputs: Outputs of the model for a batch, [B, …] on the meta device, by name.
        inputs: Inputs of the model for any number of rows.
        targets: Targets of any number of rows.
        encoding: Encoding of the data.
    """
    rows = len(outputs[roles.main.output])
    values = []
    try:
        # The batch dimension is the size that differs between two batches.
        for size in (rows, rows - 1):
            batch = tuple(_batch(x, size) for x in inputs)
            if loss_fn.differentiates:
                batch = with_gradients(batch)
                results = roles.layout.named(model.train()(*batch))
            else:
                results = {name: output[:size] for name, output in outputs.items()}
            passed = ForwardPass(batch, results)
            weights = torch.empty(size, device="meta")
            values.append(loss_fn.compute(passed, _batch(targets, size), weights, _Shapes(size)))
        if errors := list(_errors_of_value(values, rows)):
            return errors
        # Only the inputs that a text differentiates by have gradients beside the parameters.
        is_trained = values[0].requires_grad and (
            not loss_fn.differentiates or _has_gradients(values[0], model)
        )
    except ForwardError as error:
        return [FieldError(TEXT, str(error))]
    except (RuntimeError, ValueError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0].rstrip(".")
        return [FieldError(TEXT, f"The loss has no gradient: {reason}.")]
    if not is_trained:
        return [FieldError(TEXT, "The loss has no gradient: it depends on no parameter of the model.")]
    return list(_misfits(loss_fn, values[0], encoding))


def _batch(rows: Tensor, size: int) -> Tensor:
    """Return a batch on the meta device: [n, …] -> [size, …]."""
    return torch.empty(size, *rows.shape[1:], dtype=rows.dtype, device="meta")


def _errors_of_value(values: Sequence[Any], rows: int) -> Iterator[FieldError]:
    """Check what the text returns for batches of `rows` and `rows - 1` rows."""
    needed = "It must return a scalar, or a value for each row, [B]"
    value = values[0]
    if not isinstance(value, Tensor):
        yield FieldError(TEXT, f"{needed}; it returns a value of type {type(value).__name__}.")
        return
    sizes = [tuple(each.shape) for each in values]
    if sizes not in ([(), ()], [(rows,), (rows - 1,)]):
        shape = _shape(value, rows)
        remedy = "such as its `.mean()`"
        if value.dim() > 1 and sizes[0][0] == rows:
            remedy = "such as its mean over the other dimensions, `.flatten(1).mean(dim=1)`, or `.mean()`"
        yield FieldError(TEXT, f"{needed}, {remedy}; it returns {shape}.")
    elif not value.is_floating_point():
        yield FieldError(TEXT, f"{needed}, of real numbers; it returns {value.dtype}.")


def _has_gradients(value: Tensor, model: nn.Module) -> bool:
    """Return whether a loss depends on parameters; its backward pass, of derivatives too, may fail."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(value.mean(), parameters, allow_unused=True) if parameters else ()
    return any(gradient is not None for gradient in found)


def _misfits(loss_fn: ExpressionLoss, value: Tensor, encoding: Encoding) -> Iterator[FieldError]:
    """Check that a loss can do what the data section asks for."""
    if encoding.weights is not None and not value.dim() and not loss_fn.reads_weight:
        detail = (
            "The loss is one number for a batch, in which rows have no weights. Return a value for each row, "
            "[B], use `weight` in the text, or remove `weights`."
        )
        yield FieldError("#/data/weights", detail)
    if encoding.masks_targets:
        detail = (
            "An expression reads the targets as they are and leaves out no single ones; drop rows with "
            "missing targets by `drop_rows`."
        )
        yield FieldError("#/data/missing_targets", detail)


def _shape(tensor: Tensor, rows: int) -> str:
    """Return a shape as messages show it, with B for the size of the batch: `[B, 3]`."""
    return f"[{', '.join('B' if size == rows else str(size) for size in tensor.shape)}]"


class _Shapes:
    """Gives errors of operations their shapes.

    Args:
        rows: Size of the batch.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def computed(self, location: SourceLocation, value: Any) -> None:
        """Accept any value."""

    def failed(self, location: SourceLocation, error: Exception, operands: Any) -> Exception:
        """Return the error of an operation with its location and the shapes of its operands."""
        return forward_error(location, error, operands, lambda tensor: _shape(tensor, self._rows))

    def refused(self, message: str) -> Exception:
        """Return the error of something that a text may not do."""
        return ForwardError(message)
