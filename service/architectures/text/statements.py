"""Statements of a class text: nodes that run for their effect on variables and modules."""

import ast
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.text.attributes import delete_attribute, read_attribute, set_attribute
from service.architectures.text.calls import call, on_meta, on_one_device
from service.architectures.text.constructors import check_size
from service.architectures.text.evaluation import Frame, Run
from service.architectures.text.expressions import (
    IN_PLACE,
    Expression,
    element,
    hashable,
    is_mask,
    operate,
)
from service.architectures.text.methods import check_mutable
from service.architectures.text.operators import BINARY, apply
from service.architectures.text.sequences import CONTAINERS, extended, iterate, listed, text_of, truth
from service.architectures.text.values import (
    Cached,
    Definition,
    Members,
    TextFunction,
    Wrapped,
)


@dataclass(frozen=True, slots=True)
class Returned:
    """The end of a function.

    Attributes:
        value: The value that it returns.
    """

    value: Any


BREAK, CONTINUE = object(), object()
# The result of a statement: None to continue with the next one, or `BREAK`, `CONTINUE` or `Returned`.
Outcome = Any


@dataclass(frozen=True, slots=True)
class Statement(ABC):
    """A node that is run.

    Attributes:
        at: The syntax node that it was translated from.
    """

    at: ast.AST

    @abstractmethod
    def run(self, frame: Frame) -> Outcome:
        """Run the statement."""


def run_all(statements: Sequence[Statement], frame: Frame) -> Outcome:
    """Run statements up to the first that ends the sequence."""
    for statement in statements:
        frame.run.step(statement.at)
        outcome = statement.run(frame)
        if outcome is not None:
            return outcome
    return None


@dataclass(frozen=True, slots=True)
class Block:
    """The body of a function."""

    statements: tuple[Statement, ...]

    def run(self, frame: Frame) -> Any:
        """Run the statements, and return the value that the function returns."""
        outcome = run_all(self.statements, frame)
        return outcome.value if isinstance(outcome, Returned) else None


@dataclass(frozen=True, slots=True)
class Result:
    """The body of a lambda."""

    value: Expression

    def run(self, frame: Frame) -> Any:
        """Return the value."""
        return self.value.evaluate(frame)


# Targets of assignments


class Target(ABC):
    """The left side of an assignment."""

    @abstractmethod
    def assign(self, frame: Frame, value: Any) -> None:
        """Assign a value."""

    @abstractmethod
    def delete(self, frame: Frame) -> None:
        """Run `del target`."""

    @abstractmethod
    def update(self, frame: Frame, at: ast.AST, name: str, value: Expression) -> None:
        """Run `target += value` and the like.

        Args:
            frame: The variables.
            at: Syntax node of the statement.
            name: Name of the operator's syntax node.
            value: The right side.
        """


@dataclass(frozen=True, slots=True)
class NameTarget(Target):
    """`name = …`."""

    at: ast.AST
    name: str
    read: Expression

    def assign(self, frame: Frame, value: Any) -> None:
        frame.names[self.name] = value

    def delete(self, frame: Frame) -> None:
        frame.names.pop(self.name, None)

    def update(self, frame: Frame, at: ast.AST, name: str, value: Expression) -> None:
        frame.names[self.name] = updated(frame.run, at, name, self.read.evaluate(frame), value, frame)


@dataclass(frozen=True, slots=True)
class AttributeTarget(Target):
    """`value.name = …`."""

    at: ast.AST
    value: Expression
    name: str

    def assign(self, frame: Frame, value: Any) -> None:
        set_attribute(frame.run, self.at, self.value.evaluate(frame), self.name, value)

    def delete(self, frame: Frame) -> None:
        delete_attribute(frame.run, self.at, self.value.evaluate(frame), self.name)

    def update(self, frame: Frame, at: ast.AST, name: str, value: Expression) -> None:
        owner = self.value.evaluate(frame)
        old = read_attribute(frame.run, self.at, owner, self.name)
        new = updated(frame.run, at, name, old, value, frame)
        if new is not old or not isinstance(old, Tensor):
            set_attribute(frame.run, self.at, owner, self.name, new)


