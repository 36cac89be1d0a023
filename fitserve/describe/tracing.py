"""Graphs of the `forward` of a module, traced with torch.fx in training and in evaluation."""

import inspect
import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from fitserve.describe.aliases import IN_PLACE_OPERATORS
from fitserve.describe.errors import NotDescribable, located
from fitserve.describe.functions import TENSOR_FUNCTIONS
from fitserve.describe.initial_values import MAX_LITERAL_NUMBERS

# Functions such as `torch.zeros` by their names in `torch`.
_CREATING = {
    function.name.removeprefix("torch."): function.target
    for function in TENSOR_FUNCTIONS.values()
    if function.creates and not isinstance(function.target, type) and function.name.count(".") == 1
}
_new_tensor = torch.tensor  # tracing replaces the one of `torch`


class TrainingMode:
    """Stands for `self.training` among the arguments of a node."""

    def __repr__(self) -> str:
        return "self.training"


TRAINING_MODE = TrainingMode()


class _UnknownType:
    """Refuses `isinstance(x, …)` in a `forward`: a traced value is no tensor, the answer would be wrong."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        frame = sys._getframe(1)
        while frame.f_back and frame.f_globals.get("__name__") in ("abc", "typing"):
            frame = frame.f_back
        if frame.f_globals.get("__name__", "").split(".")[0] in ("torch", "fitserve"):
            return type(self)
        raise NotDescribable(
            "its forward asks for the type of a value, which is not known while it is traced."
        )


class _RecordsInPlace:
    """Records `x += y`, which torch.fx takes for `x = x + y`, although other names may share the tensor."""


def _in_place(operation: Any) -> Callable[[Any, Any], Any]:
    return lambda self, other: self.tracer.create_proxy("call_function", operation, (self, other), {})


for _operation in IN_PLACE_OPERATORS:
    setattr(_RecordsInPlace, f"__{_operation.__name__}__", _in_place(_operation))


class _Proxy(_UnknownType, _RecordsInPlace, fx.Proxy):
    def __getattr__(self, name: str) -> "_Attribute":
        return _Attribute(self, name)


class _Attribute(_UnknownType, _RecordsInPlace, fx.proxy.Attribute):
    def __getattr__(self, name: str) -> "_Attribute":
        return _Attribute(self, name)


class _Tracer(fx.Tracer):
    """Traces the module's own `forward`; submodules stay calls and are described separately.

    Args:
        inputs: Names of the inputs; None for the parameters of `forward` that have no default.
        constants: Values of further parameters of `forward`.
    """

    proxy_buffer_attributes = True

    def __init__(self, inputs: frozenset[str] | None, constants: Mapping[str, Any]) -> None:
        super().__init__()
        self._inputs = inputs
        self._constants = constants

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for parameter in list(inspect.signature(root_fn).parameters.values())[1:]:
            name, kind = parameter.name, parameter.kind
            if kind is parameter.VAR_POSITIONAL:
                raise NotDescribable(f"input `*{name}` is variadic: name each input.")
            if kind is parameter.VAR_KEYWORD:
                continue
            is_input = parameter.default is parameter.empty if self._inputs is None else name in self._inputs
            if name in self._constants:
                value = self._constants[name]
            elif is_input:
                value = self.create_proxy("placeholder", name, (), {})
            elif kind is parameter.POSITIONAL_ONLY:
                value = parameter.default
            else:
                continue  # its default applies
            if kind is parameter.POSITIONAL_ONLY:
                positional.append(value)
            else:
                named[name] = value
        return lambda root: root_fn(root, *positional, **named), [self.root]

    def create_node(self, *arguments: Any, **named: Any) -> fx.Node:
        # A trace would lose the effect of these on the operations inside them.
        if not torch.is_grad_enabled():
            raise NotDescribable("its forward switches gradients off; use `x.detach()`.")
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            raise NotDescribable("its forward uses `autocast`; a job chooses its `precision`.")
        return super().create_node(*arguments, **named)

    def create_arg(self, a: Any) -> Any:
        if type(a).__module__ == "numpy":
            a = a.item() if a.ndim == 0 and not hasattr(a, "__array_interface__") else _new_tensor(a)
        if isinstance(a, Tensor) and not self._is_registered(a):
            return self._literal(a)
        return super().create_arg(a)

    def _is_registered(self, tensor: Tensor) -> bool:
        return any(tensor is each for each in [*self.root.parameters(), *self.root.buffers()])

    def _literal(self, tensor: Tensor) -> fx.Node:
        """Write a constant tensor out: an attribute, a tensor of the module's file, or computed from them."""
        if tensor.requires_grad:
            raise NotDescribable("its forward reads a tensor with gradients that is no parameter of it.")
        if tensor.numel() > MAX_LITERAL_NUMBERS:
            raise NotDescribable(
                f"its forward reads a constant tensor of {tensor.numel()} numbers; compute it in the text, or"
                " register it as a buffer."
            )
        return self.create_node("call_function", _new_tensor, (tensor.tolist(),), {"dtype": tensor.dtype})


