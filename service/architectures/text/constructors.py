"""Construction of the layers and containers of torch.nn in a class text.

Arguments are validated by the tables that also validate layers of a spec, since PyTorch accepts some that end
a process, such as a stride of 0. Then PyTorch's own class is called, so that its initial values are drawn.
"""

import ast
import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, get_overloads

import torch
from torch import Tensor, nn

from fitserve.describe.functions import Function
from fitserve.describe.layers import CHOICES, STACKS
from service.architectures.layers import LAYERS, MAX_STACKED, PLAIN_LOSSES
from service.architectures.text.evaluation import Run
from service.architectures.text.sequences import listed
from service.architectures.text.values import ITERATOR, Native, Record

_DECLARED = "declared_arguments"  # attribute of a layer that a check has constructed
MAX_MODULES = 3_000  # of a whole model, as of a spec: checking one takes about a millisecond
Constructor = Callable[[Run, ast.AST, Sequence[Any], Mapping[str, Any]], Any]


def initialize(
    run: Run, at: ast.AST, base: type, instance: Any, positional: Sequence[Any], named: Mapping[str, Any]
) -> None:
    """Call the `__init__` of a class of PyTorch or Python for an instance of a class of the text.

    Args:
        run: The evaluation.
        at: Syntax node of the call.
        base: The class.
        instance: The instance.
        positional: Arguments by position.
        named: Arguments by name.
    """
    if base in (Record, object):
        if positional or named:
            run.fail(at, f"`{type(instance).__name__}` takes no arguments.")
        return
    arguments, options = _native_arguments(run, at, base, positional, named)
    run.compute(at, lambda: _build(run, base, arguments, options, instance), (arguments, options))


