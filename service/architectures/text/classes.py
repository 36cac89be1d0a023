"""Classes of a text: Python types whose methods are evaluated.

A class that has nn.Module among its bases becomes a real subclass of it, so that PyTorch registers, prints,
saves and trains its instances like those of the same class in a script.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.text.attributes import HOOKS, MODULE_ATTRIBUTES
from service.architectures.text.builtins import FieldDefault
from service.architectures.text.calls import call_function
from service.architectures.text.constructors import BASES
from service.architectures.text.errors import tensors_in
from service.architectures.text.evaluation import Frame, Run
from service.architectures.text.expressions import Expression
from service.architectures.text.operators import bounded
from service.architectures.text.statements import FunctionStatement, Statement, run_all
from service.architectures.text.values import (
    TEXT_CLASS,
    Definition,
    Namespace,
    Parameters,
    Record,
    TextClass,
    TextFunction,
    find_attribute,
    text_class,
)

# Special methods that a class may define.
SPECIAL = frozenset(
    {"__init__", "__post_init__", "__call__", "__len__", "__getitem__", "__repr__", "__str__"}
)
# Methods of modules that a job has no use for, as it chooses the device itself.
IGNORED = frozenset({"to", "cuda", "cpu"})


@dataclass(frozen=True, slots=True)
class ClassStatement(Statement):
    """A `class` statement.

    Attributes:
        name: Name of the class.
        bases: Its bases.
        body: Its statements.
        fields: Names of its annotated attributes, in order, if it is a dataclass.
    """

    name: str
    bases: tuple[Expression, ...]
    body: tuple[Statement, ...]
    fields: tuple[str, ...] | None

    def run(self, frame: Frame) -> None:
        frame.names[self.name] = self.make(frame)

    def make(self, frame: Frame) -> type:
        """Make the class.

        Raises:
            ForwardError: If it cannot have its bases.
        """
        run = frame.run
        own = TextClass(run)
        bases = self._bases(frame)
        type_: type = run.guard(self.at, lambda: type(self.name, bases, {TEXT_CLASS: own}), ())
        is_module = issubclass(type_, nn.Module)
        body = Frame(run, {}, frame, type_)
        # A method sees the names around the class, but not those of its body.
        outer = Frame(run, {}, frame, type_)
        for statement in self.body:
            if not isinstance(statement, FunctionStatement):
                run_all([statement], body)
                continue
            method = statement.definition.name
            if is_module and method in IGNORED:
                continue
            if is_module and method in MODULE_ATTRIBUTES - HOOKS - (SPECIAL - {"__call__"}):
                advice = "define `forward`" if method == "__call__" else "choose another name"
                run.fail(statement.at, f"`{method}` is an attribute of nn.Module; {advice}.")
            body.names[method] = statement.make(outer)
        own.attributes.update(body.names)
        if is_module:
            type_._apply = _apply  # type: ignore[attr-defined]
            for name in sorted(HOOKS & own.attributes.keys()):
                function = own.attributes[name]
                if not isinstance(function, TextFunction):
                    run.fail(self.at, f"`{name}` must be a method without decorators.")
                setattr(type_, name, _method(run, function))
        if self.fields is not None:
            inherited = [text_class(base) for base in bases]
            fields = dict.fromkeys(name for each in inherited if each for name in each.fields or ())
            own.fields = tuple({**fields, **dict.fromkeys(self.fields)})
            own.attributes.setdefault("__init__", _dataclass_init(own.fields, type_, self.at))
        return type_

    def _bases(self, frame: Frame) -> tuple[type, ...]:
        bases = []
        for node in self.bases:
            base = node.evaluate(frame)
            if base in (Record, None) or isinstance(base, Namespace):
                continue  # `object`, and annotations such as `Generic[T]` and `ABC`
            if not isinstance(base, type) or (text_class(base) is None and base not in BASES):
                frame.run.fail(node.at, "a class has layers of torch.nn or classes of the text as its bases.")
            bases.append(base)
        return tuple(bases) or (Record,)


def _apply(self: nn.Module, convert: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Move a module as PyTorch does, and also the tensors that are plain attributes.

    Recorded passes refer to the old ones.
    """
    nn.Module._apply(self, convert, recurse)  # type: ignore[no-untyped-call]
    for name, value in vars(self).items():
        if isinstance(value, Tensor):
            vars(self)[name] = convert(value)
    for own in filter(None, map(text_class, type(self).__mro__)):
        own.run.replays.clear()
    return self


def _method(run: Run, function: TextFunction) -> Any:
    """Return a Python method for PyTorch to call."""
    definition = function.definition

    def forward(self: nn.Module, *positional: Any, **named: Any) -> Any:
        if run.depth:  # a module of a forward pass that is running
            result = call_function(run, definition.at, function, [self, *positional], named)
            return result if type(result) is Tensor else run.guard(definition.at, lambda: bounded(result), ())
        if run.inputs is not None and len(positional) == len(run.inputs):
            named, positional = dict(zip(run.inputs, positional, strict=True)), ()

        def evaluate() -> Any:
            device = next((each.device for each in tensors_in((positional, named))), torch.device("cpu"))
            with run.forward_pass(device):
                result = call_function(run, definition.at, function, [self, *positional], named)
                return run.guard(definition.at, lambda: bounded(result), ())

        if run.observer is not None or run.is_check:
            return evaluate()
        inputs = {str(name): value for name, value in (*enumerate(positional), *named.items())}
        return run.replays.run(self, inputs, evaluate, run.guard, run.persistent)

    forward.__name__ = definition.name
    return forward


@dataclass(frozen=True, slots=True)
class FieldAssignment:
    """The body of a dataclass's `__init__`."""

    fields: tuple[str, ...]

    def run(self, frame: Frame) -> None:
        """Set the fields, then call `__post_init__` if there is one."""
        instance = frame.names["self"]
        for name in self.fields:
            value = frame.names[name]
            if isinstance(value, FieldDefault):
                value = value.make(frame.run)
            instance.__dict__[name] = value
        found, method = find_attribute(type(instance), "__post_init__")
        if found:
            call_function(frame.run, method.definition.at, method, [instance], {})


def _dataclass_init(fields: tuple[str, ...], type_: type, at: ast.AST) -> TextFunction:
    """Return the `__init__` of a dataclass."""

    own = text_class(type_)
    assert own is not None
    defaults: dict[str, Any] = {}
    for each in reversed(type_.__mro__):
        found = text_class(each)
        defaults |= {} if found is None else {n: v for n, v in found.attributes.items() if n in fields}
    definition = Definition("__init__", at, Parameters(("self", *fields)), FieldAssignment(fields))
    return TextFunction(definition, None, type_, defaults)
