"""Losses that a client sends as a text over the outputs of the model, the targets and the inputs."""

import ast
import keyword
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from service.architectures.text.body import Body, read_body
from service.architectures.text.errors import GrammarError
from service.architectures.text.evaluation import Observer
from service.architectures.text.expression_translation import REFUSED_NAMES
from service.architectures.text.names import DEFAULT_IMPORTS
from service.architectures.text.syntax import parse
from service.specs.architecture import MAX_FORWARD_CHARACTERS
from service.specs.base import list_names

EXPRESSION = "expression"
"""The `type` of a loss that is a text."""
INPUTS, OUTPUTS, TARGETS = "inputs", "outputs", "targets"
OUTPUT, TARGET, WEIGHT = "output", "target", "weight"
_CONTAINERS = (INPUTS, OUTPUTS, TARGETS)
_CACHED_TEXTS = 256
# The end of the error for an unknown name, which a loss ends with the names that there are.
_UNDEFINED = "is not defined in the text."


class ForwardPass(NamedTuple):
    """What a text reads of a forward pass.

    Attributes:
        inputs: Inputs of the model, [B, …].
        outputs: Outputs of the model, [B, …] by name.
    """

    inputs: tuple[Tensor, ...]
    outputs: Mapping[str, Tensor]


class DataNames(NamedTuple):
    """The names that a text can read of the data.

    Attributes:
        inputs: Names of the inputs of the model.
        targets: Names of the target columns; empty for tensors.
        model_input: The model's name of a single input.
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    model_input: str | None = None


@dataclass(frozen=True)
class LossNames:
    """The names that a text can read.

    Attributes:
        outputs: Names of the outputs of the model.
        inputs: Names of its inputs.
        targets: Names of the target columns; empty for tensors.
        model_input: The model's name of a single input, which also names it unless it is that of an output
            or a target.
    """

    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    model_input: str | None = None

    @cached_property
    def keys(self) -> Mapping[str, tuple[str, ...]]:
        """The names in each container; `output` is the only output, and `target` all targets."""
        outputs = (
            *self.outputs,
            *([OUTPUT] if self.outputs != (OUTPUT,) and len(self.outputs) == 1 else []),
        )
        targets = (*self.targets, *([] if TARGET in self.targets else [TARGET]))
        name, taken = self.model_input, {OUTPUT, *outputs, *self.inputs, *targets}
        inputs = self.inputs if name is None or name in taken else (*self.inputs, name)
        return {OUTPUTS: outputs, INPUTS: inputs, TARGETS: targets}

    @cached_property
    def _places(self) -> Mapping[str, list[str]]:
        """The containers of each name."""
        found: dict[str, list[str]] = {}
        for container, names in self.keys.items():
            for name in names:
                found.setdefault(name, []).append(container)
        return found

    @cached_property
    def readable(self) -> Mapping[str, str]:
        """The container of each name that a text can write as it is: an identifier with one meaning."""
        return {
            name: containers[0]
            for name, containers in self._places.items()
            if len(containers) == 1 and _is_free(name)
        }

    def refused(self) -> dict[str, str]:
        """Return the names that mean several values, or several outputs, with what to write instead."""
        refused = {}
        for name, containers in self._places.items():
            if len(containers) > 1 and _is_free(name):
                written = " or ".join(_subscript(container, name) for container in containers)
                refused[name] = f"`{name}` has several meanings; write {written}."
        if OUTPUT not in self._places:
            written = list_names([self._written(OUTPUTS, name) for name in self.outputs])
            refused[OUTPUT] = f"the model has several outputs; write one of {written}."
        return refused

    def known(self) -> str:
        """List what a text can write, for a message."""
        written = [self._written(container, name) for container, names in self.keys.items() for name in names]
        return list_names([*dict.fromkeys(written), f"`{WEIGHT}`"])

    def _written(self, container: str, name: str) -> str:
        return f"`{name}`" if name in self.readable else _subscript(container, name)

    def values(self, passed: ForwardPass, targets: Tensor, weights: Tensor | None) -> dict[str, Any]:
        """Return the values of the names.

        Args:
            passed: Inputs and outputs of the model.
            targets: Targets, [B, …].
            weights: Weights of the rows, [B]; None if all are 1.
        """
        outputs = list(passed.outputs.values())
        columns = list(targets.unbind(dim=-1)) if len(self.targets) > 1 else [targets]
        containers: dict[str, dict[str | int, Tensor]] = {
            OUTPUTS: {OUTPUT: outputs[0]} if len(outputs) == 1 else {},
            INPUTS: {},
            TARGETS: {TARGET: targets},
        }
        for container, names, values in (
            (OUTPUTS, self.outputs, outputs),
            (INPUTS, self.inputs, list(passed.inputs)),
            # A single input has two names.
            (INPUTS, self.keys[INPUTS][len(self.inputs) :], list(passed.inputs)),
            (TARGETS, self.targets, columns),
        ):
            containers[container].update(enumerate(values))
            containers[container].update(zip(names, values, strict=False))
        weight = torch.ones(len(targets), device=targets.device) if weights is None else weights
        readable = {name: containers[container][name] for name, container in self.readable.items()}
        return {**containers, WEIGHT: weight, **readable}


def _is_free(name: str) -> bool:
    """Return whether a text can read a name: an identifier without a meaning of its own."""
    reserved = keyword.iskeyword(name) or name in DEFAULT_IMPORTS or name in (*_CONTAINERS, WEIGHT)
    return name.isidentifier() and not reserved


def _subscript(container: str, name: str) -> str:
    is_position = container == OUTPUTS and name.isdecimal()
    return f"`{container}[{name}]`" if is_position else f'`{container}["{name}"]`'


@lru_cache(_CACHED_TEXTS)
def read_loss(text: str, names: LossNames | None = None) -> tuple[Body | None, tuple[str, ...]]:
    """Parse and translate the text of a loss.

    Args:
        text: The text.
        names: The names that it may read; None while they are unknown, to look for other errors only.

    Returns:
        The text's body, or None if there are errors; and the errors, each with line and column.
    """
    try:
        parsed = parse(text)
    except GrammarError as error:
        return None, (str(error),)
    nodes = [node for each in parsed.statements for node in ast.walk(each) if isinstance(node, ast.Name)]
    written = {node.id for node in nodes}
    if names is None:
        hidden = (DEFAULT_IMPORTS.keys() | REFUSED_NAMES.keys()) - {"input"}
        body, errors = read_body(text, written - hidden)
        return body, tuple(map(str, errors))
    refused = {name: detail for name, detail in names.refused().items() if name in written}
    assigned = {node.id for node in nodes if isinstance(node.ctx, ast.Store)}
    body, errors = read_body(text, {*names.readable, *_CONTAINERS, WEIGHT, *refused})
    found = [
        str(error).replace(_UNDEFINED, f"is not defined; a loss reads {names.known()}.") for error in errors
    ]
    for name, detail in refused.items():
        if name not in assigned:
            first = next(node for node in nodes if node.id == name)
            found.append(str(GrammarError(parsed.text.location_of(first), detail)))
    return (None if found else body), tuple(found)


def expression(
    text: Annotated[str, Field(min_length=1, max_length=MAX_FORWARD_CHARACTERS)],
    targets: Literal["values", "classes"] = "values",
    input_names: tuple[str, ...] = (),
    target_names: tuple[str, ...] = (),
    model_input: str | None = None,
) -> "ExpressionLoss":
    """A loss that is a text over the outputs, the targets, the inputs and the weights of the rows.

    The text is the body of a function, in the grammar of classes. It reads the outputs by name (`output` if
    there is one, also `outputs[0]`, …), `target`, the target columns and the inputs by name, and `weight`
    [B]; names that are no identifiers as `outputs["…"]`, `targets["…"]` and `inputs["…"]`. It returns a
    scalar or a value for each row, [B]. `targets` says what the targets are: values (float32) or numbers of
    classes (int64).
    """
    return ExpressionLoss(text, input_names, target_names, model_input)


class ExpressionLoss(nn.Module):
    """The loss that a text computes.

    Args:
        text: The text.
        input_names: Names of the inputs of the model.
        target_names: Names of the target columns.
        model_input: The model's name of a single input.

    Attributes:
        data_names: The names that the text can read of the data.
        reduction: `mean`, or `none` for the value of each row where the text returns it.
        reads_weight: Whether the text reads the weights of the rows, and so weights them itself.
        differentiates: Whether the text differentiates by an input.
    """

    def __init__(
        self,
        text: str,
        input_names: tuple[str, ...],
        target_names: tuple[str, ...],
        model_input: str | None = None,
    ) -> None:
        super().__init__()
        self.reduction = "mean"
        self._text = text
        self.data_names = DataNames(input_names, target_names, model_input)
        self._names: LossNames | None = None
        body, _ = read_loss(text)
        self.reads_weight = body is not None and WEIGHT in body.variables
        self.differentiates = body is not None and body.differentiates

    def names(self, outputs: Mapping[str, Tensor]) -> LossNames:
        """Return the names that the text can read, with those of the outputs."""
        if self._names is None or self._names.outputs != tuple(outputs):
            self._names = LossNames(tuple(outputs), *self.data_names)
        return self._names

    def compute(
        self,
        passed: ForwardPass,
        targets: Tensor,
        weights: Tensor | None = None,
        observer: Observer | None = None,
    ) -> Any:
        """Return what the text returns.

        Args:
            passed: Inputs and outputs of the model.
            targets: Targets, [B, …].
            weights: Weights of the rows, [B]; None if all are 1.
            observer: Observes the operations, if any.

        Raises:
            ValueError: The text has errors.
            ForwardError: An operation fails.
        """
        names = self.names(passed.outputs)
        body, errors = read_loss(self._text, names)
        if body is None:
            raise ValueError(" ".join(errors))
        return body.run(names.values(passed, targets, weights), targets.device, observer)

    def forward(self, passed: ForwardPass, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the loss [], or [B] with the reduction `none`; arguments as those of `compute`."""
        value: Tensor = self.compute(passed, targets, weights)
        return value.mean() if self.reduction == "mean" and value.dim() else value


def differentiates(loss_fn: nn.Module) -> bool:
    """Return whether a loss differentiates by the inputs of the model."""
    return any(isinstance(each, ExpressionLoss) and each.differentiates for each in loss_fn.modules())


def data_names(loss_fn: nn.Module) -> DataNames | None:
    """Return the names by which a loss reads the data; None for a loss that is no text."""
    return next((each.data_names for each in loss_fn.modules() if isinstance(each, ExpressionLoss)), None)


def with_gradients(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return inputs by which a loss can differentiate: those of a floating dtype require gradients."""
    return tuple(x.detach().requires_grad_() if x.is_floating_point() else x for x in inputs)
