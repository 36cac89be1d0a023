"""Bodies of functions that are sent without a class, such as the text of a loss."""

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from service.architectures.text.errors import GrammarError
from service.architectures.text.evaluation import Frame, Observer, Run
from service.architectures.text.mentions import assigned
from service.architectures.text.statements import Block
from service.architectures.text.syntax import Text, parse
from service.architectures.text.translation import Translator

GRADIENT = "torch.autograd.grad"


@dataclass(frozen=True, slots=True)
class Body:
    """Statements that compute a value from variables.

    Attributes:
        text: The text.
        block: The statements.
        variables: Names of the variables that they read.
        differentiates: Whether they call `torch.autograd.grad`.
    """

    text: Text
    block: Block
    variables: frozenset[str]
    differentiates: bool

    def run(self, values: Mapping[str, Any], device: torch.device, observer: Observer | None = None) -> Any:
        """Compute the value.

        Args:
            values: Values of the variables by name.
            device: Device on which functions such as `torch.zeros` create tensors.
            observer: Observes the operations, if any.

        Raises:
            ForwardError: If an operation fails, with its location and the shapes of its operands.
        """
        run = Run(self.text, is_check=device.type == "meta", device=device, observer=observer)
        return self.block.run(Frame(run, dict(values)))


def read_body(source: str, names: Collection[str]) -> tuple[Body | None, list[GrammarError]]:
    """Parse and translate the body of a function.

    Args:
        source: The text: statements, of which one returns a value.
        names: Names of the variables that it may read.

    Returns:
        The body, or None if there are errors; and the errors, at most one for each statement.
    """
    if source.lstrip().startswith(("def ", "async def ", "lambda")):
        start = Text.dedented(source).location_at(1, 1)
        return None, [GrammarError(start, "Send the body of the function only, without its `def` line.")]
    try:
        method = parse(source)
    except GrammarError as error:
        return None, [error]
    translator = Translator(method.text, {}, frozenset(), further=frozenset({GRADIENT}))
    block = Block(translator.body(method.statements, {*names, *assigned(method.statements)}))
    if not any(isinstance(node, ast.Return) for each in method.statements for node in ast.walk(each)):
        last = method.text.location_of(method.statements[-1])
        translator.errors.append(GrammarError(last, "The text must `return` a value."))
    if translator.errors:
        return None, translator.errors
    variables = frozenset(translator.read & set(names))
    return Body(method.text, block, variables, GRADIENT in translator.read), []
