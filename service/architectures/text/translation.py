"""Translation of Python's syntax tree into the nodes of a class text.

The grammar is closed: syntax that no method below translates is refused, with its location and what to write
instead. An error in one statement does not hide those of the others.
"""

import ast
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from service.architectures.text.attributes import HOOKS
from service.architectures.text.classes import SPECIAL, ClassStatement
from service.architectures.text.errors import GrammarError
from service.architectures.text.exceptions import Handler, RaiseAgain, Try
from service.architectures.text.expressions import (
    IN_PLACE,
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
    ANNOTATIONS,
    DEFAULT_IMPORTS,
    FURTHER_NAMES,
    GLOBALS,
    MODULES,
    NAMES,
    Unavailable,
    exists,
    import_fails,
    imported_names,
    namespace,
    resolve,
)
from service.architectures.text.operators import BINARY, MAX_INTEGER, UNARY
from service.architectures.text.statements import (
    BREAK,
    CONTINUE,
    Assert,
    Assignment,
    AttributeTarget,
    Block,
    Decorator,
    Deletion,
    Evaluation,
    For,
    FunctionStatement,
    If,
    Jump,
    NameTarget,
    Raise,
    Result,
    Return,
    Statement,
    SubscriptTarget,
    Target,
    Unpacking,
    Update,
    While,
    WithGradient,
)
from service.architectures.text.syntax import Text
from service.architectures.text.values import Definition, ErrorType, Namespace, Parameters
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
# Names in the body of a class that only tools read.
IGNORED_MEMBERS = frozenset(
    {"__constants__", "__doc__", "__all__", "__slots__", "__jit_unused_properties__", "__annotations__"}
)
DECORATORS: Mapping[str, str] = {
    **{name: name for name in ("staticmethod", "classmethod", "property")},
    "functools.cached_property": "cached_property",
    "functools.lru_cache": "cache",
    "functools.cache": "cache",
}
# Decorators without an effect here, by their full name.
IGNORED_DECORATORS = frozenset(
    {
        *(f"torch.jit.{name}" for name in ("export", "ignore", "unused", "script", "script_method")),
        *(f"typing.{name}" for name in ("no_type_check", "override", "final", "runtime_checkable")),
        *(f"typing_extensions.{name}" for name in ("override", "final", "runtime_checkable")),
        "abc.abstractmethod",
        "functools.wraps",
        "functools.total_ordering",
        "enum.unique",
        "torch.compile",
        "torch.compiler.disable",
        "torch._dynamo.disable",
        "torch.jit.interface",
    }
)
# Contexts without an effect on what is computed on a CPU.
IGNORED_CONTEXTS = frozenset(
    {
        *("warnings.catch_warnings", "contextlib.nullcontext"),
        *("torch.profiler.record_function", "torch.autograd.profiler.record_function"),
    }
)
AUTOCASTS = frozenset({"torch.autocast", "torch.amp.autocast", "torch.cuda.amp.autocast"})
GRADIENT_CONTEXTS = frozenset(
    {"torch.no_grad", "torch.inference_mode", "torch.enable_grad", "torch.set_grad_enabled"}
)
WITHOUT_GRADIENT = {"torch.no_grad": False, "torch.inference_mode": False, "torch.enable_grad": True}


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
class Translator:
    """Translates statements, and collects the errors in them.

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

    # Statements

    def block(self, nodes: list[ast.stmt]) -> tuple[Statement, ...]:
        """Translate statements; docstrings and other constants have no effect and are left out."""
        statements = []
        for node in nodes:
            try:
                statement = self.statement(node)
            except GrammarError as error:
                self.errors.append(error)
                continue
            if statement is not None:
                statements.append(statement)
        return tuple(statements)

    def body(self, nodes: list[ast.stmt], names: set[str]) -> tuple[Statement, ...]:
        """Translate the statements of a function.

        Args:
            nodes: The statements.
            names: Its local names.
        """
        with self._scope(names):
            return self.block(nodes)

    def statement(self, node: ast.stmt) -> Statement | None:
        """Translate a statement; None for one without effect.

        Raises:
            GrammarError: If it is not supported.
        """
        translate = _STATEMENTS.get(type(node))
        if translate is None:
            raise self.error(node, REMEDIES.get(type(node).__name__, NOT_SUPPORTED))
        return translate(self, node)

    def _nothing(self, node: ast.stmt) -> None:
        return None

    def _expression_statement(self, node: ast.Expr) -> Statement | None:
        if isinstance(node.value, ast.Constant):
            return None
        return Evaluation(node, self.expression(node.value))

    def _assignment(self, node: ast.Assign) -> Statement | None:
        if all(isinstance(each, ast.Name) and each.id in IGNORED_MEMBERS for each in node.targets):
            return None
        value = self.expression(node.value)
        return Assignment(node, tuple(self.target(each) for each in node.targets), value)

    def _annotated(self, node: ast.AnnAssign) -> Statement | None:
        if node.value is None:
            return None
        value = self.expression(node.value)
        return Assignment(node, (self.target(node.target),), value)

    def _update(self, node: ast.AugAssign) -> Statement:
        name = type(node.op).__name__
        if name not in IN_PLACE or name not in BINARY:
            raise self.error(node, "this operator is not supported.")
        return Update(node, self.target(node.target), name, self.expression(node.value))

    def _return(self, node: ast.Return) -> Statement:
        return Return(node, None if node.value is None else self.expression(node.value))

    def _if(self, node: ast.If) -> Statement:
        condition = self.expression(node.test)
        with self._branch():
            return If(node, condition, self.block(node.body), self.block(node.orelse))

    def _for(self, node: ast.For) -> Statement:
        values, target = self.expression(node.iter), self.target(node.target)
        return For(node, target, values, self.block(node.body), self.block(node.orelse))

    def _while(self, node: ast.While) -> Statement:
        return While(node, self.expression(node.test), self.block(node.body), self.block(node.orelse))

    def _break(self, node: ast.Break) -> Statement:
        return Jump(node, BREAK)

    def _continue(self, node: ast.Continue) -> Statement:
        return Jump(node, CONTINUE)

    def _assert(self, node: ast.Assert) -> Statement:
        return Assert(
            node, self.expression(node.test), None if node.msg is None else self.expression(node.msg)
        )

    def _raise(self, node: ast.Raise) -> Statement:
        raised = node.exc
        if raised is None:
            return RaiseAgain(node)
        arguments = raised.args if isinstance(raised, ast.Call) else []
        name = raised.func if isinstance(raised, ast.Call) else raised
        if not isinstance(name, ast.Name):
            raise self.error(node, "raise an exception with a text, as in `raise ValueError(…)`.")
        if not isinstance(GLOBALS.get(name.id), ErrorType):
            raise self.error(
                node, f"`{name.id}` is not an exception that a text can raise; write `ValueError`."
            )
        return Raise(node, name.id, tuple(self.expression(each) for each in arguments))

    def _with(self, node: ast.With) -> Statement:
        enabled: Expression | None = None
        for item in node.items:
            context = item.context_expr
            arguments = context.args if isinstance(context, ast.Call) else []
            name = self.full_name(context.func if isinstance(context, ast.Call) else context) or ""
            is_ignored = name in IGNORED_CONTEXTS or (name in AUTOCASTS and _is_disabled(context))
            if item.optional_vars is not None or not (is_ignored or name in GRADIENT_CONTEXTS):
                raise self.error(
                    node, "only `with torch.no_grad():` and `with torch.enable_grad():` are supported."
                )
            if name == "torch.set_grad_enabled" and len(arguments) == 1:
                enabled = self.expression(arguments[0])
            elif name in WITHOUT_GRADIENT:
                enabled = Constant(node, WITHOUT_GRADIENT[name])
        body = self.block(node.body)
        return WithGradient(node, enabled, body) if enabled else If(node, Constant(node, True), body, ())

    def _delete(self, node: ast.Delete) -> Statement:
        return Deletion(node, tuple(map(self.target, node.targets)))

    def _try(self, node: ast.Try) -> Statement:
        with self._branch():
            self._tries += 1
            body = self.block(node.body)
            self._tries -= 1
            handlers = tuple(
                Handler(self._caught(each.type), each.name, self.block(each.body)) for each in node.handlers
            )
            return Try(node, body, handlers, self.block(node.orelse), self.block(node.finalbody))

    def _caught(self, node: ast.expr | None) -> tuple[str, ...]:
        """Return the names of the exceptions that an `except` clause catches."""
        if node is None:
            return ("BaseException",)
        types = node.elts if isinstance(node, ast.Tuple) else [node]
        return tuple(self.full_name(each) or "" for each in types)

    def _import(self, node: ast.Import | ast.ImportFrom) -> Statement | None:
        """Translate an import, which may fail in `try`, or give a value to a name that others assign, too."""
        statements: list[Statement] = []
        for local, name in imported_names(node):
            if self._tries and import_fails(name):
                return Raise(node, "ImportError", ())
            if self.is_local(local) or local in self.defined:
                value = resolve(name)
                read = (
                    Unsupported(node, f"`{name}` is {NOT_LISTED}") if value is None else Constant(node, value)
                )
                if value is not None:
                    statements.append(Assignment(node, (NameTarget(node, local, read),), read))
        return If(node, Constant(node, True), tuple(statements), ()) if statements else None

    def _function(self, node: ast.FunctionDef) -> Statement:
        decorators: list[Decorator] = []
        without_gradient = False
        for each in reversed(node.decorator_list):
            called = each.func if isinstance(each, ast.Call) else each
            name = self.full_name(called)
            if name in WITHOUT_GRADIENT:
                if any(made.kind == "call" for made in decorators):
                    raise self.error(each, "write this decorator directly above `def`.")
                without_gradient = not WITHOUT_GRADIENT[name]
            elif name not in IGNORED_DECORATORS:
                decorators.append(self._decorator(each, called, name))
        in_class = bool(self._scopes) and self._scopes[-1].is_class
        if node.name.startswith("__") and (not in_class or node.name not in SPECIAL):
            supported = ", ".join(f"`{name}`" for name in sorted(SPECIAL))
            raise self.error(
                node, f"a special method must be one of {supported}; remove or rename `{node.name}`."
            )
        is_unused = in_class and node.name not in self.mentioned
        if is_unused and (error := self._first_error(node)) is not None:
            return _refused_function(node, error)
        return self._defined_function(node, in_class, tuple(decorators), without_gradient)

    def _decorator(self, node: ast.expr, called: ast.expr, name: str | None) -> Decorator:
        """Translate a decorator that has an effect."""
        if name is not None and name in DECORATORS:
            return Decorator(node, DECORATORS[name])
        if isinstance(node, ast.Attribute) and node.attr == "setter" and isinstance(node.value, ast.Name):
            return Decorator(node, "setter", self.expression(node.value))
        root = called
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(root, ast.Name) and (self.is_local(root.id) or root.id in self.defined):
            return Decorator(node, "call", self.expression(node))
        raise self.error(node, "this decorator is not supported; remove it.")

    def _first_error(self, node: ast.FunctionDef) -> GrammarError | None:
        """Return the first error in a function, without keeping it; None if there is none."""
        before = len(self.errors)
        try:
            self._defined_function(node, True, (), False)
        except GrammarError as error:
            self.errors.append(error)
        found = self.errors[before:]
        del self.errors[before:]
        return found[0] if found else None

    def _defined_function(
        self,
        node: ast.FunctionDef,
        in_class: bool,
        decorators: tuple[Decorator, ...],
        without_gradient: bool,
    ) -> FunctionStatement:
        parameters, defaults = self._parameters(node.args)
        is_method = in_class and not any(each.kind == "staticmethod" for each in decorators)
        instance = parameters.positional[0] if is_method and parameters.positional else None
        with self._scope(assigned(node.body) | _names_of(parameters), instance):
            body = Block(self.block(node.body))
        definition = Definition(node.name, node, parameters, body, without_gradient)
        return FunctionStatement(node, definition, defaults, decorators)

    def _class(self, node: ast.ClassDef) -> Statement:
        is_record = any(self.full_name(each) == "typing.NamedTuple" for each in node.bases)
        decorators: list[Decorator] = []
        for each in reversed(node.decorator_list):
            called = each.func if isinstance(each, ast.Call) else each
            name = self.full_name(called)
            if name == "dataclasses.dataclass":
                is_record = True
            elif name not in IGNORED_DECORATORS:
                made = self._decorator(each, called, name)
                if made.kind != "call":
                    raise self.error(each, "this decorator is not for classes; remove it.")
                decorators.append(made)
        if any(
            keyword.arg != "metaclass" or self.full_name(keyword.value) != "abc.ABCMeta"
            for keyword in node.keywords
        ):
            raise self.error(node, "a class takes no keywords.")
        if node.name.startswith("__"):
            raise self.error(node, "the name of a class cannot start with two underscores.")
        bases = tuple(self.expression(each) for each in node.bases if not self._is_annotation(each))
        with self._scope(assigned(node.body), is_class=True):
            body = self.block(node.body)
        annotated = [
            each.target.id
            for each in node.body
            if isinstance(each, ast.AnnAssign)
            and isinstance(each.target, ast.Name)
            and "ClassVar" not in ast.unparse(each.annotation)
        ]
        fields = tuple(annotated) if is_record else None
        return ClassStatement(node, node.name, bases, body, fields, tuple(decorators))

    def _is_annotation(self, node: ast.expr) -> bool:
        name = self.full_name(node.value if isinstance(node, ast.Subscript) else node) or ""
        return name.partition(".")[0] in ANNOTATIONS and name != "typing.NamedTuple"

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
        with self._scope(_names_of(parameters)):
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


def _is_disabled(context: ast.expr) -> bool:
    """Return whether a context has the argument `enabled=False`."""
    keywords = context.keywords if isinstance(context, ast.Call) else []
    found = next((each.value for each in keywords if each.arg == "enabled"), None)
    return isinstance(found, ast.Constant) and found.value is False


def _refused_function(node: ast.FunctionDef, error: GrammarError) -> FunctionStatement:
    """Return a method that nothing calls, such as a step of training, and that fails if it is called."""
    body = Result(Unsupported(node, f"`{node.name}` cannot be called. {error}"))
    parameters = Parameters((), variadic="args", further="kwargs")
    return FunctionStatement(node, Definition(node.name, node, parameters, body), {})


def mentioned_names(tree: ast.Module) -> frozenset[str]:
    """Return the names that the classes of a text mention as variables, attributes or strings.

    The body of a method or function counts once its own name is mentioned; `forward` and special methods are
    called in any case.
    """
    names: set[str] = set()
    deferred: dict[str, list[ast.AST]] = {}
    waiting: list[ast.AST] = []

    def defer(name: str, node: ast.AST) -> None:
        if name in names:
            waiting.append(node)
        else:
            deferred.setdefault(name, []).append(node)

    for statement in tree.body:
        if isinstance(statement, ast.ClassDef):
            waiting.append(statement)
        else:
            for name in assigned([statement]):
                defer(name, statement)
    while waiting:
        node = waiting.pop()
        found = _mentioned(node)
        if found is not None and found not in names:
            names.add(found)
            waiting += deferred.pop(found, [])
        for child in ast.iter_child_nodes(node):
            if (
                isinstance(node, ast.ClassDef)
                and isinstance(child, ast.FunctionDef)
                and child.name not in SPECIAL | HOOKS
            ):
                defer(child.name, child)
            else:
                waiting.append(child)
    return frozenset(names) | SPECIAL | HOOKS


def _mentioned(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _dict_of_pairs(pairs: list[Any]) -> dict[Any, Any]:
    return dict(pairs)


_COMPREHENSIONS: Mapping[type, Callable[[list[Any]], Any]] = {
    ast.ListComp: list,
    ast.SetComp: set,
    ast.GeneratorExp: iter,
    ast.DictComp: _dict_of_pairs,
}


def _names_of(parameters: Parameters) -> set[str]:
    extra = [name for name in (parameters.variadic, parameters.further) if name is not None]
    return {*parameters.positional, *parameters.named, *extra}


def _stored(target: ast.AST) -> Iterator[str]:
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def assigned(statements: list[ast.stmt]) -> set[str]:
    """Return the names that statements assign, without those inside nested functions and classes."""
    names: set[str] = set()
    waiting: list[ast.AST] = list(statements)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
            continue
        if isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names.add(node.id)
        if not isinstance(node, ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return names


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


_STATEMENTS: Mapping[type[ast.stmt], Callable[[Translator, Any], Statement | None]] = {
    ast.Expr: Translator._expression_statement,
    ast.Assign: Translator._assignment,
    ast.AnnAssign: Translator._annotated,
    ast.AugAssign: Translator._update,
    ast.Return: Translator._return,
    ast.If: Translator._if,
    ast.For: Translator._for,
    ast.While: Translator._while,
    ast.Break: Translator._break,
    ast.Continue: Translator._continue,
    ast.Assert: Translator._assert,
    ast.Raise: Translator._raise,
    ast.With: Translator._with,
    ast.Delete: Translator._delete,
    ast.FunctionDef: Translator._function,
    ast.ClassDef: Translator._class,
    ast.Try: Translator._try,
    ast.Import: Translator._import,
    ast.ImportFrom: Translator._import,
    ast.Pass: Translator._nothing,
}
_EXPRESSIONS: Mapping[type[ast.expr], Callable[[Translator, Any], Expression]] = {
    ast.Constant: Translator._constant,
    ast.Name: Translator._name,
    ast.Attribute: Translator._attribute,
    ast.Call: Translator._call,
    ast.Tuple: Translator._tuple,
    ast.List: Translator._list,
    ast.Set: Translator._set,
    ast.Dict: Translator._dictionary,
    ast.BinOp: Translator._binary,
    ast.UnaryOp: Translator._unary,
    ast.BoolOp: Translator._both,
    ast.Compare: Translator._comparison,
    ast.IfExp: Translator._conditional,
    ast.JoinedStr: Translator._formatted,
    ast.Subscript: Translator._subscript,
    ast.Lambda: Translator._lambda,
    ast.NamedExpr: Translator._walrus,
    ast.ListComp: Translator._comprehension,
    ast.SetComp: Translator._comprehension,
    ast.GeneratorExp: Translator._comprehension,
    ast.DictComp: Translator._comprehension,
}