def trace(
    module: nn.Module,
    path: str,
    inputs: frozenset[str] | None = None,
    constants: Mapping[str, Any] | None = None,
) -> fx.Graph:
    """Trace one call of `forward` in training and one in evaluation, and merge the graphs.

    Args:
        module: The module.
        path: Its location, for messages.
        inputs: Names of the inputs; None for the parameters of `forward` that have no default.
        constants: Values of further parameters of `forward`.

    Returns:
        The graph. `TRAINING_MODE` stands for an argument that is True in training and False in evaluation.

    Raises:
        NotDescribable: If the graph would not say what `forward` does.
    """
    if type(module).forward is nn.Module.forward:
        raise NotDescribable(f"{path} is a {type(module).__name__}, which has no forward.")
    graphs = {}
    for training in (True, False):
        tracer = _Tracer(inputs, constants or {})
        with located(path, "tracing its forward"), _prepared(module, path, training, tracer):
            try:
                graphs[training] = tracer.trace(module)
            except NotDescribable as error:
                raise NotDescribable(f"{path}: {error}") from error.__cause__
    with located(path, "comparing training with evaluation"):
        _merge(graphs[True], graphs[False], path)
    return graphs[True]


@contextmanager
def _prepared(module: nn.Module, path: str, training: bool, tracer: fx.Tracer) -> Iterator[None]:
    """Set the mode, record functions that create tensors, and refuse other effects of `forward`."""
    states = [_State(each) for each in module.modules()]
    generators = _generator_states()
    originals = dict(_CREATING)
    try:
        for each in module.modules():
            each.training = training
        for name, original in originals.items():
            setattr(torch, name, _recorder(original, tracer))
        yield
    finally:
        for name, original in originals.items():
            setattr(torch, name, original)
        changed = [state.restore() for state in states]
    for name in filter(None, changed):
        raise NotDescribable(
            f"{path}: its forward changes `{name}` of a module, which a spec cannot express."
        )
    if _generator_states() != generators:
        raise NotDescribable(
            f"{path}: its forward draws random numbers outside of the traced operations; draw them with"
            " functions such as `torch.rand_like(x)`."
        )


def _recorder(original: Callable[..., Any], tracer: fx.Tracer) -> Callable[..., Any]:
    """Return a function that records its calls, which torch.fx does only for calls with a traced argument."""
    return lambda *positional, **named: tracer.create_proxy("call_function", original, positional, named)


def _generator_states() -> tuple[Any, ...]:
    numpy = sys.modules.get("numpy")
    return (
        torch.get_rng_state().tolist(),
        random.getstate(),
        None if numpy is None else repr(numpy.random.get_state(legacy=False)),
    )


class _State:
    """The attributes of a module, and the elements of those that are containers."""

    def __init__(self, module: nn.Module) -> None:
        self._attributes = vars(module)
        self._values = dict(self._attributes)
        self._copies = {
            name: value.copy() for name, value in self._values.items() if isinstance(value, dict | list | set)
        }

    def restore(self) -> str | None:
        """Restore what has changed, and return the name of one attribute of it."""
        changed = None
        for name in {**self._values, **self._attributes}:
            if name not in self._values or self._attributes.get(name, self) is not self._values[name]:
                changed = changed if name == "training" else name
            elif name in self._copies and _elements(self._values[name]) != _elements(self._copies[name]):
                changed = name
                _replace(self._values[name], self._copies[name])
        if changed or self._attributes.get("training") is not self._values.get("training"):
            self._attributes.clear()
            self._attributes.update(self._values)
        return changed


def _elements(container: Any) -> list[Any]:
    items = container.items() if isinstance(container, dict) else enumerate(container)
    return [(key, id(value)) for key, value in items]


def _replace(container: Any, content: Any) -> None:
    container.clear()
    container.extend(content) if isinstance(container, list) else container.update(content)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _merge(training: fx.Graph, evaluation: fx.Graph, path: str) -> None:
    """Write `TRAINING_MODE` into the graph of training where an argument is the mode.

    Raises:
        NotDescribable: If the graphs differ in anything else.
    """
    nodes = list(training.nodes)
    twins = dict(zip(evaluation.nodes, nodes, strict=False))

    def merged(value: Any, other: Any) -> Any:
        if isinstance(value, fx.Node) and twins.get(other) is value:
            return value
        if isinstance(value, tuple | list) and type(value) is type(other) and len(value) == len(other):
            return type(value)(map(merged, value, other))
        if isinstance(value, dict) and isinstance(other, dict) and list(value) == list(other):
            return {key: merged(each, other[key]) for key, each in value.items()}
        if isinstance(value, slice) and isinstance(other, slice):
            parts = ("start", "stop", "step")
            return slice(*(merged(getattr(value, part), getattr(other, part)) for part in parts))
        if value is True and other is False:
            return TRAINING_MODE
        if type(value) is type(other) and (value == other or (_is_nan(value) and _is_nan(other))):
            return value
        raise different

    different = NotDescribable(
        f"{path}: its forward does in training what it does not do in evaluation, other than by an argument"
        " such as `F.dropout(x, training=self.training)`."
    )
    if len(nodes) != len(evaluation.nodes):
        raise different
    for other, node in twins.items():
        if node.op != other.op or node.target != other.target:
            raise different
        node.args, node.kwargs = merged(node.args, other.args), merged(node.kwargs, other.kwargs)
