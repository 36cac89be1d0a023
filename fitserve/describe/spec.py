"""Specs of PyTorch modules: their structure and arguments, without the values of parameters."""

import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, fx, nn

from fitserve.describe.comparison import Difference, own_differences
from fitserve.describe.errors import NotDescribable, located
from fitserve.describe.forward_writer import call_arguments, forward_text, is_described_as_sequential
from fitserve.describe.layer_specs import describe_layer, is_torch_layer
from fitserve.describe.state import check_state
from fitserve.describe.tracing import trace

# Names that a spec accepts for inputs, parameters and submodules of a class.
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")


class InitialValuesWarning(UserWarning):
    """The spec does not give the values of some parameters; `fitserve.describe.parameters` does."""


@runtime_checkable
class HasForwardText(Protocol):
    """A module that knows the text of its `forward`, such as those that the service builds.

    Attributes:
        class_name: Name of the class.
        forward_inputs: Names of the inputs of `forward`.
        forward_text: Body of `forward`.
    """

    class_name: str

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


def describe(module: nn.Module) -> dict[str, Any]:
    """Describe a module as a spec: its structure and arguments, not the values of its parameters.

    The service builds a module from the spec that computes and trains the same. Its initial values come from
    the initialization of PyTorch's layers; `parameters(module)` are the values to start from instead.
    `forward` is traced with `torch.fx`.

    The service limits the size of a spec, such as the number of layers and the length of `forward`. These
    limits are not checked here: the service reports, with a pointer, what exceeds them.

    Args:
        module: Module made of layers of `torch.nn`, whose `forward` does not depend on values.

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
    with located(path, "describing it"):
        check_state(module)
        describer = _Describer()
        spec = describer.describe(module, path)
    if spec["type"] not in ("sequential", "module"):
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
    """

    def __init__(self) -> None:
        self.started_elsewhere: list[str] = []
        self._calls: dict[nn.Module, _Call] = {}

    def describe(self, module: nn.Module, path: str) -> dict[str, Any]:
        with located(path, "describing it"):
            if is_torch_layer(module):
                spec, other = describe_layer(module, path)
                self._started_elsewhere(path, other)
                return spec
            if is_described_as_sequential(module):
                return self._sequential(module, path)
            return self._class(module, path)

    def _started_elsewhere(self, path: str, names: list[str]) -> None:
        _, _, inner = path.partition(".")
        self.started_elsewhere += [f"{inner}.{name}".lstrip(".") for name in names]

    def _children(self, module: nn.Module, path: str) -> dict[str, dict[str, Any]]:
        # Not `named_children`, which leaves out the second name of a module.
        return {
            name: self.describe(child, f"{path}.{name}")
            for name, child in module._modules.items()
            if child is not None
        }

    def _sequential(self, module: nn.Module, path: str) -> dict[str, Any]:
        if type(module) in (nn.Sequential, nn.ModuleList, nn.ModuleDict):
            _refuse(path, own_differences(module, type(module)()))
        layers = [
            {**({} if name == str(position) else {"name": name}), **spec}
            for position, (name, spec) in enumerate(self._children(module, path).items())
        ]
        if not layers:
            raise NotDescribable(f"{path} has no layers.")
        return {"type": "sequential", "layers": layers}

    def _class(self, module: nn.Module, path: str) -> dict[str, Any]:
        own = own_differences(module, nn.Module())
        _refuse(path, (each for each in own if each.name in (*vars(nn.Module()), "forward")))
        if module._buffers:
            raise NotDescribable(f"{path} has buffers of its own, which a spec cannot declare.")
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
        parameters = {name: value for name, value in module._parameters.items() if value is not None}
        for name in [class_name.removeprefix("_"), *inputs, *submodules, *parameters]:
            if not _IDENTIFIER.fullmatch(name):
                raise NotDescribable(
                    f"{path}: a spec cannot have the name `{name}`; a name is at most 128 ASCII letters,"
                    " digits and underscores, and starts with a letter."
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
        calls = {target: self._calls.get(module.get_submodule(target)) for target in targets}
        return {target: frozenset(call.constants) for target, call in calls.items() if call is not None}

    def _parameter(self, parameter: Tensor, path: str, name: str) -> dict[str, Any]:
        """Declare a free parameter: equal values become a constant, others a normal distribution."""
        values = parameter.detach().flatten().cpu()
        if values.numel() and bool(torch.all(values == values[0])):
            value = values[0].item()
            init: Any = {0.0: "zeros_", 1.0: "ones_"}.get(value, {"type": "constant_", "val": value})
        else:
            self._started_elsewhere(path, [name])
            mean, std = values.mean().item(), values.std(correction=0).item()
            init = {"type": "normal_", "mean": mean, "std": std}
        return {"shape": list(parameter.shape), "init": init}


def _refuse(path: str, differences: Iterable[Difference]) -> None:
    for difference in differences:
        raise NotDescribable(f"{path} {difference}; a spec cannot express this.")


def _is_traced(module: nn.Module) -> bool:
    return not (
        is_torch_layer(module) or is_described_as_sequential(module) or isinstance(module, HasForwardText)
    )


def _is_computed(value: Any) -> bool:
    """Return whether an argument is, or contains, a value of the graph."""
    found: list[fx.Node] = []
    fx.node.map_arg(value, found.append)
    return bool(found)
