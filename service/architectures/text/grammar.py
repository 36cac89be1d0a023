"""The grammar of forward texts: which Python syntax is accepted, and its translation into a graph.

The grammar is closed: syntax that no method below translates is refused, with its location and what to write
instead. A translated text always ends, so the interpreter is total:

- Statements run once, from first to last, without loops, conditions, jumps, definitions or comprehensions.
- Each call refers to a function of the table or a declared submodule, never to a value, so a text cannot call
  itself. Submodules form a tree, whose depth the spec bounds.
- Only a function with `inplace=True` changes a value in place; otherwise a name gets a new value, and objects
  that other code can see stay as they are.

`syntax.parse` bounds the size and the depth of the tree, so the recursion of this translation is bounded too.
The nodes bound the values (see `nodes`).
"""

import ast
import math
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from fitserve.describe.functions import CONSTANTS, RESERVED_NAMES, Function
from service.architectures.text.errors import GrammarError, SourceLocation
from service.architectures.text.functions import FUNCTIONS, REFUSED
from service.architectures.text.graph import Assignment, Graph, Target
from service.architectures.text.guards import guards_of
from service.architectures.text.nodes import (
    ATTRIBUTES,
    Arguments,
    Attribute,
    Display,
    Expression,
    FunctionCall,
    Literal,
    ModuleTensor,
    Operation,
    Slice,
    Starred,
    SubmoduleCall,
    SubmodulePath,
    Subscript,
    TrainingMode,
    Variable,
)
from service.architectures.text.operators import BINARY, MAX_INTEGER, UNARY
from service.architectures.text.scope import (
    Entries,
    Scope,
    declared_values,
    free_names,
    is_store,
    is_valid_name,
    starts_at_self,
    table_name,
    undeclared_message,
)
from service.architectures.text.syntax import Method, parse
from service.specs.architecture import Constant, LayerSpec, ModuleSpec, ParameterSpec
from service.specs.base import did_you_mean, list_names

MAX_STRING_LENGTH = 100
DEFAULT_INPUT = "input"
MIN_SIMILARITY = 0.76  # of a suggested function: short names such as `foo` and `floor` are alike by chance

# Common syntax that is refused, by the class name of its syntax node, and what to write instead.
REMEDIES: Mapping[str, str] = {
    # A branch on values would make shapes depend on the data, but one graph serves all batches.
    **dict.fromkeys(
        ("If", "IfExp"), "Conditions are not supported; choose values with `torch.where(condition, a, b)`."
    ),
    # A loop could run for ever.
    **dict.fromkeys(
        ("For", "While", "AsyncFor", "ListComp", "SetComp", "DictComp", "GeneratorExp"),
        "Loops are not supported; write the lines one after another, or compute along a tensor's dimension.",
    ),
    # A function could call itself, and a class can redefine every operator.
    **dict.fromkeys(
        ("Lambda", "FunctionDef", "AsyncFunctionDef", "ClassDef"),
        "Functions and classes cannot be defined here; declare a `module` under `submodules`.",
    ),
    # A module of Python reaches files, sockets and processes.
    **dict.fromkeys(
        ("Import", "ImportFrom"), "Imports are not supported; `torch`, `F` and `math` are available."
    ),
    # Formatting calls `__format__` of any value; strings are only options of functions.
    **dict.fromkeys(("JoinedStr", "FormattedValue"), "f-strings are not supported; write a plain string."),
    # `and` and `or` ask for the truth of a tensor, which depends on values.
    "BoolOp": "`and` and `or` are not supported; combine tensors with `&` and `|`.",
    "Dict": "Dictionaries are not supported; assign each value to a name.",
    "Set": "Sets are not supported; write a tuple or a list.",
    "NamedExpr": "`:=` is not supported; assign on a separate line.",
    "Expr": "The value of this line is not used; assign it to a name.",
    "Return": "`return` is supported only as the last line.",
    "Starred": "`*` is supported only for sizes among the arguments of a call, or in a tuple or list.",
    "Slice": "A slice is supported only between brackets, as in `x[:, 1:]`.",
    "Pass": "`pass` is not supported; remove it.",
    "Assert": "`assert` is not supported; remove it: shapes are checked before the job starts.",
    # A context manager can change global state of PyTorch, such as the mode of autograd.
    "With": "`with` is not supported; remove it: evaluation runs without gradients anyway.",
}
NOT_SUPPORTED = "This syntax is not supported; docs/forward.md lists the supported syntax."


