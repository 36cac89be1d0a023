"""The program of a class text: its classes, functions and constants, and the models that it constructs."""

import ast
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from cachetools import LRUCache, cached
from torch import Tensor, nn

from service.architectures.text.calls import call
from service.architectures.text.constructors import check_size
from service.architectures.text.errors import ForwardError, GrammarError, SourceLocation
from service.architectures.text.evaluation import Frame, Observer, Run
from service.architectures.text.mentions import assigned, mentioned_names
from service.architectures.text.names import ANNOTATIONS, Unavailable, imported_names, resolve
from service.architectures.text.statements import Statement
from service.architectures.text.syntax import BYTE_ORDER_MARK, Text, parse_module
from service.architectures.text.translation import Translator
from service.architectures.text.value_reads import has_drawn
from service.architectures.text.values import (
    ITERATOR,
    Bound,
    Cached,
    Partial,
    Record,
    TextFunction,
    Wrapped,
    text_class,
)
from service.specs.base import did_you_mean, list_names

MAX_CACHED_CHARACTERS = 300_000  # of the texts whose programs are kept: each takes some 80 bytes
SEQUENTIAL_INPUT = "input"


@dataclass(frozen=True, slots=True)
class Signature:
    """Parameters of a method of a class, without `self`.

    Attributes:
        required: Names of those without a default value.
        optional: Names of those with one.
        is_variadic: Whether it takes further arguments by position, `*inputs`.
        takes_further: Whether it takes further arguments by name, `**options`.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    is_variadic: bool = False
    takes_further: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return (*self.required, *self.optional)


class UnknownClass(GrammarError):
    """The text has no class of the name that the client gives.

    Args:
        location: The beginning of the text.
        name: The name.
        known: The classes of the text.
    """

    def __init__(self, location: SourceLocation, name: str, known: Sequence[str]) -> None:
        hint = did_you_mean(name, known) or f" is not a class of the text, which has {list_names(known)}."
        super().__init__(location, f"`{name}`{hint}")


@dataclass(frozen=True, slots=True)
class Program:
    """A text that has been parsed and translated, as far as the class of the model needs it.

    Attributes:
        text: The text.
        class_name: Name of the class of the model.
        inputs: Parameters of its `forward`; None if it has none.
        arguments: Parameters of its `__init__`; None if that is PyTorch's or a dataclass's.
        statements: The statements that the class needs, in the order of the text.
    """

    text: Text
    class_name: str
    inputs: Signature | None
    arguments: Signature | None
    statements: tuple[Statement, ...]

    def construct(
        self,
        arguments: Mapping[str, Any],
        inputs: Sequence[str] | None = None,
        is_check: bool = False,
        observer: Observer | None = None,
    ) -> nn.Module:
        """Construct the model, with initial values from the global generator.

        Args:
            arguments: Arguments of `__init__`, as JSON values.
            inputs: Names of the inputs, in the order in which the model is called; None for those of
                `forward`.
            is_check: Whether to construct layers on the meta device.
            observer: Observes forward passes, if any.

        Raises:
            ForwardError: If an operation fails, with its location.
        """
        named = inputs if self.inputs is None or not self.inputs.is_variadic else None
        run = Run(self.text, is_check=is_check, observer=observer, inputs=named)
        before = torch.get_rng_state()
        try:
            # A seed in the text must not reach what else this process draws.
            with run.construction(), torch.random.fork_rng(devices=[], enabled=is_check):
                for statement in self.statements:
                    statement.run(Frame(run, run.globals))
                at = self.statements[-1].at
                model = call(run, at, run.globals[self.class_name], [], dict(arguments))
                if not isinstance(model, nn.Module):
                    run.fail(at, f"`{self.class_name}` is not a subclass of nn.Module.")
                check_size(run, at, model)
                draws = has_drawn(before)
        except RecursionError:
            raise ForwardError("The text is nested too deeply.") from None
        own = text_class(type(model))
        if own is not None:
            # In a check, layers are on the meta device, where their initialisation draws nothing.
            own.draws = draws
            own.shares_memory = _shares_memory(model)
        if is_check:
            move_to_meta(model)
        # A forward pass must not change these objects.
        run.persistent = {
            id(each): each
            for each in _reachable(model)
            if isinstance(each, list | dict | set | deque | ITERATOR | Tensor)
        }
        run.unsaved_storages = frozenset(
            each.untyped_storage()._cdata for each in run.persistent.values() if isinstance(each, Tensor)
        )
        return model


def move_to_meta(model: nn.Module) -> None:
    """Move the tensors of a model that a check has computed to the meta device; tied ones stay tied."""
    moved: dict[int, Tensor] = {}
    for module in model.modules():
        for store in (module._parameters, module._buffers):
            for name, tensor in store.items():
                if tensor is None or tensor.is_meta:
                    continue
                if id(tensor) not in moved:
                    on_meta = tensor.detach().to("meta")
                    is_parameter = isinstance(tensor, nn.Parameter)
                    moved[id(tensor)] = (
                        nn.Parameter(on_meta, tensor.requires_grad) if is_parameter else on_meta
                    )
                store[name] = moved[id(tensor)]  # type: ignore[assignment]


def _characters(result: "tuple[Program | None, tuple[GrammarError, ...]]") -> int:
    program, _ = result
    return 1 if program is None else sum(map(len, program.text.lines))


@cached(LRUCache(MAX_CACHED_CHARACTERS, _characters))
def read_program(source: str, class_name: str | None) -> tuple[Program | None, tuple[GrammarError, ...]]:
    """Parse and translate a class text.

    Args:
        source: The text.
        class_name: Name of the class of the model; None for the last class that is a module.

    Returns:
        The program, or None if there are errors; and the errors, in the order of the text.
    """
    try:
        text, tree = parse_module(source)
    except GrammarError as error:
        return None, (error,)
    definitions = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    imports = _imports(tree)
    start = text.location_at(1, 1)
    name = class_name or next(
        (each for each in reversed(definitions) if _is_module(definitions[each], definitions)), None
    )
    if name is None:
        return None, (GrammarError(start, "The text has no class that is derived from `nn.Module`."),)
    if name not in definitions:
        return None, (UnknownClass(start, name, tuple(definitions)),)
    statements, errors = _translate(text, tree, imports, name)
    if errors:
        return None, tuple(sorted(errors, key=lambda error: (error.location.line, error.location.column)))
    inputs = _signature("forward", name, definitions)
    arguments = _signature("__init__", name, definitions)
    return Program(text, name, inputs, arguments, tuple(statements)), ()


def _translate(
    text: Text, tree: ast.Module, imports: Mapping[str, str | Unavailable], class_name: str
) -> tuple[list[Statement], list[GrammarError]]:
    """Translate the statements at the top of a text that a class needs, directly or not."""
    nodes = [
        node
        for node in tree.body
        if not isinstance(node, ast.Import | ast.ImportFrom) and not _is_script(node)
    ]
    names = [assigned([node]) for node in nodes]
    defined = frozenset().union(*names)
    # A decorator may register what it decorates, so that others find it.
    decorated = {node.name for node in nodes if _has_decorator_of(node, defined)}
    translator = Translator(text, imports, defined, mentioned_names(tree), used={class_name, *decorated})
    translated: dict[int, Statement] = {}
    seen: set[int] = set()
    while waiting := [n for n in range(len(nodes)) if n not in seen and names[n] & translator.used]:
        for number in waiting:
            seen.add(number)
            for statement in translator.block([nodes[number]]):
                translated[number] = statement
    # A line such as `layers.append(…)` or `Config.width = 7` could change what the class uses.
    for number, node in enumerate(nodes):
        if number not in seen and _changes(node, translator.used):
            message = "this line stands outside of the class and is not run; remove it."
            translator.errors.append(translator.error(node, message))
    return [translated[number] for number in sorted(translated)], translator.errors


def _has_decorator_of(node: ast.stmt, defined: Collection[str]) -> TypeGuard[ast.ClassDef | ast.FunctionDef]:
    """Return whether a class or function has a decorator that the text defines."""
    if not isinstance(node, ast.ClassDef | ast.FunctionDef):
        return False
    names = {each.id for d in node.decorator_list for each in ast.walk(d) if isinstance(each, ast.Name)}
    return not names.isdisjoint(defined)


def _changes(node: ast.stmt, used: Collection[str]) -> bool:
    """Return whether a statement may change the values of some names."""
    if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
        return any(isinstance(each, ast.Name) and each.id in used for each in ast.walk(node))
    for each in ast.walk(node):
        is_target = isinstance(each, ast.Attribute | ast.Subscript) and not isinstance(each.ctx, ast.Load)
        is_method = isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute)
        if is_target or is_method:
            root: ast.AST = each.func if isinstance(each, ast.Call) else each
            while isinstance(root, ast.Attribute | ast.Subscript):
                root = root.value
            # A method of a class or a call of `Net()` makes an object and changes nothing.
            if isinstance(root, ast.Name) and root.id in used:
                return True
    return False


def top_level_names(source: str) -> set[str]:
    """Return the names that a valid text defines at its top."""
    _, tree = parse_module(source)
    return assigned(tree.body)


def needed_text(source: str, class_names: Iterable[str | None]) -> str:
    """Return a valid text without the statements at its top that a model does not run, such as a script's.

    Args:
        source: The text.
        class_names: The classes of the models; None for the last one.
    """
    text, tree = parse_module(source)
    programs = [read_program(source, name)[0] for name in class_names]
    needed = {
        text.location_of(statement.at).line
        for program in programs
        if program is not None
        for statement in program.statements
    }
    dropped: set[int] = set()
    for node in tree.body:
        keeps = isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not keeps and not is_text and text.location_of(node).line not in needed:
            dropped |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = re.split(r"\r\n?|\n", source.removeprefix(BYTE_ORDER_MARK))
    return "\n".join(line for number, line in enumerate(lines, 1) if number not in dropped)


def _is_script(node: ast.stmt) -> bool:
    """Return whether a statement is `if __name__ == "__main__": …`, which an import does not run."""
    if not isinstance(node, ast.If) or not isinstance(node.test, ast.Compare):
        return False
    return isinstance(node.test.left, ast.Name) and node.test.left.id == "__name__"


def _imports(tree: ast.Module) -> dict[str, str | Unavailable]:
    """Return the full names of all imported names; those that do not exist here are harmless until used."""
    found: dict[str, str | Unavailable] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for local, full in imported_names(node):
                value = _available(full)
                if not isinstance(value, Unavailable) or local not in found:
                    found[local] = value
    return found


def _available(name: str) -> str | Unavailable:
    is_known = resolve(name) is not None or name.partition(".")[0] in ANNOTATIONS
    return name if is_known else Unavailable(name)


def _base_names(node: ast.ClassDef) -> Iterator[str]:
    for base in node.bases:
        yield ast.unparse(base)


def _is_module(node: ast.ClassDef, definitions: Mapping[str, ast.ClassDef], depth: int = 0) -> bool:
    """Return whether a class is derived from a class of torch.nn, directly or through classes of the text."""
    for base in _base_names(node):
        if base in definitions:
            if depth < len(definitions) and _is_module(definitions[base], definitions, depth + 1):
                return True
        elif base.rpartition(".")[2] not in ("object", "ABC", "Protocol"):
            return True
    return False


def _signature(method: str, name: str, definitions: Mapping[str, ast.ClassDef]) -> Signature | None:
    """Return the parameters of a method of a class or its bases; None if the text does not define it."""
    waiting, seen = [name], set()
    while waiting:
        current = waiting.pop(0)
        if current in seen:
            continue
        seen.add(current)
        if current not in definitions:
            if current.rpartition(".")[2] == "Module" and method == "__init__":
                return Signature()
            if current.rpartition(".")[2] == "Sequential" and method == "forward":
                return Signature((SEQUENTIAL_INPUT,))
            continue
        for node in definitions[current].body:
            if isinstance(node, ast.FunctionDef) and node.name == method:
                return _parameters_of(node.args)
        waiting += _base_names(definitions[current])
    return None


def _parameters_of(arguments: ast.arguments) -> Signature:
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args)][1:]  # without `self`
    required = names[: len(names) - len(arguments.defaults)] if arguments.defaults else names
    optional = names[len(required) :]
    for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        (required if default is None else optional).append(each.arg)
    return Signature(
        tuple(required), tuple(optional), arguments.vararg is not None, arguments.kwarg is not None
    )


def unsaved_tensors(model: nn.Module) -> list[Tensor]:
    """Return the tensors of the classes in a model that are neither parameters nor buffers.

    They are in attributes of modules and classes, in lists, default values, or variables of the text. Models
    of equal texts and arguments have them in the same order.
    """
    saved = {id(each) for each in (*model.parameters(), *model.buffers())}
    return [each for each in _reachable(model) if isinstance(each, Tensor) and id(each) not in saved]


def _shares_memory(model: nn.Module) -> bool:
    """Return whether tensors outside of a model's state change with its parameters and buffers."""
    storages = {each.untyped_storage()._cdata for each in (*model.parameters(), *model.buffers())}
    return any(
        each.grad_fn is not None or each.untyped_storage()._cdata in storages
        for each in unsaved_tensors(model)
    )


