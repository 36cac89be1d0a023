"""Forward texts of a `module`: bodies of a function whose `self` has the members that the spec declares.

They are translated and evaluated like the methods of a class. What a spec declares is known before anything
runs, so that a member that it lacks, and a method that no value has, are errors of the text.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from fitserve.describe.functions import (
    LIMIT_ATTRIBUTES,
    PAIR_ATTRIBUTES,
    RESERVED_NAMES,
    TENSOR_ATTRIBUTES,
    Function,
)
from service.architectures.text.calls import argument_error
from service.architectures.text.errors import GrammarError
from service.architectures.text.evaluation import Frame, Observer, Run
from service.architectures.text.expression_translation import UNDEFINED
from service.architectures.text.expressions import Call, Constant, Expression
from service.architectures.text.functions import REFUSED
from service.architectures.text.inputs import DEFAULT_INPUT, free_names, is_valid_name
from service.architectures.text.members import Entries, Members, Value, starts_at_self
from service.architectures.text.mentions import assigned
from service.architectures.text.methods import METHODS, MODULE_METHODS, TENSOR_METHODS
from service.architectures.text.printing import print_expression, print_statements
from service.architectures.text.statements import Block, NameTarget, Statement, Target, Update
from service.architectures.text.syntax import Method, Text, parse
from service.architectures.text.translation import Translator
from service.architectures.text.updates import NameUpdate
from service.architectures.text.values import Definition, Parameters, Record
from service.specs.architecture import Constant as ConstantValue
from service.specs.architecture import ModuleSpec, ParameterSpec
from service.specs.base import did_you_mean, list_names

METHOD_NAMES = frozenset(
    {*TENSOR_METHODS, *MODULE_METHODS, *(name for each in METHODS.values() for name in each)}
)
MIN_SIMILARITY = 0.76  # of a suggested method: short names such as `foo` and `floor` are alike by chance
_SELF = "self"
# Syntax that a class text may have and a forward text may not.
REMEDIES: Mapping[type[ast.stmt], str] = {
    # A module of Python reaches files, sockets and processes.
    **dict.fromkeys(
        (ast.Import, ast.ImportFrom),
        "Imports are not supported; `torch`, `F`, `nn`, `math` and `np` are available.",
    ),
    ast.ClassDef: "Classes cannot be defined here; declare a `module` under `submodules`.",
}
# Statements and expressions by which passes may differ, as in training and evaluation.
_STRAIGHT = ast.Assign | ast.AnnAssign | ast.Expr | ast.Return | ast.Pass | ast.Delete
_BRANCHING = (
    *(ast.IfExp, ast.BoolOp, ast.Lambda),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
_DEVICE = "the job's `device` decides where the model runs."
_RETURN = "The text must `return` the output of the module."


@dataclass(frozen=True, slots=True)
class Forward:
    """A forward text that has been parsed and translated.

    Attributes:
        text: The text.
        inputs: Names of the inputs, without `self`.
        definition: The method.
        statements: Its statements, to print them.
        is_straight: Whether all passes run the same operations, and none of them in place.
    """

    text: Text
    inputs: tuple[str, ...]
    definition: Definition
    statements: tuple[ast.stmt, ...]
    is_straight: bool

    @property
    def updates_inputs(self) -> bool:
        """Whether a statement `x += …` updates an input."""
        updates = (
            node
            for statement in self.statements
            for node in ast.walk(statement)
            if isinstance(node, ast.AugAssign)
        )
        return any(isinstance(each.target, ast.Name) and each.target.id in self.inputs for each in updates)

    def __str__(self) -> str:
        return print_statements(self.statements)


@dataclass(frozen=True, slots=True)
class Formula:
    """A single expression over constants.

    Attributes:
        text: The text.
        block: Returns its value.
        node: Its syntax node, to print it.
    """

    text: Text
    block: Block
    node: ast.expr

    def compute(
        self,
        constants: Mapping[str, ConstantValue],
        device: torch.device,
        observer: Observer | None = None,
    ) -> Any:
        """Compute the value.

        Args:
            constants: The constants.
            device: Device on which functions such as `torch.zeros` create tensors.
            observer: Observes the operations, if any.
        """
        owner = Record()
        owner.__dict__.update(constants)
        run = Run(self.text, is_check=device.type == "meta", device=device, observer=observer)
        return self.block.run(Frame(run, {_SELF: owner}))

    def __str__(self) -> str:
        return print_expression(self.node)


def read_forward(spec: ModuleSpec) -> tuple[Forward | None, list[GrammarError]]:
    """Parse and translate the forward text of a module.

    Args:
        spec: The module, whose members the text may use.

    Returns:
        The text, or None if there are errors; and the errors, at most one for each statement and input.
    """
    try:
        method = parse(spec.forward)
    except GrammarError as error:
        return None, [error]
    inputs, errors = _input_names(spec, method)
    translator = ForwardTranslator(method.text, {}, frozenset(), members=Members(spec, method.text))
    translator.errors += errors
    block = Block(translator.body(method.statements, {_SELF, *inputs, *assigned(method.statements)}))
    last = method.statements[-1]
    if not any(isinstance(node, ast.Return) for each in method.statements for node in ast.walk(each)):
        translator.errors.append(GrammarError(method.text.location_of(last), _RETURN))
    if translator.errors:
        return None, translator.errors
    definition = Definition("forward", method.statements[0], Parameters((_SELF, *inputs)), block)
    statements = tuple(method.statements)
    return Forward(method.text, inputs, definition, statements, translator.is_straight), []


def read_inputs(spec: ModuleSpec) -> tuple[str, ...] | None:
    """Return the names of the inputs of a forward text, also of one with errors in its statements.

    Returns:
        None if an error leaves the names unknown.
    """
    try:
        method = parse(spec.forward)
    except GrammarError:
        return None
    inputs, errors = _input_names(spec, method)
    if len(errors) > len(method.errors):
        return None
    return tuple(name for name in inputs if name not in method.optional)


def read_formula(
    text: str, constants: Mapping[str, ConstantValue]
) -> tuple[Formula | None, list[GrammarError]]:
    """Translate a single expression, which may read constants.

    Returns:
        The formula, or None if there are errors; and the errors.
    """
    try:
        method = parse(text)
    except GrammarError as error:
        return None, [error]
    statement = method.statements[0]
    if method.arguments is not None or len(method.statements) > 1 or not isinstance(statement, ast.Expr):
        location = method.text.location_of(statement)
        return None, [GrammarError(location, "Write one expression, such as `torch.arange(8)`.")]
    spec = ModuleSpec(type="module", forward=text, constants=dict(constants))
    translator = ForwardTranslator(method.text, {}, frozenset(), members=Members(spec, method.text))
    result = ast.copy_location(ast.Return(statement.value), statement)
    statements = translator.body([result], {_SELF, *assigned([result])})
    if translator.errors:
        return None, translator.errors
    return Formula(method.text, Block(statements), statement.value), []


def _input_names(spec: ModuleSpec, method: Method) -> tuple[tuple[str, ...], list[GrammarError]]:
    """Return the arguments of the `def` line, else the declared inputs, else the only free name.

    Returns:
        The names, and the errors in them.
    """
    declared, start, errors = spec.inputs, method.text.location_at(1, 1), list(method.errors)
    if method.arguments is not None:
        if declared is not None and list(method.arguments) != declared:
            names = ", ".join(declared)
            errors.append(GrammarError(start, f"The `def` line and `inputs` differ; `inputs` has {names}."))
        for name in method.arguments:
            if not is_valid_name(name):
                detail = f"`{name}` is reserved; choose another name for the input."
                errors.append(GrammarError(start, detail))
        return method.arguments, errors
    free = {} if declared else free_names(method.statements)
    if len(free) > 1:
        names = ", ".join(f'"{name}"' for name in free)
        detail = (
            "Several names are used before they are assigned; if they are inputs, add "
            f'"inputs": [{names}] beside `forward`.'
        )
        errors.append(GrammarError(method.text.location_of(list(free.values())[1]), detail))
    return tuple(declared or free or (DEFAULT_INPUT,)), errors


@dataclass(slots=True, kw_only=True)
class ForwardTranslator(Translator):
    """Translates a forward text, and checks what the text of a class shows only when it runs.

    Attributes:
        members: The members of the module.
        is_straight: Whether the translated statements are without branches, loops and changes in place.
    """

    members: Members
    is_straight: bool = True
    _called: set[int] = field(default_factory=set)  # syntax nodes, by `id`
    _owners: set[int] = field(default_factory=set)

    def statement(self, node: ast.stmt) -> Statement | None:
        """Translate a statement; None for one without effect.

        Raises:
            GrammarError: If it is not supported.
        """
        if type(node) in REMEDIES:
            raise self.error(node, REMEDIES[type(node)])
        if isinstance(node, ast.FunctionDef):
            self._check_parameters(node.args)
        self.is_straight &= isinstance(node, _STRAIGHT)
        translated = Translator.statement(self, node)
        # In a nested function, an update is Python's: its caller may have the tensor, too.
        if isinstance(translated, Update) and isinstance(translated.target, NameTarget) and self.is_outermost:
            return NameUpdate(node, translated.target, translated.operator, translated.value)
        return translated

    def target(self, node: ast.expr) -> Target:
        """Translate the left side of an assignment.

        Raises:
            GrammarError: If it cannot be assigned to.
        """
        if isinstance(node, ast.Name):
            self._check_name(node, node.id)
        elif isinstance(node, ast.Attribute):
            self._check_chain(node)
        self.is_straight &= isinstance(node, ast.Name | ast.Tuple | ast.List)
        return Translator.target(self, node)

    def expression(self, node: ast.expr) -> Expression:
        """Translate an expression.

        Raises:
            GrammarError: If it is not supported.
        """
        if isinstance(node, ast.Call):
            self._called.add(id(node.func))
            self._check_device(node)
        elif isinstance(node, ast.Attribute | ast.Subscript):
            self._check_chain(node)
        elif isinstance(node, ast.Name):
            self._check_value(node)
        elif isinstance(node, ast.Lambda):
            self._check_parameters(node.args)
        elif isinstance(node, ast.NamedExpr):
            self._check_name(node.target, node.target.id)
        self.is_straight &= not isinstance(node, _BRANCHING)
        translated = Translator.expression(self, node)
        if isinstance(node, ast.Call) and isinstance(translated, Call):
            self._check_call(node, translated.called)
        return translated

    def _check_name(self, node: ast.AST, name: str) -> None:
        if name in RESERVED_NAMES:
            raise self.error(node, "This name is reserved; choose another.")

    def _check_parameters(self, arguments: ast.arguments) -> None:
        for each in ast.walk(arguments):
            if isinstance(each, ast.arg):
                self._check_name(each, each.arg)

    def _check_value(self, node: ast.Name) -> None:
        """Check a name that stands as a value."""
        name = node.id
        if name in RESERVED_NAMES and id(node) not in self._owners:
            raise self.error(node, f"`{name}` cannot be used as a value.")
        if name == "device" and not self.is_local(name):
            raise self.error(node, f"Remove it: {_DEVICE}")

    def _check_chain(self, node: ast.Attribute | ast.Subscript) -> None:
        """Check that a chain such as `self.body[0].weight` is declared."""
        if starts_at_self(node):
            if id(node) not in self._owners:
                self.members.find(node)
            self._owners.add(id(node.value))
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Load)
            and id(node) not in self._called
            and self.full_name(node) is None
            and node.attr in TENSOR_METHODS
            and node.attr not in self.members.names | TENSOR_ATTRIBUTES | PAIR_ATTRIBUTES | LIMIT_ATTRIBUTES
        ):
            raise self.error(node, f"`{node.attr}` is a method; call it: `.{node.attr}(…)`.")

    def _check_call(self, node: ast.Call, called: Expression) -> None:
        if isinstance(called, Constant):
            if isinstance(called.value, type) and issubclass(called.value, nn.Module):
                raise self.error(node, "Declare layers under `submodules` and call them as `self.<name>(…)`.")
            if isinstance(called.value, Function):
                self._check_function(node, called.value)
        elif starts_at_self(node.func):
            if isinstance(self.members.find(node.func), Entries | ParameterSpec | Value):
                raise self.error(node, "Only submodules can be called, and this is not one.")
            if isinstance(node.func, ast.Attribute) and self._is_value(node.func.value):
                self._check_method(node, node.func.attr)
        elif isinstance(node.func, ast.Attribute):
            self._check_method(node, node.func.attr)

    def _check_device(self, node: ast.Call) -> None:
        """Refuse `x.cuda()` and devices by name: in the exported source, they would choose one."""
        called = node.func
        if isinstance(called, ast.Attribute) and not self._is_member(called):
            name = called.attr
            if name in ("cpu", "cuda") or (name == "to" and any(map(self._names_device, node.args))):
                raise self.error(node, f"Remove `.{name}(…)`: {_DEVICE}")
        if any(keyword.arg == "device" and self._names_device(keyword.value) for keyword in node.keywords):
            raise self.error(node, f"Remove `device`: {_DEVICE}")

    def _is_member(self, node: ast.Attribute) -> bool:
        """Return whether a chain is that of a declared member of the module."""
        return starts_at_self(node) and self.members.find(node) is not None

    def _is_value(self, node: ast.expr) -> bool:
        member = self.members.find(node)
        return isinstance(member, ParameterSpec | Value)

    def _check_function(self, node: ast.Call, function: Function) -> None:
        name = function.name.rpartition(".")[2]
        if name in REFUSED:
            raise self.error(node, f"`{function.name}` is not supported: {REFUSED[name]}.")
        is_full = len(node.args) >= function.positional or any(
            each.arg == "inplace" for each in node.keywords
        )
        self.is_straight &= "inplace" not in function.parameters or not is_full
        given = [] if any(isinstance(each, ast.Starred) for each in node.args) else node.args
        named = [keyword.arg for keyword in node.keywords if keyword.arg is not None]
        if message := argument_error(function, len(given), named):
            raise self.error(node, message)

    def _check_method(self, node: ast.Call, name: str) -> None:
        """Check the name of a method of a value, whose type only a run knows."""
        self.is_straight &= not name.endswith("_")
        if name in self.members.names or self.members.has_class:
            return
        if name in REFUSED:
            raise self.error(node, f"`.{name}` is not supported: {REFUSED[name]}.")
        if name not in METHOD_NAMES:
            raise self.error(node, partial(_unknown_method, name))

    def _names_device(self, node: ast.expr) -> bool:
        """Return whether an argument is a device by a name of its own, other than `x.device`."""
        if isinstance(node, ast.Call):
            return self.full_name(node.func) == "torch.device"
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        return is_text or ast.unparse(node) == "device"

    def unknown_name(self, name: str, local: frozenset[str]) -> str:
        """Return the message for a name without a value."""
        message = Translator.unknown_name(self, name, local)
        if message != UNDEFINED:
            return message
        names = sorted(local - {_SELF})
        return f"`{name}` is not assigned; assigned names: {list_names(names) or 'none'}."


def _unknown_method(name: str) -> str:
    if name in TENSOR_ATTRIBUTES:
        return f"`.{name}` is an attribute, not a method; write it without the brackets of a call."
    hint = did_you_mean(name, TENSOR_METHODS, MIN_SIMILARITY)
    return f"`.{name}`{hint or ' is not supported; docs/forward.md lists the supported methods.'}"