def read_forward(spec: ModuleSpec) -> tuple[Graph | None, list[GrammarError]]:
    """Translate the forward text of a module into a graph.

    Args:
        spec: The module, whose submodules and parameters the text may use.

    Returns:
        The graph, or None if there are errors; and the errors, at most one for each statement and input.
    """
    try:
        method = parse(spec.forward)
    except GrammarError as error:
        return None, [error]
    translator = _Translator(spec, method)
    graph = translator.translate()
    return (None if translator.errors else graph), translator.errors


def read_inputs(spec: ModuleSpec) -> tuple[str, ...] | None:
    """Return the names of the inputs of a forward text, also of one with errors in its statements.

    Returns:
        None if an error leaves the names unknown.
    """
    try:
        method = parse(spec.forward)
    except GrammarError:
        return None
    translator = _Translator(spec, method)
    if len(translator.errors) > len(method.errors):
        return None
    return tuple(name for name in translator.inputs if name not in method.optional)


def read_expression(text: str, constants: Mapping[str, Constant]) -> tuple[Graph | None, list[GrammarError]]:
    """Translate a single expression, which may read constants, into a graph without inputs.

    Returns:
        The graph, or None if there are errors; and the errors.
    """
    try:
        method = parse(text)
    except GrammarError as error:
        return None, [error]
    statement = method.statements[0]
    if method.arguments is not None or len(method.statements) > 1 or not isinstance(statement, ast.Expr):
        location = method.text.location_of(statement)
        return None, [GrammarError(location, "Write one expression, such as `torch.arange(8)`.")]
    result = ast.copy_location(ast.Return(statement.value), statement)
    spec = ModuleSpec(type="module", forward=text, constants=dict(constants))
    translator = _Translator(spec, Method(method.text, [result], ()))
    graph = translator.translate()
    return (None if translator.errors else graph), translator.errors


