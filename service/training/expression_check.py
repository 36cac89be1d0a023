"""Check of a loss that is a text: it runs on the meta device with the outputs of the model."""

import warnings
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
from service.training.row_broadcasts import Broadcast, RowBroadcasts

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
    trains: bool,
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
        trains: Whether the loss must have gradients.
    """
    rows = len(outputs[roles.main.output])
    values: list[Any] = []
    broadcasts: list[list[str]] = []
    try:
        # The batch dimension is the size that differs between two batches.
        for size in (rows, rows + 1):
            batch = tuple(_batch(x, size) for x in inputs)
            if loss_fn.differentiates:
                batch = with_gradients(batch)
                results = roles.layout.named(model.train()(*batch))
            else:
                results = {name: x if size == rows else _batch(x, size) for name, x in outputs.items()}
            passed = ForwardPass(batch, results)
            weights = torch.empty(size, device="meta")
            # PyTorch warns of shapes that broadcast, which are errors here.
            with warnings.catch_warnings(action="ignore"), RowBroadcasts(size) as recorded:
                observer = _Shapes(size, recorded)
                values.append(loss_fn.compute(passed, _batch(targets, size), weights, observer))
            broadcasts.append(observer.broadcasts)
        # In a batch of one row, any size of 1 could be its.
        certain = [each for each in broadcasts[1] if each in broadcasts[0] or rows == 1]
        if errors := [FieldError(TEXT, each) for each in certain] or list(_errors_of_value(values, rows)):
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
    if trains and not is_trained:
        return [FieldError(TEXT, "The loss has no gradient: it depends on no parameter of the model.")]
    return list(_misfits(loss_fn, values[0], encoding))


def _batch(rows: Tensor, size: int) -> Tensor:
    """Return a batch on the meta device: [n, …] -> [size, …]."""
    shape = (size, *rows.shape[1:])
    return torch.empty(shape, dtype=rows.dtype, device="meta", requires_grad=rows.requires_grad)


def _errors_of_value(values: Sequence[Any], rows: int) -> Iterator[FieldError]:
    """Check what the text returns for batches of `rows` and `rows + 1` rows."""
    needed = "It must return a scalar, or a value for each row, [B]"
    value = values[0]
    if not isinstance(value, Tensor):
        yield FieldError(TEXT, f"{needed}; it returns a value of type {type(value).__name__}.")
        return
    sizes = [tuple(each.shape) for each in values]
    if sizes not in ([(), ()], [(rows,), (rows + 1,)]):
        shape = _shape(value.shape, rows)
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


def _shape(shape: Sequence[int], rows: int) -> str:
    """Return a shape as messages show it, with B for the size of the batch: `[B, 3]`."""
    return f"[{', '.join('B' if size == rows else str(size) for size in shape)}]"


class _Shapes:
    """Gives errors of operations their shapes, and finds operations that broadcast rows against rows.

    Args:
        rows: Size of the batch.
        recorded: Records the operators of the text.

    Attributes:
        broadcasts: Errors of the operations that broadcast, each once.
    """

    def __init__(self, rows: int, recorded: RowBroadcasts) -> None:
        self._rows, self._recorded = rows, recorded
        self.broadcasts: list[str] = []

    def computed(self, location: SourceLocation, value: Any, operands: Any) -> None:
        """Record the error of an operation that has broadcast rows."""
        for broadcast in self._recorded.take()[:1]:
            detail = f"{location} {self._describe(broadcast)}"
            if detail not in self.broadcasts:
                self.broadcasts.append(detail)

    def _describe(self, broadcast: Broadcast) -> str:
        lower, higher = min(broadcast.operands, key=len), max(broadcast.operands, key=len)
        shapes = " and ".join(_shape(each, self._rows) for each in broadcast.operands)
        found = f"makes {_shape(broadcast.result, self._rows)} of {shapes}, each row with every other row"
        if broadcast.is_index:
            return f"{found}; choose a value in each row by `.gather(1, index.unsqueeze(1)).squeeze(1)`."
        remedy = f"write `.unsqueeze(1)` after the tensor of shape {_shape(lower, self._rows)}"
        if higher[1:] == (1,):
            remedy += f", or `.squeeze(1)` after that of shape {_shape(higher, self._rows)}"
        return f"{found}; {remedy}. If all pairs of rows are meant, write `.unsqueeze(0)` instead."

    def failed(self, location: SourceLocation, error: Exception, operands: Any) -> Exception:
        """Return the error of an operation with its location and the shapes of its operands."""
        return forward_error(location, error, operands, lambda tensor: _shape(tensor.shape, self._rows))

    def refused(self, message: str) -> Exception:
        """Return the error of something that a text may not do."""
        return ForwardError(message)

    def layer(self, module: nn.Module) -> nn.Module:
        """Return a module as it is."""
        return module
