"""Translation of Python's syntax tree into the nodes of a class text.

The grammar is closed: syntax that no method below translates is refused, with its location and what to write
instead. An error in one statement does not hide those of the others.
"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from service.architectures.text.classes import SPECIAL, ClassStatement
from service.architectures.text.errors import GrammarError
from service.architectures.text.exceptions import Handler, RaiseAgain, Try
from service.architectures.text.expression_translation import (
    NOT_LISTED,
    NOT_SUPPORTED,
    REMEDIES,
    ExpressionTranslator,
    names_of,
)
from service.architectures.text.expressions import (
    IN_PLACE,
    Constant,
    Expression,
    Unsupported,
)
from service.architectures.text.mentions import assigned
from service.architectures.text.names import (
    ANNOTATIONS,
    GLOBALS,
    import_fails,
    imported_names,
    resolve,
)
from service.architectures.text.operators import BINARY
from service.architectures.text.statements import (
    BREAK,
    CONTINUE,
    Assert,
    Assignment,
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
    Update,
    While,
    WithGradient,
)
from service.architectures.text.values import Definition, ErrorType, Parameters

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
class Translator(ExpressionTranslator):
    """Translates statements, and collects the errors in them."""

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
        with self._scope(assigned(node.body) | names_of(parameters), instance):
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
