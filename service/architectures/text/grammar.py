"""The grammar: which of Python's syntax a forward text may use, and the way from it to our graph.

Whatever is not named here is refused. Each refusal says where, shows the text, and what to write instead.
"""

import ast
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn

from fitserve.describe.functions import (
    CONSTANTS,
    PAIR_ATTRIBUTES,
    RESERVED_NAMES,
    TENSOR_ATTRIBUTES,
    Function,
)
from service.architectures.text.errors import Refused, Spot
from service.architectures.text.functions import FUNCTIONS
from service.architectures.text.graph import Assignment, Graph, Target
from service.architectures.text.guards import guards_of
from service.architectures.text.nodes import (
    Arguments,
    Attribute,
    Call,
    Display,
    Expression,
    Literal,
    Members,
    Operation,
    OwnTensor,
    Slice,
    Spread,
    Submodule,
    Subscript,
    Training,
    Variable,
)
from service.architectures.text.operators import BINARY, LARGEST_INTEGER, UNARY
from service.architectures.text.scope import (
    Scope,
    begins_at_self,
    can_be_named,
    free_names,
    global_name,
    is_store,
    no_member,
)
from service.architectures.text.syntax import Method, Text, parse
from service.specs.architecture import LayerSpec, ModuleSpec
from service.specs.base import did_you_mean

LONGEST_WORD = 100
DEFAULT_INPUT = "input"

# What people write and we don't take, by the name of the syntax node.
REMEDIES: Mapping[str, str] = {
    **dict.fromkeys(("If", "IfExp"), "There are no conditions: `torch.where(condition, a, b)` chooses."),
    **dict.fromkeys(
        ("For", "While", "AsyncFor", "ListComp", "SetComp", "DictComp", "GeneratorExp"),
        "There are no loops: write the lines one after another, or let a tensor's dimension do it.",
    ),
    **dict.fromkeys(
        ("Lambda", "FunctionDef", "AsyncFunctionDef", "ClassDef"), "Nothing can be defined here."
    ),
    **dict.fromkeys(("Import", "ImportFrom"), "Nothing is imported: `torch`, `F` and `math` are there."),
    **dict.fromkeys(("JoinedStr", "FormattedValue"), "There is no text to be made."),
    "BoolOp": "Combine tensors with `&` and `|`.",
    "Dict": "There are no dictionaries: give names to the values.",
    "Set": "There are no sets: write a tuple or a list.",
    "NamedExpr": "Assign on a line of its own.",
    "Expr": "What this computes goes nowhere: assign it to a name.",
    "Return": "The one `return` stands at the end.",
    "Starred": "`*` spreads sizes among the arguments of a call, or in a tuple.",
    "Slice": "A slice stands between brackets: `x[:, 1:]`.",
    "Pass": "Leave it out.",
    "Assert": "Leave it out: shapes are checked before the job starts.",
    "With": "Leave it out: evaluation runs without gradients by itself.",
}
NOT_HERE = "This is not part of the grammar; docs/forward.md lists what is."


def read_forward(spec: ModuleSpec) -> tuple[Graph | None, list[Refused]]:
    """The graph of a module's forward text, or all that keeps it from having one.

    Args:
        spec: whose submodules and parameters the text may name.
    """
    try:
        method = parse(spec.forward)
    except Refused as refused:
        return None, [refused]
    reader = _Reader(spec, method)
    graph = reader.graph()
    return (None if reader.found else graph), reader.found