@dataclass(frozen=True, slots=True)
class SubscriptTarget(Target):
    """`value[index] = …`."""

    at: ast.AST
    value: Expression
    index: Expression

    def assign(self, frame: Frame, value: Any) -> None:
        self._set(frame.run, self.value.evaluate(frame), self.index.evaluate(frame), value)

    def delete(self, frame: Frame) -> None:
        run, owner, index = frame.run, self.value.evaluate(frame), self.index.evaluate(frame)
        if isinstance(owner, list | dict):
            check_mutable(run, self.at, owner)
            element(run, self.at, owner, index)  # exists
        elif not run.constructing or not isinstance(owner, CONTAINERS | Members):
            run.fail(self.at, f"an element of a {type(owner).__name__} cannot be deleted here.")
        target = owner.values_by_name if isinstance(owner, Members) else owner
        run.guard(self.at, lambda: target.__delitem__(index), ())

    def update(self, frame: Frame, at: ast.AST, name: str, value: Expression) -> None:
        owner, index = self.value.evaluate(frame), self.index.evaluate(frame)
        run = frame.run
        if not isinstance(owner, Tensor | list | dict):
            run.fail(self.at, f"an element of a {type(owner).__name__} cannot be changed.")
        if isinstance(owner, Tensor) and owner.is_meta and is_mask(index):
            self._update_masked(run, at, name, owner, value.evaluate(frame))
            return
        old = element(run, self.at, owner, index)
        self._set(run, owner, index, updated(run, at, name, old, value, frame))

    def _update_masked(self, run: Run, at: ast.AST, name: str, owner: Tensor, value: Any) -> None:
        """Check `h[mask] += value` on the meta device, where the number of elements is not known."""
        if isinstance(value, Tensor) and value.dim():
            run.fail(at, "a mask selects elements to combine with one number; write `torch.where` for more.")
        run.check_writable(self.at, owner)
        target, operand = on_one_device(run, [owner, value])
        run.compute(at, lambda: IN_PLACE[name](target, operand), (target, operand))

    def _set(self, run: Run, owner: Any, index: Any, value: Any) -> None:
        if isinstance(owner, Tensor):
            run.check_writable(self.at, owner)
            target, position, new = on_one_device(run, [owner, index, value])
            operands = target, position, new
            run.compute(self.at, lambda: target.__setitem__(on_meta(run, position), new), operands)
        elif isinstance(owner, list | dict):
            check_mutable(run, self.at, owner)
            key = hashable(run, self.at, index) if isinstance(owner, dict) else index
            if isinstance(owner, list) and isinstance(index, int):
                element(run, self.at, owner, index)  # exists
            run.guard(self.at, lambda: owner.__setitem__(key, value), ())
            extended(list(owner))
        elif isinstance(owner, Members):
            self._set_member(run, owner, index, value)
        elif isinstance(owner, nn.ParameterList | nn.ParameterDict) and isinstance(value, nn.Parameter):
            if not run.constructing:
                run.fail(self.at, "parameters can only be replaced in the constructor.")
            run.guard(self.at, lambda: owner.__setitem__(index, value), ())
        elif isinstance(owner, nn.Sequential | nn.ModuleList | nn.ModuleDict) and isinstance(
            value, nn.Module
        ):
            if not run.constructing:
                run.fail(self.at, "layers can only be replaced in the constructor.")
            run.guard(self.at, lambda: owner.__setitem__(index, value), ())
            check_size(run, self.at, owner)
        else:
            run.fail(self.at, f"an element of a {type(owner).__name__} cannot be set.")

    def _set_member(self, run: Run, owner: Members, name: Any, value: Any) -> None:
        types = {"_modules": nn.Module, "_parameters": nn.Parameter, "_buffers": Tensor}
        if not run.constructing or not isinstance(name, str) or name in owner.module.__dict__:
            run.fail(self.at, "members are set in the constructor, by a name that is no other attribute.")
        if value is not None and not isinstance(value, types[owner.store]):
            run.fail(self.at, f"`{owner.store}` has no values of type {type(value).__name__}.")
        run.guard(self.at, lambda: owner.values_by_name.__setitem__(name, value), ())
        check_size(run, self.at, owner.module)