class _Translator:
    """Translates one method, statement by statement.

    An error in a statement does not hide those of the next ones.

    Attributes:
        errors: The errors found.
        inputs: Names of the inputs.
    """

    def __init__(self, spec: ModuleSpec, method: Method) -> None:
        self._spec = spec
        self._text = method.text
        self._scope = Scope(spec, method.text)
        self._statements = method.statements
        self.errors: list[GrammarError] = [*method.errors]
        self.inputs = self._input_names(method)
        # Inputs, and names that the statements translated so far assign. As statements run in order, a name
        # in this set has a value at run time.
        self._assigned = set(self.inputs)
        self._inplace = False

    def translate(self) -> Graph | None:
        """Return the graph; None if the last statement has an error."""
        *others, last = self._statements
        assignments = []
        for position, statement in enumerate(others):
            if position == 0 and _is_docstring(statement):
                continue
            assignment = self._collect_error(statement, self._assignment)
            if assignment is not None:
                assignments.append(assignment)
        result = self._collect_error(last, self._result)
        return None if result is None else Graph(self.inputs, tuple(assignments), result, self._inplace)

    def _collect_error(self, statement: ast.stmt, translate: Callable[[Any], Any]) -> Any:
        try:
            return translate(statement)
        except GrammarError as error:
            self.errors.append(error)
            # Later statements may use the names that this one would have assigned.
            self._assigned |= {
                node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and is_store(node)
            }
            return None

    def _error(self, node: ast.AST, remedy: str | Callable[[], str]) -> GrammarError:
        return GrammarError(self._text.location_of(node), remedy)

    def _input_names(self, method: Method) -> tuple[str, ...]:
        """Return the arguments of the `def` line, else the declared inputs, else the only free name."""
        declared = self._spec.inputs
        start = self._text.location_at(1, 1)
        if method.arguments is not None:
            if declared is not None and list(method.arguments) != declared:
                names = ", ".join(declared)
                self.errors.append(
                    GrammarError(start, f"The `def` line and `inputs` differ; `inputs` has {names}.")
                )
            for name in method.arguments:
                if not is_valid_name(name):
                    self.errors.append(
                        GrammarError(start, f"`{name}` is reserved; choose another name for the input.")
                    )
            return method.arguments
        free = {} if declared else free_names(self._statements)
        if len(free) > 1:
            names = ", ".join(f'"{name}"' for name in free)
            self.errors.append(
                self._error(
                    list(free.values())[1],
                    f"Several names are used before they are assigned; if they are inputs, add "
                    f'"inputs": [{names}] beside `forward`.',
                )
            )
        return tuple(declared or free or (DEFAULT_INPUT,))

    # Statements

    def _assignment(self, statement: ast.stmt) -> Assignment:
        location = self._text.location_of(statement)
        # Values before targets: the right side of `x = f(x)` refers to the earlier `x`.
        if isinstance(statement, ast.AugAssign):
            if not isinstance(statement.target, ast.Name):
                raise self._error(statement.target, "Only names can be assigned to.")
            # `x += y` means `x = x + y` here: an in-place `+=` would overwrite an input or a saved tensor.
            # The check refuses it where both differ.
            target = statement.target
            left = self._variable(ast.copy_location(ast.Name(target.id, ast.Load()), target))
            operator = BINARY.get(type(statement.op).__name__)
            if operator is None:
                raise self._error(statement, NOT_SUPPORTED)
            value: Expression = Operation(location, operator, (left, self._expression(statement.value)))
            return Assignment(location, self._target(target), value, is_update=True)
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            # The annotation is ignored: it is neither translated nor evaluated.
            value = self._expression(statement.value)
            return Assignment(location, self._target(statement.target), value)
        if isinstance(statement, ast.Assign):
            if len(statement.targets) > 1:
                raise self._error(
                    statement, "`a = b = …` is not supported; assign each name on its own line."
                )
            value = self._expression(statement.value)
            return Assignment(location, self._target(statement.targets[0]), value)
        if isinstance(statement, ast.Expr):
            self._expression(statement.value)  # an error inside the line has a better message
        raise self._error(statement, REMEDIES.get(type(statement).__name__, NOT_SUPPORTED))

    def _target(self, node: ast.expr) -> Target:
        if isinstance(node, ast.Name):
            if not is_valid_name(node.id):
                raise self._error(node, "This name is reserved; choose another.")
            self._assigned.add(node.id)
            return node.id
        if isinstance(node, ast.Tuple | ast.List) and node.elts:
            return tuple(self._target(each) for each in node.elts)
        # `x[0] = …` would write into a tensor, and `self.x = …` would leave a value in the module.
        raise self._error(node, "Only names can be assigned to; values cannot be changed in place.")

    def _result(self, statement: ast.stmt) -> Expression:
        if isinstance(statement, ast.Return) and statement.value is not None:
            return self._expression(statement.value)
        if not isinstance(statement, ast.Return):
            self._assignment(statement)  # an error inside the statement has a better message
        raise self._error(statement, "The last line must be `return` with the output of the module.")

    # Expressions

    def _expression(self, node: ast.expr) -> Expression:
        translate = _EXPRESSIONS.get(type(node))
        if translate is None:
            raise self._error(node, REMEDIES.get(type(node).__name__, NOT_SUPPORTED))
        return translate(self, node)

    def _constant(self, node: ast.Constant) -> Literal:
        value, location = node.value, self._text.location_of(node)
        if value is None or value is ... or isinstance(value, bool):
            return Literal(location, value, "..." if value is ... else repr(value))
        # Complex numbers and bytes are refused: no accepted function needs them. The bounds keep later
        # arithmetic, and the printed text, small.
        is_integer = isinstance(value, int) and abs(value) <= MAX_INTEGER
        is_float = isinstance(value, float) and math.isfinite(value)
        is_string = isinstance(value, str) and len(value) <= MAX_STRING_LENGTH and value.isprintable()
        if is_integer or is_float or is_string:
            return Literal(location, value, repr(value))
        raise self._error(
            node,
            "A literal must be a finite number up to 2**53, a printable string of at most "
            f"{MAX_STRING_LENGTH} characters, True, False or None.",
        )

    def _variable(self, node: ast.Name) -> Variable:
        if node.id not in self._assigned:
            # A module, `self` or a function is never a value: it could be passed on or stored, and then reach
            # attributes and arguments that the tables do not have.
            if node.id in RESERVED_NAMES:
                raise self._error(node, f"`{node.id}` cannot be used as a value.")
            if node.id in FUNCTIONS:
                raise self._error(node, "A function can only be called.")
            raise self._error(node, partial(_unassigned_message, node.id, frozenset(self._assigned)))
        return Variable(self._text.location_of(node), node.id)

    def _attribute(self, node: ast.Attribute) -> Expression:
        location = self._text.location_of(node)
        name = table_name(node)
        if name is not None:
            if name not in CONSTANTS:
                raise self._error(node, partial(_unknown_message, name, CONSTANTS))
            return Literal(location, CONSTANTS[name], name)
        if starts_at_self(node) and not self._scope.is_value(node.value):
            return self._self_attribute(node, location)
        # Other attributes lead out of tensors: `x.__class__`, `x.data`, `x.grad_fn`.
        if node.attr not in ATTRIBUTES:
            if f"Tensor.{node.attr}" in FUNCTIONS:
                raise self._error(node, f"`{node.attr}` is a method; call it: `.{node.attr}(…)`.")
            names = sorted(ATTRIBUTES)
            hint = did_you_mean(node.attr, names) or (
                f" is not supported; the supported attributes are {', '.join(names)}."
            )
            raise self._error(node, f"`.{node.attr}`{hint}")
        return Attribute(location, self._expression(node.value), node.attr)

    def _self_attribute(self, node: ast.Attribute, location: SourceLocation) -> Expression:
        """Translate `self.training`, `self.scale`, `self.n_head` and `self.emb.weight`."""
        if isinstance(node.value, ast.Name):
            if node.attr == "training":
                return TrainingMode(location)
            if node.attr in self._spec.constants:
                return Literal(location, self._spec.constants[node.attr], f"self.{node.attr}")
            if node.attr in self._spec.parameters or node.attr in self._spec.buffers:
                return ModuleTensor(location, SubmodulePath((), "self"), node.attr)
            if node.attr in self._spec.submodules:
                # A submodule is not a value: its attributes include hooks and its own `__dict__`.
                raise self._error(
                    node,
                    f"Call the submodule, `self.{node.attr}(…)`, or read a parameter, as in "
                    f"`self.{node.attr}.weight`.",
                )
            raise self._error(node, partial(undeclared_message, node.attr, self._spec))
        path, owner = self._scope.resolve(node.value)
        if isinstance(owner, ModuleSpec) and node.attr in owner.constants:
            return Literal(location, owner.constants[node.attr], f"{path.text}.{node.attr}")
        declares = node.attr in declared_values(owner)
        if not isinstance(owner, LayerSpec) and not declares:
            raise self._error(
                node, f"`{node.attr}` is not a parameter; call a submodule, or read a parameter of a layer."
            )
        if node.attr.startswith("__"):
            raise self._error(node, f"`{node.attr}` is not a parameter.")
        return ModuleTensor(location, path, node.attr)

    def _call(self, node: ast.Call) -> Expression:
        # The callee is resolved by its name: a function of the table, a declared submodule or a method of the
        # table. The result of an expression is never called.
        location, called = self._text.location_of(node), node.func
        if isinstance(called, ast.Name):
            infinity = _infinity(node) if called.id == "float" else None
            if infinity is not None:
                return Literal(location, infinity, f'float("{infinity}")')
            if called.id in self._assigned or called.id not in FUNCTIONS:
                raise self._error(node, partial(_unknown_builtin_message, called.id))
            return self._function(node, FUNCTIONS[called.id], ())
        if isinstance(called, ast.Call):
            layer = table_name(called.func) or ""
            if layer.startswith(("nn.", "torch.nn.")):  # `nn.Linear(3, 4)(x)`
                raise self._error(node, _unknown_message(layer, ()))
            raise self._error(node, "The result of a call cannot be called.")
        if not isinstance(called, ast.Attribute | ast.Subscript):
            raise self._error(node, "Only submodules, functions and methods can be called.")
        name = table_name(called)
        if name is not None:
            if name not in FUNCTIONS:
                raise self._error(node, partial(_unknown_message, name, FUNCTIONS))
            return self._function(node, FUNCTIONS[name], ())
        if starts_at_self(called):
            # `self.scale.exp()` calls a method of a parameter, `self.hidden(x)` a submodule.
            if isinstance(called, ast.Attribute) and self._scope.is_value(called.value):
                return self._method(node, called)
            path, spec = self._scope.resolve(called)
            if isinstance(spec, Entries | ParameterSpec):
                raise self._error(node, "Only submodules can be called, and this is not one.")
            return SubmoduleCall(location, path, self._arguments(node, ()))
        if isinstance(called, ast.Subscript):
            raise self._error(node, "Only submodules, functions and methods can be called.")
        return self._method(node, called)

    def _method(self, node: ast.Call, called: ast.Attribute) -> Expression:
        if called.attr in ("cpu", "cuda") or (called.attr == "to" and any(map(_names_device, node.args))):
            raise self._error(
                node, f"Remove `.{called.attr}(…)`: the job's `device` decides where the model runs."
            )
        function = FUNCTIONS.get(f"Tensor.{called.attr}")
        if function is None:
            if called.attr in ATTRIBUTES:
                detail = "is an attribute, not a method; write it without the brackets of a call."
                raise self._error(node, f"`.{called.attr}` {detail}")
            plain = called.attr.removesuffix("_")
            if plain != called.attr and f"Tensor.{plain}" in FUNCTIONS:
                raise self._error(node, f"Values cannot be changed in place; write `x = x.{plain}(…)`.")
            methods = [name.removeprefix("Tensor.") for name in FUNCTIONS if name.startswith("Tensor.")]
            raise self._error(node, partial(_unknown_method_message, called.attr, methods))
        return self._function(node, function, (self._expression(called.value),))

    def _function(self, node: ast.Call, function: Function, first: tuple[Expression, ...]) -> FunctionCall:
        arguments = self._arguments(node, first)
        signature = f"The signature is `{function.name}({function.signature})`."
        named: dict[str, Expression] = {}
        for name, value in arguments.named.items():
            parameter = function.parameter(name)
            if parameter is None:
                hint = did_you_mean(name, function.parameters) or f" is not an argument. {signature}"
                raise self._error(node, f"`{name}`{hint}")
            if parameter in named:  # `dim` and `axis`
                raise self._error(node, f"The argument `{parameter}` appears twice; give it once.")
            named[parameter] = value
        arguments = Arguments(arguments.positional, named)
        self._inplace |= _may_write(function, arguments)
        if not function.variadic and len(arguments.positional) > function.positional:
            raise self._error(node, f"The call has too many arguments. {signature}")
        return FunctionCall(self._text.location_of(node), function, arguments, guards_of(function))

    def _arguments(self, node: ast.Call, first: tuple[Expression, ...]) -> Arguments:
        named: dict[str, Expression] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                # The names must be known here, where they are compared with the table.
                raise self._error(node, "`**` is not supported; pass each argument by name.")
            if keyword.arg in named:  # Python refuses it when it compiles, not when it parses
                raise self._error(node, f"The argument `{keyword.arg}` appears twice; give it once.")
            named[keyword.arg] = self._expression(keyword.value)
        return Arguments((*first, *map(self._item, node.args)), named)

    def _item(self, node: ast.expr) -> Expression | Starred:
        if isinstance(node, ast.Starred):
            return Starred(self._text.location_of(node), self._expression(node.value))
        return self._expression(node)

    def _display(self, node: ast.Tuple | ast.List) -> Display:
        sequence_type = list if isinstance(node, ast.List) else tuple
        return Display(self._text.location_of(node), tuple(map(self._item, node.elts)), sequence_type)

    def _binary(self, node: ast.BinOp) -> Operation:
        operator = BINARY.get(type(node.op).__name__)
        if operator is None:  # `<<` and `>>`, whose results on numbers grow as fast as powers
            raise self._error(node, "This operator is not supported; docs/forward.md lists the operators.")
        operands = (self._expression(node.left), self._expression(node.right))
        return Operation(self._text.location_of(node), operator, operands)

    def _unary(self, node: ast.UnaryOp) -> Operation:
        operator = UNARY.get(type(node.op).__name__)
        if operator is None:  # `not`, which asks for the truth of a tensor, which depends on values
            raise self._error(node, "`not` is not supported; negate a boolean tensor with `~mask`.")
        return Operation(self._text.location_of(node), operator, (self._expression(node.operand),))

    def _compare(self, node: ast.Compare) -> Operation:
        operator = BINARY.get(type(node.ops[0]).__name__)
        if operator is None:
            raise self._error(node, "`in`, `not in`, `is` and `is not` are not supported.")
        if len(node.ops) > 1:  # `a < x < b` asks for the truth of `a < x`
            raise self._error(node, "Chained comparisons are not supported; write `(a < x) & (x < b)`.")
        operands = (self._expression(node.left), self._expression(node.comparators[0]))
        return Operation(self._text.location_of(node), operator, operands)

    def _subscript(self, node: ast.Subscript) -> Expression:
        if starts_at_self(node) and not self._scope.is_value(node.value):
            if self._scope.is_value(node):  # `self.weights[0]`
                path, _ = self._scope.resolve(node)
                owner = SubmodulePath(path.names[:-1], path.text)
                return ModuleTensor(self._text.location_of(node), owner, path.names[-1], path.text)
            raise self._error(
                node,
                "Call the layer, as in `self.body[0](x)`, or read a parameter, as in `self.body[0].weight`.",
            )
        location = self._text.location_of(node)
        return Subscript(location, self._expression(node.value), self._index(node.slice))

    def _index(self, node: ast.expr) -> Expression:
        """Translate an index; slices are accepted only here."""
        if isinstance(node, ast.Slice):
            bounds = (self._bound(node.lower), self._bound(node.upper), self._bound(node.step))
            return Slice(self._text.location_of(node), bounds)
        if isinstance(node, ast.Tuple):
            return Display(self._text.location_of(node), tuple(map(self._index, node.elts)), tuple)
        return self._expression(node)

    def _bound(self, node: ast.expr | None) -> Expression | None:
        return None if node is None else self._expression(node)


