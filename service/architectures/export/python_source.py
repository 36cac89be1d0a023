"""An architecture as Python source: what one would have written by hand, for the client to read and run.

Written from our own graph, never from the client's text, and never executed by the service.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from service.architectures.build import may_return_tuple
from service.architectures.layers import LAYERS
from service.architectures.text.grammar import read_forward
from service.specs.architecture import (
    ArchitectureSpec,
    LayerSpec,
    ModuleSpec,
    Node,
    ParameterSpec,
    SequentialSpec,
)

INDENT = "    "
STANDARD_IMPORTS = {"math.": "import math", "OrderedDict(": "from collections import OrderedDict"}
IMPORTS = {
    "torch.": "import torch",
    "nn.": "from torch import nn",
    "F.": "from torch.nn import functional as F",
}
LOADING = """# Its trained values are the job's model in the format `safetensors`:
# model.load_state_dict(safetensors.torch.load_file("model.safetensors"), strict=True)
"""
FIRST_OF_TUPLE = '''class Sequential(nn.Sequential):
    """Passes on the first element of a tuple, such as an LSTM returns."""

    def forward(self, input):
        for module in self:
            output = module(input)
            input = output[0] if isinstance(output, tuple) else output
        return input
'''
# Names that the source uses itself.
TAKEN = frozenset({"math", "torch", "nn", "F", "OrderedDict", "Sequential"})
ROOT = "Model"


def to_source(spec: ArchitectureSpec) -> str:
    """The source of an `nn.Module` subclass with the same names, so that it loads the same state strictly.

    Args:
        spec: a complete architecture, as `check` returns it.
    """
    return _Writer().source(spec)


class _Writer:
    """Writes the classes that an architecture needs, inner ones first."""

    def __init__(self) -> None:
        self._classes: dict[str, str] = {}  # by what follows the class's name, each once
        self._needs_first_of_tuple = False

    def source(self, spec: ArchitectureSpec) -> str:
        if isinstance(spec, ModuleSpec):
            name = self._module_class(spec)
        else:
            name = self._add(ROOT, self._sequential_class(spec))
        classes = [FIRST_OF_TUPLE] if self._needs_first_of_tuple else []
        classes += [f"class {known}({body}" for body, known in self._classes.items()]
        code = "\n\n".join(classes)
        blocks = (
            "\n".join(line for used, line in imports.items() if used in code)
            for imports in (STANDARD_IMPORTS, IMPORTS)
        )
        imports = "\n\n".join(filter(None, blocks))
        return f"{imports}\n\n\n{code}\n\nmodel = {name}()\n{LOADING}"

    def _add(self, wanted: str, body: str) -> str:
        """The name of the class that has this body; another body of the same name gets a number."""
        if body not in self._classes:
            known, name, number = {*TAKEN, *self._classes.values()}, wanted, 2
            while name in known:
                name, number = f"{wanted}{number}", number + 1
            self._classes[body] = name
        return self._classes[body]

    def _module_class(self, spec: ModuleSpec) -> str:
        graph, refused = read_forward(spec)
        if graph is None:
            raise ValueError(f"The forward text was not checked: {refused}")
        members = [
            *(line for name, parameter in spec.parameters.items() for line in _parameter(name, parameter)),
            *(f"self.{name} = {self._node(node, 2)}" for name, node in spec.submodules.items()),
        ]
        arguments = ", ".join(("self", *graph.inputs))
        lines = [
            "nn.Module):",
            f"{INDENT}def __init__(self):",
            *_indented(["super().__init__()", *members], 2),
            "",
            f"{INDENT}def forward({arguments}):",
            *_indented(str(graph).splitlines(), 2),
        ]
        return self._add(spec.class_name, "\n".join(lines) + "\n")

    def _sequential_class(self, spec: SequentialSpec) -> str:
        lines = [f"{self._sequential_base(spec)}):", f"{INDENT}def __init__(self):"]
        return "\n".join([*lines, f"{INDENT * 2}super().__init__({self._layers(spec, 2)})"]) + "\n"

    def _sequential_base(self, spec: SequentialSpec) -> str:
        if any(map(may_return_tuple, spec.layers)):
            self._needs_first_of_tuple = True
            return "Sequential"
        return "nn.Sequential"

    def _node(self, node: Node, level: int) -> str:
        if isinstance(node, LayerSpec):
            return _call(node.type, node.arguments())
        if isinstance(node, ModuleSpec):
            return f"{self._module_class(node)}()"
        return f"{self._sequential_base(node)}({self._layers(node, level)})"

    def _layers(self, spec: SequentialSpec, level: int) -> str:
        """The layers, one a line; by an OrderedDict where any has a name of its own."""
        if all(node.name is None for node in spec.layers):
            lines = [f"{self._node(node, level + 1)}," for node in spec.layers]
            return "\n".join(["", *_indented(lines, level + 1), INDENT * level])
        named = [
            f"({_text(node.name or str(position))}, {self._node(node, level + 2)}),"
            for position, node in enumerate(spec.layers)
        ]
        return "\n".join(["OrderedDict([", *_indented(named, level + 1), f"{INDENT * level}])"])


def _indented(lines: list[str], level: int) -> Iterator[str]:
    return (f"{INDENT * level}{line}" if line else line for line in lines)


def _parameter(name: str, spec: ParameterSpec) -> Iterator[str]:
    yield f"self.{name} = nn.Parameter(torch.empty({tuple(spec.shape)}))"
    arguments = "".join(f", {key}={_value(value)}" for key, value in spec.init.arguments().items())
    yield f"nn.init.{spec.init.type}(self.{name}{arguments})"


def _call(kind: str, arguments: Mapping[str, Any]) -> str:
    """A constructor with the arguments that are not its defaults."""
    fields = LAYERS[kind].model.model_fields
    given = {
        name: value
        for name, value in arguments.items()
        if name not in fields or fields[name].is_required() or value != _default(fields[name].default)
    }
    return f"nn.{kind}({', '.join(f'{name}={_value(value)}' for name, value in given.items())})"


def _default(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return _call(value["type"], {name: given for name, given in value.items() if name != "type"})
    if isinstance(value, list | tuple):
        inner = ", ".join(map(_value, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(value: str) -> str:
    """A string between double quotes, whatever it holds."""
    return json.dumps(value, ensure_ascii=False)