@dataclass(frozen=True, slots=True)
class Unpacking(Target):
    """`a, (b, *c) = …`.

    Attributes:
        at: The syntax node.
        before: Targets before the starred one.
        starred: The starred one, if any.
        after: Targets behind it.
    """

    at: ast.AST
    before: tuple[Target, ...]
    starred: Target | None
    after: tuple[Target, ...]

    def assign(self, frame: Frame, value: Any) -> None:
        values = listed(frame.run, self.at, value)
        fixed = len(self.before) + len(self.after)
        if len(values) < fixed or (self.starred is None and len(values) > fixed):
            message = f"{len(values)} values cannot be unpacked to {fixed} names."
            frame.run.fail(self.at, message, "ValueError")
        end = len(values) - len(self.after)
        for target, each in zip(self.before, values, strict=False):
            target.assign(frame, each)
        if self.starred is not None:
            self.starred.assign(frame, values[len(self.before) : end])
        for target, each in zip(self.after, values[end:], strict=True):
            target.assign(frame, each)

    def delete(self, frame: Frame) -> None:
        for target in (*self.before, *self.after):
            target.delete(frame)

    def update(self, frame: Frame, at: ast.AST, name: str, value: Expression) -> None:
        frame.run.fail(self.at, "several names cannot be updated at once.")


def _repeat(values: list[Any], count: int) -> None:
    values[:] = apply(BINARY["Mult"], [values, count])


# Updates that change a list, dictionary or set itself, so that its other names see them.
_CHANGING: Mapping[tuple[str, str], Callable[[Any, Any], Any]] = {
    ("list", "Add"): list.extend,
    ("list", "Mult"): _repeat,
    ("dict", "BitOr"): dict.update,
    ("set", "BitOr"): set.update,
    ("set", "BitAnd"): set.intersection_update,
    ("set", "Sub"): set.difference_update,
    ("set", "BitXor"): set.symmetric_difference_update,
}


def updated(run: Run, at: ast.AST, name: str, old: Any, right: Expression, frame: Frame) -> Any:
    """Return the result of `old += right` and the like: tensors and lists change in place, as in Python."""
    value = right.evaluate(frame)
    if isinstance(old, Tensor):
        run.check_writable(at, old)
        target, operand = on_one_device(run, [old, value])
        return run.compute(at, lambda: IN_PLACE[name](target, operand), (target, operand))
    if isinstance(old, list | dict | set) and (type(old).__name__, name) in _CHANGING:
        check_mutable(run, at, old)
        change = _CHANGING[type(old).__name__, name]
        operand = listed(run, at, value) if name == "Add" else value
        run.guard(at, lambda: change(old, operand), ())
        return run.guard(at, lambda: extended(old), ())
    if isinstance(old, nn.ModuleList) and name == "Add" and run.constructing:
        return run.guard(at, lambda: old.extend(listed(run, at, value)), ())
    return operate(run, at, BINARY[name], [old, value])


# Statements


@dataclass(frozen=True, slots=True)
class Assignment(Statement):
    """`a = b = value`."""

    targets: tuple[Target, ...]
    value: Expression

    def run(self, frame: Frame) -> Outcome:
        value = self.value.evaluate(frame)
        for target in self.targets:
            target.assign(frame, value)


@dataclass(frozen=True, slots=True)
class Update(Statement):
    """`a += value`."""

    target: Target
    operator: str
    value: Expression

    def run(self, frame: Frame) -> Outcome:
        self.target.update(frame, self.at, self.operator, self.value)


@dataclass(frozen=True, slots=True)
class Evaluation(Statement):
    """An expression as a statement, such as a call."""

    value: Expression

    def run(self, frame: Frame) -> Outcome:
        self.value.evaluate(frame)


@dataclass(frozen=True, slots=True)
class Return(Statement):
    """`return value`."""

    value: Expression | None

    def run(self, frame: Frame) -> Outcome:
        return Returned(None if self.value is None else self.value.evaluate(frame))


@dataclass(frozen=True, slots=True)
class Jump(Statement):
    """`break` or `continue`."""

    outcome: Any

    def run(self, frame: Frame) -> Outcome:
        return self.outcome


@dataclass(frozen=True, slots=True)
class If(Statement):
    """`if condition: … else: …`."""

    condition: Expression
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]

    def run(self, frame: Frame) -> Outcome:
        holds = truth(frame.run, self.condition.at, self.condition.evaluate(frame))
        return run_all(self.then if holds else self.otherwise, frame)


def _run_rounds(
    rounds: Iterator[None], body: Sequence[Statement], otherwise: Sequence[Statement], frame: Frame
) -> Outcome:
    """Run the body of a loop for each round, and its `else` unless a `break` ends it."""
    for _ in rounds:
        outcome = run_all(body, frame)
        if outcome is BREAK:
            return None
        if isinstance(outcome, Returned):
            return outcome
    return run_all(otherwise, frame)