def _construct_loss(type_: type) -> Constructor:
    """Return the constructor of a loss, which a class may keep beside its layers."""

    def construct(run: Run, at: ast.AST, positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
        for value in (*positional, *named.values()):
            if not isinstance(value, Tensor | str | bool | int | float | None):
                run.fail(at, f"`nn.{type_.__name__}` does not take a value of type {type(value).__name__}.")
        return type_(*positional, **named)

    return construct


def _construct_native(type_: type) -> Constructor:
    def construct(run: Run, at: ast.AST, positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
        arguments, options = _native_arguments(run, at, type_, positional, named)
        return _build(run, type_, arguments, options)

    return construct


def _build(
    run: Run,
    type_: type,
    positional: Sequence[Any],
    named: Mapping[str, Any],
    instance: nn.Module | None = None,
) -> Any:
    with torch.device("meta" if run.is_check else "cpu"):
        if instance is None:
            instance = type_(*positional, **named)
        else:
            type_.__init__(instance, *positional, **named)  # type: ignore[misc]
    if run.is_check and type_.__name__ in LAYERS:
        instance.__dict__[_DECLARED] = named
    return instance


def declared_arguments(layer: nn.Module) -> dict[str, Any] | None:
    """Return the arguments of a layer that a check has constructed, as JSON; None without a form in JSON.

    Args:
        layer: The layer.
    """
    declared: Mapping[str, Any] | None = layer.__dict__.get(_DECLARED)
    if declared is None:
        return None
    arguments = {}
    for name, value in declared.items():
        if isinstance(value, nn.Module):
            inner = declared_arguments(value)
            if inner is None:
                return None
            arguments[name] = {"type": type(value).__name__, **inner}
        else:
            arguments[name] = value.__name__ if callable(value) else _json(value)
    return arguments


def _native_arguments(
    run: Run, at: ast.AST, type_: type, positional: Sequence[Any], named: Mapping[str, Any]
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return the checked arguments of a class of torch.nn."""
    if type_ is nn.Module:
        return (), {}
    if type_ in _CONTAINERS:
        return _CONTAINERS[type_](run, at, positional, named), {}
    name = type_.__name__
    if LAYERS.get(name) is None or LAYERS[name].target is not type_:
        run.fail(at, f"`nn.{name}` cannot be constructed here.")
    try:
        bound = _signature(type_).bind(*positional, **named)
    except TypeError as error:
        run.fail(at, f"`nn.{name}`: {error}.")
    arguments = {**bound.arguments, **bound.arguments.pop("kwargs", {})}
    arguments = {key: value for key, value in arguments.items() if key != "device"}
    if arguments.pop("dtype", None) not in (None, torch.float32):
        run.fail(at, f"`nn.{name}`: a job chooses the precision; remove `dtype`.")
    _check_layer(run, at, name, arguments)
    return (), {key: _plain(value) for key, value in arguments.items()}


def _check_layer(run: Run, at: ast.AST, name: str, arguments: Mapping[str, Any]) -> None:
    """Validate the arguments that JSON can express; modules and functions are compared with the tables."""
    constructor = LAYERS[name]
    expressible = {}
    for key, value in arguments.items():
        if isinstance(value, nn.Module | Function):
            _check_component(run, at, name, key, value)
        else:
            expressible[key] = _json(value)
    if name in STACKS:
        layers = expressible.get("num_layers", 1)
        if not isinstance(layers, int) or not 1 <= layers <= MAX_STACKED:
            run.fail(at, f"`nn.{name}`: num_layers must be an integer from 1 to {MAX_STACKED}.")
        return
    errors = constructor.check(expressible, "")
    if errors:
        first = errors[0]
        field = first.pointer.removeprefix("/").replace("/", ".")
        run.fail(at, f"`nn.{name}`{f', {field}' if field else ''}: {first.detail}")


def _check_component(run: Run, at: ast.AST, name: str, key: str, value: Any) -> None:
    if isinstance(value, Function):
        if key not in CHOICES or value.target.__name__ not in CHOICES[key]:
            run.fail(at, f"`nn.{name}` does not take `{value.name}` as `{key}`.")
    elif not (name in STACKS and key in (STACKS[name][0], "norm")) and key != "activation":
        run.fail(at, f"`nn.{name}` does not take a module as `{key}`.")


@cache
def _signature(type_: type) -> inspect.Signature:
    function = type_.__init__  # type: ignore[misc]
    # RNN, LSTM and GRU declare their arguments only in an overload.
    declared = inspect.signature(next(iter(get_overloads(function)), function))
    return declared.replace(parameters=list(declared.parameters.values())[1:])  # without `self`


def _json(value: Any) -> Any:
    return [_json(each) for each in value] if isinstance(value, tuple | list) else value


def _plain(value: Any) -> Any:
    """Return an argument as PyTorch takes it."""
    return value.target if isinstance(value, Function) else value


def check_size(run: Run, at: ast.AST, module: nn.Module) -> None:
    """Check that a model has at most `MAX_MODULES` modules, counted as often as they are registered.

    Raises:
        ForwardError: If it has more, as one that contains itself would.
    """
    count, waiting = 0, [module]
    while waiting:
        current = waiting.pop()
        count += 1
        if count > MAX_MODULES:
            run.fail(at, f"the model has more than {MAX_MODULES:,} modules, or a module contains itself.")
        waiting += [child for child in current._modules.values() if child is not None]


def _modules(run: Run, at: ast.AST, values: Sequence[Any]) -> list[nn.Module]:
    for value in values:
        if not isinstance(value, nn.Module):
            run.fail(at, f"a value of type {type(value).__name__} is not a module.")
    return list(values)


def _named_modules(run: Run, at: ast.AST, value: Any) -> "OrderedDict[str, nn.Module]":
    pairs = list(value.items()) if isinstance(value, dict) else listed(run, at, value)
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):
            run.fail(at, "expected pairs of a name and a module.")
    _modules(run, at, [module for _, module in pairs])
    return OrderedDict((name, module) for name, module in pairs)


def _sequential(run: Run, at: ast.AST, positional: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    if named:
        run.fail(at, "`nn.Sequential` takes layers by position.")
    if len(positional) == 1 and isinstance(positional[0], dict):
        return [_named_modules(run, at, positional[0])]
    if len(positional) == 1 and isinstance(positional[0], list | ITERATOR):
        run.fail(at, "`nn.Sequential` takes layers, not a list; write `nn.Sequential(*layers)`.")
    return _modules(run, at, positional)


def _module_list(run: Run, at: ast.AST, positional: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    values = [*positional, *named.values()]
    return [_modules(run, at, listed(run, at, values[0]))] if values and values[0] is not None else []


def _module_dict(run: Run, at: ast.AST, positional: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    values = [*positional, *named.values()]
    return [_named_modules(run, at, values[0])] if values and values[0] is not None else []


def _parameter_list(run: Run, at: ast.AST, positional: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    values = [*positional, *named.values()]
    tensors = listed(run, at, values[0]) if values and values[0] is not None else []
    if not all(isinstance(each, Tensor) for each in tensors):
        run.fail(at, "`nn.ParameterList` takes parameters.")
    return [tensors]


def _parameter_dict(run: Run, at: ast.AST, positional: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    values = [*positional, *named.values()]
    tensors = values[0] if values and values[0] is not None else {}
    if not isinstance(tensors, dict) or not all(isinstance(each, Tensor) for each in tensors.values()):
        run.fail(at, "`nn.ParameterDict` takes parameters by name.")
    return [tensors]


_CONTAINERS: Mapping[type, Callable[[Run, ast.AST, Sequence[Any], Mapping[str, Any]], list[Any]]] = {
    nn.Sequential: _sequential,
    nn.ModuleList: _module_list,
    nn.ModuleDict: _module_dict,
    nn.ParameterList: _parameter_list,
    nn.ParameterDict: _parameter_dict,
}


def _parameter(run: Run, at: ast.AST, positional: Sequence[Any], named: Mapping[str, Any]) -> nn.Parameter:
    values = dict(zip(("data", "requires_grad"), positional, strict=False)) | dict(named)
    data, requires_grad = values.get("data"), values.get("requires_grad", True)
    if not isinstance(data, Tensor) or not isinstance(requires_grad, bool):
        run.fail(at, "`nn.Parameter` takes a tensor and `requires_grad`.")
    return nn.Parameter(data, requires_grad)


BASES: frozenset[type] = frozenset(
    {nn.Module, *_CONTAINERS, *(getattr(nn, name) for name in LAYERS)},
)
"""Classes of PyTorch that a class of a text may have as its base."""

CONSTRUCTORS: dict[type, Constructor | Native] = {
    **{type_: _construct_native(type_) for type_ in BASES},
    **{getattr(nn, name): _construct_loss(getattr(nn, name)) for name in PLAIN_LOSSES},
    nn.Parameter: _parameter,
}
"""Constructors of the classes of PyTorch that a text may call."""
