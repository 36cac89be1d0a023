"""Classes of a text: Python types whose methods are evaluated.

A class that has nn.Module among its bases becomes a real subclass of it, so that PyTorch registers, prints,
saves and trains its instances like those of the same class in a script.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.text.attributes import HOOKS, MODES, MODULE_ATTRIBUTES
from service.architectures.text.calls import call_function
from service.architectures.text.constructors import BASES
from service.architectures.text.errors import tensors_in
from service.architectures.text.evaluation import Frame, Run
from service.architectures.text.expressions import Expression
from service.architectures.text.operators import bounded
from service.architectures.text.records import make_named_tuple, record_init, set_members
from service.architectures.text.statements import Decorator, FunctionStatement, Statement, run_all
from service.architectures.text.values import (
    TEXT_CLASS,
    Cached,
    Member,
    NamedValues,
    Namespace,
    Record,
    TextClass,
    TextFunction,
    Wrapped,
    native_base,
    text_class,
)

# Special methods that a class may define.
SPECIAL = frozenset(
    {"__init__", "__post_init__", "__call__", "__len__", "__getitem__", "__getattr__", "__iter__"}
    | {"__contains__", "__repr__", "__str__"}
)
# Those that Python itself calls, as when a loop iterates over an object.
PROTOCOLS = frozenset({"__len__", "__getitem__", "__iter__"})
# Methods of modules that a job has no use for, as it chooses the device itself.
IGNORED = frozenset({"to", "cuda", "cpu"})


@dataclass(frozen=True, slots=True)
class ClassStatement(Statement):
    """A `class` statement.

    Attributes:
        name: Name of the class.
        bases: Its bases.
        body: Its statements.
        fields: Names of its annotated attributes, in order, if it is a dataclass or a named tuple.
        decorators: Its decorators, from the innermost to the outermost.
    """

    name: str
    bases: tuple[Expression, ...]
    body: tuple[Statement, ...]
    fields: tuple[str, ...] | None
    decorators: tuple[Decorator, ...] = ()

    def run(self, frame: Frame) -> None:
        made: Any = self.make(frame)
        for decorator in self.decorators:
            made = decorator.apply(frame, made)
        frame.names[self.name] = made

    def make(self, frame: Frame) -> type:
        """Make the class.

        Raises:
            ForwardError: If it cannot have its bases.
        """
        run = frame.run
        own = TextClass(run)
        bases = self._bases(frame)
        if NamedValues in bases:
            return self._named_tuple(frame)
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
            if is_module and method in MODULE_ATTRIBUTES - HOOKS - MODES - (SPECIAL - {"__call__"}):
                advice = "define `forward`" if method == "__call__" else "choose another name"
                run.fail(statement.at, f"`{method}` is an attribute of nn.Module; {advice}.")
            body.names[method] = statement.make(outer, body)
        own.attributes.update(body.names)
        for name in sorted(PROTOCOLS & own.attributes.keys()):
            if isinstance(own.attributes[name], TextFunction):
                setattr(type_, name, python_method(run, own.attributes[name]))
        if issubclass(type_, Member):
            set_members(run, self.at, type_, self._mixed(frame))
        if is_module:
            self._install(run, type_, own)
        if self.fields is not None:
            inherited = [text_class(base) for base in bases]
            fields = dict.fromkeys(name for each in inherited if each for name in each.fields or ())
            own.fields = tuple({**fields, **dict.fromkeys(self.fields)})
            own.attributes.setdefault("__init__", record_init(own.fields, type_, self.at))
        return type_

    def _mixed(self, frame: Frame) -> type | None:
        """Return `str` or `int` if the members of an enumeration are strings or integers, too."""
        for node in self.bases:
            base = node.evaluate(frame)
            if base in (str, int):
                return str if base is str else int
            name = frame.run.location_of(node.at).text.rpartition(".")[2]
            if name in ("IntEnum", "StrEnum"):
                return int if name == "IntEnum" else str
        return None

    def _install(self, run: Run, type_: type, own: TextClass) -> None:
        """Make Python methods of those that PyTorch calls itself."""
        type_._apply = _apply  # type: ignore[attr-defined]
        base = native_base(type_)
        for name, value in own.attributes.items():
            is_hook = name in HOOKS | MODES
            # PyTorch's layers call methods that a class may override, such as `reset_parameters`.
            is_override = base is not nn.Module and name not in SPECIAL and hasattr(base, name)
            if (is_hook and not isinstance(value, TextFunction)) or (
                is_override and isinstance(value, Wrapped | Cached)
            ):
                run.fail(self.at, f"`{name}` must be a method without this decorator; remove it.")
            if (is_hook or is_override) and isinstance(value, TextFunction):
                setattr(type_, name, (_mode_method if name in MODES else python_method)(run, value))

    def _named_tuple(self, frame: Frame) -> type:
        """Make a class with `typing.NamedTuple` as its base."""
        own, names = TextClass(frame.run), Frame(frame.run, {}, frame)
        for statement in self.body:
            if isinstance(statement, FunctionStatement):
                names.names[statement.definition.name] = statement.make(Frame(frame.run, {}, frame), names)
            else:
                run_all([statement], names)
        own.attributes.update(names.names)
        return make_named_tuple(frame.run, self.at, self.name, self.fields or (), own)

    def _bases(self, frame: Frame) -> tuple[type, ...]:
        bases = []
        for node in self.bases:
            base = node.evaluate(frame)
            if base in (Record, None, str, int) or isinstance(base, Namespace):
                continue  # `object`, and annotations such as `Generic[T]` and `ABC`
            if not isinstance(base, type) or (
                text_class(base) is None and base not in BASES | {Member, NamedValues}
            ):
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


def python_method(run: Run, function: TextFunction) -> Any:
    """Return a Python method that evaluates a function of the text, for PyTorch to call."""
    definition = function.definition

    def forward(self: nn.Module, *positional: Any, **named: Any) -> Any:
        if isinstance(self, nn.Module):
            run.called[id(self)] = self
        if run.depth:  # a module of a forward pass that is running
            result = call_function(run, definition.at, function, [self, *positional], named)
            return result if type(result) is Tensor else run.guard(definition.at, lambda: bounded(result), ())
        if run.inputs is not None and len(positional) == len(run.inputs):
            named, positional = dict(zip(run.inputs, positional, strict=True)), ()

        def evaluate() -> Any:
            device = next((each.device for each in tensors_in((positional, named))), torch.device("cpu"))
            with run.forward_pass(device):
                result = call_function(run, definition.at, function, [self, *positional], named)
                run.guard(definition.at, lambda: bounded(result), ())
                return tuple(result) if isinstance(result, NamedValues) else result

        if run.observer is not None or run.is_check:
            return evaluate()
        inputs = {str(name): value for name, value in (*enumerate(positional), *named.items())}
        return run.replays.run(self, inputs, evaluate, run.persistent)

    forward.__name__ = definition.name
    return forward


def _mode_method(run: Run, function: TextFunction) -> Any:
    """Return a method `train` or `eval` for PyTorch to call."""
    at = function.definition.at

    def switch(self: nn.Module, *positional: Any, **named: Any) -> Any:
        if run.depth:
            return call_function(run, at, function, [self, *positional], named)
        with run.mode_change():
            call_function(run, at, function, [self, *positional], named)
        return self  # also where the text forgets it, as a script does not use it

    switch.__name__ = function.definition.name
    return switch