@dataclass(frozen=True, slots=True)
class For(Statement):
    """`for target in values: … else: …`."""

    target: Target
    values: Expression
    body: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]

    def run(self, frame: Frame) -> Outcome:
        def rounds() -> Iterator[None]:
            for value in iterate(frame.run, self.values.at, self.values.evaluate(frame)):
                self.target.assign(frame, value)
                yield

        return _run_rounds(rounds(), self.body, self.otherwise, frame)


@dataclass(frozen=True, slots=True)
class While(Statement):
    """`while condition: … else: …`."""

    condition: Expression
    body: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]

    def run(self, frame: Frame) -> Outcome:
        def rounds() -> Iterator[None]:
            while truth(frame.run, self.condition.at, self.condition.evaluate(frame)):
                frame.run.step(self.at)
                yield

        return _run_rounds(rounds(), self.body, self.otherwise, frame)


@dataclass(frozen=True, slots=True)
class Assert(Statement):
    """`assert condition, message`; of a condition on the values of a tensor nothing is known."""

    condition: Expression
    message: Expression | None

    def run(self, frame: Frame) -> Outcome:
        condition = self.condition.evaluate(frame)
        if isinstance(condition, Tensor) or truth(frame.run, self.at, condition):
            return
        message = "" if self.message is None else text_of(frame.run, self.at, self.message.evaluate(frame))
        text = f"the assertion fails{': ' if message else ''}{message}."
        frame.run.fail(self.at, text, "AssertionError", message)


@dataclass(frozen=True, slots=True)
class Raise(Statement):
    """`raise ValueError(message)`."""

    name: str
    messages: tuple[Expression, ...]

    def run(self, frame: Frame) -> Outcome:
        texts = [text_of(frame.run, self.at, each.evaluate(frame)) for each in self.messages]
        message = f"the class raises {self.name}{': ' if texts else ''}{', '.join(texts)}"
        frame.run.fail(self.at, message, self.name, texts[0] if len(texts) == 1 else ", ".join(texts))


@dataclass(frozen=True, slots=True)
class WithGradient(Statement):
    """`with torch.no_grad(): …`, `with torch.enable_grad(): …` or `with torch.set_grad_enabled(…): …`."""

    enabled: Expression
    body: tuple[Statement, ...]

    def run(self, frame: Frame) -> Outcome:
        enabled = truth(frame.run, self.at, self.enabled.evaluate(frame))
        with torch.set_grad_enabled(enabled):
            return run_all(self.body, frame)


@dataclass(frozen=True, slots=True)
class Deletion(Statement):
    """`del a, b[0], self.c`."""

    targets: tuple[Target, ...]

    def run(self, frame: Frame) -> Outcome:
        for target in self.targets:
            target.delete(frame)


@dataclass(frozen=True, slots=True)
class Decorator:
    """A decorator of a function.

    Attributes:
        at: The syntax node.
        kind: One of `staticmethod`, `classmethod`, `property`, `cached_property` (`Wrapped`), `cache`,
            `setter`, or `call` for a function of the text.
        value: The function of the text, or the property whose setter is defined.
    """

    at: ast.AST
    kind: str
    value: Expression | None = None

    def apply(self, frame: Frame, function: Any) -> Any:
        """Return the decorated function."""
        if self.kind == "cache":
            return Cached(function)
        if self.value is None:
            return Wrapped(self.kind, function)
        value = self.value.evaluate(frame)
        if self.kind == "call":
            return call(frame.run, self.at, value, [function], {})
        if not isinstance(value, Wrapped) or value.kind != "property":
            frame.run.fail(self.at, "`.setter` follows a property of the same name.")
        return Wrapped("property", value.function, function)


@dataclass(frozen=True, slots=True)
class FunctionStatement(Statement):
    """A `def` statement.

    Attributes:
        definition: The function.
        defaults: Default values of its parameters.
        decorators: Its decorators, from the innermost to the outermost.
    """

    definition: Definition
    defaults: Mapping[str, Expression]
    decorators: tuple[Decorator, ...] = ()

    def make(self, frame: Frame, around: Frame) -> Any:
        """Make the function.

        Args:
            frame: The frame whose names it sees.
            around: The frame in which it is defined; another one in the body of a class.
        """
        defaults = {name: value.evaluate(around) for name, value in self.defaults.items()}
        function: Any = TextFunction(self.definition, frame, frame.owner, defaults)
        for decorator in self.decorators:
            function = decorator.apply(around, function)
        return function

    def run(self, frame: Frame) -> Outcome:
        frame.names[self.definition.name] = self.make(frame, frame)
