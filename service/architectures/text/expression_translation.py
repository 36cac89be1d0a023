"""Translation of the expressions of a text into nodes; `translation` adds the statements."""

import ast
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from service.architectures.text.errors import GrammarError
from service.architectures.text.expressions import (
    Attribute,
    Both,
    Call,
    Comparison,
    Comprehension,
    Conditional,
    Constant,
    Dictionary,
    Display,
    Expression,
    Formatted,
    Lambda,
    Loop,
    Not,
    Operation,
    Slice,
    Starred,
    Subscript,
    SuperCall,
    SuperOf,
    Unsupported,
    Variable,
    Walrus,
)
from service.architectures.text.functions import REFUSED
from service.architectures.text.names import (
    DEFAULT_IMPORTS,
    FURTHER_NAMES,
    GLOBALS,
    MODULES,
    NAMES,
    Unavailable,
    exists,
    namespace,
    resolve,
)
from service.architectures.text.operators import BINARY, MAX_INTEGER, UNARY
from service.architectures.text.statements import (
    AttributeTarget,
    NameTarget,
    Result,
    SubscriptTarget,
    Target,
    Unpacking,
)
from service.architectures.text.syntax import Text
from service.architectures.text.values import Definition, Namespace, Parameters
from service.specs.base import did_you_mean

MAX_STRING_LENGTH = 1_000
MIN_SIMILARITY = 0.8  # of a suggested name of PyTorch
# Attributes with two underscores that a text may read.
SPECIAL_ATTRIBUTES = frozenset({"__init__", "__class__", "__name__", "__getattr__"})
# Names of Python that reach beyond a model, and what to do instead.
REFUSED_NAMES: Mapping[str, str] = {
    "print": "remove it: a job reports shapes and losses itself.",
    "breakpoint": "remove it.",
    "input": "remove it.",
    **dict.fromkeys(
        (
            "eval",
            "exec",
            "compile",
            "open",
            "globals",
            "locals",
            "vars",
            "dir",
            "id",
            "__import__",
            "memoryview",
        ),
        "it reaches beyond the model; remove it.",
    ),
}
# Syntax that is refused, by the class name of its node, and what to write instead.
REMEDIES: Mapping[str, str] = {
    "TryStar": "`except*` is not supported; write `except`.",
    **dict.fromkeys(("Yield", "YieldFrom"), "generators are not supported; build a list and return it."),
    **dict.fromkeys(
        ("Await", "AsyncFor", "AsyncWith", "AsyncFunctionDef"), "`async` is not supported; remove it."
    ),
    **dict.fromkeys(("Global", "Nonlocal"), "assign an attribute of `self` or return the value instead."),
    "Match": "`match` is not supported; write `if` and `elif`.",
    "TypeAlias": "`type` statements are not supported; remove it.",
}
NOT_SUPPORTED = "this syntax is not supported; docs/reference/classes.md lists the supported syntax."
NOT_LISTED = "not supported; docs/reference/classes.md lists the supported names."
UNDEFINED = "this name is not defined in the text."


@dataclass(slots=True)
class Scope:
    """Names that a function, a comprehension or the body of a class assigns.

    Attributes:
        names: The names.
        instance: First parameter of a method, for `super()`.
        is_class: Whether it is the body of a class.
        is_comprehension: Whether it is a comprehension.
    """

    names: set[str]
    instance: str | None = None
    is_class: bool = False
    is_comprehension: bool = False


