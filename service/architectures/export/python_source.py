"""Export of an architecture as Python source, as one would write it by hand.

The source is printed from the graph, never copied from the client's text, and the service never executes it.
"""

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from service.architectures.build import ROOT, children, has_class, may_return_tuple
from service.architectures.classes import program_of
from service.architectures.layers import LAYERS
from service.architectures.text.forward import read_formula, read_forward
from service.architectures.text.program import needed_text, top_level_names
from service.specs.architecture import (
    ArchitectureSpec,
    ClassSpec,
    LayerSpec,
    ModuleSpec,
    Node,
    ParameterSpec,
    SequentialSpec,
)

INDENT = "    "
STANDARD_IMPORTS = {
    "np.": "import numpy as np",
    "math.": "import math",
    "OrderedDict(": "from collections import OrderedDict",
    "SimpleNamespace(": "from types import SimpleNamespace",
}
IMPORTS = {
    "np.": "import numpy as np",
    "torch.": "import torch",
    "nn.": "from torch import nn",
    "F.": "from torch.nn import functional as F",
    "init.": "from torch.nn import init",
}
# A class may draw values that are not part of its state, some of them where it is defined.
SEEDED = """
random_state = torch.get_rng_state()
torch.manual_seed({seed})  # as in the training, for values that are not part of the state

"""
RESTORED = "torch.set_rng_state(random_state)\n"
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
# Definition of the function that applies `initial` of a layer.
INITIALIZED_FUNCTION = '''def initialized(layer, functions):
    """Initialize parameters by functions of nn.init: {parameter: (function, arguments)}."""
    for name, (function, arguments) in functions.items():
        function(layer.get_parameter(name), **arguments)
    return layer
'''
# Objects among the arguments of the text of a class.
ARGUMENTS_CLASS = '''class Arguments(dict):
    """An object that is read by key or by attribute."""

    __getattr__ = dict.__getitem__
'''
FUTURE = "from __future__ import annotations\n"
# Names that the source uses itself, which a class cannot have.
NAMES_IN_SOURCE = frozenset(
    {
        "math",
        "torch",
        "nn",
        "F",
        "OrderedDict",
        "SimpleNamespace",
        "Arguments",
        "Sequential",
        "initialized",
        "random_state",
        "super",
    }
)
FROZEN = ".requires_grad_(False)"
DEFAULT_CLASS_NAME = "Model"


def to_source(spec: ArchitectureSpec, seed: int | None = None) -> str:
    """Write the source of an `nn.Module` whose state dict has the same keys and shapes.

    Args:
        spec: A complete architecture, such as the one that `check` returns.
        seed: The seed for random values of classes that are not part of the state dict, such as plain
            tensors; None to leave them to the global generator.
    """
    return _Writer().source(spec, seed if has_class(spec) else None)


