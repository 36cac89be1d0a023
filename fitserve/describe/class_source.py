"""Source of a class with what it uses of its files: bases, other classes, functions and constants.

A class at run time need not be the one in its file: the file may have changed since the import, and methods
and attributes can be replaced. So the source is compiled, not run, and compared with the code of the class.
"""

import ast
import builtins
import dis
import inspect
import math
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch

# Modules whose names the service knows. Those of Python come first: PyTorch's modules import from them.
MODULES = (
    *("math", "typing", "collections", "dataclasses", "functools", "copy", "abc", "enum", "itertools"),
    *("operator", "contextlib", "warnings"),
    *("torch", "torch.nn", "torch.nn.functional", "torch.nn.init", "torch.nn.utils", "torch.nn.utils.rnn"),
    *("torch.nn.utils.parametrizations", "torch.autograd", "torch.cuda"),
)
# Attributes that Python sets on a class, beside those of its body.
_IMPLICIT = frozenset(
    {
        *(
            "__module__",
            "__qualname__",
            "__doc__",
            "__dict__",
            "__weakref__",
            "__annotations__",
            "__orig_bases__",
        ),
        *("__parameters__", "__abstractmethods__", "_abc_impl", "__firstlineno__", "__static_attributes__"),
        *("__annotate__", "__annotate_func__", "__annotations_cache__", "__type_params__"),
    }
)
# Attributes that the decorator `dataclass` adds.
_OF_DATACLASSES = frozenset(
    {
        *("__dataclass_params__", "__dataclass_fields__", "__init__", "__repr__", "__eq__", "__hash__"),
        *(
            "__match_args__",
            "__replace__",
            "__lt__",
            "__le__",
            "__gt__",
            "__ge__",
            "__setattr__",
            "__delattr__",
        ),
    }
)
# Attributes that `NamedTuple` adds, beside the fields.
_OF_NAMED_TUPLES = frozenset(
    {
        *("__new__", "__repr__", "__getnewargs__", "__match_args__", "__replace__", "__slots__"),
        *("__orig_bases__", "_asdict", "_make", "_replace", "_fields", "_field_defaults"),
    }
)


class NoSource(ValueError):
    """The source of a class can't be sent; the message is the reason, as part of a sentence."""


def source_of(cls: type) -> str:
    """Return a text with a class and everything that it uses, without running any of it.

    Args:
        cls: A subclass of `nn.Module`.

    Raises:
        NoSource: If the source is not at hand, is not what the class does, or uses what cannot be sent.
    """
    collector = _Collector(cls.__module__.split(".")[0])
    collector.add(cls.__name__, cls)
    return collector.text()


class _Collector:
    def __init__(self, package: str) -> None:
        self._package = package
        self._objects: dict[str, Any] = {}
        self._imports: list[str] = []
        self._pieces: list[str] = []

    def text(self) -> str:
        parts = ["\n".join(self._imports), *self._pieces]
        return "\n\n\n".join(filter(None, parts)) + "\n"

    def add(self, name: str, value: Any) -> None:
        """Add what a name of a text means."""
        if name in self._objects:
            if self._objects[name] is not value:
                raise NoSource(f"`{name}` has two meanings in its files")
            return
        self._objects[name] = value
        imported = _import_of(name, value)
        if imported is None and not isinstance(value, type):
            value = _plain_function(value) or value  # without a decorator, which the definition has
        if imported is not None:
            self._imports.append(imported)
        elif isinstance(value, type | FunctionType) and value.__name__ != name:
            self.add(value.__name__, value)
            self._pieces.append(f"{name} = {value.__name__}")
        elif isinstance(value, type | FunctionType):
            self._definition(value)
        else:
            self._pieces.append(f"{name} = {self._written(name, value)}")

    def _written(self, name: str, value: Any) -> str:
        """Write a constant of a module; its elements may be functions and classes."""
        if isinstance(value, bool | int | float | str | None):
            is_number = not isinstance(value, float) or math.isfinite(value)
            return repr(value) if is_number else f'float("{value}")'
        if isinstance(value, torch.device | torch.dtype):
            return f'torch.device("{value}")' if isinstance(value, torch.device) else str(value)
        if type(value) is dict:
            pairs = (
                f"{self._written(name, key)}: {self._written(name, each)}" for key, each in value.items()
            )
            return f"{{{', '.join(pairs)}}}"
        if type(value) in (tuple, list):
            inner = ", ".join(self._written(name, each) for each in value)
            if isinstance(value, list):
                return f"[{inner}]"
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        return self._named(name, value)

    def _named(self, name: str, value: Any) -> str:
        """Write a function or class that is an element of a constant."""
        place = _place(name, value)
        if place is not None:
            return ".".join(place)
        if isinstance(value, type | FunctionType) and value.__name__.isidentifier():
            self.add(value.__name__, value)
            return value.__name__
        raise NoSource(f"it uses `{name}`, a value of type {type(value).__name__}")

    def _definition(self, value: type | FunctionType) -> None:
        if _is_of_a_library(value, self._package):
            raise NoSource(f"it uses `{value.__qualname__}` of `{value.__module__}`")
        definition = _Definition.of(value)
        if isinstance(value, FunctionType):
            _check_function(value, definition.code)
        else:
            _check_class(value, definition)
        known = _names_around(value)
        for name in _global_names(definition.node):
            if name in known:
                self.add(name, known[name])
            elif not hasattr(builtins, name):
                raise NoSource(f"`{value.__name__}` uses `{name}`, which is not defined where it stands")
        self._pieces.append(definition.text)