# The accepted expressions. A syntax node that is not here, whatever Python adds, is refused.
_EXPRESSIONS: Mapping[type[ast.expr], Callable[[_Translator, Any], Expression]] = {
    ast.Constant: _Translator._constant,
    ast.Name: _Translator._variable,
    ast.Attribute: _Translator._attribute,
    ast.Call: _Translator._call,
    ast.Tuple: _Translator._display,
    ast.List: _Translator._display,
    ast.BinOp: _Translator._binary,
    ast.UnaryOp: _Translator._unary,
    ast.Compare: _Translator._compare,
    ast.Subscript: _Translator._subscript,
}


def _unknown_message(name: str, known: Collection[str]) -> str:
    """Return the message for a name that is not in a table, with a similar name of the same module."""
    module, _, bare = name.rpartition(".")
    if module in ("nn", "torch.nn"):
        return "Declare layers under `submodules` and call them as `self.<name>(…)`."
    if bare in REFUSED:
        return f"`{name}` is not supported: {REFUSED[bare]}."
    siblings = [each.rpartition(".")[2] for each in known if each.rpartition(".")[0] == module]
    hint = did_you_mean(bare, siblings, MIN_SIMILARITY)
    if not hint:
        return f"`{name}` is not supported; docs/forward.md lists the supported names."
    return f"`{name}`{hint.replace('`', f'`{module}.', 1) if module else hint}"