@dataclass(slots=True)
class ExpressionTranslator:
    """Translates expressions and targets.

    Attributes:
        text: The text, for locations.
        imports: Full names of imported names, or `Unavailable`.
        defined: Names that statements at the top of the text define.
        mentioned: Names that the code of the text's classes mentions; other methods are not called.
        errors: The errors found.
        used: The defined names that the translated statements use.
        further: Full names that this text may use beside those of `NAMES`.
        read: Local names, and full names of `further`, that the translated statements read.
    """

    text: Text
    imports: Mapping[str, str | Unavailable]
    defined: frozenset[str]
    mentioned: frozenset[str] = frozenset()
    errors: list[GrammarError] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    further: frozenset[str] = frozenset()
    read: set[str] = field(default_factory=set)
    _scopes: list[Scope] = field(default_factory=list)
    _branches: int = 0
    _tries: int = 0

    def error(self, node: ast.AST, message: str | Callable[[], str]) -> GrammarError:
        """Return an error with the location of a syntax node."""
        return GrammarError(self.text.location_of(node), message)

    @contextmanager
    def _branch(self) -> Iterator[None]:
        self._branches += 1
        try:
            yield
        finally:
            self._branches -= 1

    @contextmanager
    def _scope(
        self,
        names: set[str],
        instance: str | None = None,
        is_class: bool = False,
        is_comprehension: bool = False,
    ) -> Iterator[None]:
        self._scopes.append(Scope(names, instance, is_class, is_comprehension))
        try:
            yield
        finally:
            self._scopes.pop()

    def _parameters(self, arguments: ast.arguments) -> tuple[Parameters, dict[str, Expression]]:
        positional = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
        parameters = Parameters(
            tuple(positional),
            len(arguments.posonlyargs),
            None if arguments.vararg is None else arguments.vararg.arg,
            tuple(each.arg for each in arguments.kwonlyargs),
            None if arguments.kwarg is None else arguments.kwarg.arg,
        )
        with_default = positional[len(positional) - len(arguments.defaults) :]
        defaults = dict(zip(with_default, map(self.expression, arguments.defaults), strict=True))
        for each, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            if value is not None:
                defaults[each.arg] = self.expression(value)
        return parameters, defaults

    # Targets

    def target(self, node: ast.expr) -> Target:
        """Translate the left side of an assignment.

        Raises:
            GrammarError: If it cannot be assigned to.
        """
        if isinstance(node, ast.Name):
            if node.id.startswith("__"):
                raise self.error(node, "a name cannot start with two underscores.")
            return NameTarget(node, node.id, Variable(node, node.id))
        if isinstance(node, ast.Attribute):
            if node.attr.startswith("__"):
                raise self.error(node, f"`{node.attr}` cannot be set.")
            return AttributeTarget(node, self.expression(node.value), node.attr)
        if isinstance(node, ast.Subscript):
            return SubscriptTarget(node, self.expression(node.value), self.index(node.slice))
        if isinstance(node, ast.Tuple | ast.List):
            starred = [n for n, each in enumerate(node.elts) if isinstance(each, ast.Starred)]
            if len(starred) > 1:
                raise self.error(node, "only one target can have a `*`.")
            position = starred[0] if starred else len(node.elts)
            before = tuple(map(self.target, node.elts[:position]))
            after = tuple(map(self.target, node.elts[position + 1 :]))
            only = node.elts[position] if starred else None
            return Unpacking(
                node, before, self.target(only.value) if isinstance(only, ast.Starred) else None, after
            )
        raise self.error(node, "this cannot be assigned to.")

    # Expressions

    def expression(self, node: ast.expr) -> Expression:
        """Translate an expression.

        Raises:
            GrammarError: If it is not supported.
        """
        translate = _EXPRESSIONS.get(type(node))
        if translate is None:
            raise self.error(node, REMEDIES.get(type(node).__name__, NOT_SUPPORTED))
        return translate(self, node)

    def _constant(self, node: ast.Constant) -> Expression:
        value = node.value
        is_integer = isinstance(value, int) and abs(value) <= MAX_INTEGER
        is_float = isinstance(value, float) and math.isfinite(value)
        is_string = isinstance(value, str) and len(value) <= MAX_STRING_LENGTH
        if value is None or value is ... or is_integer or is_float or is_string:
            return Constant(node, value)
        raise self.error(
            node,
            "a literal must be a finite number up to 2**53, a string of at most "
            f"{MAX_STRING_LENGTH:,} characters, True, False or None.",
        )

    @property
    def is_outermost(self) -> bool:
        """Whether the current statement stands in no nested function."""
        return len(self._scopes) == 1

    def is_local(self, name: str) -> bool:
        """Return whether a name is one that a function around the current statement assigns."""
        innermost = len(self._scopes) - 1
        return any(
            name in scope.names
            for position, scope in enumerate(self._scopes)
            # The names in the body of a class are not visible in its methods.
            if not scope.is_class or position == innermost
        )

    def _name(self, node: ast.Name) -> Expression:
        name = node.id
        if self.is_local(name):
            self.read.add(name)
            return Variable(node, name)
        if name in self.defined:
            self.used.add(name)
            return Variable(node, name)
        value = self._known(name)
        if isinstance(value, Unavailable):
            remedy = _library_remedy(value.name)
            return self._unsupported(
                node, remedy or f"`{value.name}` is not available; use functions of torch or math."
            )
        if value is not None:
            return Constant(node, value)
        if name in REFUSED_NAMES:
            return self._unsupported(node, f"not supported; {REFUSED_NAMES[name]}")
        local = frozenset(each for scope in self._scopes for each in scope.names)
        raise self.error(node, partial(self.unknown_name, name, local))

    def unknown_name(self, name: str, local: frozenset[str]) -> str:
        """Return the message for a name without a value.

        Args:
            name: The name.
            local: Names that the functions around it assign.
        """
        return _unknown_name(name, {*self.defined, *self.imports, *local})

    def _known(self, name: str) -> Any:
        """Return the value of an imported name or a name of Python; None if there is none."""
        if name in self.imports:
            imported = self.imports[name]
            if isinstance(imported, Unavailable):
                return imported
            value = resolve(imported)
            return namespace(imported) if value is None else value
        if name in GLOBALS:
            return GLOBALS[name]
        return resolve(DEFAULT_IMPORTS[name]) if name in DEFAULT_IMPORTS else None

    def _unsupported(self, node: ast.expr, message: str) -> Expression:
        """Translate a name that the text cannot use: an error, in a branch only if that branch is taken.

        Raises:
            GrammarError: If the name does not stand in a branch.
        """
        if not self._branches:
            raise self.error(node, message)
        return Unsupported(node, message)

    def full_name(self, node: ast.expr) -> str | None:
        """Return the full name of an imported name or one of its attributes; None for other expressions."""
        if isinstance(node, ast.Name):
            if self.is_local(node.id) or node.id in self.defined:
                return None
            imported = self.imports.get(node.id) or DEFAULT_IMPORTS.get(node.id) or node.id
            return imported.name if isinstance(imported, Unavailable) else imported
        if isinstance(node, ast.Attribute):
            owner = self.full_name(node.value)
            return None if owner is None else f"{owner}.{node.attr}"
        return None

    def _attribute(self, node: ast.Attribute) -> Expression:
        if node.attr.startswith("__") and node.attr not in SPECIAL_ATTRIBUTES | {"__version__"}:
            raise self.error(node, f"`{node.attr}` cannot be read.")
        if (name := self._name_in_module(node)) is not None:
            if name in self.further:
                self.read.add(name)
                return Constant(node, FURTHER_NAMES[name])
            value = resolve(name)
            if value is None and (remedy := _library_remedy(name)):
                return self._unsupported(node, remedy)
            if value is None and exists(name):
                return self._unsupported(node, _not_listed(name))
            if value is None:
                raise self.error(node, lambda: _unknown_in_module(name))
            return Constant(node, value)
        return Attribute(node, self.expression(node.value), node.attr)

    def _name_in_module(self, node: ast.Attribute) -> str | None:
        """Return the full name of an attribute of a module of PyTorch or Python; None for others."""
        name = self.full_name(node)
        if name is None:
            return None
        owner = self.full_name(node.value)
        is_module = owner is not None and (owner in MODULES or isinstance(resolve(owner), Namespace))
        full = f"{MODULES.get(owner or '', owner)}.{node.attr}"
        return full if is_module or full in NAMES else None

    def _call(self, node: ast.Call) -> Expression:
        called = node.func
        if isinstance(called, ast.Name) and called.id == "super" and not self.is_local("super"):
            return self._super(node)
        positional = tuple(map(self._item, node.args))
        named = tuple((keyword.arg, self.expression(keyword.value)) for keyword in node.keywords)
        return Call(node, self.expression(called), positional, named)

    def _super(self, node: ast.Call) -> Expression:
        if len(node.args) == 2 and not node.keywords:
            return SuperOf(node, self.expression(node.args[0]), self.expression(node.args[1]))
        instance = next((scope.instance for scope in reversed(self._scopes) if scope.instance), None)
        if node.args or node.keywords or instance is None:
            raise self.error(node, "write `super()` in a method.")
        return SuperCall(node, instance)

    def _item(self, node: ast.expr) -> Expression | Starred:
        if isinstance(node, ast.Starred):
            return Starred(node, self.expression(node.value))
        return self.expression(node)

    def _tuple(self, node: ast.Tuple) -> Expression:
        return Display(node, tuple(map(self._item, node.elts)), tuple)

    def _list(self, node: ast.List) -> Expression:
        return Display(node, tuple(map(self._item, node.elts)), list)

    def _set(self, node: ast.Set) -> Expression:
        return Display(node, tuple(map(self._item, node.elts)), set)

    def _dictionary(self, node: ast.Dict) -> Expression:
        pairs = zip(node.keys, node.values, strict=True)
        return Dictionary(
            node,
            tuple(
                (None if key is None else self.expression(key), self.expression(value))
                for key, value in pairs
            ),
        )

    def _binary(self, node: ast.BinOp) -> Expression:
        found = BINARY.get(type(node.op).__name__)
        if found is None:  # `<<` and `>>`, whose results on numbers grow as fast as powers
            raise self.error(node, "this operator is not supported.")
        return Operation(node, found, (self.expression(node.left), self.expression(node.right)))

    def _unary(self, node: ast.UnaryOp) -> Expression:
        if isinstance(node.op, ast.Not):
            return Not(node, self.expression(node.operand))
        return Operation(node, UNARY[type(node.op).__name__], (self.expression(node.operand),))

    def _both(self, node: ast.BoolOp) -> Expression:
        return Both(node, tuple(map(self.expression, node.values)), isinstance(node.op, ast.Or))

    def _comparison(self, node: ast.Compare) -> Expression:
        operators = [type(each).__name__ for each in node.ops]
        rest = zip(operators, map(self.expression, node.comparators), strict=True)
        return Comparison(node, self.expression(node.left), tuple(rest))

    def _conditional(self, node: ast.IfExp) -> Expression:
        condition = self.expression(node.test)
        with self._branch():
            return Conditional(node, condition, self.expression(node.body), self.expression(node.orelse))

    def _formatted(self, node: ast.JoinedStr) -> Formatted:
        parts: list[str | tuple[Expression, str, Formatted | None]] = []
        for each in node.values:
            if isinstance(each, ast.Constant):
                parts.append(str(each.value))
            elif isinstance(each, ast.FormattedValue):
                conversion = chr(each.conversion) if each.conversion > 0 else ""
                specification = each.format_spec
                inner = self._formatted(specification) if isinstance(specification, ast.JoinedStr) else None
                parts.append((self.expression(each.value), conversion, inner))
        return Formatted(node, tuple(parts))

    def _subscript(self, node: ast.Subscript) -> Expression:
        return Subscript(node, self.expression(node.value), self.index(node.slice))

    def index(self, node: ast.expr) -> Expression:
        """Translate an index; slices are accepted only here."""
        if isinstance(node, ast.Slice):
            bounds = [
                None if each is None else self.expression(each)
                for each in (node.lower, node.upper, node.step)
            ]
            return Slice(node, (bounds[0], bounds[1], bounds[2]))
        if isinstance(node, ast.Tuple):
            return Display(
                node,
                tuple(
                    self._item(each) if isinstance(each, ast.Starred) else self.index(each)
                    for each in node.elts
                ),
                tuple,
            )
        return self.expression(node)

    def _lambda(self, node: ast.Lambda) -> Expression:
        parameters, defaults = self._parameters(node.args)
        with self._scope(names_of(parameters)):
            body = Result(self.expression(node.body))
        return Lambda(node, Definition("<lambda>", node, parameters, body), defaults)

    def _walrus(self, node: ast.NamedExpr) -> Expression:
        comprehensions = 0
        while comprehensions < len(self._scopes) and self._scopes[-1 - comprehensions].is_comprehension:
            comprehensions += 1
        return Walrus(node, node.target.id, self.expression(node.value), comprehensions)

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
    ) -> Expression:
        make: Callable[[list[Any]], Any] = _COMPREHENSIONS[type(node)]
        names = {name for each in node.generators for name in _stored(each.target)}
        # As in Python, the outermost values see the names around the comprehension, also those of a class.
        outermost = self.expression(node.generators[0].iter)
        with self._scope(names, is_comprehension=True):
            loops = tuple(
                self._loop(each, None if number else outermost) for number, each in enumerate(node.generators)
            )
            if isinstance(node, ast.DictComp):
                element: Expression = Display(
                    node, (self.expression(node.key), self.expression(node.value)), tuple
                )
            else:
                element = self.expression(node.elt)
        return Comprehension(node, element, loops, make)

    def _loop(self, node: ast.comprehension, values: Expression | None) -> Loop:
        if node.is_async:
            raise self.error(node.iter, "`async` is not supported; remove it.")
        target = self.target(node.target)
        values = self.expression(node.iter) if values is None else values
        return Loop(target.assign, values, tuple(map(self.expression, node.ifs)))