@dataclass(frozen=True)
class _Definition:
    """A definition in a file.

    Attributes:
        text: Its text, without indentation.
        node: Its syntax.
        code: What Python compiles it to.
    """

    text: str
    node: ast.ClassDef | ast.FunctionDef
    code: CodeType

    @classmethod
    def of(cls, value: type | FunctionType) -> "_Definition":
        """Find the definition of a class or function."""
        missing = NoSource(f"the source of `{value.__name__}` is not at hand")
        function = value if isinstance(value, FunctionType) else _own_function(value)
        try:
            if function is None:
                lines, first = inspect.getsource(value).splitlines(keepends=True), 1
                lines = textwrap.dedent("".join(lines)).splitlines(keepends=True)
            else:
                # Not `getsource`, which does not find classes of notebooks.
                lines, _ = inspect.findsource(function.__code__)
                first = function.__code__.co_firstlineno
            text = "".join(lines)
            tree = ast.parse(text)
            # The whole file: the code of a call depends on what the file imports.
            codes = list(_inner(compile(text, "<source>", "exec", dont_inherit=True)))
        except (OSError, TypeError, SyntaxError):
            raise missing from None
        for node in reversed(list(ast.walk(tree))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == value.__name__:
                start = min(each.lineno for each in (node, *node.decorator_list))
                if start <= first <= (node.end_lineno or start):
                    found = textwrap.dedent("".join(lines[start - 1 : node.end_lineno])).rstrip()
                    starts = (start, node.lineno)
                    for code in codes:
                        if code.co_name == node.name and code.co_firstlineno in starts:
                            return cls(found, node, code)
        raise missing


def _inner(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _inner(each)


def _import_of(name: str, value: Any) -> str | None:
    """Return the line that imports a value from a module that the service knows; None if none has it."""
    if isinstance(value, ModuleType):
        if value.__name__ not in MODULES:
            raise NoSource(f"it uses the module `{value.__name__}`")
        package, _, last = value.__name__.rpartition(".")
        if package:
            return f"from {package} import {last}" + ("" if last == name else f" as {name}")
        return f"import {last}" + ("" if last == name else f" as {name}")
    place = _place(name, value)
    if place is None:
        return None
    module, last = place
    return f"from {module} import {last}" + ("" if last == name else f" as {name}")


def _place(name: str, value: Any) -> tuple[str, str] | None:
    """Return the module that the service knows and the name by which it has a value; None if none has it."""
    if isinstance(value, bool | int | float | str | None):
        return None
    for module in MODULES:
        for last in dict.fromkeys((name, getattr(value, "__name__", name))):
            if getattr(sys.modules.get(module), last, None) is value:
                return module, last
    return None


def _is_of_a_library(value: type | FunctionType, package: str) -> bool:
    """Return whether a definition comes with Python or an installed package other than this one."""
    top = value.__module__.split(".")[0]
    file = getattr(sys.modules.get(value.__module__), "__file__", None) or ""
    folders = {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")}
    return top != package and any(file.startswith(folder) for folder in folders)


def _own_function(cls: type) -> FunctionType | None:
    """Return a function that stands in the body of a class."""
    made = _generated(cls)
    functions = filter(None, (_plain_function(each) for name, each in vars(cls).items() if name not in made))
    return next((each for each in functions if each.__qualname__.startswith(f"{cls.__qualname__}.")), None)


def _generated(cls: type) -> frozenset[str]:
    """Return the names of attributes that do not stand in the body of a class."""
    if "__dataclass_fields__" in vars(cls):
        return _OF_DATACLASSES
    if issubclass(cls, tuple) and "_fields" in vars(cls):
        return _OF_NAMED_TUPLES.union(vars(cls)["_fields"])
    return frozenset()


def _names_around(value: type | FunctionType) -> dict[str, Any]:
    """Return the names that the code of a definition can see."""
    names = dict(vars(sys.modules[value.__module__]))
    if isinstance(value, type):
        names |= {base.__name__: base for base in value.__bases__}
        names[value.__name__] = value
        return names
    return {**names, **value.__globals__}


def _global_names(node: ast.ClassDef | ast.FunctionDef) -> Iterator[str]:
    """Iterate over the names that a definition reads from around it, without those of annotations."""
    stripped = _WithoutAnnotations().visit(ast.parse(ast.unparse(node)))
    module = compile(ast.fix_missing_locations(stripped), "<source>", "exec", dont_inherit=True)
    seen = {node.name, "super", "__name__", "__class__"}
    for code in (module, *_inner(module)):
        assigned: set[str] = set()
        for instruction in dis.get_instructions(code):
            name = instruction.argval
            if instruction.opname == "STORE_NAME":
                assigned.add(name)
            elif instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") and name not in seen | assigned:
                seen.add(name)
                yield name
            elif instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                raise NoSource(f"`{node.name}` assigns to the global name `{name}`")


class _WithoutAnnotations(ast.NodeTransformer):
    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.annotation = ast.Constant(None)
        self.generic_visit(node)
        return node


def _check_function(function: FunctionType, code: CodeType) -> None:
    """Compare a function with the code that its source gives."""
    if set(code.co_freevars) - {"__class__"}:
        raise NoSource(f"`{function.__qualname__}` uses names of the function around it")
    if _content(function.__code__) != _content(code):
        raise NoSource(f"the source of `{function.__qualname__}` is not what it does")


def _check_class(cls: type, definition: _Definition) -> None:
    """Compare the attributes of a class with those that its source gives."""
    code = definition.code
    functions = {each.co_name: each for each in code.co_consts if isinstance(each, CodeType)}
    implicit = _IMPLICIT | _generated(cls)
    literals = dict(_literals(definition.node))
    bound = {each.argval for each in dis.get_instructions(code) if each.opname == "STORE_NAME"}
    for name, value in vars(cls).items():
        function = _plain_function(value)
        if name in bound and function is not None and name in functions:
            _check_function(function, functions[name])
        elif name not in bound and name not in implicit:
            raise NoSource(f"`{cls.__name__}.{name}` is not in the source of the class")
        elif (
            name in literals
            and name not in implicit
            and (type(value), value) != (type(literals[name]), literals[name])
        ):
            raise NoSource(f"`{cls.__name__}.{name}` has another value than in the source of the class")
        elif name in bound and name in functions and not isinstance(value, type):
            raise NoSource(f"`{cls.__name__}.{name}` has been replaced, or has an unusual decorator")


def _plain_function(value: Any) -> FunctionType | None:
    """Return the function inside `staticmethod`, `property` and decorators such as `torch.no_grad()`."""
    inner = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
    inner = inspect.unwrap(inner) if callable(inner) else inner
    return inner if isinstance(inner, FunctionType) else None


def _literals(node: ast.ClassDef | ast.FunctionDef) -> Iterator[tuple[str, Any]]:
    """Iterate over the attributes of a class that are written as literals."""
    for statement in node.body:
        targets = (
            statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        )
        try:
            value = ast.literal_eval(getattr(statement, "value", None) or ast.Name("none"))
        except (ValueError, TypeError):
            continue
        yield from ((each.id, value) for each in targets if isinstance(each, ast.Name))


def _content(code: CodeType) -> tuple[Any, ...]:
    """Return what code does, without names of files, numbers of lines and the place of its definition."""
    constants = tuple(
        _content(each) if isinstance(each, CodeType) else (type(each), each)
        for each in code.co_consts
        if not (isinstance(each, str) and ".<locals>." in each)  # qualified names
    )
    return (
        code.co_code,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_argcount,
        code.co_kwonlyargcount,
        code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS),
        constants,
    )