class _Reader:
    """Reads one method, statement by statement; a statement with an error doesn't hide the next one's."""

    def __init__(self, spec: ModuleSpec, method: Method) -> None:
        self._spec = spec
        self._text: Text = method.text
        self._scope = Scope(spec, method.text)
        self._statements = method.statements
        self._assigned: set[str] = set()
        self.found: list[Refused] = []
        self._inputs = self._input_names(method)
        self._assigned |= set(self._inputs)

    def graph(self) -> Graph | None:
        """The graph, where nothing was found."""
        *others, last = self._statements
        assignments = []
        for position, statement in enumerate(others):
            if position == 0 and _is_docstring(statement):
                continue
            made = self._noting(statement, self._assignment)
            if made is not None:
                assignments.append(made)
        result = self._noting(last, self._result)
        return None if result is None else Graph(self._inputs, tuple(assignments), result)

    def _noting(self, statement: ast.stmt, read: Callable[[Any], Any]) -> Any:
        try:
            return read(statement)
        except Refused as refused:
            self.found.append(refused)
            # What the statement would have assigned is not missing below.
            names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
            self._assigned |= {node.id for node in names if is_store(node)}
            return None

    def _refuse(self, node: ast.AST, remedy: str) -> NoReturn:
        raise Refused(self._text.spot(node), remedy)

    def _input_names(self, method: Method) -> tuple[str, ...]:
        declared = self._spec.inputs
        if method.arguments is not None:
            if declared is not None and list(method.arguments) != declared:
                first = self._text.at(1, 1)
                self.found.append(
                    Refused(first, f"`inputs` names {', '.join(declared)}: let the `def` line have the same.")
                )
            for name in method.arguments:
                if not can_be_named(name):
                    self.found.append(
                        Refused(self._text.at(1, 1), f"`{name}` can't be the name of an input.")
                    )
            return method.arguments
        free = {} if declared else free_names(self._statements)
        if len(free) > 1:
            named = ", ".join(f'"{name}"' for name in free)
            self.found.append(
                Refused(
                    self._text.spot(list(free.values())[1]),
                    f"Several names are not assigned before: if they are inputs, say "
                    f'"inputs": [{named}] beside `forward`.',
                )
            )
        return tuple(declared or free or (DEFAULT_INPUT,))

    def _assignment(self, statement: ast.stmt) -> Assignment:
        spot = self._text.spot(statement)
        if isinstance(statement, ast.AugAssign):
            if not isinstance(statement.target, ast.Name):
                self._refuse(statement.target, "Only a name can be assigned to.")
            left = self._variable(
                ast.copy_location(ast.Name(statement.target.id, ast.Load()), statement.target)
            )
            operator = BINARY.get(type(statement.op).__name__)
            if operator is None:
                self._refuse(statement, NOT_HERE)
            value: Expression = Operation(spot, operator, (left, self._expression(statement.value)))
            return Assignment(spot, self._target(statement.target), value)
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            value = self._expression(statement.value)
            return Assignment(spot, self._target(statement.target), value)
        if isinstance(statement, ast.Assign):
            if len(statement.targets) > 1:
                self._refuse(statement, "Assign one name after the other.")
            value = self._expression(statement.value)
            return Assignment(spot, self._target(statement.targets[0]), value)
        self._refuse(statement, REMEDIES.get(type(statement).__name__, NOT_HERE))

    def _target(self, node: ast.expr) -> Target:
        if isinstance(node, ast.Name):
            if not can_be_named(node.id):
                self._refuse(node, "This name is taken: choose another.")
            self._assigned.add(node.id)
            return node.id
        if isinstance(node, ast.Tuple | ast.List) and node.elts:
            return tuple(self._target(each) for each in node.elts)
        self._refuse(node, "Only names can be assigned to: nothing is changed in place.")

    def _result(self, statement: ast.stmt) -> Expression:
        if not isinstance(statement, ast.Return) or statement.value is None:
            if not isinstance(statement, ast.Return):
                self._assignment(statement)
            self._refuse(statement, "The last line must be `return` with what the module computes.")
        return self._expression(statement.value)

    def _expression(self, node: ast.expr) -> Expression:
        read = _EXPRESSIONS.get(type(node))
        if read is None:
            self._refuse(node, REMEDIES.get(type(node).__name__, NOT_HERE))
        expression: Expression = read(self, node)
        return expression

    def _constant(self, node: ast.Constant) -> Literal:
        value, spot = node.value, self._text.spot(node)
        if value is None or value is ... or isinstance(value, bool):
            return Literal(spot, value, "..." if value is ... else repr(value))
        if isinstance(value, int) and abs(value) <= LARGEST_INTEGER:
            return Literal(spot, value, repr(value))
        if isinstance(value, float) and math.isfinite(value):
            return Literal(spot, value, repr(value))
        if isinstance(value, str) and len(value) <= LONGEST_WORD and value.isprintable():
            return Literal(spot, value, repr(value))
        self._refuse(node, "A literal is a finite number up to 2**53, a short word, True, False or None.")

    def _variable(self, node: ast.Name) -> Variable:
        if node.id not in self._assigned:
            if node.id in RESERVED_NAMES:
                self._refuse(node, f"`{node.id}` alone is no value.")
            if node.id in FUNCTIONS:
                self._refuse(node, "A function can only be called.")
            hint = did_you_mean(node.id, self._assigned) or (
                f" is not assigned before; there are {', '.join(sorted(self._assigned))}."
            )
            self._refuse(node, f"`{node.id}`{hint}")
        return Variable(self._text.spot(node), node.id)

    def _attribute(self, node: ast.Attribute) -> Expression:
        spot = self._text.spot(node)
        name = global_name(node)
        if name is not None:
            if name not in CONSTANTS:
                self._refuse(node, self._unknown(name, CONSTANTS))
            return Literal(spot, CONSTANTS[name], name)
        if begins_at_self(node) and not self._scope.is_tensor(node.value):
            return self._own(node, spot)
        if node.attr not in TENSOR_ATTRIBUTES | PAIR_ATTRIBUTES:
            if f"Tensor.{node.attr}" in FUNCTIONS:
                self._refuse(node, f"`{node.attr}` is a method: call it, `.{node.attr}(…)`.")
            known = sorted(TENSOR_ATTRIBUTES | PAIR_ATTRIBUTES)
            hint = did_you_mean(node.attr, known) or f" can't be read; there are {', '.join(known)}."
            self._refuse(node, f"`.{node.attr}`{hint}")
        return Attribute(spot, self._expression(node.value), node.attr)

    def _own(self, node: ast.Attribute, spot: Spot) -> Expression:
        """`self.training`, `self.scale`, `self.emb.weight`."""
        if isinstance(node.value, ast.Name):
            if node.attr == "training":
                return Training(spot)
            if node.attr in self._spec.parameters:
                return OwnTensor(spot, Members((), "self"), node.attr)
            if node.attr in self._spec.submodules:
                self._refuse(
                    node,
                    f"Call it, `self.{node.attr}(…)`, or read a parameter, as in `self.{node.attr}.weight`.",
                )
            self._refuse(node, no_member(node.attr, self._spec))
        members, owner = self._scope.resolve(node.value)
        if not isinstance(owner, LayerSpec) and not (
            isinstance(owner, ModuleSpec) and node.attr in owner.parameters
        ):
            self._refuse(
                node, f"`{node.attr}` is no parameter: a submodule is called, a layer's parameter is read."
            )
        if node.attr.startswith("__"):
            self._refuse(node, "This is not a parameter.")
        return OwnTensor(spot, members, node.attr)

    def _call(self, node: ast.Call) -> Expression:
        spot, called = self._text.spot(node), node.func
        if isinstance(called, ast.Name):
            if called.id == "float" and _infinity(node) is not None:
                return Literal(spot, _infinity(node), f'float("{_infinity(node)}")')
            if called.id in self._assigned or called.id not in FUNCTIONS:
                self._refuse(node, self._unknown(called.id, [name for name in FUNCTIONS if "." not in name]))
            return self._function(node, FUNCTIONS[called.id], ())
        if not isinstance(called, ast.Attribute | ast.Subscript):
            self._refuse(node, self._not_callable(called))
        name = global_name(called)
        if name is not None:
            if name not in FUNCTIONS:
                self._refuse(node, self._unknown(name, FUNCTIONS))
            return self._function(node, FUNCTIONS[name], ())
        if begins_at_self(called):
            return self._self_call(node, called, spot)
        if isinstance(called, ast.Subscript):
            self._refuse(node, "Only submodules, functions and methods can be called.")
        return self._method(node, called)

    def _not_callable(self, called: ast.expr) -> str:
        if isinstance(called, ast.Call):
            return self._unknown(global_name(called.func) or "", ())
        return "Only submodules, functions and methods can be called."

    def _self_call(self, node: ast.Call, called: ast.Attribute | ast.Subscript, spot: Spot) -> Expression:
        # `self.scale.exp()` is a method of a parameter, `self.hidden(x)` a submodule.
        if isinstance(called, ast.Attribute) and self._scope.is_tensor(called.value):
            return self._method(node, called)
        members, _ = self._scope.resolve(called)
        return Submodule(spot, members, self._arguments(node, ()))

    def _method(self, node: ast.Call, called: ast.Attribute) -> Expression:
        function = FUNCTIONS.get(f"Tensor.{called.attr}")
        if function is None:
            if called.attr.endswith("_") and f"Tensor.{called.attr[:-1]}" in FUNCTIONS:
                plain = called.attr[:-1]
                self._refuse(node, f"Nothing is changed in place: write `x = x.{plain}(…)`.")
            methods = [name.removeprefix("Tensor.") for name in FUNCTIONS if name.startswith("Tensor.")]
            hint = did_you_mean(called.attr, methods) or " is not a method that is offered."
            self._refuse(node, f"`.{called.attr}`{hint}")
        return self._function(node, function, (self._expression(called.value),))

    def _function(self, node: ast.Call, function: Function, first: tuple[Expression, ...]) -> Call:
        arguments = self._arguments(node, first)
        shown = f"It is `{function.name}({function.signature})`."
        for name in arguments.named:
            if name not in function.parameters:
                hint = did_you_mean(name, function.parameters) or f" is no argument here. {shown}"
                self._refuse(node, f"`{name}`{hint}")
        if not function.variadic and len(arguments.positional) > function.positional:
            self._refuse(node, f"There are too many arguments. {shown}")
        return Call(self._text.spot(node), function, arguments, guards_of(function))

    def _arguments(self, node: ast.Call, first: tuple[Expression, ...]) -> Arguments:
        named: dict[str, Expression] = {}
        for each in node.keywords:
            if each.arg is None:
                self._refuse(node, "`**` is not offered: name the arguments.")
            named[each.arg] = self._expression(each.value)
        return Arguments((*first, *map(self._item, node.args)), named)

    def _unknown(self, name: str, known: Collection[str]) -> str:
        """What is said of `torch.tahn`: names are near where they belong to the same module."""
        home, _, bare = name.rpartition(".")
        if home in ("nn", "torch.nn"):
            return "Layers are declared under `submodules` and called as `self.<name>(…)`."
        near = [each.rpartition(".")[2] for each in known if each.rpartition(".")[0] == home]
        hint = did_you_mean(bare, near)
        if not name:
            return "What a call returns can't be called."
        if not hint:
            return f"`{name}` is not offered; docs/forward.md lists what is."
        return f"`{name}`{hint.replace('`', f'`{home}.', 1) if home else hint}"

    def _item(self, node: ast.expr) -> Expression | Spread:
        if isinstance(node, ast.Starred):
            return Spread(self._text.spot(node), self._expression(node.value))
        return self._expression(node)

    def _display(self, node: ast.Tuple | ast.List) -> Display:
        kind = list if isinstance(node, ast.List) else tuple
        return Display(self._text.spot(node), tuple(map(self._item, node.elts)), kind)

    def _binary(self, node: ast.BinOp) -> Operation:
        operator = BINARY.get(type(node.op).__name__)
        if operator is None:
            self._refuse(node, "This operator is not offered.")
        operands = (self._expression(node.left), self._expression(node.right))
        return Operation(self._text.spot(node), operator, operands)

    def _unary(self, node: ast.UnaryOp) -> Operation:
        operator = UNARY.get(type(node.op).__name__)
        if operator is None:
            self._refuse(node, "Write `~mask` for the opposite of a tensor of truth values.")
        return Operation(self._text.spot(node), operator, (self._expression(node.operand),))

    def _compare(self, node: ast.Compare) -> Operation:
        operator = BINARY.get(type(node.ops[0]).__name__)
        if operator is None:
            self._refuse(node, "`in`, `is` and their like are not offered.")
        if len(node.ops) > 1:
            self._refuse(node, "Comparisons don't chain: write `(a < x) & (x < b)`.")
        operands = (self._expression(node.left), self._expression(node.comparators[0]))
        return Operation(self._text.spot(node), operator, operands)

    def _subscript(self, node: ast.Subscript) -> Expression:
        spot = self._text.spot(node)
        if begins_at_self(node) and not self._scope.is_tensor(node.value):
            self._refuse(node, "Call it, as in `self.body[0](x)`, or read a parameter.")
        return Subscript(spot, self._expression(node.value), self._index(node.slice))

    def _index(self, node: ast.expr) -> Expression:
        if isinstance(node, ast.Slice):
            bounds = (self._bound(node.lower), self._bound(node.upper), self._bound(node.step))
            return Slice(self._text.spot(node), bounds)
        if isinstance(node, ast.Tuple):
            return Display(self._text.spot(node), tuple(map(self._index, node.elts)), tuple)
        return self._expression(node)

    def _bound(self, node: ast.expr | None) -> Expression | None:
        return None if node is None else self._expression(node)


_EXPRESSIONS: Mapping[type[ast.expr], Callable[[_Reader, Any], Expression]] = {
    ast.Constant: _Reader._constant,
    ast.Name: _Reader._variable,
    ast.Attribute: _Reader._attribute,
    ast.Call: _Reader._call,
    ast.Tuple: _Reader._display,
    ast.List: _Reader._display,
    ast.BinOp: _Reader._binary,
    ast.UnaryOp: _Reader._unary,
    ast.Compare: _Reader._compare,
    ast.Subscript: _Reader._subscript,
}


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _infinity(node: ast.Call) -> float | None:
    """The value of `float("-inf")`, as masks are written."""
    if len(node.args) != 1 or node.keywords or not isinstance(node.args[0], ast.Constant):
        return None
    written = node.args[0].value
    return {"inf": math.inf, "-inf": -math.inf}.get(written) if isinstance(written, str) else None
