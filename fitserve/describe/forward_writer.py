"""Forward texts of traced modules, one line per operation."""

import inspect
import keyword
import math
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from fitserve.describe.aliases import (
    IN_PLACE_OPERATORS,
    change_is_visible,
    changes_in_place,
    new_tensor_method,
)
from fitserve.describe.errors import NotDescribable
from fitserve.describe.functions import (
    CONSTANTS,
    PAIR_ATTRIBUTES,
    RESERVED_NAMES,
    TENSOR_ATTRIBUTES,
    TENSOR_FUNCTIONS,
    Function,
)
from fitserve.describe.initial_values import buffer_expression
from fitserve.describe.tracing import TRAINING_MODE

SYMBOLS: Mapping[Any, str] = {
    operator.add: "{} + {}",
    operator.sub: "{} - {}",
    operator.mul: "{} * {}",
    operator.truediv: "{} / {}",
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
# Names by function, which is what a torch.fx node refers to. Methods appear there by name.
NAMES: Mapping[Any, str] = {
    function.target: name for name, function in TENSOR_FUNCTIONS.items() if not name.startswith("Tensor.")
}
# Arguments that torch.fx records and the grammar does not accept: omitted if they have these values.
DEFAULTS: Mapping[str, Any] = {"inplace": False, "return_indices": False, "_stacklevel": 3, "dtype": None}
# Methods that move a tensor to a device, which a job chooses.
MOVING = frozenset({"cpu", "cuda"})


def is_described_as_sequential(module: nn.Module) -> bool:
    """Return whether the spec of a module is a `sequential`, whose layers a forward text can index."""
    if any(value is not None for value in (*module._parameters.values(), *module._buffers.values())):
        return False
    # The service's own subclass of nn.Sequential has the attribute `described_as`.
    return getattr(type(module), "described_as", None) == "sequential" or (
        isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        and type(module).forward in (nn.Sequential.forward, nn.Module.forward)
    )


def forward_text(
    graph: fx.Graph, module: nn.Module, path: str, omitted: Mapping[str, frozenset[str]]
) -> tuple[list[str], str]:
    """Write a traced graph as a forward text.

    Args:
        graph: Graph of one call of `forward`.
        module: Traced module.
        path: Location of the module, for messages.
        omitted: Names of the arguments that calls of a submodule leave out, by the path of the submodule: its
            own text has their values.

    Returns:
        Names of the inputs, and the text.

    Raises:
        NotDescribable: If the graph has an operation that the grammar does not have.
    """
    return _Writer(module, path, omitted).write(graph)


def call_arguments(node: fx.Node, called: nn.Module) -> dict[str, Any]:
    """Return the arguments of a call of a submodule by the names that its `forward` gives them.

    Args:
        node: The call.
        called: The submodule.
    """
    signature = inspect.signature(type(called).forward)
    bound = signature.bind(called, *node.args, **node.kwargs)
    return dict(list(bound.arguments.items())[1:])


class _Writer:
    def __init__(self, module: nn.Module, path: str, omitted: Mapping[str, frozenset[str]]) -> None:
        self._module = module
        self._path = path
        self._omitted = omitted
        self._names: dict[fx.Node, str] = {}

    def write(self, graph: fx.Graph) -> tuple[list[str], str]:
        inputs: list[str] = []
        lines: list[str] = []
        for node in graph.nodes:
            if node.op == "output":
                lines.append(f"return {self._value(node.args[0])}")
                break
            if node.op == "placeholder":
                self._names[node] = self._name(node.target)
                inputs.append(self._names[node])
                continue
            if changes_in_place(node) and change_is_visible(node, self._module):
                raise NotDescribable(
                    f"{self._path}: `{_called(node)}` changes a tensor in place that is read elsewhere, too;"
                    " write the operation without it."
                )
            written = self._operation(node)
            if node.op == "get_attr" or written in self._names.values():
                self._names[node] = written
                continue
            self._names[node] = self._name(node.name)
            lines.append(f"{self._names[node]} = {written}")
        if not inputs:
            raise NotDescribable(f"{self._path}: its forward has no input.")
        return inputs, "\n".join(lines)

    def _name(self, wanted: str) -> str:
        name = wanted.lstrip("_") or "x"
        taken = {*self._names.values(), *RESERVED_NAMES}
        while name in taken:
            name += "_"
        return name

    def _operation(self, node: fx.Node) -> str:
        if node.op == "get_attr":
            return self._tensor(str(node.target))
        if node.op == "call_module":
            return self._submodule_call(node)
        if node.op == "call_method":
            tensor, *others = node.args
            if node.target in MOVING or (node.target == "to" and _is_device(*others, **node.kwargs)):
                return self._value(tensor)
            name = new_tensor_method(node)
            method = TENSOR_FUNCTIONS.get(f"Tensor.{name}")
            if method is None:
                raise NotDescribable(f"{self._path}: the grammar has no method `{node.target}`.")
            self._check_arguments(method, len(node.args), node.kwargs)
            return f"{self._value(tensor)}.{name}({self._arguments(others, node.kwargs)})"
        return self._function(node)

    def _submodule_call(self, node: fx.Node) -> str:
        target = str(node.target)
        called = self._submodule(target)
        omitted = self._omitted.get(target)
        if not omitted:
            return f"{called}({self._arguments(node.args, node.kwargs)})"
        arguments = call_arguments(node, self._module.get_submodule(target))
        kept = {name: value for name, value in arguments.items() if name not in omitted}
        return f"{called}({self._arguments((), kept)})"

    def _function(self, node: fx.Node) -> str:
        target: Any = IN_PLACE_OPERATORS.get(node.target, node.target)
        if target in SYMBOLS:
            return SYMBOLS[target].format(*map(self._operand, node.args))
        if target is operator.getitem:
            return f"{self._value(node.args[0])}[{self._index(node.args[1])}]"
        if target is getattr:
            if node.args[1] not in TENSOR_ATTRIBUTES | PAIR_ATTRIBUTES:
                raise NotDescribable(f"{self._path}: the grammar has no attribute `{node.args[1]}`.")
            return f"{self._value(node.args[0])}.{node.args[1]}"
        name = NAMES.get(target)
        if name is None:
            raise NotDescribable(f"{self._path}: the grammar has no function `{_called(node)}`.")
        function = TENSOR_FUNCTIONS[name]
        accepted = function.parameters
        given = {
            key: value
            for key, value in node.kwargs.items()
            if key in accepted or key not in DEFAULTS or value != DEFAULTS[key]
        }
        given.pop("inplace", None)  # no other operation reads the tensor that it would overwrite
        if isinstance(given.get("device"), torch.device | str):
            del given["device"]
        given = self._without_defaults(target, given, accepted)
        self._check_arguments(function, len(node.args), given)
        return f"{name}({self._arguments(node.args, given)})"

    def _check_arguments(self, function: Function, positional: int, named: Mapping[str, Any]) -> None:
        """Refuse arguments that the table of functions does not have."""
        unknown = [name for name in named if name not in function.parameters]
        if unknown or (not function.variadic and positional > function.positional):
            extra = f"argument `{unknown[0]}`" if unknown else f"{positional} arguments"
            raise NotDescribable(
                f"{self._path}: `{function.name}` is called with {extra}; the grammar has"
                f" `{function.name}({function.signature})`."
            )

    def _without_defaults(
        self, target: Any, given: Mapping[str, Any], accepted: tuple[str, ...]
    ) -> dict[str, Any]:
        """Remove the arguments that the table does not have and that equal their defaults."""
        try:
            parameters = inspect.signature(target).parameters
        except (ValueError, TypeError):
            return dict(given)
        return {
            key: value
            for key, value in given.items()
            if key in accepted or key not in parameters or parameters[key].default != value
        }

    def _submodule(self, target: str) -> str:
        """Write a path such as `blocks.0.fc` as `self.blocks[0].fc`."""
        written, module = "self", self._module
        for name in target.split("."):
            is_attribute = name.isidentifier() and not keyword.iskeyword(name)
            if is_described_as_sequential(module) and not is_attribute:
                # An index is a position, not a key: a ModuleDict may have the key "1" at position 0.
                written += f"[{list(module._modules).index(name)}]"
            else:
                written += f".{name}"
            module = module.get_submodule(name)
        return written

    def _tensor(self, target: str) -> str:
        """Write the access to a parameter of the module or to a tensor of one of its layers."""
        owner, _, name = target.rpartition(".")
        tensor = _attribute(self._module, target)
        if not isinstance(tensor, Tensor):
            raise NotDescribable(f"{self._path}: its forward passes the submodule `{target}` on as a value.")
        if name in self._module.get_submodule(owner)._non_persistent_buffers_set:
            # A spec saves all buffers that it declares.
            return self._unsaved(tensor, target)
        if isinstance(self._module.get_submodule(owner), nn.ParameterList | nn.ParameterDict):
            return f"{self._submodule(owner)}[{name if name.isdecimal() else repr(name)}]"
        return f"{self._submodule(owner)}.{name}" if owner else f"self.{name}"

    def _unsaved(self, tensor: Tensor, target: str) -> str:
        text = buffer_expression(tensor)
        if text is None:
            raise NotDescribable(
                f"{self._path}: `{target}` is a buffer of {tensor.numel()} numbers that is not saved, and no"
                " short expression gives them."
            )
        return text

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
        if value is TRAINING_MODE:
            return repr(value)
        if isinstance(value, torch.dtype):
            names = [name for name, constant in CONSTANTS.items() if constant is value]
            if not names:
                raise NotDescribable(f"{self._path}: the grammar has no dtype `{value}`.")
            return names[0]
        if isinstance(value, float) and not math.isfinite(value):
            if math.isnan(value):
                raise NotDescribable(f"{self._path}: the grammar has no value `nan`.")
            return "math.inf" if value > 0 else "-math.inf"
        if isinstance(value, tuple | list):
            return self._display(value)
        if value is ... or value is None or isinstance(value, bool | int | float | str):
            return "..." if value is ... else repr(value)
        raise NotDescribable(f"{self._path}: the grammar has no values of the type `{_type_name(value)}`.")

    def _display(self, values: tuple[Any, ...] | list[Any]) -> str:
        inner = ", ".join(map(self._value, values))
        if isinstance(values, list):
            return f"[{inner}]"
        return f"({inner},)" if len(values) == 1 else f"({inner})"


def _called(node: fx.Node) -> str:
    return getattr(node.target, "__name__", str(node.target))


def _is_device(*positional: Any, **named: Any) -> bool:
    """Return whether the arguments of `x.to` name a device only."""
    values = [*positional, *(named[name] for name in named if name == "device")]
    options = named.keys() - {"device", "non_blocking"}
    return not options and len(values) == 1 and isinstance(values[0], torch.device | str)


def _attribute(module: nn.Module, target: str) -> Any:
    owner, _, name = target.rpartition(".")
    return getattr(module.get_submodule(owner), name)


def _type_name(value: Any) -> str:
    return type(value).__name__.removeprefix("immutable_")  # the containers of a graph