def _reachable(model: nn.Module) -> Iterator[Any]:
    """Iterate over the values that a model, its classes and the text refer to, without the saved tensors."""
    waiting: list[Any] = []
    seen = {id(each) for each in model.state_dict(keep_vars=True).values()}
    for module in model.modules():
        waiting += [vars(module), *module._buffers.values()]
        for each in type(module).__mro__:
            own = text_class(each)
            waiting += [] if own is None else [own.attributes]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        waiting += _parts(value)


def _parts(value: Any) -> Iterable[Any]:
    """Return the values that a value refers to."""
    parts: Iterable[Any] = ()
    if isinstance(value, list | tuple):
        parts = value
    elif isinstance(value, dict):
        parts = value.values()
    elif isinstance(value, TextFunction):
        scope, frames = value.frame, []
        while scope is not None:
            frames.append(scope.names)
            scope = scope.parent
        parts = (value.defaults, *frames)
    elif isinstance(value, Wrapped):
        parts = (value.function, value.setter)
    elif isinstance(value, Cached):
        parts = (value.function, value.results)
    elif isinstance(value, deque):
        parts = value
    elif isinstance(value, Bound):
        parts = (value.function, value.first)
    elif isinstance(value, Partial):
        parts = (value.function, value.positional, value.named)
    elif isinstance(value, Record):
        parts = (vars(value),)
    elif isinstance(value, type) and (own := text_class(value)) is not None:
        parts = (own.attributes,)
    return parts
