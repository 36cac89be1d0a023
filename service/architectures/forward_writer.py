"""A traced `forward` as a forward text: one line for each operation."""

import inspect
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

from service.architectures.text.functions import CONSTANTS, FUNCTIONS
from service.architectures.text.scope import TAKEN

SYMBOLS: Mapping[Any, str] = {
    operator.add: "{} + {}",
    operator.iadd: "{} + {}",
    operator.sub: "{} - {}",
    operator.isub: "{} - {}",
    operator.mul: "{} * {}",
    operator.imul: "{} * {}",
    operator.truediv: "{} / {}",
    operator.itruediv: "{} / {}",
    operator.floordiv: "{} // {}",
    operator.mod: "{} % {}",
    operator.matmul: "{} @ {}",
    operator.pow: "{} ** {}",
    operator.eq: "{} == {}",
    operator.ne: "{} != {}",
    operator.lt: "{} < {}",
    operator.le: "{} <= {}",
    operator.gt: "{} > {}",
    operator.ge: "{} >= {}",
    operator.and_: "{} & {}",
    operator.or_: "{} | {}",
    operator.xor: "{} ^ {}",
    operator.neg: "-{}",
    operator.invert: "~{}",
}
# By the function itself, as torch.fx meets it.
NAMES: Mapping[Any, str] = {
    function.target: name for name, function in FUNCTIONS.items() if name.startswith(("torch.", "F."))
}
# What torch.fx spells out and the grammar doesn't take: left out where it is the default.
DEFAULTS: Mapping[str, Any] = {"inplace": False, "return_indices": False, "_stacklevel": 3, "dtype": None}


class NotDescribable(ValueError):
    """The module does something that a spec can't say."""


def forward_text(graph: fx.Graph, module: nn.Module, path: str) -> tuple[list[str], str]:
    """The inputs, and the text.

    Raises:
        NotDescribable: at an operation that the grammar doesn't have.
    """
    return _Writer(module, path).write(graph)


class _Writer:
    def __init__(self, module: nn.Module, path: str) -> None:
        self._module = module
        self._path = path
        self._names: dict[fx.Node, str] = {}

    def write(self, graph: fx.Graph) -> tuple[list[str], str]:
        inputs, lines = [], []
        for node in graph.nodes:
            if node.op == "output":
                lines.append(f"return {self._value(node.args[0])}")
                break
            if node.op == "placeholder":
                if node.args or node.target.startswith("*"):
                    raise NotDescribable(f"{self._path}: `{node.target}` is no plain input of forward.")
                self._names[node] = self._name(node.target)
                inputs.append(self._names[node])
                continue
            written = self._operation(node)
            if node.op == "get_attr":
                self._names[node] = written
                continue
            self._names[node] = self._name(node.name)
            lines.append(f"{self._names[node]} = {written}")
        return inputs, "\n".join(lines)

    def _name(self, wanted: str) -> str:
        name = wanted.lstrip("_") or "x"
        taken = {*self._names.values(), *TAKEN}
        while name in taken:
            name += "_"
        return name

    def _operation(self, node: fx.Node) -> str:
        if node.op == "get_attr":
            return self._member(str(node.target))
        if node.op == "call_module":
            return f"{self._member(str(node.target))}({self._arguments(node.args, node.kwargs)})"
        if node.op == "call_method":
            tensor, *others = node.args
            if f"Tensor.{node.target}" not in FUNCTIONS:
                raise NotDescribable(f"{self._path}: the grammar has no method `{node.target}`.")
            return f"{self._value(tensor)}.{node.target}({self._arguments(others, node.kwargs)})"
        return self._function(node)

    def _function(self, node: fx.Node) -> str:
        target: Any = node.target
        if target in SYMBOLS:
            return SYMBOLS[target].format(*map(self._operand, node.args))
        if target is operator.getitem:
            return f"{self._value(node.args[0])}[{self._index(node.args[1])}]"
        if target is getattr:
            return f"{self._value(node.args[0])}.{node.args[1]}"
        name = NAMES.get(target)
        if name is None:
            known = getattr(target, "__name__", str(target))
            raise NotDescribable(f"{self._path}: the grammar has no function `{known}`.")
        taken = FUNCTIONS[name].parameters
        given = {
            key: value
            for key, value in node.kwargs.items()
            if key in taken or key not in DEFAULTS or value != DEFAULTS[key]
        }
        if given.get("inplace") and len(node.all_input_nodes[0].users) == 1:
            del given["inplace"]  # nobody else reads what it would have overwritten
        if "dropout" in name and "training" in given:
            # Tracing has seen the mode of this moment; what was meant is the mode of each.
            written = self._arguments(node.args, {k: v for k, v in given.items() if k != "training"})
            return f"{name}({written}, training=self.training)"
        return f"{name}({self._arguments(node.args, self._needed(target, given, taken))})"

    def _needed(self, target: Any, given: Mapping[str, Any], taken: tuple[str, ...]) -> dict[str, Any]:
        """The arguments without those that the table doesn't have, when they are the defaults."""
        try:
            parameters = inspect.signature(target).parameters
        except (ValueError, TypeError):
            return dict(given)
        return {
            key: value
            for key, value in given.items()
            if key in taken or key not in parameters or parameters[key].default != value
        }

    def _member(self, target: str) -> str:
        """`self.blocks[0].fc` for `blocks.0.fc`."""
        written, here = "self", self._module
        for name in target.split("."):
            written += f"[{name}]" if name.isdigit() else f".{name}"
            here = getattr(here, name)
        return written

    def _arguments(self, positional: Any, named: Mapping[str, Any]) -> str:
        return ", ".join(
            [
                *map(self._value, positional),
                *(f"{name}={self._value(value)}" for name, value in named.items()),
            ]
        )

    def _operand(self, value: Any) -> str:
        written = self._value(value)
        return f"({written})" if written.startswith("-") else written

    def _index(self, value: Any) -> str:
        if isinstance(value, slice):
            parts = ["" if part is None else self._value(part) for part in (value.start, value.stop)]
            return ":".join(parts if value.step is None else [*parts, self._value(value.step)])
        if isinstance(value, tuple):
            return ", ".join(map(self._index, value)) + ("," if len(value) == 1 else "")
        return self._value(value)

    def _value(self, value: Any) -> str:
        if isinstance(value, fx.Node):
            return self._names[value]
        if isinstance(value, torch.dtype):
            return next(name for name, constant in CONSTANTS.items() if constant is value)
        if isinstance(value, float) and value in (float("inf"), float("-inf")):
            return "math.inf" if value > 0 else "-math.inf"
        if isinstance(value, tuple | list):
            return self._display(value)
        if value is ... or value is None or isinstance(value, bool | int | float | str):
            return "..." if value is ... else repr(value)
        raise NotDescribable(f"{self._path}: the grammar has no value like {value!r}.")

    def _display(self, values: tuple[Any, ...] | list[Any]) -> str:
        inner = ", ".join(map(self._value, values))
        if isinstance(values, list):
            return f"[{inner}]"
        return f"({inner},)" if len(values) == 1 else f"({inner})"
