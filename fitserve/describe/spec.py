"""Specs of PyTorch modules: their structure and arguments, without the values of parameters."""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, fx, nn

from fitserve.describe.class_source import NoSource
from fitserve.describe.class_spec import describe_class
from fitserve.describe.comparison import Difference, own_differences
from fitserve.describe.errors import NotDescribable, located
from fitserve.describe.forward_writer import call_arguments, forward_text, is_described_as_sequential
from fitserve.describe.initial_values import buffer_expression, constant_init, normal_init
from fitserve.describe.layer_specs import describe_layer, is_torch_layer
from fitserve.describe.state import (
    check_methods,
    check_parametrizations,
    check_shared,
    check_state,
    is_of_torch,
)
from fitserve.describe.tracing import trace

# Names that a spec accepts for inputs, parameters and submodules of a class.
_IDENTIFIER = re.compile(r"(?!.{129})([A-Za-z]|_[A-Za-z0-9])[A-Za-z0-9_]*")


ParameterContainer = nn.ParameterList | nn.ParameterDict


class InitialValuesWarning(UserWarning):
    """The spec does not give the values of some parameters; `fitserve.describe.parameters` does."""


@runtime_checkable
class HasForwardText(Protocol):
    """A module that knows the text of its `forward`, such as those that the service builds.

    Attributes:
        class_name: Name of the class.
        constants: Values that the text reads as attributes.
        forward_inputs: Names of the inputs of `forward`.
        forward_text: Body of `forward`.
    """

    class_name: str
    constants: Mapping[str, Any]

    @property
    def forward_inputs(self) -> tuple[str, ...]: ...

    @property
    def forward_text(self) -> str: ...


@dataclass(frozen=True)
class _Call:
    """How a `forward` calls a submodule.

    Attributes:
        inputs: Names of the arguments that are computed; None if it is unknown.
        constants: Values of the other arguments.
    """

    inputs: frozenset[str] | None
    constants: Mapping[str, Any]


def describe(
    module: nn.Module, *, arguments: Mapping[str, Any] | None = None, source: bool = True
) -> dict[str, Any]:
    """Describe a module as a spec: its structure and arguments, not the values of its parameters.

    The service builds a module from the spec that computes and trains the same. Its initial values are drawn
    as the constructor draws them; `parameters(module)` are the values to start from instead.

    A module of a class of one's own is described by the source of the class and the arguments of its
    constructor, if the source is at hand and the arguments give this module again. Otherwise its `forward` is
    traced with `torch.fx`.

    The service limits the size of a spec, such as the number of layers and the length of `forward`. These
    limits are not checked here: the service reports, with a pointer, what exceeds them.

    Args:
        module: Module made of layers of `torch.nn`, whose `forward` does not depend on values.
        arguments: Arguments of the constructor of the module, if they cannot be read from its attributes.
        source: Whether to send the source of classes.

    Returns:
        The spec as JSON values, accepted as `architecture` of a job.

    Raises:
        NotDescribable: If the module has a layer, an argument, a state or an operation that a spec cannot
            express.

    Warns:
        InitialValuesWarning: If parameters have values that do not come from the spec's initialization.
    """
    if not isinstance(module, nn.Module):
        raise NotDescribable(f"`describe` takes a module, an instance of `nn.Module`, not {_kind(module)}.")
    path = type(module).__name__
    if arguments is not None and (is_of_torch(type(module)) or not source):
        raise NotDescribable(f"`arguments` go with the source of a class, which isn't sent of {path}.")
    with located(path, "describing it"):
        check_state(module)
        describer = _Describer(module, arguments, source)
        try:
            spec = describer.describe(module, path)
            check_shared(module, describer.sent)
        except NotDescribable as error:
            place, reason = describer.unsent[0] if describer.unsent else ("", None)
            if reason is None:
                raise
            raise NotDescribable(f"{error} The source of {place} can't be sent, as {reason}.") from error
    if spec["type"] not in ("sequential", "module", "class"):
        spec = {"type": "sequential", "layers": [spec]}
    if describer.started_elsewhere:
        names = ", ".join(f"`{name}`" for name in describer.started_elsewhere)
        warnings.warn(
            f"The spec does not give the initial values of {names}: to start from them, send"
            " `fitserve.describe.parameters(module)` to `POST /v1/parameters`.",
            InitialValuesWarning,
            stacklevel=2,
        )
    return spec


