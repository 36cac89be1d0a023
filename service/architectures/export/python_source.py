"""Export of an architecture as Python source, as one would write it by hand.

The source is printed from the graph, never copied from the client's text, and the service never executes it.
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
LOADING = """# To load the trained parameters, download the job's model in the format `safetensors`:
# model.load_state_dict(safetensors.torch.load_file("model.safetensors"), strict=True)
"""
# Definition of the class that `service.architectures.build` uses around layers such as LSTM.
SEQUENTIAL_CLASS = '''class Sequential(nn.Sequential):
    """Passes on the first element of a tuple, such as the output of an LSTM."""

    def forward(self, input):
        for module in self:
            output = module(input)
            input = output[0] if isinstance(output, tuple) else output
        return input
'''
# Names that the source uses itself, which a class cannot have.
NAMES_IN_SOURCE = frozenset({"math", "torch", "nn", "F", "OrderedDict", "Sequential", "super"})
DEFAULT_CLASS_NAME = "Model"


def to_source(spec: ArchitectureSpec) -> str:
    """Write the source of an `nn.Module` whose state dict has the same keys and shapes.

    Args:
        spec: A complete architecture, such as the one that `check` returns.
    """
    return _Writer().source(spec)


class _Writer:
    """Writes the classes that an architecture needs, each after the classes that it uses."""

    def __init__(self) -> None:
        # Names of the classes by their definition after the name, so that equal classes are written once.
        self._classes: dict[str, str] = {}
        self._needs_sequential_class = False

    def source(self, spec: ArchitectureSpec) -> str:
        if isinstance(spec, ModuleSpec):
            name = self._module_class(spec)
        else:
            name = self._add_class(DEFAULT_CLASS_NAME, self._sequential_class(spec))
        classes = [SEQUENTIAL_CLASS] if self._needs_sequential_class else []
        classes += [f"class {class_name}({body}" for body, class_name in self._classes.items()]
        code = "\n\n".join(classes)
        blocks = (
            "\n".join(line for used, line in imports.items() if used in code)
            for imports in (STANDARD_IMPORTS, IMPORTS)
        )
        imports = "\n\n".join(filter(None, blocks))
        return f"{imports}\n\n\n{code}\n\nmodel = {name}()\n{LOADING}"

    def _add_class(self, preferred: str, body: str) -> str:
        """Add a class unless an equal one exists.

        Args:
            preferred: Its name; a number is appended if another class has it.
            body: The source after the name and the opening parenthesis.

        Returns:
            The name of the class.
        """
        if body not in self._classes:
            taken, name, number = {*NAMES_IN_SOURCE, *self._classes.values()}, preferred, 2
            while name in taken:
                name, number = f"{preferred}{number}", number + 1
            self._classes[body] = name
        return self._classes[body]

    def _module_class(self, spec: ModuleSpec) -> str:
        graph, errors = read_forward(spec)
        if graph is None:
            raise ValueError(f"The forward text has errors; check the spec before exporting it: {errors}")
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
        return self._add_class(spec.class_name, "\n".join(lines) + "\n")

    def _sequential_class(self, spec: SequentialSpec) -> str:
        lines = [f"{self._sequential_base(spec)}):", f"{INDENT}def __init__(self):"]
        return "\n".join([*lines, f"{INDENT * 2}super().__init__({self._layers(spec, 2)})"]) + "\n"

    def _sequential_base(self, spec: SequentialSpec) -> str:
        if any(map(may_return_tuple, spec.layers)):
            self._needs_sequential_class = True
            return "Sequential"
        return "nn.Sequential"

    def _node(self, node: Node, level: int) -> str:
        if isinstance(node, LayerSpec):
            return _call(node.type, node.arguments())
        if isinstance(node, ModuleSpec):
            return f"{self._module_class(node)}()"
        return f"{self._sequential_base(node)}({self._layers(node, level)})"

    def _layers(self, spec: SequentialSpec, level: int) -> str:
        """Write the layers, one on each line; in an OrderedDict if one of them has a name."""
        if all(node.name is None for node in spec.layers):
            lines = [f"{self._node(node, level + 1)}," for node in spec.layers]
            return "\n".join(["", *_indented(lines, level + 1), INDENT * level])
        named = [
            f"({_quoted(node.name or str(position))}, {self._node(node, level + 2)}),"
            for position, node in enumerate(spec.layers)
        ]
        return "\n".join(["OrderedDict([", *_indented(named, level + 1), f"{INDENT * level}])"])


def _indented(lines: list[str], level: int) -> Iterator[str]:
    return (f"{INDENT * level}{line}" if line else line for line in lines)


def _parameter(name: str, spec: ParameterSpec) -> Iterator[str]:
    yield f"self.{name} = nn.Parameter(torch.empty({tuple(spec.shape)}))"
    arguments = "".join(f", {key}={_value(value)}" for key, value in spec.init.arguments().items())
    yield f"nn.init.{spec.init.type}(self.{name}{arguments})"


def _call(layer: str, arguments: Mapping[str, Any]) -> str:
    """Write the call of a layer's class, with the arguments that differ from their defaults."""
    fields = LAYERS[layer].model.model_fields
    given = {
        name: value
        for name, value in arguments.items()
        if name not in fields or fields[name].is_required() or value != _default(fields[name].default)
    }
    return f"nn.{layer}({', '.join(f'{name}={_value(value)}' for name, value in given.items())})"


def _default(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return _call(value["type"], {name: given for name, given in value.items() if name != "type"})
    if isinstance(value, list | tuple):
        inner = ", ".join(map(_value, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(value: str) -> str:
    """Write a string literal: each escape of JSON is one of Python's."""
    return json.dumps(value, ensure_ascii=False)