def _dict_of_pairs(pairs: list[Any]) -> dict[Any, Any]:
    return dict(pairs)


_COMPREHENSIONS: Mapping[type, Callable[[list[Any]], Any]] = {
    ast.ListComp: list,
    ast.SetComp: set,
    ast.GeneratorExp: iter,
    ast.DictComp: _dict_of_pairs,
}


def names_of(parameters: Parameters) -> set[str]:
    """Return the names of all parameters."""
    extra = [name for name in (parameters.variadic, parameters.further) if name is not None]
    return {*parameters.positional, *parameters.named, *extra}


def _stored(target: ast.AST) -> Iterator[str]:
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _unknown_name(name: str, known: Collection[str]) -> str:
    if f"torch.nn.{name}" in NAMES:
        return f"write `nn.{name}`."
    for module in ("torch", "F"):
        if f"{module}.{name}" in NAMES:
            return f"write `{module}.{name}`."
    return did_you_mean(name, known).removeprefix(": ") or UNDEFINED


def _not_listed(name: str) -> str:
    reason = REFUSED.get(name.rpartition(".")[2])
    return f"this name is {NOT_LISTED}" if reason is None else f"not supported: {reason}."


def _library_remedy(name: str) -> str | None:
    """Return what to do about a name of a library that only prints or logs; None for other libraries."""
    first = name.partition(".")[0]
    if first not in ("logging", "warnings", "pprint", "wandb", "tqdm", "loguru", "traceback"):
        return None
    return f"`{name}` is not supported; remove it: a job reports shapes and losses itself."