def _kind(value: Any) -> str:
    return (
        f"the class `{value.__name__}`"
        if isinstance(value, type)
        else f"a value of type {type(value).__name__}"
    )


class _Describer:
    """Describes the parts of a module.

    Attributes:
        started_elsewhere: Paths of the parameters whose values do not come from the spec.
        sent: Modules that are described by their source.
        unsent: Modules that are being traced, the outermost first, and why their source is not sent.
    """

    def __init__(self, root: nn.Module, arguments: Mapping[str, Any] | None, source: bool) -> None:
        self.started_elsewhere: list[str] = []
        self.sent: list[nn.Module] = []
        self.unsent: list[tuple[str, NoSource | None]] = []
        self._root = root
        self._arguments = arguments
        self._source = source
        self._calls: dict[nn.Module, _Call] = {}

    def describe(self, module: nn.Module, path: str) -> dict[str, Any]:
        with located(path, "describing it"):
            if is_torch_layer(module):
                spec, other = describe_layer(module, path)
                self._started_elsewhere(path, other)
                return spec
            reason = None
            if self._source and not is_of_torch(type(module)) and not isinstance(module, HasForwardText):
                try:
                    return self._sent(module, path)
                except NoSource as error:
                    reason = error
                    if self._arguments is not None and module is self._root:
                        raise NotDescribable(f"The source of {path} can't be sent, as {error}.") from error
            check_methods(module, path)
            self.unsent.append((path, reason))
            is_sequential = is_described_as_sequential(module)
            spec = self._sequential(module, path) if is_sequential else self._traced(module, path)
            self.unsent.pop()
            return spec

    def _sent(self, module: nn.Module, path: str) -> dict[str, Any]:
        spec, other = describe_class(module, self._arguments if module is self._root else None)
        for each in module.modules():
            check_methods(each, path, is_sent=True)
        self._started_elsewhere(path, other)
        if module in self.sent and any(True for _ in module.parameters()):
            raise NotDescribable(
                f"{path} is a module that has another name, too; a spec cannot express this."
            )
        self.sent.append(module)
        return spec

    def _started_elsewhere(self, path: str, names: list[str]) -> None:
        _, _, inner = path.partition(".")
        self.started_elsewhere += [f"{inner}.{name}".lstrip(".") for name in names]

    def _children(self, module: nn.Module, path: str) -> dict[str, dict[str, Any]]:
        # Not `named_children`, which leaves out the second name of a module.
        return {
            name: self.describe(child, f"{path}.{name}")
            for name, child in module._modules.items()
            if child is not None and not isinstance(child, ParameterContainer)
        }

    def _sequential(self, module: nn.Module, path: str) -> dict[str, Any]:
        is_own = not is_of_torch(type(module))
        expected = nn.Module() if is_own else type(module)()
        _refuse(path, _lost(own_differences(module, expected), is_own))
        if any(child is None or isinstance(child, ParameterContainer) for child in module._modules.values()):
            raise NotDescribable(f"{path} has an entry without a forward pass.")
        layers = [
            {**({} if name == str(position) else {"name": name}), **spec}
            for position, (name, spec) in enumerate(self._children(module, path).items())
        ]
        return {"type": "sequential", "layers": layers}

    def _traced(self, module: nn.Module, path: str) -> dict[str, Any]:
        check_parametrizations(module, path)
        _refuse(path, _lost(own_differences(module, nn.Module()), True))
        if isinstance(module, HasForwardText):
            class_name, inputs, forward = module.class_name, list(module.forward_inputs), module.forward_text
            submodules = self._children(module, path)
        else:
            class_name = type(module).__name__
            call = self._calls.get(module, _Call(None, {}))
            graph = trace(module, path, call.inputs, call.constants)
            self._add_calls(graph, module, path)
            submodules = self._children(module, path)
            inputs, forward = forward_text(graph, module, path, self._omitted(graph, module))
        parameters = _own_parameters(module, path)
        buffers = {
            name: self._buffer(value, f"{path}.{name}")
            for name, value in module._buffers.items()
            if value is not None and name not in module._non_persistent_buffers_set
        }
        parts = [part for name in parameters for part in name.split(".") if not part.isdecimal()]
        for name in [class_name, *inputs, *submodules, *parts, *buffers]:
            if not _IDENTIFIER.fullmatch(name):
                raise NotDescribable(
                    f"{path}: a spec cannot have the name `{name}`; a name is at most 128 ASCII letters,"
                    " digits and underscores, and starts with a letter or one underscore."
                )
        spec: dict[str, Any] = {
            "type": "module",
            "class_name": class_name,
            "submodules": submodules,
            "inputs": inputs,
            "forward": forward,
        }
        if parameters:
            spec["parameters"] = {
                name: self._parameter(parameter, path, name) for name, parameter in parameters.items()
            }
        if buffers:
            spec["buffers"] = buffers
        if isinstance(module, HasForwardText) and module.constants:
            spec["constants"] = dict(module.constants)
        return spec

    def _add_calls(self, graph: fx.Graph, module: nn.Module, path: str) -> None:
        """Note with which arguments a `forward` calls the submodules that are traced themselves."""
        for node in graph.nodes:
            called = module.get_submodule(str(node.target)) if node.op == "call_module" else None
            if called is None or not _is_traced(called):
                continue
            arguments = call_arguments(node, called)
            inputs = frozenset(name for name, value in arguments.items() if _is_computed(value))
            call = _Call(inputs, {name: value for name, value in arguments.items() if name not in inputs})
            if self._calls.setdefault(called, call) != call:
                raise NotDescribable(
                    f"{path}: its forward calls `{node.target}` with different optional arguments, which"
                    " would need two texts."
                )

    def _omitted(self, graph: fx.Graph, module: nn.Module) -> dict[str, frozenset[str]]:
        targets = {str(node.target) for node in graph.nodes if node.op == "call_module"}
        called = {target: module.get_submodule(target) for target in targets}
        calls = {target: self._calls.get(each) for target, each in called.items() if each not in self.sent}
        return {target: frozenset(call.constants) for target, call in calls.items() if call is not None}

    def _parameter(self, parameter: Tensor, path: str, name: str) -> dict[str, Any]:
        """Declare a free parameter: equal values become a constant, others a normal distribution."""
        init = constant_init(parameter)
        if init is None:
            self._started_elsewhere(path, [name])
            init = normal_init(parameter)
        frozen = {} if parameter.requires_grad else {"trainable": False}
        return {"shape": list(parameter.shape), "init": init, **frozen}

    def _buffer(self, buffer: Tensor, path: str) -> str:
        expression = buffer_expression(buffer)
        if expression is None:
            raise NotDescribable(
                f"{path} is a buffer of {buffer.numel()} numbers, and no short expression gives them."
            )
        return expression