def _unknown_builtin_message(name: str) -> str:
    """Return the message for a function without a module that is not in the table."""
    if name == "print":
        return "Remove it: a forward text prints nothing."
    if name in ("enumerate", "filter", "map", "range", "reversed", "sorted", "zip"):
        return REMEDIES["For"]
    same = next((each for each in (f"torch.{name}", f"F.{name}") if each in FUNCTIONS), None)
    if same is not None:
        return f"`{name}` is not a function here; write `{same}(…)`."
    return _unknown_message(name, [each for each in FUNCTIONS if "." not in each])


def _names_device(node: ast.expr) -> bool:
    """Return whether an argument of `.to` is a device by a name of its own, other than `x.device`."""
    if isinstance(node, ast.Call):
        return table_name(node.func) == "torch.device"
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return is_text or ast.unparse(node) in ("device", "self.device")


def _unknown_method_message(name: str, methods: Collection[str]) -> str:
    if name in REFUSED:
        return f"`.{name}` is not supported: {REFUSED[name]}."
    hint = did_you_mean(name, methods, MIN_SIMILARITY)
    return f"`.{name}`{hint or ' is not supported; docs/forward.md lists the supported methods.'}"


def _unassigned_message(name: str, assigned: Collection[str]) -> str:
    names = sorted(assigned)
    shown = list_names(names) or "none"
    hint = did_you_mean(name, names)
    return f"`{name}`{hint or f' is not assigned; assigned names: {shown}.'}"


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _may_write(function: Function, arguments: Arguments) -> bool:
    """Return whether a call sets `inplace`, which is the last parameter of a function that has it."""
    if "inplace" not in function.parameters:
        return False
    is_positional = len(arguments.positional) == function.positional
    value = arguments.positional[-1] if is_positional else arguments.named.get("inplace")
    return value is not None and not (isinstance(value, Literal) and value.value is False)


def _infinity(node: ast.Call) -> float | None:
    """Return the value of `float("inf")` and `float("-inf")`, which masks use; None for another call."""
    if len(node.args) != 1 or node.keywords or not isinstance(node.args[0], ast.Constant):
        return None
    text = node.args[0].value
    return {"inf": math.inf, "-inf": -math.inf}.get(text) if isinstance(text, str) else None