def _unknown_in_module(name: str) -> str:
    module, _, last = name.rpartition(".")
    written = {"torch.nn": "nn", "torch.nn.init": "nn.init"}.get(module, module)
    siblings = [each.rpartition(".")[2] for each in NAMES if each.rpartition(".")[0] == module]
    # A less similar name would be a function of another purpose.
    if hint := did_you_mean(last, siblings, MIN_SIMILARITY):
        return hint.removeprefix(": ").replace("`", f"`{written}.", 1)
    return f"this name is {NOT_LISTED}"


_EXPRESSIONS: Mapping[type[ast.expr], Callable[[ExpressionTranslator, Any], Expression]] = {
    ast.Constant: ExpressionTranslator._constant,
    ast.Name: ExpressionTranslator._name,
    ast.Attribute: ExpressionTranslator._attribute,
    ast.Call: ExpressionTranslator._call,
    ast.Tuple: ExpressionTranslator._tuple,
    ast.List: ExpressionTranslator._list,
    ast.Set: ExpressionTranslator._set,
    ast.Dict: ExpressionTranslator._dictionary,
    ast.BinOp: ExpressionTranslator._binary,
    ast.UnaryOp: ExpressionTranslator._unary,
    ast.BoolOp: ExpressionTranslator._both,
    ast.Compare: ExpressionTranslator._comparison,
    ast.IfExp: ExpressionTranslator._conditional,
    ast.JoinedStr: ExpressionTranslator._formatted,
    ast.Subscript: ExpressionTranslator._subscript,
    ast.Lambda: ExpressionTranslator._lambda,
    ast.NamedExpr: ExpressionTranslator._walrus,
    ast.ListComp: ExpressionTranslator._comprehension,
    ast.SetComp: ExpressionTranslator._comprehension,
    ast.GeneratorExp: ExpressionTranslator._comprehension,
    ast.DictComp: ExpressionTranslator._comprehension,
}