def _own_parameters(module: nn.Module, path: str) -> dict[str, nn.Parameter]:
    """Return the free parameters of a module by name; those of lists and dicts are `weights.0`."""
    own = {name: value for name, value in module._parameters.items() if value is not None}
    for name, child in module._modules.items():
        if isinstance(child, ParameterContainer):
            _refuse(f"{path}.{name}", _lost(own_differences(child, nn.Module()), True))
            if len(child._parameters) != len(child):
                raise NotDescribable(f"{path}.{name} has an entry that is no parameter.")
            own |= {f"{name}.{key}": value for key, value in child._parameters.items() if value is not None}
    return own


def _refuse(path: str, differences: Iterable[Difference]) -> None:
    for difference in differences:
        raise NotDescribable(f"{path} {difference}; a spec cannot express this.")


def _lost(found: Iterable[Difference], is_own: bool) -> Iterator[Difference]:
    """Iterate over the differences to a new module that a description loses.

    Args:
        found: The differences.
        is_own: Whether the module has a class of one's own, whose attributes are read while it is traced.
    """
    names = vars(nn.Module()).keys() - {"_non_persistent_buffers_set"} | {"forward"}
    return (each for each in found if not is_own or each.name in names)


def _is_traced(module: nn.Module) -> bool:
    return not (
        is_torch_layer(module) or is_described_as_sequential(module) or isinstance(module, HasForwardText)
    )


def _is_computed(value: Any) -> bool:
    """Return whether an argument is, or contains, a value of the graph."""
    found: list[fx.Node] = []
    fx.node.map_arg(value, found.append)
    return bool(found)