class _Writer:
    """Writes the classes that an architecture needs, each after the classes that it uses."""

    def __init__(self) -> None:
        # Names of the classes by their definition after the name, so that equal classes are written once.
        self._classes: dict[str, str] = {}
        self._needs_sequential_class = False
        # Texts of classes as they are written here, by the text that was sent.
        self._texts: dict[str, str] = {}
        self._prefixes: dict[str, str] = {}
        self._names: dict[str, list[str | None]] = {}  # of the classes that are constructed, by text
        self._taken = set(NAMES_IN_SOURCE)
        self._has_future = False
        self._nesting = 0  # of the modules around the current one
        self._needs_arguments_class = False
        self._needs_initialized_function = False

    def source(self, spec: ArchitectureSpec, seed: int | None) -> str:
        for each in _class_specs(spec):
            self._names.setdefault(each.source, []).append(each.class_name)
        if isinstance(spec, ClassSpec):
            made = self._class(spec)
        elif isinstance(spec, ModuleSpec):
            made = f"{self._module_class(spec)}()"
        else:
            made = f"{self._add_class(DEFAULT_CLASS_NAME, self._sequential_class(spec))}()"
        classes = [INITIALIZED_FUNCTION] if self._needs_initialized_function else []
        classes += [ARGUMENTS_CLASS] if self._needs_arguments_class else []
        classes += [*self._texts.values(), *([SEQUENTIAL_CLASS] if self._needs_sequential_class else [])]
        classes += [f"class {class_name}({body}" for body, class_name in self._classes.items()]
        code = "\n\n".join(classes)
        before, after = ("", "") if seed is None else (SEEDED.format(seed=seed), RESTORED)
        blocks = (
            "\n".join(line for used, line in imports.items() if used in before + code)
            for imports in (STANDARD_IMPORTS, IMPORTS)
        )
        imports = "\n\n".join(filter(None, blocks))
        first = FUTURE if self._has_future else ""
        frozen = "" if spec.trainable else FROZEN
        return f"{first}{imports}\n\n{before}\n{code}\n\nmodel = {made}{frozen}\n{after}{LOADING}"

    def _add_class(self, preferred: str, body: str) -> str:
        """Add a class unless an equal one exists.

        Args:
            preferred: Its name; a number is appended if another class has it.
            body: The source after the name and the opening parenthesis.

        Returns:
            The name of the class.
        """
        if body not in self._classes:
            taken, name, number = {*self._taken, *self._classes.values()}, preferred, 2
            while name in taken:
                name, number = f"{preferred}{number}", number + 1
            self._classes[body] = name
            self._taken.add(name)
        return self._classes[body]

    def _class(self, spec: ClassSpec) -> str:
        """Add the text of a class, and return the call that makes the module."""
        if spec.source not in self._texts:
            needed = needed_text(spec.source, self._names[spec.source])
            self._texts[spec.source] = self._text(spec.source, needed)
        prefix = self._prefixes.get(spec.source, "")
        arguments = ", ".join(f"{name}={self._argument(value)}" for name, value in spec.arguments.items())
        return f"{prefix}{program_of(spec).class_name}({arguments})"

    def _text(self, source: str, needed: str) -> str:
        """Return a text as it stands in the file; one whose names are taken becomes a namespace.

        Args:
            source: The text as it was sent.
            needed: What its classes need of it.
        """
        if FUTURE in needed:  # it must stand first in a file
            self._has_future = True
        source_here = needed.replace(FUTURE, "")
        names = top_level_names(needed)
        if not names & self._taken:
            self._taken |= names
            return source_here.strip("\n") + "\n"
        namespace = f"Text{len(self._texts) + 1}"
        self._prefixes[source] = f"{namespace}."
        body = "\n".join(_indented(ast.unparse(ast.parse(source_here)).splitlines(), 1))
        return (
            f"def _{namespace.lower()}():\n{body}\n{INDENT}return SimpleNamespace(**locals())\n\n\n"
            f"{namespace} = _{namespace.lower()}()\n"
        )

    def _argument(self, value: Any) -> str:
        """Write an argument of a class; an object can be read by key and by attribute."""
        if isinstance(value, dict):
            self._needs_arguments_class = True
            inner = ", ".join(f"{_quoted(key)}: {self._argument(each)}" for key, each in value.items())
            return f"Arguments({{{inner}}})"
        if isinstance(value, list):
            return f"[{', '.join(map(self._argument, value))}]"
        return _quoted(value) if isinstance(value, str) else repr(value)

    def _module_class(self, spec: ModuleSpec) -> str:
        text, errors = read_forward(spec)
        if text is None:
            raise ValueError(f"The forward text has errors; check the spec before exporting it: {errors}")
        is_outermost = not self._nesting
        self._nesting += 1
        members = [
            *(f"self.{name} = {_constant(value)}" for name, value in spec.constants.items()),
            *(
                line
                for name, parameter in spec.parameters.items()
                for line in _parameter(name, parameter, spec.parameters)
            ),
            *(_buffer(name, text, spec.constants) for name, text in spec.buffers.items()),
            *(
                line
                for name, node in spec.submodules.items()
                for line in _member(name, self._node(node, 2), "Module", spec.submodules)
            ),
        ]
        self._nesting -= 1
        arguments = ", ".join(("self", *text.inputs))
        # The caller of the model keeps its tensors, as data keeps its values here.
        copies = [f"{name} = {name}.clone()" for name in text.inputs if is_outermost and updates_inputs(spec)]
        lines = [
            "nn.Module):",
            f"{INDENT}def __init__(self):",
            *_indented(["super().__init__()", *members], 2),
            "",
            f"{INDENT}def forward({arguments}):",
            *_indented([*copies, *str(text).splitlines()], 2),
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
        frozen = "" if node.trainable else FROZEN
        if isinstance(node, ClassSpec):
            return f"{self._class(node)}{frozen}"
        if isinstance(node, LayerSpec):
            return f"{self._layer(node)}{frozen}"
        if isinstance(node, ModuleSpec):
            return f"{self._module_class(node)}(){frozen}"
        return f"{self._sequential_base(node)}({self._layers(node, level)}){frozen}"

    def _layer(self, node: LayerSpec) -> str:
        layer = _call(node.type, node.arguments())
        if not node.initial:
            return layer
        self._needs_initialized_function = True
        functions = {}
        for name, init in node.initial.items():
            arguments = {key: _value(value) for key, value in init.arguments().items()}
            functions[name] = f"(nn.init.{init.type}, {_dictionary(arguments)})"
        return f"initialized({layer}, {_dictionary(functions)})"

    def _layers(self, spec: SequentialSpec, level: int) -> str:
        """Write the layers, one on each line; in an OrderedDict if one of them has a name."""
        if not spec.layers:
            return ""
        if all(node.name is None for node in spec.layers):
            lines = [f"{self._node(node, level + 1)}," for node in spec.layers]
            return "\n".join(["", *_indented(lines, level + 1), INDENT * level])
        named = [
            f"({_quoted(node.name or str(position))}, {self._node(node, level + 2)}),"
            for position, node in enumerate(spec.layers)
        ]
        return "\n".join(["OrderedDict([", *_indented(named, level + 1), f"{INDENT * level}])"])


def _class_specs(spec: Node) -> Iterator[ClassSpec]:
    """Iterate over the classes in an architecture."""
    if isinstance(spec, ClassSpec):
        yield spec
    elif not isinstance(spec, LayerSpec):
        for _, node, _ in children(spec, ROOT):
            yield from _class_specs(node)


def updates_inputs(spec: Node) -> bool:
    """Return whether a text inside of a node has a statement `x += …` of an input."""
    if isinstance(spec, SequentialSpec):
        return any(map(updates_inputs, spec.layers))
    if not isinstance(spec, ModuleSpec):
        return False
    text, _ = read_forward(spec)
    assert text is not None
    return text.updates_inputs or any(map(updates_inputs, spec.submodules.values()))


def _indented(lines: list[str], level: int) -> Iterator[str]:
    return (f"{INDENT * level}{line}" if line else line for line in lines)


def _buffer(name: str, text: str, constants: Mapping[str, Any]) -> str:
    formula, errors = read_formula(text, constants)
    if formula is None:
        raise ValueError(f"The buffer has errors; check the spec before exporting it: {errors}")
    return f"self.register_buffer({_quoted(name)}, {formula})"


def _member(name: str, value: str, kind: str, siblings: Iterable[str]) -> Iterator[str]:
    """Write the statements that create a submodule or parameter, also as the entry of a list or dict.

    Args:
        name: Name of the member: `scale`, `weights.0` or `heads.price`.
        value: The expression that makes it.
        kind: `Module` or `Parameter`.
        siblings: Names of all members of the kind, in order.
    """
    owner, dot, key = name.partition(".")
    if not dot:
        yield f"self.{name} = {value}"
        return
    if next(each for each in siblings if each.startswith(f"{owner}.")) == name:
        yield f"self.{owner} = nn.{kind}{'List' if key.isdigit() else 'Dict'}()"
    yield f"self.{owner}.append({value})" if key.isdigit() else f"self.{owner}[{_quoted(key)}] = {value}"


def _parameter(name: str, spec: ParameterSpec, siblings: Iterable[str]) -> Iterator[str]:
    frozen = "" if spec.trainable else ", requires_grad=False"
    made = f"nn.Parameter(torch.empty({tuple(spec.shape)}){frozen})"
    yield from _member(name, made, "Parameter", siblings)
    owner, dot, key = name.partition(".")
    if dot:
        name = f"{owner}[{key if key.isdigit() else _quoted(key)}]"
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


def _dictionary(values: Mapping[str, str]) -> str:
    return f"{{{', '.join(f'{_quoted(name)}: {value}' for name, value in values.items())}}}"


def _constant(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_constant, value))}]"
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(value: str) -> str:
    """Write a string literal: each escape of JSON is one of Python's."""
    return json.dumps(value, ensure_ascii=False)
